"""Times of ``handseg serve``: ``python -m tests.benchmarks.serve [--images 3] [--checkpoint FILE]``.

Phantoms of 2048 pixels are dropped one after another on a server whose network is loaded; then a bone of each is drawn
on, asked for again, and the masks are handed on. Beside the seconds on the clock stand those of the processors, which
other programs on the machine change less; two cores are the two that the target of 2 s is set for.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from handseg_monai.bones import INDEX
from handseg_monai.phantom import PRESETS, render_phantom
from tests.served import Served, served

SIZE = 2048
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(server: Served) -> dict[str, float]:
    """Seconds that processors have spent so far on the web's process, the network's and the decoder's."""
    found = {}
    for pid in (server.process.pid, *server.children()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        name = next((part.rpartition(".")[2] for part in command if part.startswith("handseg_monai.serve.")), "web")
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def measured(server: Served, what: Callable[[], object]) -> tuple[float, dict[str, float]]:
    """Seconds on the clock and of the processors, by process, that something takes."""
    before, start = processor_seconds(server), time.perf_counter()
    what()
    wall = time.perf_counter() - start
    return wall, {name: spent - before.get(name, 0.0) for name, spent in processor_seconds(server).items()}


def run(images: int, checkpoint: Path | None) -> None:
    """Time a server, and print a table."""
    contents = [
        cv2.imencode(".png", render_phantom(7, number, "left", PRESETS["standard"], SIZE).image)[1].tobytes()
        for number in range(images + 1)
    ]
    table = Table("act", "s", "web", "network", "decoder", title=f"{SIZE} x {SIZE} pixels, the median one")
    times: dict[str, list[tuple[float, dict[str, float]]]] = {}
    more = [] if checkpoint is None else ["--checkpoint", checkpoint]
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "work", *more) as server:
        server.until(lambda: server.get("/api/state")["model"]["ready"])
        server.until_ready(server.upload(contents[0]).json()["id"])  # the first one warms up
        for content in contents[1:]:
            found: list[str] = []

            def drop(content: bytes = content, found: list[str] = found) -> None:
                found.append(server.upload(content).json()["id"])
                server.until_ready(found[0])

            times.setdefault("drop to masks", []).append(measured(server, drop))
            place, bone = f"/api/images/{found[0]}", INDEX["Scaphoid"]
            line = [[900.0 + 5 * step, 900.0 + 3 * step] for step in range(40)]
            stroke = {"bone": bone, "tool": "brush", "points": line, "radius": 12}
            acts: dict[str, Callable[[], object]] = {
                "stroke, outlines": lambda p=place, s=stroke: server.do(f"{p}/edits?only=outlines", revision=0, **s),
                "findings of it": lambda p=place: server.get(p),
                "ask again": lambda p=place, b=bone: server.do(f"{p}/ask?only=outlines", revision=1, bone=b),
                "undo": lambda p=place: server.do(f"{p}/undo?only=outlines", revision=2),
                "picture": lambda p=place: server.ask("GET", f"{p}/picture?side=1024"),
                "COCO": lambda i=found[0]: server.ask("GET", f"/api/export/coco?ids={i}"),
            }
            for name, act in acts.items():
                times.setdefault(name, []).append(measured(server, act))
    for name, taken in times.items():
        wall, spent = sorted(taken, key=lambda pair: pair[0])[len(taken) // 2]
        table.add_row(name, f"{wall:.2f}", *(f"{spent.get(of, 0):.2f}" for of in ("web", "segmenter", "decode")))
    Console().print(table)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    run(arguments.images, arguments.checkpoint)
