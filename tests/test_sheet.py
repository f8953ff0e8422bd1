"""A Google Sheet gets a row for each run and one for each machine, also when Google is busy, and never twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gspread.http_client
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from handseg_monai.follow import ResultSheet
from handseg_monai.follow.follow import Run
from tests.bundle_runs import run_here, tiny
from tests.services import GoogleSheet, Service, free_port, serve


@pytest.fixture
def google() -> GoogleSheet:
    """A spreadsheet with one empty worksheet."""
    return GoogleSheet()


@pytest.fixture
def service(google: GoogleSheet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    """The spreadsheet at loopback, in the place of Google's host, with an account's file that belongs to it."""
    with serve(google) as service:
        point_gspread_to(service.url, monkeypatch)
        google.write_account(tmp_path / "account.json", f"{service.url}/token")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        monkeypatch.setenv("HANDSEG_SHEET", GoogleSheet.ID)
        yield service


def point_gspread_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put another host into gspread's constants."""
    for name, value in vars(gspread.http_client).items():
        if name.startswith("SPREADSHEET"):
            monkeypatch.setattr(gspread.http_client, name, value.replace("https://sheets.googleapis.com", url))


def finished_run(tmp_path: Path) -> Run:
    run = Run("night", tmp_path / "run", {"network_name": "dynunet", "loss": "Dice", "size": 512, "fold": 2})
    run.epoch, run.best, run.best_epoch = 9, 0.97654321, 7
    return run


def follow(sheet: ResultSheet, run: Run) -> None:
    sheet.started(run)
    sheet.ended(run)
    sheet.close()


