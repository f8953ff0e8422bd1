"""The handler that writes the CSV: whole, in order, each image once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from handseg_monai.bones import NUM_BONES
from handseg_monai.data.items import Item
from handseg_monai.handlers import SubmissionWriter
from handseg_monai.rle import decode_planes, read_csv

SHAPE = (7, 5)


def _planes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << NUM_BONES, SHAPE).astype(np.int32)


def _items(*names: str) -> list[Item]:
    return [Item(image=f"images/{name}", name=name) for name in names]


def _step(name: str, planes: np.ndarray | None = None, failure: str | None = None) -> Any:
    batch = {"name": name} | ({"failure": failure} if failure else {})
    output = {"pred": torch.empty(1, 0, 0) if planes is None else torch.from_numpy(planes[None])}
    return SimpleNamespace(state=SimpleNamespace(batch=[batch], output=[output]))


def test_the_csv_gives_the_planes_back_in_the_order_of_the_datalist(tmp_path: Path) -> None:
    names = ["b.png", 'odd, "name"\n.png', "a.png"]
    writer = SubmissionWriter(tmp_path, _items(*names))
    writer.start()
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
    for names, fault in ((["a"], "image b is missing"), (["a", "a", "b"], "image a comes where b was expected")):
        writer = SubmissionWriter(tmp_path, _items("a", "b"))
        writer.start()
        for name in names:
            writer.append(_step(name, _planes(0)))
        with pytest.raises(RuntimeError, match=fault):
            writer.finish()
        assert (tmp_path / "submission.csv").read_text() == "old"


def test_failures_get_no_rows_a_list_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = SubmissionWriter(tmp_path, _items("a", "b"))
    writer.start()
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

    again = SubmissionWriter(tmp_path, _items("b"))
    again.start()
    again.append(_step("b", _planes(0)))
    again.finish()
    assert not (tmp_path / "failures.csv").exists()


def test_parts_of_an_earlier_run_do_not_reach_the_next(tmp_path: Path) -> None:
    killed = SubmissionWriter(tmp_path, _items("a", "b"))
    killed.start()
    killed.append(_step("a", _planes(0)))
    writer = SubmissionWriter(tmp_path, _items("b"))
    writer.start()
    writer.append(_step("b", _planes(1)))
    writer.finish()
    assert list(read_csv(tmp_path / "submission.csv")) == ["b"]


def test_a_kill_while_the_csv_is_written_leaves_the_old_file(tmp_path: Path) -> None:
    """The merge is stopped in the middle of its second image by a signal that can't be caught."""
    (tmp_path / "submission.csv").write_text("old")
    script = textwrap.dedent(
        f"""
        import os, signal
        import handseg_monai.handlers.submission as submission
        from tests.test_submission import _items, _planes, _step
        images = submission._images
        def dying(path):
            for number, rows in enumerate(images(path)):
                if number == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield rows
        submission._images = dying
        names = [str(i) for i in range(9)]
        writer = submission.SubmissionWriter({str(tmp_path)!r}, _items(*names))
        writer.start()
        for i, name in enumerate(names):
            writer.append(_step(name, _planes(i)))
        writer.finish()
        """
    )
    root = Path(__file__).parent.parent
    process = subprocess.run([sys.executable, "-c", script], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "submission.csv").read_text() == "old"
