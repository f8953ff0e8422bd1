"""Messages reach Slack, KakaoTalk and others in the form that these ask for; what is wrong there breaks nothing."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apprise.plugins.kakaotalk import NotifyKakaoTalk
from apprise.plugins.slack import NotifySlack
from ignite.engine import Engine

from handseg_monai.follow import FollowRun, Notifications
from handseg_monai.follow.follow import Run
from handseg_monai.follow.notify import fit
from tests.bundle_runs import run_here, tiny
from tests.services import Request, Service, free_port, serve

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
KAKAO = "kakaotalk://c1ientsecret@restapikey0/refresh-token_9"
SECRETS = ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7", "c1ientsecret", "restapikey0", "refresh-token_9")


@pytest.fixture
def service() -> Iterator[Service]:
    """Slack and KakaoTalk, and a service that takes any JSON."""

    def answer(request: Request) -> tuple[int, Any]:
        if request.path.startswith("/services/"):
            return 200, "ok"
        return 200, {"access_token": "granted-token", "expires_in": 3600} if request.path == "/oauth/token" else {}

    with serve(answer) as service:
        yield service


@pytest.fixture
def at_loopback(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service in the place of Slack's and Kakao's hosts, which are asked for without a pause."""
    monkeypatch.setattr(NotifySlack, "webhook_url", f"{service.url}/services")
    monkeypatch.setattr(NotifyKakaoTalk, "token_url", f"{service.url}/oauth/token")
    monkeypatch.setattr(NotifyKakaoTalk, "notify_me_url", f"{service.url}/v2/api/talk/memo/default/send")
    monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
    monkeypatch.setattr(NotifyKakaoTalk, "request_rate_per_sec", 0)
    return service


def run_of(tmp_path: Path, **facts: Any) -> Run:
    return Run("night", tmp_path / "run", {"network_name": "dynunet", "size": 512}, **facts)


class _Steps(Engine):
    def run(self) -> Any:  # type: ignore[override]
        """As MONAI's engines, which hold their data."""
        return super().run(range(3))


def slack_texts(service: Service) -> list[str]:
    attachments = [request.json()["attachments"][0] for request in service.requests]
    return [f"{attachment.get('title', '')}\n{attachment['text']}" for attachment in attachments]


