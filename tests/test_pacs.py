"""A PACS: each radiograph gets one SEG in its study, whatever ends the run; a real Orthanc is at the other end."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pydicom import Dataset, dcmread

from handseg_monai.bitplanes import unpack
from handseg_monai.pacs.address import Address
from handseg_monai.pacs.query import Instance, Query
from handseg_monai.pacs.segment import Segmenter, segment_pacs
from handseg_monai.pacs.server import Server
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.run.inference import Inference
from tests.conftest import draw_radiograph
from tests.dicoms import radiograph
from tests.hands import both_hands, phantom
from tests.nonsense import Nonsense, answer
from tests.orthanc import PASSWORD, USER, Orthanc, needs_orthanc
from tests.programs import Done, handseg, in_own_process, said_by, start_module
from tests.served import PATIENCE, save_quick
from tests.services import Request
from tests.test_dicom_seg import dciodvfy, from_pydicom, needs_dciodvfy
from tests.test_pacs_hostile import AT, PARTED, QUICK, parted

pytestmark = needs_orthanc
LOW = 0.02
"""Threshold at which the masks of drawn radiographs are not empty."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that look at each image once, and so are quick."""
    path = save_quick(tmp_path_factory.mktemp("weights") / "quick.pt")
    content = torch.load(path, map_location="cpu", weights_only=True)
    torch.save(content | {"views": "image", "size": 256}, path)
    return path


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDSEG_PACS_USER", USER)
    monkeypatch.setenv("HANDSEG_PACS_PASSWORD", PASSWORD)


def drawn(number: int, kind: str = "DX", **attributes: object) -> Dataset:
    pixels = draw_radiograph(number, (256, 200))[0].astype(np.uint16) * np.uint16(16)
    return radiograph(pixels, kind, BitsStored=12, **attributes)


def filled(orthanc: Orthanc, count: int) -> list[Dataset]:
    """Add radiographs, DX and CR in turn, each in a study of its own."""
    sources = [drawn(number, "CR" if number % 2 else "DX") for number in range(count)]
    for source in sources:
        orthanc.add(source)
    return sources


def run(orthanc: Orthanc, checkpoint: Path, *options: object) -> Done:
    return handseg("pacs", orthanc.url, "--checkpoint", checkpoint, "--threshold", LOW, *options)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "pacs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_each_once(orthanc: Orthanc, sources: list[Dataset]) -> None:
    segs = orthanc.segs()
    assert {uid: len(found) for uid, found in segs.items()} == {str(source.SOPInstanceUID): 1 for source in sources}


@pytest.fixture(scope="module")
def done(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Orthanc, list[Dataset], Path, Done]]:
    """Twenty studies, and radiographs of a foot and of modality OT, which were segmented."""
    folder = tmp_path_factory.mktemp("pacs")
    with pytest.MonkeyPatch.context() as patch, Orthanc(folder / "orthanc") as orthanc:
        patch.setenv("HANDSEG_PACS_USER", USER)
        patch.setenv("HANDSEG_PACS_PASSWORD", PASSWORD)
        sources = filled(orthanc, 20)
        orthanc.add(drawn(30, BodyPartExamined="FOOT", AccessionNumber="FOOT1", StudyDate="20230101"))
        orthanc.add(drawn(31, "SC"))
        yield orthanc, sources, folder / "out", run(orthanc, checkpoint, "--out", folder / "out")


