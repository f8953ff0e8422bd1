"""The page's store: corrections, undone and done again, names, the data set of what is done, and damage in words."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import ALL_KNOWN, INDEX, NUM_BONES
from handseg_monai.data import training_datalist
from handseg_monai.data.labels.converted import DATALIST, converted_items, read_planes
from handseg_monai.data.reading.patients import Stated, stated_patients
from handseg_monai.serve.decode import Decoder
from handseg_monai.serve.fine_tuning import FineTuning
from handseg_monai.serve.folder import MARK
from handseg_monai.serve.state import DamagedError, Inferred, MissingError, StaleError, StoreError
from handseg_monai.serve.store import Store
from tests.bundle_runs import CONFIGS, TINY, run_bundle
from tests.conftest import draw_radiograph
from tests.dicoms import write_dicom

SHAPE = (96, 72)


def png(seed: int) -> bytes:
    return cv2.imencode(".png", draw_radiograph(seed, SHAPE)[0])[1].tobytes()


def drawn_planes(seed: int) -> np.ndarray:
    polygons = draw_radiograph(seed, SHAPE)[1]
    return rasterise([(INDEX[name], np.array(points)) for name, points in polygons.items()], SHAPE)


def add(store: Store, content: bytes, name: str = "hand.png") -> str:
    file = store.new_file()
    file.write_bytes(content)
    return store.add(name, file)


def add_ready(store: Store, seed: int, name: str = "hand.png") -> str:
    id = add(store, png(seed), name)
    store.put_inferred(id, Inferred(drawn_planes(seed), [0.5] * NUM_BONES, "both hands", "digest"))
    return id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "work")
    yield store
    store.close()


def reopened(store: Store) -> Store:
    store.close()
    return Store(store.folder)


class Corrections(RuleBasedStateMachine):
    """Edits, marks, undo and redo against lists of whole arrays."""

    folders: Iterator[Path]

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        self.store = Store(next(self.folders))
        self.id = add_ready(self.store, seed)
        planes = drawn_planes(seed)
        self.now: tuple[np.ndarray, int] = (planes, 0)
        self.past: list[tuple[np.ndarray, int]] = []
        self.future: list[tuple[np.ndarray, int]] = []
        self.done, self.revision = False, 0

    def _became(self, now: tuple[np.ndarray, int]) -> None:
        self.now, self.done, self.revision = now, False, self.revision + 1

    @rule(
        bone=st.integers(0, NUM_BONES - 1),
        top=st.integers(0, SHAPE[0]),
        left=st.integers(0, SHAPE[1]),
        height=st.integers(0, 40),
        width=st.integers(0, 40),
        kind=st.sampled_from(["on", "off", "random"]),
    )
    def edit(self, bone: int, top: int, left: int, height: int, width: int, kind: str) -> None:
        box = slice(top, min(top + height, SHAPE[0])), slice(left, min(left + width, SHAPE[1]))
        planes, unknown = self.now
        masks = np.unpackbits(planes.view(np.uint8).reshape(*SHAPE, 4), axis=-1, bitorder="little").astype(bool)
        shape = masks[..., bone][box].shape
        mask = np.random.default_rng(top).random(shape) < 0.5 if kind == "random" else np.full(shape, kind == "on")
        masks[..., bone][box] = mask
        after = np.packbits(masks, axis=-1, bitorder="little").view(np.int32)[..., 0]
        self.store.edit(self.id, self.revision, bone, mask, box)
        if (after != planes).any():
            self.past, self.future = [*self.past, self.now], []
            self._became((after, unknown))

    @rule(bone=st.integers(0, NUM_BONES - 1), on=st.booleans())
    def mark_unknown(self, bone: int, on: bool) -> None:
        planes, unknown = self.now
        after = unknown | 1 << bone if on else unknown & ~(1 << bone)
        self.store.mark(self.id, self.revision, unknown=(bone, on))
        if after != unknown:
            self.past, self.future = [*self.past, self.now], []
            self._became((planes, after))

    @rule(on=st.booleans())
    def mark_done(self, on: bool) -> None:
        self.store.mark(self.id, self.revision, done=on)
        self.revision += on != self.done
        self.done = on

    @precondition(lambda self: self.past)
    @rule()
    def undo(self) -> None:
        self.store.undo(self.id, self.revision)
        self.future = [*self.future, self.now]
        self._became(self.past.pop())

    @precondition(lambda self: self.future)
    @rule()
    def redo(self) -> None:
        self.store.redo(self.id, self.revision)
        self.past = [*self.past, self.now]
        self._became(self.future.pop())

    @rule()
    def reopen(self) -> None:
        self.store = reopened(self.store)

    @invariant()
    def is_as_the_model(self) -> None:
        if not hasattr(self, "id"):
            return
        state = self.store.open(self.id)
        assert state.planes.tobytes() == self.now[0].tobytes()
        assert (state.unknown, state.done, state.revision) == (self.now[1], self.done, self.revision)
        assert (state.undoable, state.redoable) == (len(self.past), len(self.future))
        items, faults = converted_items(self.store.folder)
        assert len(items) == self.done
        assert faults == []
        for item in items:
            assert item["known"] == ALL_KNOWN & ~self.now[1]
            assert (read_planes(item["label"], SHAPE) == self.now[0] & item["known"]).all()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_corrections_are_those_of_a_plain_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    Corrections.folders = (tmp_path_factory.mktemp("corrections") / "work" for _ in iter(int, 1))
    run_state_machine_as_test(Corrections, settings=settings(max_examples=15, stateful_step_count=25))


def test_an_image_is_kept_byte_for_byte_and_once(store: Store, tmp_path: Path) -> None:
    id = add(store, png(0), "first.png")
    assert add(store, png(0), "second.png") == id
    assert store.ids() == [id]
    assert store.image(id).read_bytes() == png(0)
    assert store.entry(id).name == "first.png"
    assert list((store.folder / "incoming").iterdir()) == []
    with pytest.raises(StoreError, match=r"first\.png: the image is not segmented yet"):
        store.open(id)


def test_a_file_of_another_disk_is_taken_over(store: Store) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == store.folder.stat().st_dev:
        pytest.skip("no second disk")
    file = elsewhere / f"handseg-{os.getpid()}.png"
    file.write_bytes(png(0))
    assert store.image(store.add("hand.png", file)).read_bytes() == png(0)
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "title", "suffix"),
    [
        ("../../etc/passwd.png", "passwd.png", ".png"),
        ("C:\\x\\hand.DCM", "hand.DCM", ".dcm"),
        ("/", "image", ""),
        ("..", "image", ""),
        ("", "image", ""),
        (".png", "image.png", ".png"),
        ("a\0b\nc.png", "ab c.png", ".png"),
        (unicodedata.normalize("NFD", "손é.png"), "손é.png", ".png"),
        ("1.2.840.10008", "1.2.840.10008", ""),
        ("\ud800.png", "?.png", ".png"),
        ("x.png/../../y", "y", ""),
    ],
)
def test_names_are_text_and_never_paths(store: Store, name: str, title: str, suffix: str) -> None:
    id = add_ready(store, 0, name)
    assert store.entry(id).title == title
    assert store.image(id) == store.folder / "images" / f"{id}{suffix}"
    store.mark(id, 0, done=True)
    assert [item["name"] for item in converted_items(store.folder)[0]] == [title]
    everything = {path.relative_to(store.folder.parent).parts[0] for path in store.folder.parent.rglob("*")}
    assert everything == {"work"}


def test_a_long_name_keeps_its_suffix(store: Store) -> None:
    title = store.entry(add(store, png(0), "손" * 3000 + ".png")).title
    assert title.endswith("손.png")
    assert len(title.encode()) < 255


def test_titles_are_unique_whatever_their_case(store: Store) -> None:
    names = ["hand.png", "HAND.png", "hand (2).png", "left/hand.png", "hand"]
    ids = [add(store, png(seed), name) for seed, name in enumerate(names)]
    titles = [store.entry(id).title for id in ids]
    assert titles == ["hand.png", "HAND (2).png", "hand (2) (2).png", "hand (3).png", "hand"]
    assert [store.entry(id).name for id in ids] == names


@pytest.mark.parametrize("where", ["here", "decoder"])
def test_images_of_one_patient_are_of_one_subject(tmp_path: Path, where: str) -> None:
    decoder = Decoder()
    store = Store(tmp_path / "work") if where == "here" else Store(tmp_path / "work", decoder.patients)
    patients = {"a.dcm": "1234567", "b.dcm": "7654321", "c.dcm": "1234567", "d.dcm": None}
    for seed, (name, patient) in enumerate(patients.items()):
        path = write_dicom(tmp_path / name, draw_radiograph(seed, SHAPE)[0], PatientID=patient)
        id = add(store, path.read_bytes(), name)
        store.put_inferred(id, Inferred(drawn_planes(seed)))
        store.mark(id, 0, done=True)
    subjects = {item["name"]: item["subject"] for item in converted_items(store.folder)[0]}
    assert subjects == {"a.dcm": "a.dcm", "b.dcm": "b.dcm", "c.dcm": "a.dcm", "d.dcm": "d.dcm"}
    texts = [path.read_bytes() for folder in ("entries", "edits") for path in (store.folder / folder).iterdir()]
    assert not any(b"1234567" in text for text in [*texts, (store.folder / DATALIST).read_bytes()])
    decoder.close()
    store.close()


def test_images_that_all_state_one_patient_are_of_one_subject(store: Store, tmp_path: Path) -> None:
    for seed in range(2):
        path = write_dicom(tmp_path / "x.dcm", draw_radiograph(seed, SHAPE)[0], PatientID="1234567")
        id = add(store, path.read_bytes(), f"{seed}.dcm")
        store.put_inferred(id, Inferred(drawn_planes(seed)))
        store.mark(id, 0, done=True)
    assert [item["subject"] for item in converted_items(store.folder)[0]] == ["0.dcm", "0.dcm"]


def test_patients_that_can_t_be_read_are_never_parted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two images of one patient, and a process that reads headers and has not enough memory to live."""
    dead, decoder = Decoder(memory=1), Decoder()
    store = Store(tmp_path / "work", dead.patients)
    ids = []
    for seed in range(2):
        path = write_dicom(tmp_path / "x.dcm", draw_radiograph(seed, SHAPE)[0], PatientID="1234567")
        ids.append(add(store, path.read_bytes(), f"{seed}.dcm"))
        store.put_inferred(ids[-1], Inferred(drawn_planes(seed)))
    other = write_dicom(tmp_path / "x.dcm", draw_radiograph(2, SHAPE)[0], PatientID="7654321")
    ids.append(add(store, other.read_bytes(), "2.dcm"))
    store.put_inferred(ids[-1], Inferred(drawn_planes(2)))
    with pytest.raises(StoreError, match="reading which patients the images are of failed"):
        store.mark(ids[0], 0, done=True)
    assert not store.open(ids[0]).done
    store.close()

    store = Store(tmp_path / "work", decoder.patients)
    for id in ids:
        store.mark(id, 0, done=True)
    store.close()
    store = Store(tmp_path / "work", dead.patients)
    assert "what is done is no data set for now" in caplog.text
    assert not (tmp_path / "work" / DATALIST).exists()
    store.edit(ids[2], 1, 0, np.ones((3, 3), bool), (slice(0, 3), slice(0, 3)))
    assert not (tmp_path / "work" / DATALIST).exists()
    with pytest.raises(ValueError, match="start handseg serve again"):
        FineTuning(store.folder, other, lambda id: store.marks(id).edited).start()
    store.close()

    store = Store(tmp_path / "work", decoder.patients)
    assert [item["subject"] for item in converted_items(store.folder)[0]] == ["0.dcm", "0.dcm"]
    store.mark(ids[2], 2, done=True)
    assert [item["subject"] for item in converted_items(store.folder)[0]] == ["0.dcm", "0.dcm", "2.dcm"]
    store.close()
    decoder.close()
    dead.close()


