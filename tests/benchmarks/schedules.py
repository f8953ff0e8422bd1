"""Draw the learning rates that the optimiser takes with each schedule.

``python -m tests.benchmarks.schedules OUT.png``: each panel is a run of 100 epochs of train.json with the overlay,
small but real: the rate is read from the optimiser at each of its steps. The plateau's is what validation made of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt

from tests.conftest import write_drawn_dataset
from tests.schedule_runs import SCHEDULES, run_schedule

EPOCHS = 100


def main() -> None:
    """Run each schedule and draw its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="PNG to write")
    out = parser.parse_args().out
    figure, axes = plt.subplots(2, 3, figsize=(9, 4), sharex=True, sharey=True, layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        data = write_drawn_dataset(Path(folder) / "data", subjects=5, shape=(48, 40))
        for axis, schedule in zip(axes.flat, (None, *SCHEDULES), strict=True):
            rates = run_schedule(
                schedule,
                data,
                Path(folder) / str(schedule),
                epochs=EPOCHS,
                val_interval=1 if schedule == "plateau" else EPOCHS,
                patience=EPOCHS,
                output_bias=-6.0,
                threshold=0.05,
            ).rates
            per_epoch = len(rates) / EPOCHS
            axis.plot([step / per_epoch for step in range(len(rates))], rates, linewidth=1.5)
            axis.set_title(f"schedule_{schedule}.json" if schedule else "train.json", fontsize=9)
            axis.grid(alpha=0.3)
            axis.tick_params(labelsize=8)
            axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
            axis.yaxis.offsetText.set_fontsize(8)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("learning rate", fontsize=9)
    figure.savefig(out, dpi=100)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