class TestRoundTrip:
    def test_all_are_stored_and_what_is_no_hand_is_refused(self, done) -> None:
        """Masks that are not plausible, as those of weights that draw nonsense, are stored and named."""
        orthanc, sources, out, said = done
        assert said.returncode == 1
        assert "21 radiographs: 20 stored, 1 refused" in said.stdout
        assert re.search(r"handseg: 1 of 21 radiographs refused:\n  [\d./]+: .*FOOT", said.stderr)
        assert_each_once(orthanc, sources)
        rows = table(out)
        assert sorted(row["result"] for row in rows) == ["refused", *["stored"] * 20]
        doubted = re.search(r"\n20 of them not plausible; the SEG is stored, look at it:\n((  .*\n){20})", said.stdout)
        assert doubted is not None
        assert sorted(doubted[1].splitlines()) == sorted(
            f"  {row['study']}/{row['series']}/{row['instance']}: score {float(row['score']):.2f}, {row['finding']}"
            for row in rows
            if row["finding"]
        )
        assert {row["instance"] for row in rows} >= {source.SOPInstanceUID for source in sources}

    def test_the_seg_holds_the_masks_of_inference_in_the_source_s_study(self, done, checkpoint: Path) -> None:
        orthanc, sources, out, _ = done
        rows = {row["instance"]: row for row in table(out)}
        inference = Inference(str(checkpoint), threshold=LOW)
        inference.load()
        segs = orthanc.segs()
        for number, source in enumerate(sources):
            (seg,) = segs[source.SOPInstanceUID]
            assert seg.StudyInstanceUID == source.StudyInstanceUID
            assert seg.SeriesInstanceUID != source.SeriesInstanceUID
            seg.save_as(out / "back.dcm")
            local = out / "seg" / source.StudyInstanceUID / f"{source.SOPInstanceUID}.dcm"
            masks = from_pydicom(out / "back.dcm")
            np.testing.assert_array_equal(masks, from_pydicom(local))
            assert masks.any()
            if number < 4:
                expected = inference.infer(source.pixel_array)
                judged = plausibility(expected.planes[0])
                row = rows[source.SOPInstanceUID]
                assert (row["score"], row["plausible"]) == (f"{judged.score:.4f}", "0")
                assert row["finding"] == judged.findings[0].text
                np.testing.assert_array_equal(masks, unpack(expected.planes[0]))

    @needs_dciodvfy
    def test_the_checker_finds_no_error(self, done) -> None:
        _, sources, out, _ = done
        for source in sources[:2]:
            assert dciodvfy(out / "seg" / source.StudyInstanceUID / f"{source.SOPInstanceUID}.dcm") == []

    def test_copies_are_what_the_server_holds(self, done) -> None:
        _, sources, out, _ = done
        for source in sources:
            copy = dcmread(out / "images" / source.StudyInstanceUID / f"{source.SOPInstanceUID}.dcm")
            assert copy.SOPInstanceUID == source.SOPInstanceUID
            np.testing.assert_array_equal(copy.pixel_array, source.pixel_array)

    def test_twice_is_once(self, done, checkpoint: Path, credentials: None, tmp_path: Path) -> None:
        orthanc, sources, _, _ = done
        before = {str(seg.SOPInstanceUID) for found in orthanc.segs().values() for seg in found}
        again = run(orthanc, checkpoint, "--out", tmp_path)
        assert "20 there already, 1 refused" in again.stdout
        assert {str(seg.SOPInstanceUID) for found in orthanc.segs().values() for seg in found} == before
        assert not (tmp_path / "seg").exists()
        assert_each_once(orthanc, sources)

    def test_other_masks_are_another_seg(self, done, checkpoint: Path, credentials: None) -> None:
        """A dry run says so, and stores nothing."""
        orthanc, sources, _, _ = done
        for options in (["--threshold", 0.03], ["--hands", "both"]):
            said = run(orthanc, checkpoint, "--dry-run", *options)
            assert said.returncode == 0
            assert "21 radiographs: 21 to do" in said.stdout
            assert len(re.findall(r"^  [\d./]+: to do$", said.stdout, re.MULTILINE)) == 21
        assert_each_once(orthanc, sources)

    @pytest.mark.parametrize(
        ("options", "count"),
        [
            (["--modality", "CR"], 10),
            (["--modality", "OT"], 1),
            (["--body-part", "HAND"], 20),
            (["--accession", "FOOT1"], 1),
            (["--date", "20230101"], 1),
            (["--date", "20240101-"], 20),
            (["--date", "-20231231"], 1),
            (["--patient", "PHANTOM-*"], 21),
            (["--patient", "PHANTOM-8"], 0),
            (["--limit", 13], 13),
        ],
    )
    def test_each_option_asks_for_fewer(self, options, count: int, done, checkpoint: Path, credentials: None) -> None:
        said = run(done[0], checkpoint, "--dry-run", *options)
        assert said.returncode == 0, said.stderr
        assert (f"{count} radiograph" if count else "no such radiograph") in said.stdout

    def test_pages_give_all(self, done, credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("handseg_monai.pacs.server.PAGE", 3)
        with Server(Address.of(done[0].url)) as server:
            found = server.search(Query())
        assert len(found) == len(set(found)) == 21

    def test_a_wrong_password_is_one_line(self, done) -> None:
        environment = {"HANDSEG_PACS_USER": USER, "HANDSEG_PACS_PASSWORD": "another one"}
        said = in_own_process("handseg_monai", "pacs", done[0].url, **environment)
        assert said.returncode == 2
        assert said.stderr.startswith(
            "handseg: the server answers 401 (Unauthorized) to these credentials; set HANDSEG"
        )
        assert len(said.stderr.splitlines()) == 1
        assert "another one" not in said.stderr


def file_of(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


OTHER = {"StudyInstanceUID": AT.study, "SeriesInstanceUID": AT.series, "SOPInstanceUID": "1.2.6"}
CT = {**OTHER, "SOPInstanceUID": AT.uid, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"<html>", "not a DICOM file: no DICM after the first 128 bytes"),
        (file_of(drawn(0)), "the server sent another instance than the one asked for"),
        (file_of(drawn(0, **OTHER)), "the server sent another instance than the one asked for"),
        (file_of(drawn(0, **CT)), "CT Image Storage: not a radiograph"),
        (file_of(drawn(0, **OTHER | {"SOPInstanceUID": AT.uid}))[:-999], "cut short|contradict|pixel data"),
    ],
)
def test_what_is_not_the_radiograph_asked_for_is_never_segmented(sent: bytes, words: str, checkpoint: Path) -> None:
    def reply(request: Request) -> list[bytes]:
        is_search = request.path.endswith("/instances")
        return [answer([]) if is_search else answer(parted(sent), kind=PARTED)]

    with Nonsense(reply) as nonsense, Server(Address.of(nonsense.url)) as server:
        (row,) = segment_pacs(server, [AT], Segmenter(str(checkpoint)), progress=False)
    assert row.result == "refused"
    assert re.search(words, row.why)
    assert {request.method for request in nonsense.requests} == {"GET"}


