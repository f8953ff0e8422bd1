"""``handseg serve`` over HTTP: from a radiograph that is dropped to masks that are corrected and handed on."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
import torch

from handseg_monai.bones import INDEX, NAMES, NUM_BONES
from handseg_monai.data.labels.converted import converted_items, read_planes
from handseg_monai.export.export import export
from handseg_monai.report.outlines import outlines
from handseg_monai.rle import decode_image, read_csv
from tests.dicoms import write_dicom
from tests.hands import phantom
from tests.programs import in_fork, in_own_process
from tests.served import CHANGING, Served, save_quick, served

SCAPHOID = INDEX["Scaphoid"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_quick(tmp_path_factory.mktemp("weights") / "quick.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three radiographs: a PNG, one of another size whose bones are dark, and DICOM with its sides swapped in size."""
    folder = tmp_path_factory.mktemp("radiographs")
    bright = phantom(0).image
    cv2.imwrite(str(folder / "hand.png"), bright)
    cv2.imwrite(str(folder / "dark.png"), 255 - bright[40:, :-20])
    write_dicom(folder / "손.dcm", phantom(1).image.astype(np.uint16) * 16, BitsStored=12, BodyPartExamined="HAND")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "work"


@pytest.fixture(scope="module")
def server(folder: Path, work: Path, weights: Path) -> Iterator[Served]:
    with served(work, folder, "--checkpoint", weights) as server:
        yield server


@pytest.fixture(scope="module")
def ids(server: Served, folder: Path) -> dict[str, str]:
    """Ids of the images of the folder, segmented, by their names."""
    server.until(lambda: sum(image["state"] == "ready" for image in server.images()) == len(list(folder.iterdir())))
    return {image["name"]: image["id"] for image in server.images()}


def drawn(server: Served, work: Path, id: str) -> np.ndarray:
    """Bit planes of an image as its CSV has them now, which knows nothing of the server's memory."""
    answer = server.ask("GET", f"/api/export/csv?ids={id}")
    assert answer.status == 200, answer.body
    path = work.parent / "now.csv"
    path.write_bytes(answer.body)
    ((name, texts),) = read_csv(path).items()
    overview = server.get(f"/api/images/{id}")["overview"]
    return decode_image(path, name, texts, (overview["height"], overview["width"]))


def revision(server: Served, id: str) -> int:
    return int(server.get(f"/api/images/{id}?only=outlines")["revision"])


def test_masks_are_those_of_handseg_infer(
    server: Served, ids: dict[str, str], folder: Path, work: Path, weights: Path, tmp_path: Path
) -> None:
    done = in_fork("handseg_monai", "infer", folder, "--out", tmp_path, "--", "--checkpoint", weights)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = (tmp_path / "submission.csv").read_text(encoding="utf-8")
    rows = dict(read_csv(tmp_path / "submission.csv"))
    assert sorted(rows) == sorted(ids)
    assert sum(bool(text) for texts in rows.values() for text in texts) > 60, "nothing to compare"
    answer = server.ask("GET", "/api/export/csv?ids=" + ",".join(ids[name] for name in rows))
    assert answer.body.decode() == expected
    notes = {image["name"]: image["note"] for image in server.images()}
    assert "negative" in notes["dark.png"]
    assert not notes["hand.png"]


def test_what_is_shown_of_an_image(server: Served, ids: dict[str, str], work: Path) -> None:
    id = ids["hand.png"]
    shown = server.get(f"/api/images/{id}")
    planes = read_planes(work / "planes" / f"{id}.npz", phantom(0).image.shape)
    assert shown["outlines"] == {str(bone): path for bone, path in outlines(planes).items()}
    assert shown["areas"] == [int((planes >> bone & 1).sum()) for bone in range(NUM_BONES)]
    overview = shown["overview"]
    assert (overview["height"], overview["width"]) == planes.shape
    assert len(overview["confidence"]) == NUM_BONES
    weakest = sorted(overview["confidence"])[:3]
    assert overview["doubt"] == pytest.approx(1 - overview["score"] * sum(weakest) / 3, abs=2e-4)
    assert not {"findings", "measures"} & server.get(f"/api/images/{id}?only=outlines").keys()
    state = server.get("/api/state")
    assert [bone["name"] for bone in state["bones"]] == list(NAMES)
    assert state["model"]["ready"]
    assert not state["guarded"]


