"""The handler that writes the CSV: whole, in order, each image once."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from handseg_monai.bones import NUM_BONES
from handseg_monai.data.confidence import read_confidence
from handseg_monai.data.items import Item
from handseg_monai.data.records import Records
from handseg_monai.handlers import SubmissionWriter
from handseg_monai.rle import decode_planes, read_csv, table, write_csv
from handseg_monai.run import join_ranks
from tests.programs import said_by, start_fork
from tests.services import free_port

SHAPE = (7, 5)


def _planes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << NUM_BONES, SHAPE).astype(np.int32)


def _items(*names: str) -> list[Item]:
    return [Item(image=f"images/{name}", name=name) for name in names]


def _writer(folder: Path, items: list[Item]) -> SubmissionWriter:
    return SubmissionWriter(folder, Records(folder, items))


def _step(name: str, planes: np.ndarray | None = None, failure: str | None = None) -> Any:
    batch = {"name": name} | ({"failure": failure} if failure else {})
    output = {"pred": torch.empty(1, 0, 0) if planes is None else torch.from_numpy(planes[None])}
    return SimpleNamespace(state=SimpleNamespace(batch=[batch], output=[output]))


def test_the_csv_gives_the_planes_back_in_the_order_of_the_datalist(tmp_path: Path) -> None:
    names = ["b.png", 'odd, "name"\n.png', "a.png"]
    writer = _writer(tmp_path, _items(*names))
    writer.records.start()
    for seed, name in enumerate(names):
        writer.append(_step(name, _planes(seed)))
    writer.finish()
    texts = read_csv(tmp_path / "submission.csv")
    assert list(texts) == names
    for seed, name in enumerate(names):
        assert np.array_equal(decode_planes(texts[name], SHAPE), _planes(seed))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["submission.csv"]


def test_an_image_that_is_missing_or_comes_twice_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "submission.csv").write_text("old")
    for names, fault in ((["a"], "image b is missing"), (["a", "a", "b"], "image a comes twice")):
        writer = _writer(tmp_path, _items("a", "b"))
        writer.records.start()
        for name in names:
            writer.append(_step(name, _planes(0)))
        with pytest.raises(RuntimeError, match=fault):
            writer.finish()
        assert (tmp_path / "submission.csv").read_text() == "old"


def test_failures_get_no_rows_a_list_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = _writer(tmp_path, _items("a", "b"))
    writer.records.start()
    writer.append(_step("a", failure="images/a: cut short"))
    writer.append(_step("b", _planes(0)))
    with pytest.raises(SystemExit) as exit_:
        writer.finish()
    assert exit_.value.code == 1
    assert list(read_csv(tmp_path / "submission.csv")) == ["b"]
    assert (tmp_path / "failures.csv").read_text() == "image,reason\nimages/a,images/a: cut short\n"
    printed = capsys.readouterr()
    assert "1 of 2 images" in printed.out
    assert "images/a: cut short" in printed.err

    again = _writer(tmp_path, _items("b"))
    again.records.start()
    again.append(_step("b", _planes(0)))
    again.finish()
    assert not (tmp_path / "failures.csv").exists()


def test_images_whose_masks_are_replaced_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_csv(
        tmp_path / "submission.csv", [(name, [""] * NUM_BONES) for name in ("a", "b#left", "b#right", "c", "d", "e")]
    )
    for names, said in (("abcde", ""), ("e", "holds 4 images that this run has not (a, b, c, …), and is replaced")):
        caplog.clear()
        _writer(tmp_path, _items(*names)).say_replaced()
        assert said in caplog.text
        assert bool(said) == bool(caplog.text)
    (tmp_path / "submission.csv").write_text("no submission")
    _writer(tmp_path, _items("x")).say_replaced()
    caplog.clear()
    # Composed in the file and in parts on disk; and a name that ends like a hand's.
    names = ["손.png", "x.png#left"]
    write_csv(tmp_path / "submission.csv", [(name, [""] * NUM_BONES) for name in names])
    _writer(tmp_path, _items(*(unicodedata.normalize("NFD", name) for name in names))).say_replaced()
    assert not caplog.text


def test_an_image_without_a_bone_keeps_its_rows_and_is_no_image_that_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = {"dark": torch.rand(1, 4, 4), "even": torch.ones(1, 4, 4), "hand": torch.rand(1, 4, 4)}
    writer = _writer(tmp_path, _items(*images))
    writer.records.start()
    for name, image in images.items():
        step = _step(name, _planes(0) if name == "hand" else np.zeros(SHAPE, np.int32))
        step.state.batch[0]["image"] = image
        writer.append(step)
    with pytest.raises(SystemExit) as exit_:
        writer.finish()
    assert exit_.value.code == 1
    texts = read_csv(tmp_path / "submission.csv")
    assert list(texts) == list(images)
    assert texts["dark"] == texts["even"] == [""] * NUM_BONES
    assert (tmp_path / "failures.csv").read_text().splitlines() == [
        "image,reason",
        "images/dark,no bone was found in it",
        'images/even,"all of its pixels have the same grey value, no bone was found in it"',
    ]
    printed = capsys.readouterr()
    assert "1 of 3 images" in printed.out
    assert "images/dark: no bone was found in it" in printed.err


def _two_hands(name: str) -> Any:
    step = _step(name, _planes(1))
    step.state.output[0]["pred"] = torch.from_numpy(np.stack([_planes(1), _planes(2)]))
    step.state.output[0]["probabilities"] = torch.cat([torch.zeros(NUM_BONES, 7, 5), torch.ones(NUM_BONES, 7, 5)])
    step.state.output[0]["notes"] = "two hands"
    return step


def test_both_hands_of_an_image_have_rows_and_confidences_of_their_own_after_a_kill_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    killed = _started(tmp_path, ["pair.png", "one.png"], confidence=True)
    killed.append(_two_hands("pair.png"))
    killed.kept()
    assert "pair.png: two hands" in caplog.text
    writer = _started(tmp_path, ["pair.png", "one.png"], confidence=True)
    assert [item["name"] for item in writer.records.remaining()] == ["one.png"]
    assert [len(hands) for _, hands in writer.records.earlier()] == [2]
    one = _step("one.png", _planes(3))
    one.state.output[0]["probabilities"] = torch.rand(NUM_BONES, *SHAPE)
    writer.append(one)
    writer.finish()
    texts = read_csv(tmp_path / "submission.csv")
    assert list(texts) == ["pair.png#left", "pair.png#right", "one.png"]
    for name, seed in zip(texts, (1, 2, 3), strict=True):
        assert np.array_equal(decode_planes(texts[name], SHAPE), _planes(seed))
    sure = read_confidence(tmp_path / "confidence.csv")
    assert list(sure) == list(texts)
    assert max(sure["pair.png#left"]) == 0
    assert min(sure["pair.png#right"]) > 0
    assert "1 of 2 images: two hands: pair.png" in capsys.readouterr().out


def test_parts_of_an_earlier_run_do_not_reach_the_next(tmp_path: Path) -> None:
    killed = _writer(tmp_path, _items("a", "b"))
    killed.records.start()
    killed.append(_step("a", _planes(0)))
    killed.flush()
    del killed
    writer = _writer(tmp_path, _items("b"))
    writer.records.start()
    writer.append(_step("b", _planes(1)))
    writer.finish()
    assert list(read_csv(tmp_path / "submission.csv")) == ["b"]


class Dying:
    """A file that kills its process with the fortieth text."""

    def __init__(self, file: Any) -> None:
        self.file, self.writes = file, 0

    def write(self, text: str) -> None:
        self.writes += 1
        if self.writes == 40:
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def write_and_die(folder: Path) -> None:
    whole = table.atomic_open

    @contextmanager
    def dying(path: Path) -> Iterator[Any]:
        with whole(path) as file:
            yield Dying(file)

    table.atomic_open = dying
    names = [str(i) for i in range(9)]
    writer = _writer(folder, _items(*names))
    writer.records.start()
    for i, name in enumerate(names):
        writer.append(_step(name, _planes(i)))
    writer.finish()


def test_a_kill_while_the_csv_is_written_leaves_the_old_file(tmp_path: Path) -> None:
    """The merge is stopped in the middle of its second image by a signal that can't be caught."""
    (tmp_path / "submission.csv").write_text("old")
    process = start_fork(tmp_path, write_and_die, tmp_path)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "submission.csv").read_text() == "old"