def test_a_uid_that_is_none_is_never_asked_for_and_the_rest_goes_on_until_a_login_is_over(checkpoint: Path) -> None:
    found = [Instance(AT.study, "", AT.uid), AT, Instance(AT.study, AT.series, "1.2.7")]
    with Nonsense(lambda _: [answer(status="401 Over")]) as nonsense, Server(Address.of(nonsense.url)) as server:
        rows = segment_pacs(server, found, Segmenter(str(checkpoint)), progress=False)
    assert [row.instance for row in rows] == found
    assert [row.result for row in rows] == ["refused"] * 3
    words = ["a UID for it that is none", "answers 401", "not reached"]
    assert all(word in row.why for word, row in zip(words, rows, strict=True))
    assert len(nonsense.requests) == 1


def test_what_breaks_the_standard_in_a_header_is_never_quoted(
    checkpoint: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    """As pydicom does in warnings, while it reads, writes or sends."""
    with pytest.warns(UserWarning, match="Invalid value for VR CS: 'Anna 1980'"):
        source = drawn(0, **OTHER | {"SOPInstanceUID": AT.uid}, PatientOrientation="Anna 1980")
    content = file_of(source)
    recwarn.clear()

    def reply(request: Request) -> list[bytes]:
        if request.method == "POST":
            return [answer("", "409 Conflict")]
        return [answer([]) if request.path.endswith("/instances") else answer(parted(content), kind=PARTED)]

    with Nonsense(reply) as nonsense, Server(Address.of(nonsense.url)) as server:
        (row,) = segment_pacs(server, [AT], Segmenter(str(checkpoint), LOW), tmp_path, progress=False)
    assert "the server has not stored the SEG" in row.why
    assert "Anna" not in "".join(str(warning.message) for warning in recwarn) + "".join(capfd.readouterr())


FAILURES = {
    torch.OutOfMemoryError("CUDA out of memory for PHANTOM"): "out of memory",
    RuntimeError("DefaultCPUAllocator: can't allocate memory"): "out of memory",
    MemoryError("PHANTOM"): "out of memory",
    RuntimeError("PHANTOM"): "RuntimeError",
    cv2.error("PHANTOM"): "(cv2.error)",
    KeyError("PHANTOM"): "KeyError",
    ZeroDivisionError("PHANTOM"): "ZeroDivisionError",
    ValueError("PHANTOM"): "ValueError",
}


def test_an_image_that_the_network_fails_at_is_refused_and_the_others_go_on(
    checkpoint: Path, credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import highdicom.seg

    segmenter = Segmenter(str(checkpoint), LOW)
    segmenter._load()
    failing = iter(FAILURES)

    def fail(*_: object) -> None:
        if error := next(failing, None):
            raise error

    def run_out(**_: object) -> None:
        raise MemoryError("PHANTOM")

    segmenter._inference.network.register_forward_pre_hook(fail)
    with Orthanc(tmp_path / "orthanc") as orthanc, Server(Address.of(orthanc.url)) as server:
        filled(orthanc, len(FAILURES) + 1)
        found = server.search(Query())
        rows = segment_pacs(server, found, segmenter, progress=False)
        assert [row.result for row in rows] == ["refused"] * len(FAILURES) + ["stored"]
        for words, row in zip(FAILURES.values(), rows, strict=False):
            assert words in row.why
            assert "PHANTOM" not in row.why
        with monkeypatch.context() as patch:  # while the SEG is written, too
            patch.setattr(highdicom.seg, "Segmentation", run_out)
            (row,) = segment_pacs(server, found[:1], segmenter, progress=False)
        assert "out of memory" in row.why
        (row,) = segment_pacs(server, found[:1], segmenter, progress=False)
        assert row.result == "stored"


def test_what_neither_header_nor_masks_call_a_hand_gets_no_seg(credentials: None, tmp_path: Path) -> None:
    """A chest without a body part, say; a hand whose header does not tell gets its SEG."""
    hand = phantom(0).image.astype(np.uint16) << 4
    noise = np.random.default_rng(0).integers(0, 4096, (256, 200)).astype(np.uint16)
    cases = [(noise, "", "header names no body part"), (noise, "EXTREMITY", "header says 'EXTREMITY'")]
    cases += [(noise, "HAND", ""), (hand, "", ""), (hand, "EXTREMITY", "")]
    segmenter, accepting = Segmenter(), Segmenter(any_body_part=True)
    with Orthanc(tmp_path / "orthanc") as orthanc, Server(Address.of(orthanc.url)) as server:
        words = {}
        for pixels, part, why in cases:
            source = radiograph(pixels, BitsStored=12, BodyPartExamined=part, AnatomicRegionSequence=None)
            orthanc.add(source)
            words[str(source.SOPInstanceUID)] = why
        for found in server.search(Query()):
            why = words[found.uid]
            (row,) = segment_pacs(server, [found], segmenter, progress=False)
            assert row.result == ("refused" if why else "stored"), row
            if why:
                assert row.why == f"its {why}, and its masks do not look like a hand; see --any-body-part"
                (row,) = segment_pacs(server, [found], accepting, progress=False)
                assert row.result == "stored"


def test_weights_that_no_image_can_be_drawn_by_end_the_run(checkpoint: Path, credentials: None, tmp_path: Path) -> None:
    segmenter = Segmenter(str(checkpoint), LOW)
    checkpoint = tmp_path / "damaged.pt"
    segmenter._inference.parser["checkpoint"] = str(checkpoint)
    checkpoint.write_bytes(b"PK damaged")
    with Orthanc(tmp_path / "orthanc") as orthanc, Server(Address.of(orthanc.url)) as server:
        filled(orthanc, 2)
        with pytest.raises(ValueError, match=r"damaged\.pt"):
            segment_pacs(server, server.search(Query()), segmenter, progress=False)


def test_one_that_the_server_never_gives_does_not_keep_those_behind_it_back(checkpoint: Path) -> None:
    found = [AT, Instance(AT.study, AT.series, "1.2.7")]

    def reply(request: Request) -> list[bytes]:
        if request.query:
            return [answer([])]
        return [answer(status="502 Bad" if request.path.endswith(AT.uid) else "404 None")]

    with Nonsense(reply) as nonsense, Server(Address.of(nonsense.url), QUICK) as server:
        rows = segment_pacs(server, found, Segmenter(str(checkpoint)), progress=False)
    assert [row.result for row in rows] == ["refused"] * 2
    assert "answers 502 (Bad Gateway), for 1 seconds, though it answers a search" in rows[0].why
    assert "answers 404" in rows[1].why


def test_both_hands_are_58_segments(credentials: None, tmp_path: Path) -> None:
    image = cv2.resize(both_hands(0, 1)[0], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    with Orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.add(radiograph(image.astype(np.uint16) * np.uint16(16), BitsStored=12))
        done = handseg("pacs", orthanc.url, "--checkpoint", save_quick(tmp_path / "quick.pt"), "--hands", "both")
        assert done.returncode == 0, done.stderr
        ((seg,),) = orthanc.segs().values()
    labels = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert len(labels) == 58
    assert labels[28].startswith("left ")
    assert labels[29].startswith("right ")


def test_a_server_that_dies_and_comes_back(checkpoint: Path, credentials: None, tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc") as orthanc, Server(Address.of(orthanc.url)) as server:
        sources = filled(orthanc, 8)
        rows: list = []
        segmenter = Segmenter(str(checkpoint), LOW)
        worker = threading.Thread(
            target=lambda: rows.extend(segment_pacs(server, server.search(Query()), segmenter, progress=False))
        )
        worker.start()
        for stored in (2, 4):
            until_stored(orthanc, 8 + stored)
            orthanc.kill()
            time.sleep(0.5)
            orthanc.start()
        worker.join(PATIENCE)
        assert {row.result for row in rows} == {"stored"}
        assert_each_once(orthanc, sources)


def test_ctrl_c_and_a_kill_leave_nothing_half(checkpoint: Path, tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc") as orthanc:
        sources = filled(orthanc, 9)
        killed = start(orthanc, checkpoint, tmp_path / "killed")
        until_stored(orthanc, 9 + 2, killed)
        killed.kill()
        killed.join()
        assert not (tmp_path / "killed" / "copies" / "pacs.csv").exists()
        before = orthanc.count()
        stopped = start(orthanc, checkpoint, tmp_path / "stopped")
        until_stored(orthanc, before + 2, stopped)
        os.kill(stopped.pid, signal.SIGINT)
        stopped.join(PATIENCE)
        said = said_by(stopped, tmp_path / "stopped")
        assert said.returncode == 130
        assert re.search(
            r"^interrupted: \d radiographs: .*; the same command again continues$", said.stderr, re.MULTILINE
        )
        new = orthanc.count() - before
        # The one that was on its way when Ctrl-C came may have no row.
        rows = table(tmp_path / "stopped" / "copies")
        assert sum(row["result"] == "stored" for row in rows) in (new, new - 1)
        for name in ("killed", "stopped"):
            for copy in (tmp_path / name / "copies").rglob("*.dcm"):
                dcmread(copy)
        end = start(orthanc, checkpoint, tmp_path / "end")
        end.join(PATIENCE)
        assert end.exitcode == 0
        assert len(table(tmp_path / "end" / "copies")) == 9
        assert_each_once(orthanc, sources)


def test_sigterm_ends_as_ctrl_c_and_leaves_no_radiograph(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    with Orthanc(tmp_path / "orthanc") as orthanc:
        filled(orthanc, 9)
        stopped = start(orthanc, checkpoint, tmp_path / "stopped", TMPDIR=str(tmp_path / "temporary"))
        until_stored(orthanc, 9 + 1, stopped)
        assert list((tmp_path / "temporary").glob("handseg-pacs-*"))
        stopped.terminate()
        stopped.join(PATIENCE)
    said = said_by(stopped, tmp_path / "stopped")
    assert said.returncode == 130
    assert "the same command again continues" in said.stderr
    assert table(tmp_path / "stopped" / "copies")
    assert not list((tmp_path / "temporary").glob("handseg-pacs-*"))


def start(orthanc: Orthanc, checkpoint: Path, folder: Path, **more: str) -> Any:
    """Start the command in a process of its own, as ``run`` runs it in this one."""
    folder.mkdir()
    options = ["--checkpoint", checkpoint, "--threshold", LOW, "--out", folder / "copies"]
    environment = {"HANDSEG_PACS_USER": USER, "HANDSEG_PACS_PASSWORD": PASSWORD, **more}
    return start_module(folder, "handseg_monai", "pacs", orthanc.url, *options, **environment)


def until_stored(orthanc: Orthanc, count: int, process: Any = None) -> None:
    """Wait until a server holds so many instances, which a process stores."""
    end = time.monotonic() + PATIENCE
    while orthanc.count() < count:
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.is_alive(), "the command has ended"
        time.sleep(0.05)