def test_the_picture_s_window_can_be_pulled(server: Served, ids: dict[str, str]) -> None:
    def picture(query: str) -> np.ndarray:
        answer = server.ask("GET", f"/api/images/{ids['hand.png']}/picture?{query}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/webp"
        return cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_GRAYSCALE)

    whole, part, small = picture(""), picture("low=0.3&high=0.6"), picture("side=100")
    assert whole.shape == phantom(0).image.shape
    assert max(small.shape) == 100
    assert part.min() < 10
    assert part.max() > 245
    # Steeper: what lay between the two shares now fills the range.
    middle = (whole > 0.35 * 255) & (whole < 0.55 * 255)
    assert np.ptp(part[middle].astype(float)) > 1.8 * np.ptp(whole[middle].astype(float))
    for query in ("low=0.6&high=0.3", "low=nan", "low=-1", "side=1e9", "side=0", "high=x"):
        answer = server.ask("GET", f"/api/images/{ids['hand.png']}/picture?{query}")
        assert answer.status == 400
        assert answer.words
    tag = server.ask("GET", f"/api/images/{ids['hand.png']}/picture").headers["etag"]
    again = server.ask("GET", f"/api/images/{ids['hand.png']}/picture", headers={"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")


def test_what_a_person_has_settled_is_in_doubt_no_longer(server: Served, ids: dict[str, str]) -> None:
    """Bones that were drawn or marked as unknown count as sure, until that is undone."""
    id = ids["hand.png"]
    before = server.get(f"/api/images/{id}")["overview"]
    weakest = sorted(range(NUM_BONES), key=lambda bone: before["confidence"][bone])[:2]
    dot = {"tool": "brush", "points": [[1, 1]], "radius": 1}
    server.do(f"/api/images/{id}/edits", revision=revision(server, id), bone=weakest[0], **dot)
    server.do(f"/api/images/{id}/unknown", revision=revision(server, id), bone=weakest[1], on=True)
    after = server.get(f"/api/images/{id}")["overview"]
    sure = [value for bone, value in enumerate(before["confidence"]) if bone not in weakest]
    assert after["doubt"] == pytest.approx(1 - after["score"] * sum(sorted(sure)[:3]) / 3, abs=2e-4)
    for _ in range(2):
        server.do(f"/api/images/{id}/undo", revision=revision(server, id))
    assert server.get(f"/api/images/{id}")["overview"] == before | {"revision": before["revision"] + 4}


def test_strokes_change_one_bone_and_can_be_taken_back(server: Served, ids: dict[str, str], work: Path) -> None:
    id = ids["손.dcm"]
    before = drawn(server, work, id)
    rows, columns = np.nonzero(before >> SCAPHOID & 1)
    middle = [float(columns.mean()), float(rows.mean())]
    start = revision(server, id)
    erased = server.do(
        f"/api/images/{id}/edits", revision=start, bone=SCAPHOID, tool="erase", points=[middle], radius=6
    )
    assert erased["revision"] == start + 1
    assert list(erased["outlines"]) == [str(SCAPHOID)]
    assert {"findings", "measures"} <= erased.keys()
    after = drawn(server, work, id)
    changed = before ^ after
    assert set(np.unique(changed)) == {0, 1 << SCAPHOID}, "another bone has changed"
    y, x = np.nonzero(changed)
    assert np.hypot(x + 0.5 - middle[0], y + 0.5 - middle[1]).max() <= 6
    undone = server.do(f"/api/images/{id}/undo", revision=start + 1)
    assert (undone["undo"], undone["redo"]) == (erased["undo"] - 1, 1)
    assert (drawn(server, work, id) == before).all()
    redone = server.do(f"/api/images/{id}/redo", revision=start + 2)
    assert redone["outlines"] == erased["outlines"]
    assert (drawn(server, work, id) == after).all()
    corner = [[0, 0], [30, 0], [30, 20], [0, 20]]
    added = server.do(f"/api/images/{id}/edits?only=outlines", revision=start + 3, bone=0, tool="add", points=corner)
    assert list(added["outlines"]) == ["0"]
    assert "findings" not in added
    assert (drawn(server, work, id)[:20, :30] & 1).all()
    cleared = server.do(f"/api/images/{id}/clear", revision=start + 4, bone=SCAPHOID)
    assert cleared["outlines"] == {str(SCAPHOID): None}
    assert any(SCAPHOID in finding["bones"] for finding in cleared["findings"])


def test_a_change_of_an_old_revision_is_refused(server: Served, ids: dict[str, str]) -> None:
    id = ids["hand.png"]
    now = revision(server, id)
    for act, content in (
        ("undo", {}),
        ("clear", {"bone": 3}),
        ("ask", {"bone": 3}),
        ("done", {"on": True}),
        ("unknown", {"bone": 3, "on": True}),
        ("edits", {"bone": 3, "tool": "brush", "points": [[1, 1]], "radius": 3}),
    ):
        answer = server.post(f"/api/images/{id}/{act}", {"revision": now + 1, **content})
        assert answer.status == 409, act
        assert answer.words
    assert revision(server, id) == now


def test_asking_again_gives_back_a_bone_that_was_rubbed_out(server: Served, ids: dict[str, str], work: Path) -> None:
    """The bright radiograph, and the one whose bones are dark, which has to be looked at in the negative again."""
    for name in ("hand.png", "dark.png"):
        id = ids[name]
        before = drawn(server, work, id)
        for bone in (SCAPHOID, INDEX["finger-10"]):
            cleared = server.do(f"/api/images/{id}/clear", revision=revision(server, id), bone=bone)
            asked = server.do(f"/api/images/{id}/ask", revision=cleared["revision"], bone=bone)
            assert list(asked["outlines"]) == [str(bone)]
            after = drawn(server, work, id)
            assert not ((before ^ after) & ~np.int32(1 << bone)).any(), "another bone has changed"
            was, seen = before >> bone & 1, after >> bone & 1
            assert 2 * (was & seen).sum() / (was.sum() + seen.sum()) > 0.75, (name, bone)
            before = after


def test_a_bone_that_nothing_places_can_t_be_asked_for(
    server: Served, work: Path, tmp_path: Path, weights: Path
) -> None:
    blank = cv2.imencode(".png", np.full((80, 60), 90, np.uint8))[1].tobytes()
    id = server.upload(blank, "blank.png").json()["id"]
    shown = server.until_ready(id)
    assert shown["outlines"] == {}
    assert not shown["overview"]["plausible"]
    answer = server.post(f"/api/images/{id}/ask", {"revision": 0, "bone": 4})
    assert answer.status == 422
    assert "draw it first" in answer.words
    assert server.ask("DELETE", f"/api/images/{id}", headers=CHANGING).status == 200
    assert server.ask("GET", f"/api/images/{id}").status == 404
    assert id not in {image["id"] for image in server.images()}


def test_what_is_done_is_a_data_set_without_the_unknown(server: Served, ids: dict[str, str], work: Path) -> None:
    id = ids["dark.png"]
    server.do(f"/api/images/{id}/unknown", revision=revision(server, id), bone=5, on=True)
    shown = server.do(f"/api/images/{id}/done", revision=revision(server, id), on=True)
    assert shown["done"]
    assert shown["unknown"] == [5]
    assert {image["id"]: image["done"] for image in server.images()}[id]
    items, faults = converted_items(work)
    assert not faults
    (item,) = [item for item in items if item["name"] == "dark.png"]
    assert item["known"] == (1 << NUM_BONES) - 1 - (1 << 5)
    answer = server.ask("GET", "/api/export/csv?done=1")
    names = {row[0] for row in csv.reader(io.StringIO(answer.body.decode()))} - {"image_name"}
    assert names == {"dark.png"}
    bones = [row[1] for row in csv.reader(io.StringIO(answer.body.decode()))][1:]
    assert bones == [name for name in NAMES if name != NAMES[5]]
    (reason,) = [measure["reason"] for measure in shown["measures"] if measure["name"] == f"length {NAMES[5]}"]
    assert reason == f"the mask of {NAMES[5]} is unknown"
    assert f",{reason}" in server.ask("GET", "/api/export/measures?done=1").body.decode()
    server.do(f"/api/images/{id}/unknown", revision=revision(server, id), bone=5, on=False)


@pytest.mark.parametrize("form", ["png", "labelme", "coco", "dicom-seg"])
def test_forms_are_those_of_handseg_export(
    form: str, server: Served, ids: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    chosen = ["손.dcm"] if form == "dicom-seg" else sorted(ids)
    answer = server.ask("GET", f"/api/export/{form}?ids=" + ",".join(ids[name] for name in chosen))
    assert answer.status == 200, answer.body
    rows = server.ask("GET", "/api/export/csv?ids=" + ",".join(ids[name] for name in chosen))
    (tmp_path / "own.csv").write_bytes(rows.body)
    export(tmp_path / "own.csv", folder, form, tmp_path / "out", progress=False)
    expected = {p.relative_to(tmp_path / "out").as_posix(): p for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert expected
    if len(expected) == 1:
        (name,) = expected
        found = {name: answer.body}
        assert answer.headers["content-disposition"].endswith(f"filename*=utf-8''{quote(name)}")
    else:
        archive = zipfile.ZipFile(io.BytesIO(answer.body))
        found = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(found) == sorted(expected)
    for name, path in expected.items():
        if form == "dicom-seg":  # instances have new UIDs and times
            assert _segments(io.BytesIO(found[name])) == _segments(path)
        else:
            assert found[name] == path.read_bytes(), name


def _segments(file: Any) -> tuple[object, ...]:
    from pydicom import dcmread

    seg = dcmread(file)
    return (
        seg.PixelData,
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID,
        [s.SegmentLabel for s in seg.SegmentSequence],
    )


def test_what_a_form_can_t_hold_is_said(server: Served, ids: dict[str, str]) -> None:
    answer = server.ask("GET", f"/api/export/dicom-seg?ids={ids['hand.png']}")
    assert answer.status == 422
    assert "not a DICOM file" in answer.words
    both = server.ask("GET", f"/api/export/dicom-seg?ids={ids['hand.png']},{ids['손.dcm']}")
    assert both.status == 200
    assert both.headers["x-left-out"] == "1"
    archive = zipfile.ZipFile(io.BytesIO(both.body))
    assert sorted(archive.namelist()) == ["left-out.txt", "손.dcm"]
    assert archive.read("left-out.txt").decode().startswith("hand.png: not a DICOM file")


@pytest.mark.parametrize(("name", "content"), [("notes.txt", b"no image"), ("moving.gif", b"GIF89a" + bytes(200))])
def test_a_file_that_is_no_image_is_not_served(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    done = in_own_process("handseg_monai", "serve", tmp_path / name, "--work", tmp_path / "work", "--no-browser")
    assert done.returncode == 2
    assert f"{name}: " in done.stderr
    assert "expected PNG, JPEG, BMP, TIFF or DICOM, or a folder of such files" in " ".join(done.stderr.split())
    assert not (tmp_path / "work").exists()


def test_the_web_process_loads_no_torch(server: Served, ids: dict[str, str]) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "numpy" in maps
    assert "torch" not in maps
    script = (
        "import sys\nimport handseg_monai.serve.server, handseg_monai.commands.serve\n"
        "print(*sorted({'torch', 'monai', 'pandas', 'albumentations'} & set(sys.modules)))"
    )
    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (imported.returncode, imported.stdout.strip()) == (0, ""), imported.stderr


def test_events_tell_of_every_change(server: Served, ids: dict[str, str]) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/api/events")
    stream = connection.getresponse()
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.readline() == b": welcome\n"
    id = ids["hand.png"]
    server.do(f"/api/images/{id}/done", revision=revision(server, id), on=True)
    lines = []
    while b"data" not in (line := stream.readline()):
        lines.append(line)
    assert lines[-1] == b"event: image\n"
    told = json.loads(line.removeprefix(b"data: "))["overview"]
    assert told == server.get(f"/api/images/{id}")["overview"]
    assert told["done"]
    server.do(f"/api/images/{id}/done", revision=revision(server, id), on=False)
    connection.close()


def test_a_file_that_is_no_radiograph_fails_in_words(server: Served, ids: dict[str, str]) -> None:
    before = len(server.images())
    for content in (b"no picture at all", b"GIF89a" + bytes(50), b"%PDF-1.7"):
        answer = server.upload(content, "bad.png")
        assert answer.status == 415
        assert "expected PNG" in answer.words
    assert len(server.images()) == before
    for content, name in ((b"\x89PNG\r\n\x1a\n cut", "bad.png"), (b"not DICOM", "bad.dcm")):
        id = server.upload(content, name).json()["id"]
        server.until(lambda id=id: {i["id"]: i["state"] for i in server.images()}[id] == "failed")
        (image,) = [image for image in server.images() if image["id"] == id]
        assert image["error"]
        assert "/images/" not in image["error"], "a path of the server"
        for path in (f"/api/images/{id}", f"/api/images/{id}/picture"):
            answer = server.ask("GET", path)
            assert answer.status == 409
            assert image["error"] in answer.words
        server.ask("DELETE", f"/api/images/{id}", headers=CHANGING)


def test_the_same_file_twice_is_one_image(server: Served, ids: dict[str, str], folder: Path) -> None:
    count = len(server.images())
    answer = server.upload((folder / "hand.png").read_bytes(), "other name.png")
    assert answer.status == 200
    assert answer.json()["id"] == ids["hand.png"]
    assert len(server.images()) == count


def running(processes: list[int]) -> list[int]:
    """Return those that are still there; a zombie has ended."""
    found = [Path(f"/proc/{process}/stat") for process in processes]
    return [int(path.parent.name) for path in found if path.exists() and ") Z " not in path.read_text()]


def test_a_browser_opens_at_the_address(tmp_path: Path, weights: Path) -> None:
    opened, script = tmp_path / "opened", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    script.chmod(0o755)
    with served(tmp_path / "work", "--checkpoint", weights, browser=True, BROWSER=f"{script} %s") as server:
        server.until(lambda: opened.exists() and opened.read_text())
        assert opened.read_text().strip() == f"http://127.0.0.1:{server.port}/"


def test_ctrl_c_ends_children_and_the_next_start_goes_on(folder: Path, tmp_path: Path, weights: Path) -> None:
    """What waits when the server ends is segmented after the next start; marks and corrections are still there."""
    work = tmp_path / "work"
    with served(work, "--checkpoint", weights) as server:
        content = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
        found = [server.upload(data, name).json()["id"] for name, data in content]
        server.until(server.children)
        children = server.children()
        listening = socket.create_connection(("127.0.0.1", server.port))
        listening.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        assert listening.recv(100).startswith(b"HTTP/1.1 200")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
        listening.close()
    assert not running(children)
    with served(work, "--checkpoint", weights) as server:
        assert [image["id"] for image in server.images()] == found
        server.until(lambda: all(image["state"] == "ready" for image in server.images()))
        server.do(f"/api/images/{found[0]}/clear", revision=0, bone=2)
        shown = server.do(f"/api/images/{found[0]}/done", revision=1, on=True)
        children = server.children()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        end = time.monotonic() + 60
        while running(children):
            assert time.monotonic() < end, "children outlive their server"
            time.sleep(0.1)
    with served(work, "--checkpoint", weights) as server:
        again = server.get(f"/api/images/{found[0]}")
        assert (again["revision"], again["done"]) == (shown["revision"], True)
        assert "2" not in again["outlines"]
        second = in_own_process("handseg_monai", "serve", "--work", work, "--no-browser", "--port", 0)
        assert second.returncode == 2
        assert str(server.process.pid) in second.stderr


@pytest.mark.slow
def test_a_network_that_ends_costs_no_other_image(folder: Path, tmp_path: Path, weights: Path) -> None:
    with served(tmp_path / "work", "--checkpoint", weights) as server:
        server.until(lambda: server.get("/api/state")["model"]["ready"])
        (child,) = server.children()
        os.kill(child, signal.SIGKILL)
        id = server.upload((folder / "hand.png").read_bytes()).json()["id"]
        server.until(lambda: server.images()[0]["state"] in ("ready", "failed"))
        assert server.until_ready(id)["outlines"]


def test_input_that_can_t_be_right_is_one_line(tmp_path: Path, folder: Path) -> None:
    cases = [
        (["--work", tmp_path / "a", "--checkpoint", tmp_path / "none.pt"], "none.pt: no such file"),
        ([tmp_path / "nowhere", "--work", tmp_path / "a"], "nowhere"),
        (["--work", folder], "--work"),
        (["--work", tmp_path / "a", "--host", "256.1.1.1"], "--host"),
    ]
    for arguments, words in cases:
        done = in_own_process("handseg_monai", "serve", *arguments, "--no-browser", "--port", "0")
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_missing_packages_are_said_with_the_line_to_type(tmp_path: Path) -> None:
    script = (
        "import importlib.util, sys\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'uvicorn' else find(name, *a)\n"
        "import handseg_monai.cli as cli\ncli.main()"
    )
    command = [sys.executable, "-c", script, "serve", "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'handseg-monai[serve]'" in done.stderr


@pytest.mark.slow
def test_fifty_uploads_at_once_and_two_hundred_in_the_queue(tmp_path: Path, weights: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    contents = []
    for number in range(250):
        image = np.full((64, 48), 255, np.uint8)  # in which nothing looks like a hand, and so is quick
        image[0, 0] = number
        contents.append(cv2.imencode(".png", image)[1].tobytes())
    work, quick = tmp_path / "work", tmp_path / "quick.pt"
    torch.save(torch.load(weights, map_location="cpu", weights_only=True) | {"window": 128}, quick)
    with served(work, "--checkpoint", quick) as server:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(server.upload, contents[:50]))
        assert {answer.status for answer in answers} == {201}
        answers += [server.upload(content) for content in contents[50:]]
        assert len({answer.json()["id"] for answer in answers}) == 250
        states = [image["state"] for image in server.images()]
        assert states.count("ready") < 250, "nothing waits: the test shows nothing"
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    with served(work, "--checkpoint", quick) as server:
        start = time.monotonic()
        server.until(lambda: all(image["state"] == "ready" for image in server.images()), 3600)
        print(f"250 images in {time.monotonic() - start:.0f} s")
        assert {image["id"] for image in server.images()} == {answer.json()["id"] for answer in answers}


@pytest.mark.slow
def test_fine_tuning_is_one_at_a_time_and_ends_with_the_server(tmp_path: Path, weights: Path) -> None:
    """What a run that ends comes to is looked at on the page."""
    with served(tmp_path / "work", "--checkpoint", weights) as server:
        for number in range(3, 6):
            id = server.upload(cv2.imencode(".png", phantom(number).image)[1].tobytes()).json()["id"]
            server.until_ready(id)
            points = [[300, 300], [340, 340]]
            server.do(f"/api/images/{id}/edits", revision=0, bone=0, tool="brush", points=points, radius=20)
            server.do(f"/api/images/{id}/done", revision=1, on=True)
        assert server.get("/api/state")["training"] is None
        assert server.do("/api/training", epochs=1000)["state"] == "running"
        assert server.post("/api/training", {"epochs": 1}).status in (409, 422), "two at a time"
        server.process.send_signal(signal.SIGINT)
        server.process.wait(60)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if str(tmp_path).encode() in command]