def test_the_account_asks_for_a_token_and_signs_what_it_says(
    service: Service, google: GoogleSheet, tmp_path: Path
) -> None:
    follow(ResultSheet(), finished_run(tmp_path))
    (claims,) = google.claims  # they are kept where the signature is right
    assert claims["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert claims["iss"] == GoogleSheet.EMAIL
    assert claims["scope"] == "https://www.googleapis.com/auth/spreadsheets"
    assert claims["iat"] <= time.time() < claims["exp"] <= claims["iat"] + 3600


def test_a_run_leaves_a_row_of_results_and_a_free_machine(
    service: Service, google: GoogleSheet, tmp_path: Path
) -> None:
    run = finished_run(tmp_path)
    sheet = ResultSheet()
    sheet.started(run)
    sheet.close()
    (machine,) = google.table("machines")
    assert (machine["machine"], machine["state"], machine["run"]) == (run.host, "running", "night")
    assert machine["since"] == run.begun.strftime("%Y-%m-%d %H:%M:%S")
    assert machine["gpu"] == "none"
    assert machine["memory"].endswith("GB (machine)")
    sheet.ended(run)
    sheet.close()
    (result,) = google.table("results")
    assert result == {
        "when": run.begun.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": run.host,
        "run": "night",
        "network": "dynunet",
        "loss": "Dice",
        "size": "512",
        "fold": "2",
        "epochs": "9",
        "best Dice": "0.976543",
        "best epoch": "7",
        "duration": "0 s",
        "state": "done",
        "folder": str(tmp_path / "run"),
    }
    (machine,) = google.table("machines")
    assert (machine["state"], machine["run"]) == ("idle", "")
    other = finished_run(tmp_path)
    other.name = "day"
    sheet.failed(other, "Traceback")
    sheet.close()
    assert [(row["run"], row["state"]) for row in google.table("results")] == [("night", "done"), ("day", "failed")]
    (machine,) = google.table("machines")
    assert (machine["state"], machine["run"]) == ("failed", "day")


def test_columns_may_be_moved_and_added(service: Service, google: GoogleSheet, tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    google.worksheets["results"] = [["remark", "best Dice", "run"], ["keep", "0.5", "earlier"]]
    google.worksheets["machines"] = [
        ["state", "place", "machine"],
        ["idle", "cellar", "other"],
        ["idle", "attic", run.host],
    ]
    follow(ResultSheet(), run)
    header = google.worksheets["results"][0]
    assert header[:4] == ["remark", "best Dice", "run", "when"]
    assert google.worksheets["results"][1] == ["keep", "0.5", "earlier"]
    assert google.worksheets["results"][2][:3] == ["", "0.976543", "night"]
    other, own = google.table("machines")
    assert other == {"state": "idle", "place": "cellar", "machine": "other"}
    assert (own["place"], own["state"], own["gpu"]) == ("attic", "idle", "none")


@pytest.mark.parametrize("statuses", [[429, 429], [500, 503, 429]])
def test_a_busy_google_is_asked_again(
    service: Service, google: GoogleSheet, tmp_path: Path, caplog: pytest.LogCaptureFixture, statuses: list[int]
) -> None:
    google.trouble = list(statuses)
    follow(ResultSheet(waits=(0.01,) * 3), finished_run(tmp_path))
    assert [row["run"] for row in google.table("results")] == ["night"]
    assert [row["state"] for row in google.table("machines")] == ["idle"]
    assert not caplog.messages


def test_an_error_after_a_row_was_written_does_not_write_it_twice(
    service: Service, google: GoogleSheet, tmp_path: Path
) -> None:
    google.after = [500] * 4
    follow(ResultSheet(waits=(0.01,) * 9), finished_run(tmp_path))
    assert not google.after
    assert len(google.worksheets["results"]) == len(google.worksheets["machines"]) == 2


def test_tries_come_to_an_end_and_cost_a_line(
    service: Service, google: GoogleSheet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    google.trouble = [429] * 3
    sheet = ResultSheet(waits=(0.01, 0.01))
    sheet.started(finished_run(tmp_path))
    sheet.close()
    assert caplog.messages == ["Google Sheet: APIError: [429]: told to say 429"]


def wrong_key(google: GoogleSheet, service: Service, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return google.write_account(path, f"{service.url}/token", rsa.generate_private_key(65537, 2048))


def damaged_key(google: GoogleSheet, service: Service, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pem = google.write_account(path, f"{service.url}/token")
    path.write_text(path.read_text().replace(pem[60:70], "!" * 10))
    return pem


def no_file(google: GoogleSheet, service: Service, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path.unlink()
    return "PRIVATE KEY"


def other_sheet(google: GoogleSheet, service: Service, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HANDSEG_SHEET", "https://docs.google.com/spreadsheets/d/1another/edit#gid=0")
    return google.write_account(path, f"{service.url}/token")


def no_google(google: GoogleSheet, service: Service, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return google.write_account(path, f"http://127.0.0.1:{free_port()}/token")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (wrong_key, "Google Sheet: RefreshError: ('invalid_grant: Invalid JWT Signature.'"),
        (damaged_key, "file that GOOGLE_APPLICATION_CREDENTIALS names: no service account's file"),
        (no_file, "file that GOOGLE_APPLICATION_CREDENTIALS names: No such file or directory"),
        (other_sheet, f"no such spreadsheet, or it is not shared with {GoogleSheet.EMAIL} as editor"),
        (no_google, "Connection refused"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_without_the_key(
    service: Service,
    google: GoogleSheet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    said: str,
) -> None:
    pem = fault(google, service, tmp_path / "account.json", monkeypatch)
    sheet = ResultSheet(waits=())
    sheet.started(finished_run(tmp_path))
    sheet.close()
    (line,) = caplog.messages
    assert said in line
    assert "\n" not in line
    assert not [part for part in pem.split("\n")[1:-2] if part in line]


def test_without_the_variable_nobody_is_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HANDSEG_SHEET")
    follow(ResultSheet(), finished_run(tmp_path))
    assert not service.requests


@pytest.mark.usefixtures("restore_globals")
def test_training_writes_its_row(service: Service, google: GoogleSheet, drawn_dataset: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run"), "epochs": 2, "fold": 1}
    run_here("train.json", run_id="training", run_name="night", **options, **tiny())
    (result,) = google.table("results")
    assert (result["run"], result["network"], result["size"], result["fold"]) == ("night", "dynunet", "160", "1")
    assert (result["epochs"], result["state"], result["best epoch"]) == ("2", "done", "1")
    assert result["loss"] == "DeepSupervisionLoss(PerBoneLoss(DiceCELoss))"
    assert 0 <= float(result["best Dice"]) <= 1
    (machine,) = google.table("machines")
    assert machine["state"] == "idle"