JOB = {"checkpoint": "a", "threshold": 0.5}


def _started(
    folder: Path, names: list[str], job: dict[str, object] | None = JOB, confidence: bool = False
) -> SubmissionWriter:
    images = folder.with_name(f"{folder.name}_images")
    images.mkdir(exist_ok=True)
    items = [Item(image=str(images / re.sub(r"\W", "_", name)), name=name) for name in names]
    for item in items:
        if not Path(item["image"]).exists():
            Path(item["image"]).write_text(item["name"])
    writer = SubmissionWriter(folder, Records(folder, items, job, confidence))
    writer.records.start()
    return writer


def _records(folder: Path) -> list[Path]:
    return sorted((folder / ".submission.parts").rglob("*.json"))


class TestGoingOn:
    NAMES = ('odd, "na,Ulna,\nme".png', "b", "c", "d", "e")

    def left(self, folder: Path, count: int = 3) -> list[str]:
        """A run that was killed after some images."""
        writer = _started(folder, list(self.NAMES))
        assert [item["name"] for item in writer.records.remaining()] == list(self.NAMES)
        for seed, name in enumerate(self.NAMES[:count]):
            writer.append(_step(name, _planes(seed)))
        writer.flush()
        return list(self.NAMES)

    def finished(self, folder: Path) -> None:
        writer = _started(folder, list(self.NAMES))
        for item in writer.records.remaining():
            writer.append(_step(item["name"], _planes(self.NAMES.index(item["name"]))))
        writer.finish()
        texts = read_csv(folder / "submission.csv")
        assert list(texts) == list(self.NAMES)
        for seed, name in enumerate(self.NAMES):
            assert np.array_equal(decode_planes(texts[name], SHAPE), _planes(seed)), name
        assert sorted(p.name for p in folder.iterdir()) == ["submission.csv"]

    def test_the_same_job_goes_on_where_it_was(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        names = self.left(tmp_path)
        assert [item["name"] for item in _started(tmp_path, names).records.remaining()] == names[3:]
        assert "3 of 5 images are done already" in capsys.readouterr().out
        self.finished(tmp_path)

    @pytest.mark.parametrize("job", [None, {"checkpoint": "b", "threshold": 0.5}])
    def test_another_job_begins_anew_and_says_so(
        self, tmp_path: Path, job: dict[str, object] | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = self.left(tmp_path)
        assert len(_started(tmp_path, names, job).records.remaining()) == 5
        assert "discards 3 finished images of a run with other options or weights" in capsys.readouterr().out

    def test_an_image_whose_file_has_changed_is_done_again(self, tmp_path: Path) -> None:
        names = self.left(tmp_path)
        changed = tmp_path.with_name(f"{tmp_path.name}_images") / "b"
        changed.write_text("another radiograph")
        again = _started(tmp_path, names)
        assert [item["name"] for item in again.records.remaining()] == ["b", "d", "e"]
        for name in ("b", "d", "e"):
            again.append(_step(name, _planes(100)))
        again.finish()
        texts = read_csv(tmp_path / "submission.csv")
        assert list(texts) == names
        assert np.array_equal(decode_planes(texts["b"], SHAPE), _planes(100))
        assert np.array_equal(decode_planes(texts["c"], SHAPE), _planes(2))

    def test_images_that_have_changed_places_come_in_the_new_order(self, tmp_path: Path) -> None:
        names = self.left(tmp_path)[::-1]
        again = _started(tmp_path, names)
        for item in again.records.remaining():
            again.append(_step(item["name"], _planes(self.NAMES.index(item["name"]))))
        again.finish()
        texts = read_csv(tmp_path / "submission.csv")
        assert list(texts) == names
        for seed, name in enumerate(self.NAMES):
            assert np.array_equal(decode_planes(texts[name], SHAPE), _planes(seed)), name

    @pytest.mark.parametrize("tail", [b"", b"\0\0\0\0", b'"}', "\u00fc".encode()[:1]])
    def test_wherever_a_disk_has_torn_a_record_its_image_is_done_again(self, tmp_path: Path, tail: bytes) -> None:
        self.left(tmp_path)
        (record,) = (path for path in _records(tmp_path) if json.loads(path.read_bytes())["name"] == "b")
        content = record.read_bytes()
        for cut in (*range(0, len(content) - 40, max(len(content) // 12, 1)), *range(len(content) - 40, len(content))):
            record.write_bytes(content[:cut] + tail)
            remaining = [item["name"] for item in _started(tmp_path, list(self.NAMES)).records.remaining()]
            assert remaining == ["b", "d", "e"]
            self.finished(tmp_path)
            self.left(tmp_path)

    @pytest.mark.parametrize("content", [b"0", b"null", b"[]", b"{}", b'{"source": ""}'])
    def test_a_record_that_holds_something_else_is_made_again(self, tmp_path: Path, content: bytes) -> None:
        self.left(tmp_path)
        for record in _records(tmp_path):
            record.write_bytes(content)
        assert len(_started(tmp_path, list(self.NAMES)).records.remaining()) == 5
        self.finished(tmp_path)

    def test_an_image_without_its_confidences_is_done_again(self, tmp_path: Path) -> None:
        def begun(confidence: bool) -> SubmissionWriter:
            return _started(tmp_path, ["a", "b"], confidence=confidence)

        def step(name: str, seed: int) -> Any:
            given = _step(name, _planes(seed))
            given.state.output[0]["probabilities"] = torch.rand(NUM_BONES, *SHAPE)
            return given

        writer = begun(confidence=True)
        writer.append(step("a", 0))
        writer.kept()
        writer = begun(confidence=False)
        writer.append(step("b", 1))
        assert writer.kept().startswith("2 of 2 images are done")
        again = begun(confidence=True)
        assert [item["name"] for item in again.records.remaining()] == ["b"]
        again.append(step("b", 1))
        again.finish()
        found = read_confidence(tmp_path / "confidence.csv")
        assert list(found) == ["a", "b"]
        assert all(0 < value < 1 for value in found["a"] + found["b"])

    def test_a_finished_job_runs_again_from_the_start(self, tmp_path: Path) -> None:
        self.finished(tmp_path)
        assert len(_started(tmp_path, list(self.NAMES)).records.remaining()) == 5

    def test_images_that_failed_are_tried_again_and_those_no_longer_there_are_left(self, tmp_path: Path) -> None:
        writer = _started(tmp_path, ["gone", "bad", "good"])
        writer.append(_step("gone", _planes(0)))
        writer.append(_step("bad", failure="cut short"))
        writer.flush()
        del writer
        again = _started(tmp_path, ["bad", "good"])
        assert [item["name"] for item in again.records.remaining()] == ["bad", "good"]
        for seed, name in enumerate(("bad", "good")):
            again.append(_step(name, _planes(seed)))
        again.finish()
        assert list(read_csv(tmp_path / "submission.csv")) == ["bad", "good"]

    @pytest.mark.slow
    def test_killed_fifty_times_at_random_nothing_is_lost_and_nothing_comes_twice(self, tmp_path: Path) -> None:
        """Each process appends slowly, in pieces, so that kills fall into the middle of an image."""
        rng = np.random.default_rng(0)
        names = [f"image{n}.png" for n in range(1500)]
        kills = 0
        while True:
            process = os.fork()
            if process == 0:
                try:
                    writer = _started(tmp_path, names)
                    for item in writer.records.remaining():
                        writer.append(_step(item["name"], _planes(names.index(item["name"]))))
                        time.sleep(0.001)
                    writer.finish()
                finally:
                    os._exit(0)
            if kills < 50:
                time.sleep(float(rng.uniform(0.0, 0.06)))
                os.kill(process, signal.SIGKILL)
                kills += 1
            os.waitpid(process, 0)
            if (tmp_path / "submission.csv").exists():
                break
        assert kills == 50
        texts = read_csv(tmp_path / "submission.csv")
        assert list(texts) == names
        for seed in (0, 57, 1499):
            assert np.array_equal(decode_planes(texts[names[seed]], SHAPE), _planes(seed))

    def test_while_a_rank_of_another_run_lives_on_no_run_begins(self, tmp_path: Path) -> None:
        """As when the launcher alone was killed."""
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            writer = _started(tmp_path, list(self.NAMES))
            writer.append(_step(self.NAMES[0], _planes(0)))
            writer.flush()
            os.write(writing, b".")
            time.sleep(60)
            os._exit(0)
        os.read(reading, 1)
        try:
            for job in (JOB, None):
                with pytest.raises(ValueError, match="another run still writes to it"):
                    _started(tmp_path, list(self.NAMES), job)
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        assert len(_started(tmp_path, list(self.NAMES)).records.remaining()) == 4

    def test_what_goes_wrong_while_an_image_is_encoded_is_raised(self, tmp_path: Path) -> None:
        writer = _started(tmp_path, ["a"])
        writer.append(SimpleNamespace(state=SimpleNamespace(batch=[{"name": "a"}], output=[{"pred": None}])))
        with pytest.raises(TypeError):
            writer.finish()

    def test_what_remains_is_known_only_after_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="comes before"):
            _writer(tmp_path, _items("a")).records.remaining()


def rank_writes(folder: Path, names: list[str]) -> None:
    """What each rank of a run does: rank 1 ends once all have started."""
    join_ranks()
    writer = _writer(folder, _items(*names))
    writer.records.start()
    if dist.get_rank() == 1:
        os._exit(3)
    writer.finish()


class TestRanks:
    """Two real ranks, without torchrun, which would end the other of two."""

    @staticmethod
    def run(folder: Path, *names: list[str]) -> list[tuple[int, str]]:
        common = {"WORLD_SIZE": str(len(names)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        processes = []
        for rank, own in enumerate(names):
            said = folder / f"rank {rank}"
            said.mkdir()
            process = start_fork(said, rank_writes, folder / "out", own, **common, RANK=str(rank))
            processes.append((process, said))
        for process, _ in processes:
            process.join(timeout=120)
            process.kill()
            process.join()
        done = [said_by(process, said) for process, said in processes]
        return [(code, err) for code, _, err in done]

    def test_ranks_that_see_different_images_do_not_begin(self, tmp_path: Path) -> None:
        for code, said in self.run(tmp_path, ["a", "b"], ["a", "b", "c"]):
            assert code == 1
            assert "ValueError: ranks see different images (2, 3 of them)" in said

    def test_where_a_rank_has_ended_the_other_says_so(self, tmp_path: Path) -> None:
        (code, said), (other, _) = self.run(tmp_path, ["a", "b"], ["a", "b"])
        assert (code, other) == (1, 3)
        assert "ConnectionError: another rank ended early" in said
