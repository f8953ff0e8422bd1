"""Fine-tuning as the page shows it: started, followed, stopped, and its weights taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handseg_monai.serve.fine_tuning import TAKEN, UNCOMPARED, FineTuning
from handseg_monai.serve.state import StoreError

_EVERY = 1.0
"""Seconds between two looks at a run."""
_PATIENCE = 30.0
"""Seconds to wait for the end of a run that is stopped."""
_PHASES = {
    "starting": "starting",
    "before": "measuring the weights from before",
    "training": "training",
    "after": "measuring the new weights",
}
_DISMISSED = "dismissed"
"""File of a run whose result nobody wants to see any more."""


class Training:
    """Runs of fine-tuning in ``WORK``.

    Parameters
    ----------
    runs
        The runs.
    tell
        Called with what is shown of the last one whenever that changes.
    """

    def __init__(self, runs: FineTuning, tell: Callable[[dict[str, Any]], None]) -> None:
        self._runs, self._tell = runs, tell
        self._lock = threading.Lock()
        self._follower: threading.Thread | None = None
        if runs.state()["running"]:
            self._follow()

    def shown(self) -> dict[str, Any] | None:
        """What is shown of the last run; None where there is none, or nobody wants to see it any more."""
        state = self._runs.state()
        run = self._folder(state)
        if state["run"] == 0 or (run / _DISMISSED).exists():
            return None
        taken = (run / TAKEN).exists()
        uncompared = state["phase"] == "finished" and state["better"] is None
        phase = "stopping" if state["stopping"] else _PHASES.get(state["phase"], "")
        return {
            "state": "running" if state["running"] else "taken" if taken else state["phase"],
            "says": UNCOMPARED if uncompared else phase,
            "epoch": state["epoch"],
            "epochs": state["epochs"],
            "before": state["dice_before"],
            "after": state["dice_after"],
            "held_out": state["held_out"],
            "counted": state["counted"],
            "better": state["better"],
            "error": state["error"],
        }

    def start(self, epochs: int) -> dict[str, Any] | None:
        """Start a run; raises as :meth:`~handseg_monai.serve.fine_tuning.FineTuning.start`."""
        with self._lock:
            self._runs.start(epochs=epochs)
            self._follow()
        return self.shown()

    def stop(self) -> dict[str, Any] | None:
        """Stop the run; what one that has ended just now came to is still shown."""
        self._runs.stop()
        return self.shown()

    def dismiss(self) -> dict[str, Any] | None:
        """Show the last run no longer, if it has ended."""
        state = self._runs.state()
        if state["run"] and not state["running"]:
            (self._folder(state) / _DISMISSED).touch()
        return self.shown()

    def end(self) -> None:
        """Stop a run that is under way, say so, and wait for its end."""
        if self._runs.state()["running"]:
            self._runs.stop()
            print("fine-tuning is being stopped; it can be started again on the page", flush=True)
            if not self._runs.is_over(_PATIENCE):
                print("it has not ended yet; it will as soon as it can", flush=True)

    def better(self, uncompared: bool) -> Path:
        """Weights of the last run; with ``uncompared`` also where they could not be compared.

        Raises
        ------
        StoreError
            There are none that are better than those before.
        """
        try:
            return self._runs.better(uncompared)
        except ValueError as error:
            raise StoreError(str(error)) from error

    def take(self, uncompared: bool) -> None:
        """Let the weights of the last run count from now on; raises as :meth:`better`."""
        try:
            self._runs.take(uncompared)
        except ValueError as error:
            raise StoreError(str(error)) from error

    def weights(self) -> Path:
        """File of the weights that count now."""
        return self._runs.weights()

    @property
    def base(self) -> Path:
        """File of the weights that the server was given."""
        return self._runs.base

    def put_back(self) -> None:
        """Let the weights that the server was given count from now on."""
        self._runs.put_back()

    def using(self) -> dict[str, Any]:
        """Which weights count now; see :meth:`~handseg_monai.serve.fine_tuning.FineTuning.using`."""
        return self._runs.using()

    def _folder(self, state: dict[str, Any]) -> Path:
        return self._runs.folder / str(state["run"])

    def _follow(self) -> None:
        self._follower = threading.Thread(target=self._watch, name="training", daemon=True)
        self._follower.start()

    def _watch(self) -> None:
        before: dict[str, Any] | None = None
        while True:
            running = self._runs.state()["running"]
            now = self.shown()
            if now is not None and now != before:
                self._tell(now)
                before = now
            if not running:
                return
            threading.Event().wait(_EVERY)
