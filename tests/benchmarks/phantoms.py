"""How many phantoms a second: ``python -m tests.benchmarks.phantoms``."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path

from handseg_monai.phantom import write_dataset
from handseg_monai.run.machine import processor


def main() -> None:
    """Write data sets of several sizes and print a table; the first, which compiles, is not timed."""
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'size':>6} {'preset':>9} {'workers':>8} {'radiographs':>12} {'seconds':>8} {'a second':>9}")
    for size, preset, workers, subjects in (
        (64, "easy", 1, 1),
        (2048, "standard", 2, 20),
        (2048, "standard", 1, 10),
        (512, "easy", 2, 20),
    ):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            write_dataset(
                Path(folder, "data"), subjects=subjects, size=size, workers=workers, preset=preset, progress=False
            )
            seconds = time.perf_counter() - start
        if size > 64:
            count = 2 * subjects
            print(f"{size:>6} {preset:>9} {workers:>8} {count:>12} {seconds:>8.1f} {count / seconds:>9.2f}")


if __name__ == "__main__":
    main()
