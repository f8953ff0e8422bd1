"""``--tracking mlflow`` leaves runs in a real MLflow server: parameters, metrics, files, and how each ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import monai.bundle
import pytest
import torch
from gspread import http_client
from ignite.engine import Engine, Events
from mlflow.entities import Run
from monai.handlers import MLFlowHandler

from handseg_monai.follow import FollowRun, MLflowTracking
from tests.bundle_runs import CONFIGS, TINY, run_here, tiny
from tests.programs import said_by, start_fork
from tests.rank_runs import config_files, run_ranks
from tests.services import GoogleSheet, free_port, serve

pytestmark = pytest.mark.usefixtures("restore_globals")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the server keeps all that it is told."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[str]:
    """Address of an ``mlflow server`` in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/store.db", "--artifacts-destination", str(store / "files")]
    with (
        (store / "log").open("wb") as log,
        subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ) as process,
    ):
        try:
            until = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, (store / "log").read_text()
                    assert time.monotonic() < until
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


class _Steps(Engine):
    def run(self) -> Any:  # type: ignore[override]
        """As MONAI's engines, which hold their data."""
        return super().run(range(3))


def runs_of(uri: str, experiment: str) -> list[Run]:
    """All runs of an experiment, the first one first."""
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else client.search_runs([found.experiment_id], order_by=["start_time ASC"])


def text_of(uri: str, run: Run, path: str, folder: Path) -> bytes:
    return Path(mlflow.MlflowClient(uri).download_artifacts(run.info.run_id, path, str(folder))).read_bytes()


def files_of(uri: str, run: Run) -> set[str]:
    return {file.path for file in mlflow.MlflowClient(uri).list_artifacts(run.info.run_id)}


def train(dataset: Path, output: Path, server: str, experiment: str, **more: Any) -> None:
    options = {"dataset_dir": str(dataset), "output_dir": str(output), "tracking": "mlflow", "tracking_uri": server}
    run_here("train.json", run_id="training", experiment_name=experiment, **options, **tiny(), **more)


def test_training_then_evaluation_then_inference(server: str, drawn_dataset: Path, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(server)
    # A run of somebody else's that has not ended, which MONAI's handler would go on with.
    others = client.create_run(client.create_experiment("whole"), run_name="other").info.run_id
    train(drawn_dataset, tmp_path / "run", server, "whole", epochs=2, fold=1, learning_rate=0.01, threshold=0.2)
    other, run = runs_of(server, "whole")
    assert (other.info.run_id, other.info.status, other.data.metrics) == (others, "RUNNING", {})
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")

    expected = {"network_name": "dynunet", "size": "160", "fold": "1", "epochs": "2", "learning_rate": "0.01"}
    assert run.data.params.items() >= expected.items()
    assert run.data.params["loss"] == "DeepSupervisionLoss(PerBoneLoss(DiceCELoss))"
    assert run.data.params["optimizer"] == "AdamW"
    assert "tracking_uri" not in run.data.params

    for name in ("train_loss", "learning_rate", "val_mean_dice"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2], name
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    history = client.get_metric_history(run.info.run_id, "val_mean_dice")
    assert max(m.value for m in history) == pytest.approx(last["best_score"])
    assert run.data.metrics["learning_rate"] == last["states"]["optimizer"]["param_groups"][0]["lr"]
    assert files_of(server, run) == {"model.pt", "last.pt"}
    assert text_of(server, run, "model.pt", tmp_path) == (tmp_path / "run" / "model.pt").read_bytes()

    common = {"tracking": "mlflow", "tracking_uri": server, "experiment_name": "whole"}
    run_here(
        *("train.json", "evaluate.json"),
        **common,
        **{"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run"), "fold": 1, "threshold": 0.2},
        **tiny(),
    )
    evaluated = runs_of(server, "whole")[-1]
    assert evaluated.info.status == "FINISHED"
    assert evaluated.data.metrics["val_mean_dice"] == pytest.approx(last["best_score"], abs=1e-6)

    run_here(
        "inference.json",
        **common,
        **{"dataset_dir": str(drawn_dataset / "train" / "DCM"), "output_dir": str(tmp_path / "out")},
        # At one half a network of two epochs finds no bone, which counts as a failure.
        **{"checkpoint": str(tmp_path / "run" / "model.pt"), "run_name": "all hands", "threshold": 0.001},
        **tiny(inference=True),
    )
    inferred = runs_of(server, "whole")[-1]
    assert (inferred.info.run_name, inferred.info.status) == ("all hands", "FINISHED")
    assert files_of(server, inferred) == {"submission.csv"}
    assert text_of(server, inferred, "submission.csv", tmp_path) == (tmp_path / "out" / "submission.csv").read_bytes()
    assert len(runs_of(server, "whole")) == 4


def test_training_that_breaks_is_marked_as_failed_with_its_traceback(
    server: str, drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "marked-secret")
    with pytest.raises(RuntimeError):
        train(
            *(drawn_dataset, tmp_path / "run", server, "broken"),
            **{"train#trainer#prepare_batch": "$lambda *_, **__: int('marked-secret')"},
        )
    (run,) = runs_of(server, "broken")
    assert run.info.status == "FAILED"
    assert files_of(server, run) == {"traceback.txt"}
    said = text_of(server, run, "traceback.txt", tmp_path).decode()
    assert said.startswith("Traceback")
    assert said.endswith("ValueError: invalid literal for int() with base 10: '***'")


