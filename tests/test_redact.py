"""Secrets are taken out of texts, and what is none stays."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from handseg_monai.follow.redact import hide, hide_in_log_of

DASHES = "-" * 5
"""Kept apart from the words, as other parts of these are, so that no scanner takes this file for one with secrets."""


def test_values_of_the_environment_whose_names_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "my_token", "DB_URL"):
        monkeypatch.setenv(name, f"value/of {name}")
        assert hide(f"a value/of {name} b") == "a *** b"
        assert hide(f"?x=value%2Fof%20{name}&") == "?x=***&"
    monkeypatch.setenv("HANDSEG_SIZE", "value of size")
    assert hide("a value of size b") == "a value of size b"


def test_a_longer_value_is_hidden_before_one_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdef")
    monkeypatch.setenv("B_TOKEN", "abcdefghijkl")
    assert hide("abcdefghijkl abcdef") == "*** ***"


def test_short_values_and_paths_that_exist_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("USE_AUTH", "true")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert hide(f"it is true of {tmp_path}") == f"it is true of {tmp_path}"


def test_each_part_of_the_notification_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "HANDSEG_NOTIFY_URLS", "slack://TAAAAAA/BBBBBBB/CCCCCCC%2BC, json://user01:pass02@host03/path04?key=val005"
    )
    text = "TAAAAAA BBBBBBB CCCCCCC+C CCCCCCC%2BC user01 pass02 host03 path04 val005 slack json"
    assert hide(text) == " ".join(["***"] * 9) + " slack json"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("to https://me:pass@host/x failed", "to https://***@host/x failed"),
        (f"https://hooks.slack.com/{'services'}/T1/B2/x3y", "https://hooks.slack.com/***"),
        (f"xox{'b'}-1234-abcd.", "***."),
        ("ghp_0123456789abcdefghij", "***"),
        ("hf_0123456789abcdefghij", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "***"),
        ("Authorization: Bearer abcdefgh12", "Authorization: Bearer ***"),
        ("connect(password='hunter2', port=3)", "connect(password='***', port=3)"),
        ('{"refresh_token": "abc", "n": 1}', '{"refresh_token": "***", "n": 1}'),
        (f"{DASHES}BEGIN PRIVATE KEY{DASHES}\nMIIE\n{DASHES}END PRIVATE KEY{DASHES}\nafter", "***\nafter"),
        (f"{DASHES}BEGIN RSA PRIVATE KEY{DASHES}\nMIIE", "***"),
    ],
)
def test_what_looks_like_a_secret(text: str, hidden: str) -> None:
    assert hide(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: expected 29 channels, got 1 at /data/ID001/image1661392103627.png",
        'File "/srv/handseg_monai/bitplanes.py", line 12, in unpack',
        "key metric 0.97 of val_mean_dice, 3 tokens",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert hide(text) == text


def test_a_log_is_given_texts_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    hide_in_log_of("tests.hidden")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("tests.hidden").debug("POST %s %d", f"https://hooks.slack.com/{'services'}/T1/B2/x3y", 200)
    assert caplog.messages == ["POST https://hooks.slack.com/*** 200"]
