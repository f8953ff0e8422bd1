"""A store whose process is killed at any moment: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import json
import os
import random
import re
import time
from pathlib import Path

import pytest

from handseg_monai.data.labels.converted import DATALIST, converted_items, read_planes
from handseg_monai.serve.store import Store
from tests.programs import FORKS
from tests.store_edits import SHAPE, edit, found


def killed(folder: Path, seed: int) -> tuple[object, object]:
    """Let a process edit and kill it after some of its acts: what was acknowledged last, and what was under way."""
    rng = random.Random(seed)
    acts = rng.randrange(1, 40)
    reader, writer = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=edit, args=(writer, folder, seed))
    process.start()
    writer.close()
    with reader, os.fdopen(os.dup(reader.fileno())) as said_by_it:
        try:
            assert said_by_it.readline() == "ready\n"
            lines = []
            while len(lines) < 2 * acts:
                lines.append(said_by_it.readline())
                assert lines[-1], "it ended by itself"
            time.sleep(rng.random() * 0.01)
        finally:
            process.kill()
        lines += said_by_it.readlines()
    process.join()
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    said = [json.loads(line) for line in lines]
    models = [model for model in said if model is not None]
    return (models[-1], models[-1]) if said[-1] is None else (models[-2], models[-1])


def in_words(folder: Path) -> list[str]:
    """Faults of the data set as a kill has left it."""
    return converted_items(folder)[1] if (folder / DATALIST).exists() else []


def survives(folder: Path, kills: int) -> None:
    folder.mkdir()
    for seed in range(kills):
        acknowledged, under_way = killed(folder, seed)
        assert in_words(folder) == []
        store = Store(folder)
        assert found(store) in (acknowledged, under_way), f"kill {seed}"
        # An image whose adding was cut short has no entry yet: such files are set aside, never deleted.
        files = [path for path in folder.rglob("*") if path.is_file() and "set-aside" not in path.parts]
        stray = [path for path in files if path.name[:16] not in store.ids()]
        names = sorted(path.name for path in stray if path.name != "removed.json")
        assert names == [".handseg-serve", DATALIST, "lock"]
        removed = folder / "removed.json"  # it is there once an image was removed
        digests = json.loads(removed.read_text()) if removed.exists() else []
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in digests)
        done = [id for id in store.ids() if store.entry(id).state == "ready" and store.marks(id).done]
        items, faults = converted_items(folder)
        assert faults == []
        assert [Path(item["image"]).stem for item in items] == done
        for item, id in zip(items, done, strict=True):
            assert (read_planes(item["label"], SHAPE) == store.open(id).planes & item["known"]).all()
        store.close()


def test_kills_lose_nothing_acknowledged_and_leave_nothing_half(tmp_path: Path) -> None:
    survives(tmp_path / "work", 12)


@pytest.mark.slow
def test_two_hundred_kills(tmp_path: Path) -> None:
    survives(tmp_path / "work", 200)
