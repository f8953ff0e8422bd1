"""What opens a PACS goes to that PACS alone, by no way that others read, and into no line or file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from handseg_monai.pacs.address import Address
from handseg_monai.pacs.query import Query
from handseg_monai.pacs.server import Server
from handseg_monai.pacs.session import PacsError, PacsGoneError
from tests.nonsense import Nonsense, answer, write_certificate
from tests.programs import handseg
from tests.services import Request
from tests.test_pacs_hostile import QUICK, item, search

SECRET = "Kq8-open-sesame-41"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDSEG_PACS_USER", "somebody")
    monkeypatch.setenv("HANDSEG_PACS_PASSWORD", SECRET)


class TestCredentials:
    def test_a_redirect_never_carries_them(self, secret: None) -> None:
        with Nonsense(lambda _: [answer([])]) as other:
            target = other.url.replace("127.0.0.1", "localhost")
            for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
                sent = answer(status=status, Location=f"{target}/instances")
                with (
                    Nonsense(lambda _, sent=sent: [sent]) as here,
                    pytest.raises(PacsError, match="sends on to http://localhost"),
                ):
                    search(Server(Address.of(here.url), QUICK))
                assert here.requests[0].headers["authorization"].startswith("Basic ")
        assert other.requests == []
        sent = answer(status="302 Found", Location=f"https://me:{SECRET}@{SECRET}.example/{SECRET}")
        with Nonsense(lambda _: [sent]) as here, pytest.raises(PacsError, match=r"on to https://\*\*\*.example, which"):
            search(Server(Address.of(here.url), QUICK))

    def test_a_certificate_that_nobody_trusts(
        self, secret: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are not sent; ``REQUESTS_CA_BUNDLE`` makes it one to trust."""
        certificate = write_certificate(tmp_path / "certificate.pem")
        with Nonsense(lambda _: [answer([])], certificate) as here:
            with pytest.raises(PacsGoneError, match=r"encrypted \(self.signed certificate\); REQUESTS_CA_BUNDLE"):
                search(Server(Address.of(here.url), QUICK))
            with pytest.raises(PacsGoneError, match="no connection"):
                search(Server(Address.of(here.url.replace("https", "http")), QUICK))
            assert here.requests == []
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            assert search(Server(Address.of(here.url), QUICK)) == []
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
            with pytest.raises(PacsError, match="no such file of certificates"):
                search(Server(Address.of(here.url), QUICK))

    def test_a_token_is_a_bearer_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HANDSEG_PACS_TOKEN", SECRET)
        with Nonsense(lambda _: [answer([])]) as here:
            assert search(Server(Address.of(here.url), QUICK)) == []
        assert here.requests[0].headers["authorization"] == f"Bearer {SECRET}"

    def test_none_are_taken_from_elsewhere(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login somebody password {SECRET}\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with Nonsense(lambda _: [answer([])]) as here:
            search(Server(Address.of(here.url), QUICK))
        assert "authorization" not in here.requests[0].headers

    def test_no_proxy_sees_what_is_for_this_machine(self, secret: None, monkeypatch: pytest.MonkeyPatch) -> None:
        with Nonsense(lambda _: [answer([])]) as here, Nonsense(lambda _: [answer([])]) as proxy:
            for name in ("http_proxy", "all_proxy"):
                monkeypatch.setenv(name, proxy.url.removesuffix("/dicom-web"))
            search(Server(Address.of(here.url), QUICK))
            assert (len(here.requests), len(proxy.requests)) == (1, 0)

    def test_a_server_that_says_them_back_is_not_quoted(
        self, secret: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)

        def parrot(request: Request) -> list[bytes]:
            said = request.headers["authorization"].split()[1]
            if "SOPInstanceUID" not in request.query and request.method == "GET" and "offset" in request.query:
                first = request.query["offset"][0] == "0" and request.query["Modality"] == ["DX"]
                return [answer([item()] if first else [], Warning=f'299 "{said} {SECRET}"')]
            kinds = [f"text/{said}", f"{SECRET}/x"]
            return [answer([said, SECRET], f"500 {said}", kinds[0], Location=f"https://{said}/{SECRET}", X=SECRET)]

        with Nonsense(parrot) as here:
            done = handseg("pacs", here.url, "--out", tmp_path / "out")
        assert done.returncode == 1
        written = done.stdout + done.stderr + (tmp_path / "out" / "pacs.csv").read_text() + caplog.text
        assert "answers 500" in written
        for word in (SECRET, here.requests[0].headers["authorization"].split()[1]):
            assert word not in written

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            (f"https://somebody:{SECRET}@pacs.example/dicom-web", "the URL holds a user or a password"),
            (f"https://{SECRET}@pacs.example/dicom-web", "the URL holds a user or a password"),
            (f"somebody:{SECRET}@pacs.example/dicom-web", "the URL holds a user or a password"),
            (f"somebody:/{SECRET}@pacs.example/dicom-web", "the URL holds a user or a password"),
            (f"https:/somebody:{SECRET}@pacs.example/x", "the URL holds a user or a password"),
            (f"https:///somebody:{SECRET}@pacs.example/x", "the URL holds a user or a password"),
            (f"https://somebody:12/{SECRET}@pacs.example/x", "the URL holds a user or a password"),
            (f"https:somebody:{SECRET}@pacs.example/x", "the URL holds a user or a password"),
            (f"https://pacs.example/dicom-web?token={SECRET}", r"a part after \? or #, which may be a secret"),
            (f"https://pacs.example:{SECRET}/", "the URL can't be read; expected the root of a DICOMweb"),
            ("pacs.example/dicom-web", "not an address of the web; expected"),
            ("ftp://pacs.example/", "not an address of the web"),
            ("http:///dicom-web", "not an address of the web"),
            ("http://pacs.example/dicom-web", "http sends the credentials unencrypted.*--allow-http"),
        ],
    )
    def test_a_url_that_is_refused(self, url: str, words: str, secret: None) -> None:
        done = handseg("pacs", url)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert re.search(words, done.stderr)
        assert SECRET not in done.stderr

    def test_http_is_for_this_machine_or_by_request(self, secret: None, monkeypatch: pytest.MonkeyPatch) -> None:
        for url in ("http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]:8042/x", "https://pacs.example/x"):
            assert Address.of(url).authorization
        for url in ("http://127.0.0.1.example/x", "http://localhost.example/x", "http://0.0.0.0/x", "http://10.0.0.7/"):
            with pytest.raises(ValueError, match="unencrypted"):
                Address.of(url)
            assert Address.of(url, allow_http=True).authorization
        monkeypatch.delenv("HANDSEG_PACS_USER")
        monkeypatch.delenv("HANDSEG_PACS_PASSWORD")
        assert Address.of("http://10.0.0.7/x/") == Address("http://10.0.0.7/x")
        assert Address.of("https://pacs.example/a%40b/") == Address("https://pacs.example/a%40b")

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"USER": "a"}, "HANDSEG_PACS_USER is set and HANDSEG_PACS_PASSWORD is not"),
            ({"PASSWORD": SECRET}, "HANDSEG_PACS_PASSWORD is set and HANDSEG_PACS_USER is not"),
            ({"USER": "a", "PASSWORD": SECRET, "TOKEN": SECRET}, "expected one kind"),
            ({"TOKEN": f"{SECRET}\r\nX: 1"}, "a character that no token has"),
            ({"USER": f"{SECRET}:b", "PASSWORD": "c"}, "holds a colon"),
        ],
    )
    def test_credentials_that_can_not_be_sent(self, values, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"HANDSEG_PACS_{name}", value)
        with pytest.raises(ValueError, match=words) as raised:
            Address.of("https://pacs.example/dicom-web")
        assert SECRET not in str(raised.value)
        assert SECRET not in repr(Address("https://x", SECRET))


@pytest.mark.parametrize(
    "options",
    [
        {"modalities": ["cr"]},
        {"modalities": []},
        {"date": "2024-01-31"},
        {"date": "20240231"},
        {"date": "-"},
        {"date": ""},
        {"date": "20240201-20240101"},
        {"limit": 0},
        {"patient": "a\\b"},
        {"accession": " "},
        {"body_part": "HAND\n"},
    ],
)
def test_what_no_server_could_understand_is_refused_before_asking(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"--\w"):
        Query(**options)
