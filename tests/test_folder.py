"""Files that others remove or change in the page's folder, and disks that are full: nothing is lost in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from handseg_monai.data.labels.converted import converted_items
from handseg_monai.serve.state import Inferred, StoreError
from handseg_monai.serve.store import Store
from tests.test_store import add, add_ready, drawn_planes, png, reopened

BOX = slice(0, 5), slice(0, 5)
FULL = np.ones((5, 5), bool)


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
