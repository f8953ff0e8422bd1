"""Damaged files of every kind: none gives a traceback, ends the process or hangs."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.mutations import run
from tests.mutants import make_kinds


def test_whole_files_are_read(tmp_path: Path) -> None:
    for kind in make_kinds(tmp_path).values():
        for path in kind.files:
            kind.read(path)


def test_damaged_files_are_read_or_refused() -> None:
    outcomes = run(count=640, seed=7, jobs=1)
    assert sum(sum(outcome.counts.values()) for outcome in outcomes.values()) == 640
    assert [text for outcome in outcomes.values() for text in outcome.shown if outcome.counts["tracebacks"]] == []
    # The damage spares some files and spoils others.
    assert all(outcome.counts["refused"] for outcome in outcomes.values())
    assert sum(outcome.counts["read"] for outcome in outcomes.values()) > 60
