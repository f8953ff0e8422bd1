"""MLflow tracking of a run: what MONAI's ``--tracking mlflow`` begins, done to the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ignite.engine import Events
from monai.engines import Workflow
from monai.handlers import MLFlowHandler

from handseg_monai.follow.follow import Follower, Run
from handseg_monai.follow.mailbox import Mailbox, one_line
from handseg_monai.follow.redact import hide

_LONGEST_PARAMETER = 500
_PATIENCE = 300.0
"""Seconds to wait at the end for what is under way."""
_ENVIRONMENT = {
    # By default a server that is down is asked for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MLflowTracking(Follower):
    """Track a run in MLflow, where ``--tracking mlflow`` has given its engines MONAI's handlers; else do nothing.

    MONAI's handlers give the store, the experiment and the run's name. Their work is taken over, because they go on
    with any run that has not finished, another one's too, leave a run that failed as *running*, wait for the server in
    each iteration, and break training where it does not answer. Here each run is a new one, and is written by a thread
    of its own.

    Parameters
    ----------
    handlers
        All handlers of the engines, MONAI's among them.
    engines
        The engines that these are attached to.
    artefacts
        Names of files in the run's folder that are kept with the run when it ends, and when it fails.
    """

    def __init__(
        self,
        handlers: Sequence[object],
        engines: Sequence[Workflow],
        artefacts: Sequence[str] = (),
    ) -> None:
        self.artefacts = tuple(artefacts)
        self._mailbox = Mailbox("MLflow", most=10_000)
        self._run_id: str | None = None
        found = [handler for handler in handlers if isinstance(handler, MLFlowHandler)]
        for handler in found:
            _detach(handler, engines)
        self._settings = found[0] if found else None

    def check(self) -> None:
        """Make the experiment if there is none yet; ``ValueError`` where the store can't be reached."""
        if self._settings is None:
            return
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # It would print the server's address with user and password.
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        try:
            self._experiment()
        except Exception as error:
            raise ValueError(one_line("--tracking mlflow: the store can't be used", error)) from None

    def started(self, run: Run) -> None:
        """Make a run, with its parameters."""
        parameters = {**run.parameters, "output_dir": run.folder, "host": run.host}
        self._do(lambda settings: self._make(settings, run.name, parameters))

    def epoch(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Log metrics of validation, mean loss and learning rate."""
        known = {**metrics, "train_loss": run.loss, "learning_rate": run.learning_rate}
        values = {name: value for name, value in known.items() if value is not None}
        now, step = int(1000 * time.time()), run.epoch

        def log(client: Any, run_id: str) -> None:
            from mlflow.entities import Metric

            client.log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

        self._log(log)

    def ended(self, run: Run) -> None:
        """Keep the files, and mark the run as finished."""
        self._finish(run, "FINISHED")

    def failed(self, run: Run, reason: str) -> None:
        """Keep the files that are there and the traceback, and mark the run as failed."""
        self._log(lambda client, run_id: client.log_text(run_id, reason, "traceback.txt"))
        self._finish(run, "FAILED")

    def close(self) -> None:
        """Wait until all is written."""
        self._mailbox.wait(time.monotonic() + _PATIENCE)

    def _experiment(self) -> str:
        settings = self._settings
        assert settings is not None
        name = settings.experiment_name
        if (known := settings.client.get_experiment_by_name(name)) is None:
            return str(settings.client.create_experiment(name, artifact_location=settings.artifact_location))
        return str(known.experiment_id)

    def _make(self, settings: MLFlowHandler, name: str, parameters: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        run = settings.client.create_run(self._experiment(), run_name=name)
        self._run_id = run.info.run_id
        params = [Param(key, hide(str(value))[:_LONGEST_PARAMETER]) for key, value in parameters.items()]
        settings.client.log_batch(self._run_id, params=params)

    def _finish(self, run: Run, status: str) -> None:
        for name in self.artefacts:
            path = run.folder / name
            if path.is_file() and path.stat().st_mtime >= run.begun.timestamp():
                self._log(partial(_keep, path=str(path)))
        self._log(lambda client, run_id: client.set_terminated(run_id, status))

    def _log(self, write: Callable[[Any, str], object]) -> None:
        self._do(lambda settings: write(settings.client, self._run_id) if self._run_id else None)

    def _do(self, job: Callable[[MLFlowHandler], object]) -> None:
        if (settings := self._settings) is not None:
            self._mailbox.put(lambda: job(settings))


def _keep(client: Any, run_id: str, path: str) -> None:
    client.log_artifact(run_id, path)


def _detach(handler: MLFlowHandler, engines: Sequence[Workflow]) -> None:
    attached: dict[Events, list[Callable[..., None]]] = {
        Events.STARTED: [handler.start],
        Events.ITERATION_COMPLETED: [handler.iteration_completed],
        Events.EPOCH_COMPLETED: [handler.epoch_completed],
        Events.COMPLETED: [handler.complete, handler.close],
    }
    for engine in engines:
        for event, functions in attached.items():
            for function in functions:
                if engine.has_event_handler(function, event):
                    engine.remove_event_handler(function, event)