def test_reading_patients_holds_up_nobody(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def patients(paths: Iterable[Path]) -> dict[Path, Stated | None]:
        asked.set()
        assert go_on.wait(60)
        return stated_patients(paths)

    store = Store(tmp_path / "work", patients)
    path = write_dicom(tmp_path / "x.dcm", draw_radiograph(0, SHAPE)[0], PatientID="1234567")
    id = add(store, path.read_bytes(), "x.dcm")
    store.put_inferred(id, Inferred(drawn_planes(0)))
    marking = threading.Thread(target=store.mark, args=(id, 0), kwargs={"done": True})
    marking.start()
    assert asked.wait(60)
    looking = threading.Thread(target=store.ids)
    looking.start()
    looking.join(10)
    assert not looking.is_alive(), "the store waits for a header"
    go_on.set()
    marking.join()
    assert store.open(id).done
    store.close()


def test_a_stale_change_is_not_made(store: Store) -> None:
    id = add_ready(store, 0)
    box = slice(0, 5), slice(0, 5)
    store.edit(id, 0, 3, np.ones((5, 5), bool), box)
    for change in (
        lambda: store.edit(id, 0, 3, np.zeros((5, 5), bool), box),
        lambda: store.mark(id, 0, done=True),
        lambda: store.mark(id, 2, unknown=(3, True)),
        lambda: store.undo(id, 0),
        lambda: store.redo(id, 0),
    ):
        with pytest.raises(StaleError, match="the image is at 1; load it again"):
            change()
    assert store.open(id).revision == 1


@pytest.mark.parametrize(
    ("bone", "mask", "box", "words"),
    [
        (29, np.ones((5, 5), bool), (slice(0, 5), slice(0, 5)), "bone 29; expected"),
        (-1, np.ones((5, 5), bool), (slice(0, 5), slice(0, 5)), "bone -1; expected"),
        (3, np.ones((5, 5), bool), (slice(94, 99), slice(0, 5)), "outside of the image of 72 x 96"),
        (3, np.ones((5, 5), bool), (slice(-5, 0), slice(0, 5)), "outside of the image of 72 x 96"),
        (3, np.ones((5, 4), bool), (slice(0, 5), slice(0, 5)), "expected booleans of the box"),
        (3, np.ones((5, 5), np.uint8), (slice(0, 5), slice(0, 5)), "expected booleans of the box"),
    ],
)
def test_an_edit_that_does_not_fit_is_not_made(
    store: Store, bone: int, mask: np.ndarray, box: tuple[slice, slice], words: str
) -> None:
    id = add_ready(store, 0)
    with pytest.raises(ValueError, match=words):
        store.edit(id, 0, bone, mask, box)
    assert reopened(store).open(id).revision == 0


def test_states_that_were_given_out_stay_as_they_were(store: Store) -> None:
    id = add_ready(store, 0)
    before = store.open(id)
    copy = before.planes.copy()
    after = store.edit(id, 0, 3, np.ones((5, 5), bool), (slice(0, 5), slice(0, 5)))
    assert (before.planes == copy).all()
    assert (after.planes != copy).any()
    with pytest.raises(ValueError, match="read-only"):
        after.planes[0, 0] = 1


def test_there_is_nothing_to_undo_or_redo(store: Store) -> None:
    id = add_ready(store, 0)
    with pytest.raises(StoreError, match="nothing to undo"):
        store.undo(id, 0)
    with pytest.raises(StoreError, match="nothing to redo"):
        store.redo(id, 0)


def test_an_image_of_unknown_bones_alone_is_not_done(store: Store) -> None:
    id = add_ready(store, 0)
    for bone in range(NUM_BONES):
        store.mark(id, bone, unknown=(bone, True))
    with pytest.raises(StoreError, match="all bones are unknown, so there is nothing to train on"):
        store.mark(id, NUM_BONES, done=True)
    store.mark(id, NUM_BONES, unknown=(4, False))
    assert store.mark(id, NUM_BONES + 1, done=True).done


def test_segmenting_anew_never_loses_corrections(store: Store) -> None:
    id = add_ready(store, 0)
    store.put_inferred(id, Inferred(drawn_planes(1), weights="newer"))
    assert store.entry(id).weights == "newer"
    assert (store.open(id).planes == drawn_planes(1)).all()
    store.put_failed(id, "too late")
    assert store.entry(id).state == "ready"
    store.mark(id, 0, unknown=(3, True))
    with pytest.raises(StoreError, match="it has been corrected"):
        store.put_inferred(id, Inferred(drawn_planes(2)))


def test_why_an_image_failed_is_kept(store: Store) -> None:
    id = add(store, b"no image", "notes.png")
    store.put_failed(id, "not an image")
    again = reopened(store)
    assert (again.entry(id).state, again.entry(id).error) == ("failed", "not an image")
    with pytest.raises(StoreError, match=r"notes\.png: not an image"):
        again.open(id)


def test_what_is_removed_is_gone(store: Store) -> None:
    kept, gone = add_ready(store, 0), add_ready(store, 1)
    store.mark(gone, 0, done=True)
    store.remove(gone)
    assert converted_items(store.folder) == ([], [])
    assert [path for path in store.folder.rglob("*") if gone in path.name] == []
    for use in (store.entry, store.open, store.image, store.remove, store.marks):
        with pytest.raises(MissingError, match="it may have been removed"):
            use(gone)
    assert reopened(store).ids() == [kept]
    assert add_ready(Store(store.folder.parent / "other"), 1) == gone


def test_removed_images_are_known_until_they_are_added_again(store: Store, tmp_path: Path) -> None:
    kept, gone = (tmp_path / f"{seed}.png" for seed in range(2))
    for seed, path in enumerate((kept, gone)):
        path.write_bytes(png(seed))
        add_ready(store, seed)
    store.remove(store.ids()[1])
    (store.folder / ".removed.json.0.part").write_text("[")  # a kill has left it
    store = reopened(store)
    assert [store.was_removed(path) for path in (kept, gone)] == [False, True]
    assert not list(store.folder.glob("*.part"))
    add(store, png(1))
    store = reopened(store)
    assert [store.was_removed(path) for path in (kept, gone)] == [False, False]
    # Of an entry that can't be read the file of the image says which it is.
    store.close()
    for entry in (store.folder / "entries").glob("*.json"):
        entry.write_text("{")
    store = reopened(store)
    for id in store.ids():
        store.remove(id)
    assert [store.was_removed(path) for path in (kept, gone)] == [True, True]
    store.close()


def test_what_is_removed_leaves_no_file_even_where_the_disk_fails(store: Store) -> None:
    id = add_ready(store, 0)
    store.mark(id, 0, done=True)
    (store.folder / DATALIST).unlink()
    (store.folder / DATALIST / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=DATALIST):
        store.remove(id)
    assert not list(store.folder.rglob(f"{id}*"))


def test_a_second_process_is_told_which_one_has_the_folder(store: Store) -> None:
    code = "import sys; from handseg_monai.serve.store import Store; Store(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, store.folder], capture_output=True, text=True, check=False)
    assert f"StoreError: --work {store.folder}: process {os.getpid()} has it open; end it" in done.stderr
    store.close()
    assert subprocess.run([sys.executable, "-c", code, store.folder], check=False).returncode == 0


def test_a_folder_of_other_files_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    own = tmp_path / "images" / "0123456789abcdef.png"
    own.write_bytes(png(0))
    with pytest.raises(StoreError, match="holds images, which handseg serve did not write; choose an empty folder"):
        Store(tmp_path)
    assert own.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_folder_of_another_form_is_not_opened(store: Store) -> None:
    store.close()
    (store.folder / MARK).write_text("handseg serve, 2\n")
    with pytest.raises(StoreError, match="its form is 'handseg serve, 2'; expected 'handseg serve, 1'"):
        Store(store.folder)


def _journal(store: Store, id: str) -> Path:
    return store.folder / "edits" / f"{id}.jsonl"


def test_an_unfinished_last_line_is_cut_off(store: Store) -> None:
    id = add_ready(store, 0)
    box = slice(0, 5), slice(0, 5)
    store.edit(id, 0, 3, np.ones((5, 5), bool), box)
    before = _journal(store, id).read_bytes()
    store.edit(id, 1, 4, np.ones((5, 5), bool), box)
    whole = _journal(store, id).read_bytes()
    for length in range(len(before), len(whole), 7):
        store.close()
        _journal(store, id).write_bytes(whole[:length])
        store = Store(store.folder)
        assert store.open(id).revision == 1
        assert _journal(store, id).read_bytes() == before
    store.edit(id, 1, 4, np.ones((5, 5), bool), box)
    assert _journal(store, id).read_bytes() == whole


@pytest.mark.parametrize(
    ("line", "how"),
    # Without its last line it is the journal of before the last act.
    [(line, how) for line in (1, 2, 3) for how in ("bit", "gone", "twice", "text") if (line, how) != (3, "gone")],
)
def test_a_damaged_line_is_an_error_of_that_image_alone(store: Store, line: int, how: str) -> None:
    id, other = add_ready(store, 0), add_ready(store, 1)
    for bone in range(3):
        store.edit(id, bone, bone, np.ones((5, 5), bool), (slice(0, 5), slice(0, 5)))
    store.mark(other, 0, done=True)
    store.close()
    lines = _journal(store, id).read_bytes().splitlines(keepends=True)
    chosen = lines[line - 1]
    damaged = {"bit": chosen.replace(b"5", b"7", 1), "gone": b"", "twice": chosen * 2, "text": b"hello\n"}[how]
    content = b"".join([*lines[: line - 1], damaged, *lines[line:]])
    _journal(store, id).write_bytes(content)
    store = Store(store.folder)
    assert store.entry(id).state == "failed"
    with pytest.raises(DamagedError, match=f"line {line + (how == 'twice')}: the corrections are damaged; restore"):
        store.open(id)
    with pytest.raises(DamagedError, match="the corrections are damaged"):
        store.put_failed(id, "again")
    assert _journal(store, id).read_bytes() == content
    assert store.open(other).done
    assert len(converted_items(store.folder)[0]) == 1
    store.remove(id)
    assert store.ids() == [other]


def test_damage_elsewhere_is_said_too(store: Store) -> None:
    entry, image, planes, redrawn = (add_ready(store, seed) for seed in range(4))
    for id in (entry, image, planes):
        store.mark(id, 0, unknown=(3, True))
    store.close()
    (store.folder / "entries" / f"{entry}.json").write_text("{")
    (store.folder / "images" / f"{image}.png").unlink()
    for id in (planes, redrawn):
        (store.folder / "planes" / f"{id}.npz").write_bytes(b"PK")
    store = Store(store.folder)
    for id, words in {
        entry: "its entry is damaged",
        image: "the file of the image is gone",
        planes: "drew is gone",
    }.items():
        assert words in store.entry(id).error
        with pytest.raises(DamagedError, match=words):
            store.open(id)
    assert store.entry(redrawn).state == "waiting"


def test_a_disk_that_is_full_leaves_the_journal_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    id = add_ready(store, 0)
    box = slice(0, 5), slice(0, 5)
    store.edit(id, 0, 3, np.ones((5, 5), bool), box)
    before = _journal(store, id).read_bytes()
    write = os.write

    def full(file: int, data: Any) -> int:
        if len(data) > 20:
            return write(file, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store.edit(id, 1, 4, np.ones((5, 5), bool), box)
    monkeypatch.undo()
    assert _journal(store, id).read_bytes() == before
    assert store.open(id).revision == 1
    store.edit(id, 1, 4, np.ones((5, 5), bool), box)
    assert reopened(store).open(id).revision == 2


def test_a_journal_whose_first_act_failed_is_on_disk_after_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, box = add_ready(store, 0), (slice(0, 5), slice(0, 5))
    fsync, write = os.fsync, os.write
    synced: list[int] = []

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def noting(file: int) -> None:
        fsync(file)
        synced.append(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store.edit(id, 0, 4, np.ones((5, 5), bool), box)
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", noting)
    store.edit(id, 0, 4, np.ones((5, 5), bool), box)
    assert (store.folder / "edits").stat().st_ino in synced


@pytest.mark.parametrize("suffix", ["", ".png", ".jp2", ".2"])
def test_files_that_belong_to_no_image_are_set_aside(store: Store, suffix: str) -> None:
    left = store.folder / "images" / f"{'0' * 16}{suffix}"
    left.write_bytes(b"left by a kill")
    with closing(reopened(store)):
        assert not left.exists()
        assert (store.folder / "set-aside" / "1" / "images" / left.name).read_bytes() == b"left by a kill"


def test_changes_are_on_disk_when_they_are_acknowledged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[tuple[int, int]] = set()
    fsync = os.fsync

    def mark_of(status: os.stat_result) -> tuple[int, int]:
        return status.st_ino, 0 if S_ISDIR(status.st_mode) else status.st_size

    def noting(file: int) -> None:
        fsync(file)
        synced.add(mark_of(os.fstat(file)))

    monkeypatch.setattr(os, "fsync", noting)

    def are_synced(*paths: str) -> bool:
        places = [store.folder / path for path in paths]
        found = {mark_of(place.stat()) for place in places} <= synced
        synced.clear()
        return found

    id = add(store, png(0))
    assert are_synced(f"images/{id}.png", "images", f"entries/{id}.json", "entries")
    store.put_inferred(id, Inferred(drawn_planes(0)))
    assert are_synced(f"planes/{id}.npz", "planes", f"entries/{id}.json", "entries")
    store.edit(id, 0, 3, np.ones((5, 5), bool), (slice(0, 5), slice(0, 5)))
    assert are_synced(f"edits/{id}.jsonl", "edits")
    store.undo(id, 1)
    assert are_synced(f"edits/{id}.jsonl")
    store.mark(id, 2, done=True)
    assert are_synced(f"edits/{id}.jsonl", f"labels/{id}.npz", "labels", DATALIST, ".")
    store.remove(id)
    assert are_synced("entries", DATALIST, ".")


def test_threads_that_edit_at_once_lose_nothing(store: Store) -> None:
    ids = [add_ready(store, seed) for seed in range(3)]
    won: list[str] = []

    def work(bone: int) -> None:
        for turn in range(10):
            for id in ids:
                mask = np.full((5, 5), turn % 2 == 0)
                while True:
                    try:
                        store.edit(id, store.marks(id).revision, bone, mask, (slice(90, 95), slice(0, 5)))
                    except StaleError:
                        continue
                    won.append(id)
                    break

    threads = [threading.Thread(target=work, args=(bone,)) for bone in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = reopened(store)
    assert len(won) == 120
    assert all((again.open(id).planes[90:95, :5] & 0b1111 == 0).all() for id in ids)


def test_training_takes_what_is_done(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(5):
        id = add_ready(store, seed, "hand.png")
        store.mark(id, 0, unknown=(seed, True))
        store.mark(id, 1, done=seed < 4)
    with caplog.at_level(logging.WARNING):
        lists = training_datalist(store.folder, num_folds=2, verify=True)
    assert caplog.text == ""
    items = [item for data in lists.values() for item in data]
    assert sorted(item["name"] for item in items) == ["hand (2).png", "hand (3).png", "hand (4).png", "hand.png"]
    assert sorted(item["known"] for item in items) == sorted(ALL_KNOWN & ~(1 << seed) for seed in range(4))
    places = ["--dataset_dir", store.folder, "--output_dir", tmp_path / "run"]
    run = ["--config_file", CONFIGS / "train.json", *TINY, "--num_folds", 2, "--epochs", 1]
    done = run_bundle("training", *run, *places)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "model.pt").exists()


def test_the_journal_is_json_a_line_an_act(store: Store) -> None:
    id = add_ready(store, 0)
    store.edit(id, 0, 3, ~(store.open(id).planes[:2, :3] >> 3 & 1 != 0), (slice(0, 2), slice(0, 3)))
    store.mark(id, 1, unknown=(7, True))
    store.undo(id, 2)
    acts = [json.loads(line) for line in _journal(store, id).read_text().splitlines()]
    assert [{key: act[key] for key in act if key != "crc"} for act in acts] == [
        {"revision": 1, "act": "edit", "bone": 3, "box": [0, 0, 2, 3], "runs": "0 6"},
        {"revision": 2, "act": "unknown", "bone": 7, "on": True},
        {"revision": 3, "act": "undo"},
    ]
