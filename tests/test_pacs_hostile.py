"""What a PACS answers is checked: each kind of nonsense is an error in words."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from handseg_monai.pacs.address import Address
from handseg_monai.pacs.query import Instance, Query
from handseg_monai.pacs.server import Server
from handseg_monai.pacs.session import Limits, PacsError, PacsGoneError
from tests.dicoms import radiograph
from tests.nonsense import Nonsense, Piece, answer
from tests.services import Request

QUICK = Limits(connect=10.0, silence=20.0, whole=20.0, patience=0.6, listing=1 << 16, instance=1 << 17)
HASTY = replace(QUICK, silence=0.3)
PATIENT = replace(QUICK, patience=20.0)
AT = Instance("1.2.3", "1.2.4", "1.2.5")


def item(at: Instance = AT, **more: str) -> dict[str, Any]:
    """An instance in an answer to a search; values of attributes by tag, a letter before it."""
    values = {"0020000D": at.study, "0020000E": at.series, "00080018": at.uid}
    values |= {tag.lstrip("t"): value for tag, value in more.items()}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


def asks(pieces: Iterable[Piece], does: Callable[[Server], Any], limits: Limits = QUICK) -> Any:
    """Let a client do something with a server that sends the same to each request."""
    sent = list(pieces)
    with Nonsense(lambda _: sent) as nonsense, Server(Address.of(nonsense.url), limits) as server:
        return does(server)


def search(server: Server) -> list[Instance]:
    return server.search(Query(["DX"]))


def fetch(server: Server) -> bytes:
    return server.fetch(AT)


def parted(*parts: bytes, end: bytes = b"\r\n--x--\r\n") -> bytes:
    return b"".join(b"\r\n--x\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + end


PARTED = 'multipart/related; type="application/dicom"; boundary=x'
NO_LIST = r"no list of instances in DICOM JSON; is the URL the root"


class TestSearch:
    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            ([answer("<form>", kind="text/html")], r"text/html instead of DICOM JSON: a page to log in"),
            ([answer("<a/>", kind="application/dicom+xml")], r"sent application/dicom\+xml instead"),
            ([answer("[]", kind="what/ever")], r"sent a content type that was not asked for instead of DICOM JSON"),
            ([answer("[]", kind=None)], r"sent text/plain instead"),
            ([answer("[{")], r"is not JSON, though it says so"),
            ([answer("[" * 60000)], r"is not JSON, though it says so"),
            ([answer(b"\xff\xfe\x00")], r"is not JSON, though it says so"),
            ([answer({"error": "x"})], NO_LIST),
            ([answer([1, 2])], NO_LIST),
            ([answer("3")], NO_LIST),
            ([answer("null")], NO_LIST),
            ([answer([{}])], NO_LIST),
            ([answer([item(Instance("../../x", "", "1.2.03"))])], NO_LIST),
            ([answer([item()])], r"the same 1 instance for each page.*\(--limit 1\)"),
            ([answer([item(t00080060="CT")])], r"asked for a Modality, the server gives an instance of another one"),
            ([answer(status="400 Bad Request")], r"answers 400 \(Bad Request\); .*is the URL the root of its DICOMweb"),
            ([answer(status="403 Forbidden")], r"answers 403 \(Forbidden\); these credentials may not"),
            ([answer(status="404 Not Found")], r"answers 404 \(Not Found\); .*is the URL the root of its DICOMweb"),
            ([answer(status="409 Conflict")], r"409 \(Conflict\) to a search"),
            ([answer(status="500 Oh")], r"answers 500 \(Internal Server Error\); it has failed; look into its log"),
            ([answer(status="799 Oh")], r"answers 799 \(no status of HTTP\)"),
            ([answer(status="302 Found", Location="https://in.example/x?y=1")], r"to https://in.example, which is"),
            ([answer(status="302 Found", Location="//[")], r"sends on to no address, which is not followed"),
            ([answer("[]", Content_Encoding="gzip")], r"the answer is compressed"),
            ([answer("[]", Content_Length=str(1 << 40))], r"more than 1 MiB"),
            ([answer(b" " * (1 << 17), Content_Length="")], r"more than 1 MiB"),
            ([b"SSH-2.0-OpenSSH_9.2\r\n"], r"not HTTP; is there a web server"),
        ],
    )  # fmt: skip
    def test_nonsense_is_an_error_in_words(self, sent: list[Piece], words: str) -> None:
        with pytest.raises(PacsError, match=words) as raised:
            asks(sent, search)
        assert not isinstance(raised.value, PacsGoneError)

    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            ([lambda: time.sleep(1)], r"sent nothing for 0.3 seconds"),
            ([answer("[]", Content_Length="9"), lambda: time.sleep(1)], r"sent nothing for 0.3 seconds"),
            ([answer(status="302 No", Location="/x", Content_Length="9"), lambda: time.sleep(1)], r"sends on to http://127"),
        ],
    )  # fmt: skip
    def test_a_slow_one_is_not_waited_for(self, sent: list[Piece], words: str) -> None:
        """The body of a redirect is not even read."""
        with pytest.raises(PacsError, match=words):
            asks(sent, search, HASTY)

    def test_one_that_sends_byte_by_byte_is_not_waited_for(self) -> None:
        drops = itertools.chain([answer("", Content_Length="999")], [b" ", lambda: time.sleep(0.05)] * 100)
        with pytest.raises(PacsError, match=r"the answer took more than 0.6 seconds"):
            asks(drops, search, replace(QUICK, whole=0.6))

    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            ([answer("[]", Content_Length="9")], r"lost in the middle of an answer, for 1 seconds; run the same"),
            ([answer("5\r\n[", Content_Length="", Transfer_Encoding="chunked")], r"lost in the middle of an answer"),
            ([answer(status="503 Busy")], r"answers 503 \(Service Unavailable\), for 1 seconds"),
            ([answer(status="401 No")], r"401 \(Unauthorized\) to a request without credentials; set HANDSEG"),
        ],
    )  # fmt: skip
    def test_a_server_that_is_gone(self, sent: list[Piece], words: str) -> None:
        with pytest.raises(PacsGoneError, match=words):
            asks(sent, search)

    def test_one_that_was_never_there_is_not_waited_for(self) -> None:
        with Nonsense(lambda _: []) as nonsense:
            pass
        begun = time.monotonic()
        with pytest.raises(PacsGoneError, match=r"^127\.0\.0\.1: .*is the URL right, and does the server run"):
            search(Server(Address.of(nonsense.url), Limits()))
        assert time.monotonic() - begun < 5

    @pytest.mark.parametrize(
        "bad", [answer(status="502 Bad"), answer(status="504 Late"), answer("[", Content_Length="9")]
    )
    def test_what_passes_is_asked_again(self, bad: bytes) -> None:
        answers = iter([bad, answer([item()]), bad, answer([])])
        with Nonsense(lambda _: [next(answers)]) as nonsense, Server(Address.of(nonsense.url), PATIENT) as server:
            assert search(server) == [AT]

    def test_patience_begins_with_the_first_failure(self) -> None:
        """Which may come later than it would last."""
        pieces = iter([[answer("[", Content_Length="9"), lambda: time.sleep(0.8)], [answer([])]])
        with Nonsense(lambda _: next(pieces)) as nonsense, Server(Address.of(nonsense.url), QUICK) as server:
            assert search(server) == []

    def test_a_modality_is_asked_for_once(self) -> None:
        def page(request: Request) -> list[bytes]:
            return [answer([item()] if request.query["offset"] == ["0"] else [])]

        with Nonsense(page) as nonsense, Server(Address.of(nonsense.url), QUICK) as server:
            assert server.search(Query(["DX", "DX"])) == [AT]

    def test_what_does_not_pass_is_asked_once(self) -> None:
        for status in ("401 No", "403 No", "404 No", "500 No"):
            with Nonsense(lambda _, status=status: [answer(status=status)]) as nonsense:
                with pytest.raises(PacsError):
                    search(Server(Address.of(nonsense.url), QUICK))
                assert len(nonsense.requests) == 1

    def test_pages_are_asked_for_until_one_is_empty(self) -> None:
        """Of a server that gives two at most, one of them with a UID that is none."""
        held = [item(Instance("1.2.3", "1.2.4", f"1.2.{number}")) for number in (7, 8, "09", 11, 12)]

        def page(request: Request) -> list[bytes]:
            first = int(request.query["offset"][0])
            return [answer(held[first : first + 2], kind="application/json; charset=utf-8")]

        with Nonsense(page) as nonsense, Server(Address.of(nonsense.url), QUICK) as server:
            assert [at.uid for at in search(server)] == ["1.2.7", "1.2.8", "", "1.2.11", "1.2.12"]
            assert [at.uid for at in server.search(Query(["DX"], limit=3))] == ["1.2.7", "1.2.8", ""]
        assert [request.query["offset"] for request in nonsense.requests[:4]] == [["0"], ["2"], ["4"], ["5"]]


class TestFetch:
    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            ([answer("<html>", kind="text/html")], r"sent text/html instead of the instance"),
            ([answer("x", kind="multipart/related")], r"sent a content type that was not asked for instead"),
            ([answer(parted(b"a"), kind=PARTED.replace("=x", "=y"))], r"cut short on its way"),
            ([answer(parted(b"a", end=b""), kind=PARTED)], r"cut short on its way"),
            ([answer(parted(b"a", b"b"), kind=PARTED)], r"sent 2 instances; expected the one asked for"),
            ([answer(parted(), kind=PARTED)], r"sent 0 instances"),
            ([answer(parted(b"a" * (1 << 18)), kind=PARTED, Content_Length="")], r"more than 1 MiB"),
            ([answer(status="404 Not Found")], r"answers 404"),
        ],
    )
    def test_nonsense_is_an_error_in_words(self, sent: list[Piece], words: str) -> None:
        with pytest.raises(PacsError, match=words):
            asks(sent, fetch)

    def test_it_is_the_bytes_that_the_server_sent(self) -> None:
        content = b"\r\n--y\r\n\r\n--" + bytes(range(256))
        assert asks([answer(parted(content), kind=PARTED.replace("=x", '="x"'))], fetch) == content
        assert asks([answer(content, kind="application/dicom")], fetch) == content


class TestOneInstance:
    @pytest.mark.parametrize(
        "bad",
        [[answer(status="502 Bad")], [], [answer("x", kind=PARTED, Content_Length="9")]],
        ids=["502", "lost", "cut"],
    )
    def test_one_that_never_comes_is_its_own_matter_while_the_server_answers_searches(self, bad: list[Piece]) -> None:
        def reply(request: Request) -> list[Piece]:
            return [answer([])] if request.query else bad

        with Nonsense(reply) as nonsense, Server(Address.of(nonsense.url), QUICK) as server:
            assert not server.holds(AT)
            with pytest.raises(
                PacsError, match="for 1 seconds, though it answers a search; look into its log"
            ) as raised:
                fetch(server)
        assert not isinstance(raised.value, PacsGoneError)

    @pytest.mark.parametrize("bad", [answer(status="503 Busy"), answer(status="401 Over"), b""])
    def test_one_that_comes_no_more_than_searches_ends_the_run(self, bad: bytes) -> None:
        replies = itertools.chain([answer([])], itertools.repeat(answer(status="503 Busy"), 2), itertools.repeat(bad))
        with Nonsense(lambda _: [next(replies)]) as nonsense, Server(Address.of(nonsense.url), QUICK) as server:
            assert not server.holds(AT)
            with pytest.raises(PacsGoneError):
                fetch(server)


def outcome(key: str, reason: int | None = None) -> dict[str, Any]:
    """An answer to storing: the SEG is in the sequence of a tag."""
    one: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [AT.uid]}}
    if reason is not None:
        one["00081197"] = {"vr": "US", "Value": [reason]}
    return {key: {"vr": "SQ", "Value": [one]}}


STORED, FAILED = "00081199", "00081198"


class TestStore:
    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            (answer(outcome(FAILED, 0xA700)), r"failure A700, it is out of resources; look for room on its disk"),
            (answer(outcome(FAILED, 0x0122), "202 Accepted"), r"failure 0122, it does not store DICOM SEG"),
            (answer(outcome(FAILED, 0xA900), "409 Conflict"), r"failure A900, the SEG contradicts"),
            (answer(outcome(STORED) | outcome(FAILED), "202 Accepted"), r"it does not say why"),
            (answer("<p>", "409 Conflict", "text/html"), r"it does not say why"),
            (answer(""), r"it does not say why; look into its log"),
            (answer("[7]"), r"can't be understood"),
            (answer("<a/>", kind="application/dicom+xml"), r"it does not say why"),
            (answer("<p>", kind=None), r"it does not say why"),
            (answer(status="403 Forbidden"), r"answers 403 \(Forbidden\); these credentials may not"),
            (answer(status="413 Too Large"), r"answers 413"),
            (answer(status="500 Oh"), r"answers 500"),
        ],
    )
    def test_one_that_says_no_or_nothing(self, sent: bytes, words: str) -> None:
        for there in (False, True):
            found = [answer([item()] if there else [])]
            replies = {"POST": [sent], "GET": found}
            with Nonsense(lambda asked, replies=replies: replies[asked.method]) as nonsense:
                server = Server(Address.of(nonsense.url), QUICK)
                if there:  # another run has stored it, or this one, though it says otherwise
                    server.store(seg())
                    continue
                with pytest.raises(PacsError, match=f"^the server has not stored the SEG: .*{words}"):
                    server.store(seg())

    def test_one_that_stores_and_loses_the_connection_before_it_says_so(self) -> None:
        posts = itertools.count()

        def reply(request: Request) -> list[Piece]:
            if request.method == "POST":
                return [] if next(posts) == 0 else [answer(outcome(FAILED, 0x0111), "409 Conflict")]
            return [answer([item()])]

        with Nonsense(reply) as nonsense, Server(Address.of(nonsense.url), PATIENT) as server:
            assert server.holds(AT)
            server.store(seg())
        assert next(posts) == 2


def seg() -> Dataset:
    dataset = radiograph(np.arange(64, dtype=np.uint8).reshape(8, 8))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = AT.study, AT.series, AT.uid
    return dataset