def test_a_server_that_goes_away_does_not_break_training(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    engine = _Steps(lambda engine, batch: None)
    monai_handler = MLFlowHandler(tracking_uri=server, experiment_name="gone", output_transform=lambda output: None)
    monai_handler.attach(engine)
    follow = FollowRun("night", tmp_path, [MLflowTracking([monai_handler], [engine])])
    follow.begin({})
    monai_handler.client = mlflow.MlflowClient(f"http://127.0.0.1:{free_port()}")
    steps: list[int] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: steps.append(engine.state.iteration))
    follow.run(engine)
    follow.end()
    assert steps == [1, 2, 3]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("handseg")]
    (line,) = lines
    assert line.startswith("MLflow: MlflowException: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("$MLFLOW_TRACKING_URI", "--tracking mlflow: the store can't be used: MlflowException: "),
        ("http://somebody:marked-secret@127.0.0.1:1", "--tracking_uri holds a user or password"),
        ("runs/mlruns", "expected sqlite:///FILE.db or the address of a server"),
        ("http://127.0.0.1:{port}", "--tracking mlflow: the store can't be used: MlflowException: "),
    ],
)
def test_a_store_that_can_not_be_is_refused_in_one_line(
    drawn_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    uri: str,
    said: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if uri == "$MLFLOW_TRACKING_URI":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:marked-secret@127.0.0.1:{free_port()}")
        uri = "http://127.0.0.1:1"
    with pytest.raises(SystemExit) as exit_:
        train(drawn_dataset, tmp_path / "run", uri.format(port=free_port()), "refused")
    assert exit_.value.code == 2
    out, err = capfd.readouterr()
    assert said in err.splitlines()[-1]
    assert "marked-secret" not in out + err
    assert not list((tmp_path / "run").glob("config*"))


def test_of_two_ranks_one_tracks_in_a_store_beside_the_results(drawn_dataset: Path, tmp_path: Path) -> None:
    done = run_ranks(
        *("training", "--config_file", config_files("train.json", "multi_gpu_train.json"), "--tracking", "mlflow"),
        *("--dataset_dir", drawn_dataset, "--output_dir", tmp_path / "run", "--epochs", "1", *TINY),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = runs_of(f"sqlite:///{tmp_path}/run/mlruns.db", "handseg")
    assert (run.info.status, run.data.params["world_size"]) == ("FINISHED", "2")
    assert {"train_loss", "val_mean_dice"} <= run.data.metrics.keys()
    assert files_of(f"sqlite:///{tmp_path}/run/mlruns.db", run) == {"model.pt", "last.pt"}


def train_with_a_sheet(url: str, options: dict[str, Any]) -> None:
    """Train with another host in gspread's constants."""
    for name, value in list(vars(http_client).items()):
        if name.startswith("SPREADSHEET"):
            setattr(http_client, name, value.replace("https://sheets.googleapis.com", url))
    monai.bundle.run("training", **options)


@pytest.mark.parametrize("all_well", [pytest.param(True, marks=pytest.mark.slow), False], ids=["well", "in_trouble"])
def test_no_secret_is_in_any_file_output_or_message(
    server: str, store: Path, drawn_dataset: Path, tmp_path: Path, all_well: bool
) -> None:
    secrets = [f"marked-{name}-secret" for name in ("user", "password", "path", "mlflow", "wandb")]
    user, password, path, of_mlflow, wandb = secrets
    google, status = GoogleSheet(), 200 if all_well else 500
    with serve(google) as sheets, serve(lambda request: (status, {})) as messages:
        pem = google.write_account(tmp_path / "account.json", f"{sheets.url}/token")
        google.trouble = [] if all_well else [403] * 9
        options: dict[str, Any] = {"config_file": str(CONFIGS / "train.json"), "tracking": "mlflow", **tiny()}
        options |= {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run"), "epochs": 1}
        if not all_well:
            options |= {"train#trainer#prepare_batch": "$lambda *_, **__: 1 / 0"}
        environment = {
            "HANDSEG_NOTIFY_URLS": f"json://{user}:{password}@{messages.host}/{path}",
            "HANDSEG_SHEET": GoogleSheet.ID,
            "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "account.json"),
            "MLFLOW_TRACKING_URI": server.replace("://", f"://{user}:{of_mlflow}@"),
            "WANDB_API_KEY": wandb,
        }
        said = tmp_path / "said"
        said.mkdir()
        process = start_fork(said, train_with_a_sheet, sheets.url, options, **environment)
        process.join(timeout=300)
        done = said_by(process, said)
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == all_well, output[-3000:]
    # All have been told with their secrets, or nothing would be shown here.
    assert all(request.path == f"/{path}" for request in messages.requests)
    assert len(messages.requests) >= 2
    assert google.claims
    assert runs_of(server, "handseg")[-1].info.status == ("FINISHED" if all_well else "FAILED")
    assert ("notification by JSON failed" in output) != all_well
    assert ("Google Sheet: no such spreadsheet, or it is not shared" in output) != all_well

    places = {str(file): file.read_bytes() for top in (tmp_path / "run", store) for file in _files(top)}
    places |= {"output": output.encode()}
    places |= {f"message {n}": request.body for n, request in enumerate(messages.requests)}
    places |= {f"sheet {n}": r.body for n, r in enumerate(sheets.requests) if r.path != "/token"}
    assert len(places) > 8
    for secret in [*secrets, *pem.split("\n")[1:-2]]:
        assert not [name for name, content in places.items() if secret.encode() in content], secret


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
