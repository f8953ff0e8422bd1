"""A Google Sheet that tells a team which results there are, and which machine is free."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handseg_monai.follow.follow import Follower, Run, machine
from handseg_monai.follow.mailbox import Mailbox

if TYPE_CHECKING:
    import gspread

logger = logging.getLogger(__name__)

SHEET = "HANDSEG_SHEET"
ACCOUNT = "GOOGLE_APPLICATION_CREDENTIALS"
_SCOPES = ["https://www.googleapis.com/auth/spreadsheets"]
_TIMEOUT = (5.0, 15.0)
_SIGN_OF_LIFE = 600.0
"""Seconds at least between two signs of life, the column ``seen``."""
_PATIENCE = 30.0
"""Seconds to wait at the end of the run until the rows are written."""


class ResultSheet(Follower):
    """Write a run's result and the machine's state to a Google Sheet, from a thread of its own.

    The environment variable ``HANDSEG_SHEET`` holds the spreadsheet's id or URL, ``GOOGLE_APPLICATION_CREDENTIALS`` the
    path of a service account's file; the spreadsheet is shared with that account. Without the first nothing is done.
    Worksheets and columns that are missing are made; the others may be moved, and columns added.

    Parameters
    ----------
    waits
        Seconds to wait before each further try, where Google says that it is busy or can't be reached.
    """

    def __init__(self, waits: Sequence[float] = (1, 2, 4, 8, 16, 32)) -> None:
        self.waits = tuple(waits)
        self.sheet = os.environ.get(SHEET, "").strip()
        if self.sheet and importlib.util.find_spec("gspread") is None:
            logger.warning(f"{SHEET} is set, but gspread is missing: pip install 'handseg-monai[sheets]'")
            self.sheet = ""
        self._mailbox = Mailbox("Google Sheet")
        self._spreadsheet: gspread.Spreadsheet | None = None
        self._seen = time.monotonic()

    def started(self, run: Run) -> None:
        """Write that the machine is running."""
        self._machine("running", run, run.begun)

    def epoch(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write that the machine is alive."""
        if time.monotonic() - self._seen >= _SIGN_OF_LIFE:
            self._machine("running", run, run.begun)

    def ended(self, run: Run) -> None:
        """Write a row of results, and that the machine is idle."""
        self._result("done", run)
        self._machine("idle", None, _now())

    def failed(self, run: Run, reason: str) -> None:
        """A row that says so; the machine is free, and its last run failed."""
        self._result("failed", run)
        self._machine("failed", run, _now())

    def close(self) -> None:
        """Wait for the last rows, some seconds at most."""
        self._mailbox.wait(time.monotonic() + _PATIENCE)

    def _result(self, state: str, run: Run) -> None:
        known = run.parameters
        row = {
            "when": _text(run.begun),
            "machine": machine()[0],
            "run": run.name,
            "network": known.get("network_name"),
            "loss": known.get("loss"),
            "size": known.get("size"),
            "fold": known.get("fold"),
            "epochs": run.epoch or None,
            "best Dice": None if run.best is None else round(run.best, 6),
            "best epoch": run.best_epoch,
            "duration": run.took,
            "state": state,
            "folder": str(run.folder),
        }
        self._put("results", ("when", "machine", "run"), row)

    def _machine(self, state: str, run: Run | None, since: datetime) -> None:
        self._seen = time.monotonic()
        name, gpu, memory = machine()
        row = {
            "machine": name,
            "state": state,
            "gpu": gpu,
            "memory": memory,
            "run": run.name if run else "",
            "since": _text(since),
            "seen": _text(_now()),
        }
        self._put("machines", ("machine",), row)

    def _put(self, title: str, key: Sequence[str], row: Mapping[str, object]) -> None:
        if self.sheet:
            self._mailbox.put(lambda: self._try(title, key, row))

    def _try(self, title: str, key: Sequence[str], row: Mapping[str, object]) -> None:
        """Put a row, again after each wait: that is looked for first, so that no try can write it twice."""
        from google.auth.exceptions import RefreshError, TransportError
        from gspread.exceptions import APIError
        from requests import ConnectionError as Unreachable
        from requests import Timeout

        for wait in (*self.waits, None):
            try:
                put_row(self._worksheet(title, list(row)), key, row)
                return
            except APIError as error:
                code = error.response.status_code
                if wait is None or (code not in (408, 429) and code < 500):
                    raise
            except RefreshError as error:
                if wait is None or not error.retryable:
                    raise
            except (TransportError, Unreachable, Timeout):
                if wait is None:
                    raise
            time.sleep(wait)

    def _worksheet(self, title: str, columns: Sequence[str]) -> gspread.Worksheet:
        import gspread

        if self._spreadsheet is None:
            self._spreadsheet = _open(self.sheet)
        try:
            return self._spreadsheet.worksheet(title)
        except gspread.WorksheetNotFound:
            return self._spreadsheet.add_worksheet(title, rows=100, cols=len(columns))


def _open(sheet: str) -> gspread.Spreadsheet:
    """Open a spreadsheet by id or URL; errors say what to do, and hold nothing of the account's key."""
    import gspread

    if not (path := os.environ.get(ACCOUNT)):
        raise ValueError(f"{SHEET} is set, but {ACCOUNT} names no service account's file")
    try:
        client = gspread.service_account(path, scopes=_SCOPES)
        email = json.loads(Path(path).read_text(encoding="utf-8"))["client_email"]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no service account's file"
        raise ValueError(f"the file that {ACCOUNT} names: {reason}") from None
    client.set_timeout(_TIMEOUT)
    try:
        return client.open_by_url(sheet) if "/" in sheet else client.open_by_key(sheet)
    except (PermissionError, gspread.SpreadsheetNotFound):
        raise ValueError(f"no such spreadsheet, or it is not shared with {email} as editor") from None


def put_row(worksheet: gspread.Worksheet, key: Sequence[str], row: Mapping[str, object]) -> None:
    """Write a row: over the one that has the same values in the ``key`` columns, or below all others.

    Columns are found by their names in the first row, and made to its right where they are missing. Cells of other
    columns stay as they are.
    """
    from gspread.utils import rowcol_to_a1

    table = worksheet.get_all_values()
    header = list(table[0]) if table else []
    if missing := [column for column in row if column not in header]:
        header += missing
        if len(header) > worksheet.col_count:
            worksheet.resize(cols=len(header))
        worksheet.update([header], "A1", raw=True)
    place = {column: header.index(column) for column in row}
    for number, cells in enumerate((cells + [""] * len(header) for cells in table[1:]), 2):
        if all(cells[place[column]] == str(row[column]) for column in key):
            updates = [
                {"range": rowcol_to_a1(number, place[column] + 1), "values": [["" if value is None else value]]}
                for column, value in row.items()
            ]
            worksheet.batch_update(updates, raw=True)
            return
    values: list[Any] = [row.get(column) for column in header]  # None leaves a cell as it is
    worksheet.append_row(values, table_range="A1")


def _now() -> datetime:
    return datetime.now().astimezone()


def _text(time_: datetime) -> str:
    return time_.strftime("%Y-%m-%d %H:%M:%S")