def test_slack_is_told_of_start_best_end_and_failure(
    at_loopback: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HANDSEG_NOTIFY_URLS", SLACK)
    run, messages = run_of(tmp_path, host="gpu7", epochs=9), Notifications(minutes=60)
    messages.started(run)
    run.epoch = run.best_epoch = 3
    for run.best in (0.91234, 0.92):
        messages.best(run)
    messages.ended(run)
    messages.failed(run, "Traceback\nValueError: too small")
    messages.close()
    assert {(r.method, r.path) for r in at_loopback.requests} == {
        ("POST", "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7")
    }
    started, best, ended, failed = slack_texts(at_loopback)
    assert started.startswith("night started on gpu7\nnetwork_name dynunet, size 512\n")
    assert best.startswith("night: new best Dice 0.9123\nepoch 3 of 9, ")
    assert ended.startswith("night ended on gpu7\nbest Dice 0.9200 (epoch 3)\nepoch 3 of 9, ")
    assert str(tmp_path / "run") in ended
    assert failed.startswith("night failed on gpu7\nepoch 3 of 9, ")
    assert failed.endswith("Traceback\nValueError: too small")
    assert not caplog.messages


def test_kakaotalk_gets_the_end_of_a_traceback_in_200_characters(
    at_loopback: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HANDSEG_NOTIFY_URLS", KAKAO)
    messages = Notifications()
    lines = [f'File "layer{i}.py", line {i}, in forward' for i in range(100)]
    messages.failed(run_of(tmp_path, host="gpu7"), "\n".join([*lines, "RuntimeError: CUDA out of memory"]))
    messages.close()
    token, message = at_loopback.requests
    assert (token.method, token.path) == ("POST", "/oauth/token")
    assert token.form() == {
        "grant_type": "refresh_token",
        "client_id": "restapikey0",
        "refresh_token": "refresh-token_9",
        "client_secret": "c1ientsecret",
    }
    assert (message.method, message.path) == ("POST", "/v2/api/talk/memo/default/send")
    assert message.headers["authorization"] == "Bearer granted-token"
    template = json.loads(message.form()["template_object"])
    assert template["object_type"] == "text"
    assert len(template["text"]) == 200
    assert template["text"].startswith("night failed on gpu7\n")
    assert template["text"].endswith("line 99, in forward\nRuntimeError: CUDA out of memory")


@pytest.mark.parametrize(
    ("room", "lines", "text"),
    [
        (100, 0, "head\none\ntwo\nthree"),
        (15, 0, "head\n…two\nthree"),
        (100, 2, "head\nthree"),
        (8, 0, "head\n…ee"),
    ],
)
def test_a_text_is_cut_between_its_head_and_its_end(room: int, lines: int, text: str) -> None:
    service: Any = SimpleNamespace(body_maxlen=room, body_max_line_count=lines)
    cut = fit(service, "head\none\ntwo\nthree")
    assert cut == text
    assert len(cut) <= room


def test_a_service_that_hangs_does_not_hold_up_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked, released = threading.Event(), threading.Event()

    def hang(request: Request) -> tuple[int, Any]:
        asked.set()
        released.wait(60)
        return 200, {}

    with serve(hang) as slow:
        monkeypatch.setenv("HANDSEG_NOTIFY_URLS", f"json://{slow.host}/?rto=600")
        follow = FollowRun("night", tmp_path, [Notifications(patience=0.1)])
        done: list[bool] = []
        follow.run(_Steps(lambda engine, batch: done.append(asked.wait())))
        follow.end()
        # Nothing has been answered, and all is done.
        assert done == [True] * 3
        assert not released.is_set()
        assert [r.getMessage() for r in caplog.records if r.name.startswith("handseg")] == [
            "notification by JSON: no answer in time, 2 messages were not sent"
        ]
        released.set()


@pytest.mark.parametrize("trouble", ["down", "broken"])
def test_a_service_in_trouble_costs_one_line_a_message_without_secrets(
    at_loopback: Service,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    with serve(lambda request: (500, {})) as broken:
        url = broken.url if trouble == "broken" else f"http://127.0.0.1:{free_port()}"
        monkeypatch.setattr(NotifySlack, "webhook_url", f"{url}/services")
        monkeypatch.setattr(NotifyKakaoTalk, "token_url", f"{url}/oauth/token")
        monkeypatch.setenv("HANDSEG_NOTIFY_URLS", f"{SLACK}, {KAKAO}")
        with caplog.at_level(logging.DEBUG):
            follow = FollowRun("night", tmp_path, [Notifications(patience=60)])
            follow.end()
    lines = [r for r in caplog.records if r.name.startswith("handseg")]
    assert sorted(r.getMessage().split(":")[0] for r in lines) == [
        "notification by KakaoTalk failed",
        "notification by Slack failed",
    ]
    assert all("\n" not in r.getMessage() for r in lines)
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_what_is_no_url_is_told_by_its_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HANDSEG_NOTIFY_URLS", "json://127.0.0.1/ hook5://secret-part slack://too-short")
    Notifications()
    assert caplog.messages == [
        f"HANDSEG_NOTIFY_URLS: URL {n} of 3 is incomplete, or apprise does not know its service" for n in (2, 3)
    ]


def test_without_the_variable_nothing_is_sent(
    at_loopback: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HANDSEG_NOTIFY_URLS", raising=False)
    threads = threading.active_count()
    follow = FollowRun("night", tmp_path, [Notifications()])
    follow.end()
    assert threading.active_count() == threads
    assert not at_loopback.requests


@pytest.mark.usefixtures("restore_globals")
def test_training_that_breaks_is_told_with_the_end_of_its_traceback(
    at_loopback: Service, drawn_dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HANDSEG_NOTIFY_URLS", SLACK)
    monkeypatch.setenv("SOME_API_KEY", "marked-secret")
    with pytest.raises(RuntimeError):
        run_here(
            "train.json",
            run_id="training",
            dataset_dir=str(drawn_dataset),
            output_dir=str(tmp_path / "run"),
            run_name="night",
            **{"train#trainer#prepare_batch": "$lambda *_, **__: int('marked-secret')"},
            **tiny(),
        )
    started, failed = slack_texts(at_loopback)
    assert "network_name dynunet, loss DeepSupervisionLoss(PerBoneLoss(DiceCELoss)), size 160, fold 0" in started
    assert failed.startswith("night failed on ")
    assert failed.endswith("ValueError: invalid literal for int() with base 10: '***'")
