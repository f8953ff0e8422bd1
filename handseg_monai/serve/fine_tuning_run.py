"""One run of fine-tuning, in a process of its own: measure, train, measure again, by the bundle's own commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handseg_monai import bundle_root
from handseg_monai.files import write_json
from handseg_monai.run.process import bundle_command, run_bundle
from handseg_monai.serve.fine_tuning import DATA, ERRORS, FOLDS, PLAN, STATE, STOP, WEIGHTS, last_words

STEPS = "train#iteration_log"
"""Option of training that lets its log count steps, not epochs alone."""
_LOOK, _AGAIN = 0.2, 10.0
"""Seconds between two looks whether the run is to stop, and between two interrupts."""


class Run:
    """A run in its folder, whose lock is open under a descriptor."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self.lock = folder, lock
        self.plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        self.state = json.loads((folder / STATE).read_text(encoding="utf-8")) | {"pid": os.getpid()}
        signal.signal(signal.SIGINT, lambda *_: None)  # only the command that is under way is to end by it
        threading.Thread(target=self._heed, name="stop", daemon=True).start()

    @property
    def is_stopped(self) -> bool:
        """Whether someone wants it to stop."""
        return (self.folder / STOP).exists()

    def to_the_end(self) -> None:
        """Do all of it, and leave its end in the state."""
        try:
            compares = self.plan["compares"]
            if compares:
                self._say("before")
                self._say("before", dice_before=self._measured("before", Path(self.plan["weights"])))
            self._say("training")
            self._train()
            if compares:
                self._say("after")
                self._say("after", dice_after=self._measured("after", self.folder / WEIGHTS))
            (self.folder / "run" / "last.pt").unlink(missing_ok=True)
            better = self.state["dice_after"] > self.state["dice_before"] if compares else None
            self._say("finished", better=better)
        except InterruptedError:
            self._say("stopped")
        except (ValueError, OSError) as error:
            if self.is_stopped:
                self._say("stopped")
            else:
                self._say("failed", error=last_words(self.folder / ERRORS) or str(error))
        finally:
            shutil.rmtree(self.folder / DATA, ignore_errors=True)

    def _heed(self) -> None:
        """Interrupt the command that is under way once the run is to stop; again where that was lost as it began."""
        while not self.is_stopped:
            time.sleep(_LOOK)
        while True:
            os.killpg(0, signal.SIGINT)
            time.sleep(_AGAIN)

    def _say(self, phase: str, **facts: object) -> None:
        self.state |= {"phase": phase, **facts}
        write_json(self.folder / STATE, self.state)

    def _measured(self, name: str, weights: Path) -> float:
        """Dice of weights on what is held out, as ``evaluate.json`` measures it."""
        self._bundle(name, "run", ["train.json", "evaluate.json"], {"checkpoint": weights})
        (line,) = (self.folder / name / "evaluation" / "metrics.csv").read_text(encoding="utf-8").splitlines()
        return float(line.split(",")[-1])

    def _train(self) -> None:
        # Torch takes long to load, and this process is to be heard of at once.
        from handseg_monai.checkpoints.weights import Checkpoint

        weights = Checkpoint.read(self.plan["weights"])
        options = dict(self.plan["options"])
        size = options.setdefault("size", weights.size)
        options |= {"weights": weights.path, "window": size, "views": weights.views, STEPS: True}
        # Validated once, at the end: the best of many epochs on so few images would flatter the new weights.
        options["val_interval"] = options["epochs"]
        self._bundle("run", "training", ["train.json", "finetune.json"], options)

    def _bundle(self, name: str, run_id: str, configs: list[str], options: Mapping[str, Any]) -> None:
        if self.is_stopped:
            raise InterruptedError
        os.truncate(self.folder / ERRORS, 0)
        places: dict[str, Any] = {
            "dataset_dir": self.folder / DATA,
            "folds_file": self.folder / FOLDS,
            "fold": 0,
            "num_workers": 0,
        }
        named = places | {"output_dir": self.folder / name, **options}
        arguments = [text for key, value in named.items() for text in (f"--{key}", str(value))]
        files = [bundle_root() / "configs" / config for config in configs]
        command = bundle_command(run_id, files, arguments)
        run_bundle(command, self.folder / f"{name}.log", echo=("Iter: ",), keep_open=(self.lock,))


if __name__ == "__main__":
    Run(Path(sys.argv[1]), int(sys.argv[2])).to_the_end()
