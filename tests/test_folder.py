"""Files that others remove or change in the page's folder, and disks that are full: nothing is lost in silence."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from handseg_monai.data.labels.converted import converted_items
from handseg_monai.serve.state import Inferred, StoreError
from handseg_monai.serve.store import Store
from tests.test_store import add, add_ready, drawn_planes, png, reopened

BOX = slice(0, 5), slice(0, 5)
FULL = np.ones((5, 5), bool)
LONG = "손" * 60 + ".png"
"""A name that makes a datalist longer than journals and labels are."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "work")
    yield store
    store.close()


def files_of(folder: Path) -> dict[str, bytes]:
    kinds = ("images", "planes", "edits", "labels")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for kind in kinds for path in (folder / kind).iterdir()
    }


def test_entries_that_are_gone_cost_no_file(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    ids = [add_ready(store, seed) for seed in range(2)]
    for id in ids:
        store.edit(id, 0, 3, FULL, BOX)
        store.mark(id, 1, done=True)
    before, planes = files_of(store.folder), store.open(ids[0]).planes
    (store.folder / "entries").rename(store.folder.parent / "away")
    store = reopened(store)
    assert store.ids() == []
    assert "8 files belong to no entry; they are in" in caplog.text
    aside = store.folder / "set-aside" / "1"
    assert files_of(aside) == before

    again = add_ready(store, 0)
    store.close()
    (store.folder / "entries" / f"{again}.json").unlink()
    store = reopened(store)
    assert files_of(aside) == before
    assert (store.folder / "set-aside" / "2" / "images" / f"{again}.png").exists()

    store.close()
    for path in (store.folder.parent / "away").iterdir():
        path.rename(store.folder / "entries" / path.name)
    for name, content in before.items():
        (store.folder / name).write_bytes(content)
    store = Store(store.folder)
    assert (store.open(ids[0]).planes == planes).all()
    assert len(converted_items(store.folder)[0]) == 2
    store.close()


def test_a_removal_that_was_cut_short_is_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone, again = (add_ready(store, seed) for seed in range(3))
    store.edit(again, 0, 3, FULL, BOX)
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl" or path.parent.name == "planes":
            raise OSError(5, "Input/output error")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", failing)
    for id in (gone, again):
        with pytest.raises(OSError, match="Input/output"):
            store.remove(id)
    monkeypatch.undo()
    assert store.ids() == [kept]
    assert add(store, png(2)) == again  # it begins without the corrections of the one that was removed
    assert store.marks(again).revision == 0
    store = reopened(store)
    assert store.ids() == [kept, again]
    assert not list(store.folder.rglob(f"{gone}*"))
    assert (store.open(kept).planes == drawn_planes(0)).all()
    store.close()


@pytest.mark.parametrize("how", ["gone", "shorter", "longer", "another", "empty"])
def test_a_journal_that_another_program_changes_is_never_written_on(store: Store, how: str) -> None:
    id = add_ready(store, 0)
    for bone in range(2):
        store.edit(id, bone, bone, FULL, BOX)
    path = store.folder / "edits" / f"{id}.jsonl"
    content = path.read_bytes()
    if how in ("gone", "another"):
        path.rename(path.with_suffix(".away"))
    if how != "gone":
        changed = {"shorter": content[:-9], "longer": content + content, "another": content, "empty": b""}[how]
        path.write_bytes(changed)
    for _ in range(2):
        with pytest.raises(StoreError, match="another program has changed the corrections of this image"):
            store.edit(id, 2, 2, FULL, BOX)
    assert store.open(id).revision == 2
    assert path.exists() == (how != "gone")
    assert how == "gone" or path.read_bytes() == changed
    path.write_bytes(content)
    assert reopened(store).open(id).revision == 2


@pytest.mark.parametrize("how", ["gone", "another"])
def test_nothing_is_saved_once_the_lock_is_lost(store: Store, how: str) -> None:
    id, waiting = add_ready(store, 0), add(store, png(1))
    store.edit(id, 0, 0, FULL, BOX)
    (store.folder / "lock").unlink()
    other = Store(store.folder) if how == "another" else None
    for act in (
        lambda: store.edit(id, 1, 1, FULL, BOX),
        lambda: store.undo(id, 1),
        lambda: store.mark(id, 1, done=True),
        lambda: store.mark(id, 1, unknown=(3, True)),
        lambda: store.remove(id),
        lambda: add(store, png(2)),
        lambda: store.put_inferred(waiting, Inferred(drawn_planes(1))),
        lambda: store.put_failed(waiting, "no image"),
    ):
        with pytest.raises(StoreError, match="another program has changed the folder of --work"):
            act()
    assert {path.suffix for path in store.folder.glob("*/*")} == {".png", ".json", ".npz", ".jsonl", ""}
    if other is not None:
        other.edit(id, 1, 1, FULL, BOX)
        other.close()
    store.close()
    again = Store(store.folder)
    assert again.ids() == [id, waiting]
    assert (again.open(id).revision, again.open(id).done) == (1 + (how == "another"), False)
    again.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond some bytes, as a disk that has no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def listed(store: Store) -> list[str]:
    return [Path(item["image"]).name[:16] for item in converted_items(store.folder)[0]]


def test_what_is_done_no_more_is_no_data_on_a_full_disk_either(store: Store) -> None:
    ids = [add_ready(store, seed, LONG) for seed in range(3)]
    for id in ids:
        store.mark(id, 0, done=True)
    room = 500  # for a journal, not for the datalist
    assert (store.folder / "edits" / f"{ids[0]}.jsonl").stat().st_size < 200
    for size in (0, room):
        with files_of_at_most(size), pytest.raises(OSError, match="too large"):
            store.edit(ids[0], 1, 3, FULL, BOX)
        assert (store.open(ids[0]).revision, store.open(ids[0]).done) == (1, True)
        assert listed(store) == ids
    store.edit(ids[0], 1, 3, FULL, BOX)
    assert listed(store) == ids[1:]
    store = reopened(store)
    assert [id for id in ids if store.marks(id).done] == listed(store) == ids[1:]
    store.close()


def test_the_datalist_is_brought_up_to_date_by_the_next_act(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    ids = [add_ready(store, seed, LONG) for seed in range(4)]
    for id in ids[:2]:
        store.mark(id, 0, done=True)
    store.mark(ids[2], 0, done=True)
    store.mark(ids[2], 1, done=False)
    datalist = store.folder / "datalist.json"
    largest = max(path.stat().st_size for path in (store.folder / "labels").iterdir())
    with files_of_at_most(max(largest, datalist.stat().st_size)):
        assert store.mark(ids[2], 2, done=True).done
    assert "lacks what was done last" in caplog.text
    assert listed(store) == ids[:2]
    store.edit(ids[3], 0, 3, FULL, BOX)
    assert listed(store) == ids[:3]


def test_a_full_disk_can_be_opened_and_emptied(store: Store) -> None:
    ids = [add_ready(store, seed) for seed in range(2)]
    for id in ids:
        store.mark(id, 0, done=True)
    stray = store.folder / "images" / ("0" * 16)
    stray.write_bytes(b"stray")
    store.close()
    with files_of_at_most(0):
        store = Store(store.folder)
        assert store.ids() == ids
        assert not (store.folder / "datalist.json").exists()
        assert (store.open(ids[0]).planes == drawn_planes(0)).all()
        with pytest.raises(OSError, match="too large"):
            store.remove(ids[0])  # the datalist can't be written, and the image is gone
    assert store.ids() == [ids[1]]
    assert not list(store.folder.rglob(f"{ids[0]}*"))
    store.edit(add_ready(store, 2), 0, 3, FULL, BOX)
    assert listed(store) == [ids[1]]
    store.close()


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("notes")
    with pytest.raises(StoreError, match=r"--work .*work is a file; expected a folder, a new one or one of handseg"):
        Store(tmp_path / "work")
    assert (tmp_path / "work").read_text() == "notes"


def test_a_path_that_is_not_utf_8_is_said(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"work\xff")
    with pytest.raises(StoreError, match="work\N{REPLACEMENT CHARACTER}: its path is not in UTF-8; choose another"):
        Store(folder)
    assert not folder.exists()
