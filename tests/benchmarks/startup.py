"""What commands take beyond their work: ``python -m tests.benchmarks.startup``.

Each command runs on a handful of small drawn radiographs: as a process, timed from outside, and twice in one process,
of which the second time is its work. An error is a file name that is misspelt. Seconds are by the clock; those of the
processor, which other work on the machine disturbs less, stand in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import NAMES
from handseg_monai.data import labelled_items, read_polygons
from handseg_monai.rle import encode_planes, write_csv
from handseg_monai.run.machine import processor
from tests.benchmarks.runs import processor_time
from tests.conftest import draw_radiograph, write_label
from tests.test_house import LIGHT

IMAGES, SHAPE = 6, (96, 72)
_WORK = """
import contextlib, io, json, sys, time
import handseg_monai.cli as cli
taken = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    began = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, arguments
    taken.append([time.perf_counter() - began[0], time.process_time() - began[1]])
print(json.dumps(taken[-1]))
"""


def make_data(folder: Path) -> dict[str, Path]:
    """Draw radiographs with labels, and write the truth as a submission and joints to find."""
    import cv2

    data = folder / "data"
    for n in range(IMAGES):
        radiograph, polygons = draw_radiograph(n, SHAPE)
        image = data / "train" / "DCM" / f"ID{n:03d}" / f"image{n}.png"
        image.parent.mkdir(parents=True)
        cv2.imwrite(str(image), radiograph)
        write_label(data / "train" / "outputs_json" / f"ID{n:03d}" / f"image{n}.json", polygons)
    items, _ = labelled_items(data / "train")
    own, points = folder / "own.csv", folder / "points.csv"
    write_csv(own, [(i["name"], encode_planes(rasterise(read_polygons(i["label"], SHAPE), SHAPE))) for i in items])
    lines = [f"{item['name']},wrist,10,10,{NAMES[0]},{NAMES[1]}" for item in items]
    points.write_text("\n".join(["image,joint,x,y,distal_bone,proximal_bone", *lines]) + "\n")
    return {"data": data, "images": data / "train" / "DCM", "own": own, "points": points}


def seconds(command: Sequence[str], code: int, rounds: int) -> np.ndarray:
    """Return how long a process takes at the median, float (2,): by the clock, and of the processor.

    It must end with this code. ``{n}`` in its arguments is the number of the round.
    """
    times = []
    for n in range(rounds):
        before = time.perf_counter(), processor_time()
        result = subprocess.run([part.replace("{n}", str(n)) for part in command], capture_output=True, text=True)
        times.append(np.subtract((time.perf_counter(), processor_time()), before))
        assert result.returncode == code, (command, result.stderr[-500:])
    return np.median(times, axis=0)


def shown(times: np.ndarray) -> str:
    return f"{times[0]:.2f} ({times[1]:.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    start = [sys.executable, "-m", "handseg_monai"]
    table = Table(title=f"seconds, median of {rounds}; {processor()}, {os.cpu_count()} cores")
    for heading in ("handseg", "command", "its work", "beyond", "misspelt file"):
        table.add_column(heading, justify="left" if heading == "handseg" else "right")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        places = make_data(folder)
        for name, template in LIGHT.items():

            def arguments(out: str, name: str = name, template: str = template, **other: Path) -> list[str]:
                return [name, *(part.format(**places | other, out=folder / out) for part in template.split())]

            whole = seconds([*start, *arguments(f"{name}{{n}}")], 0, rounds)
            calls = json.dumps([arguments(f"{name}w{n}") for n in range(2)])
            inside = [sys.executable, "-c", _WORK, calls]
            work = np.array(json.loads(subprocess.run(inside, check=True, stdout=subprocess.PIPE, text=True).stdout))
            wrong = {"own": folder / "none.csv"} if "{own}" in template else {"data": folder / "none"}
            error = seconds([*start, *arguments(f"{name}e{{n}}", **wrong)], 2, rounds)
            table.add_row(name, *map(shown, (whole, work, whole - work, error)))
            for path in folder.glob(f"{name}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    table.add_row("--help", shown(seconds([*start, "--help"], 0, rounds)), "", "", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
