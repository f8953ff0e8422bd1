"""The service between store, processes and page: an error that nobody foresaw costs one image, never the queue."""

from __future__ import annotations

import asyncio
import csv
import errno
import json
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.exceptions import HTTPException

from handseg_monai import bundle_root
from handseg_monai.bones import INDEX
from handseg_monai.files import write_json
from handseg_monai.measure.submission import measure_submission
from handseg_monai.rle import encode_planes, write_csv
from handseg_monai.serve.child import Child, ChildError
from handseg_monai.serve.decode import Decoder
from handseg_monai.serve.exports import Exported, export
from handseg_monai.serve.fine_tuning import TAKEN, FineTuning
from handseg_monai.serve.fine_tuning_run import STEPS
from handseg_monai.serve.folder import digest
from handseg_monai.serve.queue import Queue
from handseg_monai.serve.routes import Routes
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.service import Limits, Service
from handseg_monai.serve.state import MISTAKE, Inferred, StaleError
from handseg_monai.serve.store import Store
from tests.bundle_runs import CONFIGS
from tests.hands import phantom
from tests.test_store import SHAPE, png


class Blank(Segmenter):
    """A network that sees no bones, or ends in an error; it keeps whose turn it was."""

    def __init__(self, weights: Path) -> None:
        super().__init__(str(weights))
        self.weights = weights
        self.go_on = threading.Event()
        self.go_on.set()
        self.errors: list[Exception] = []
        self.begun = 0

    def checkpoint(self) -> Path:
        return self.weights

    def load(self, checkpoint: Path | None = None) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "digest"

    def infer(self, image: np.ndarray) -> Inferred:
        self.begun += 1
        assert self.go_on.wait(60)
        if self.errors:
            raise self.errors.pop(0)
        return Inferred(np.zeros(SHAPE, np.int32), [0.5] * 29)


@pytest.fixture
def segmenter(tmp_path: Path) -> Blank:
    (tmp_path / "model.pt").write_bytes(b"weights")
    return Blank(tmp_path / "model.pt")


@pytest.fixture
def service(tmp_path: Path, segmenter: Blank) -> Iterator[Service]:
    service = Service(Store(tmp_path / "work"), Decoder(), segmenter, Limits(10**6, 10**6, 10))
    yield service
    service.end()


def give(service: Service, seed: int) -> str:
    file = service.store.new_file()
    file.write_bytes(png(seed))
    return service.add(f"{seed}.png", file)[0]


def ready(service: Service, content: bytes, name: str, planes: np.ndarray) -> str:
    """Give an image that is segmented already."""
    file = service.store.new_file()
    file.write_bytes(content)
    id = service.store.add(name, file)
    service.store.put_inferred(id, Inferred(planes, [0.5] * 29))
    return id


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_the_queue_goes_on_after_an_error_that_nobody_foresaw(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def work(id: str) -> None:
        done.append(id)
        raise RuntimeError("unforeseen")

    queue = Queue(lambda: True, work)
    queue.put("a")
    queue.put("b")
    queue.start()
    until(lambda: done == ["a", "b"])
    queue.end()
    assert "a: an error that nobody foresaw" in caplog.text


@pytest.mark.parametrize(
    "error", [RuntimeError("/home/x"), KeyError("planes"), MemoryError(), OSError(28, "No space left", "/home/x")]
)
def test_an_image_fails_in_words_and_the_next_one_is_segmented(
    service: Service, segmenter: Blank, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    service.start()
    until(lambda: service.model["ready"])
    segmenter.errors.append(error)
    first, second = give(service, 0), give(service, 1)
    until(lambda: service.store.entry(second).state == "ready")
    assert service.store.entry(first).state == "failed"
    words = service.store.entry(first).error
    assert words == "No space left" if isinstance(error, OSError) else "its terminal says which" in words
    assert f"{first} could not be segmented" in caplog.text


def test_a_network_that_can_t_be_loaded_is_said(service: Service, segmenter: Blank) -> None:
    segmenter.errors.append(PermissionError(13, "Permission denied", "/home/x/model.pt"))
    service.start()
    until(lambda: service.model["error"])
    assert service.model["error"] == "the network can't be loaded: Permission denied"


def test_a_folder_that_is_gone_is_said(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    threading.excepthook, before = lambda hook: said.append(str(hook.exc_value)), threading.excepthook
    service.start(tmp_path / "gone")
    until(lambda: not any(thread.name == "fill" for thread in threading.enumerate()))
    threading.excepthook = before
    assert not said
    assert "gone" in capsys.readouterr().out


def test_what_a_folder_holds_beside_images_is_counted_and_what_was_removed_stays_so(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "radiographs"
    (folder / "below").mkdir(parents=True)
    for name, content in {
        "a.png": png(0),
        "below/b.png": png(1),
        "notes.txt": b"no image",
        "below/table": b"1, 2",
        "Thumbs.db": b"",
        ".hidden": b"",
    }.items():
        (folder / name).write_bytes(content)

    def take() -> str:
        service._take(folder)
        return capsys.readouterr().out

    assert take() == f"{folder}: 2 files left out: no images of a kind that is read\n"
    a, b = service.store.ids()
    service.remove(b)
    assert "1 image left out, removed on the page before" in take()
    assert service.store.ids() == [a]
    assert give(service, 1) == b
    assert "removed" not in take()
    service.remove(a)
    (folder / "a.png").rename(folder / "other.png")
    take()
    assert service.store.ids() == [b]


def test_an_image_that_is_given_again_is_segmented_once(service: Service, segmenter: Blank) -> None:
    service.start()
    until(lambda: service.model["ready"])
    segmenter.go_on.clear()
    id = give(service, 0)
    until(lambda: segmenter.begun == 1)
    assert give(service, 0) == id
    segmenter.go_on.set()
    other = give(service, 1)
    until(lambda: service.store.entry(other).state == "ready")
    assert segmenter.begun == 2


def test_weights_that_can_t_be_loaded_are_not_those_of_the_next_start(service: Service, segmenter: Blank) -> None:
    run = service.store.folder / "training" / "1"
    (run / "run").mkdir(parents=True)
    (run / "run" / "model.pt").write_bytes(b"better")
    write_json(run / "state.json", {"phase": "finished", "better": True})
    write_json(run / "plan.json", {"base": digest(segmenter.weights)})
    service.start()
    until(lambda: service.model["ready"])
    segmenter.errors.append(ValueError("another network"))
    with pytest.raises(ValueError, match="another network"):
        service.take_weights()
    assert not (run / TAKEN).exists()
    service.take_weights()
    assert (run / TAKEN).exists()


def test_the_model_says_whose_weights_it_has_and_goes_back_to_those_given(service: Service, segmenter: Blank) -> None:
    given = {"source": "checkpoint", "name": "model.pt", "run": 0}
    run = service.store.folder / "training" / "2"
    (run / "run").mkdir(parents=True)
    (run / "run" / "model.pt").write_bytes(b"better")
    write_json(run / "state.json", {"phase": "finished", "better": True})
    write_json(run / "plan.json", {"base": digest(segmenter.weights)})
    assert service.model == {"ready": False, "error": "", "weights": "", "source": "", "name": "", "run": 0}
    service.start()
    until(lambda: service.model["ready"])
    assert service.model == {"ready": True, "error": "", "weights": "digest"} | given
    service.take_weights()
    assert service.model["source"] == "run"
    assert service.model["run"] == 2
    segmenter.errors.append(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        service.return_weights()
    assert (run / TAKEN).exists()
    shown = service.return_weights()
    assert service.model == {"ready": True, "error": "", "weights": "digest"} | given
    assert shown is not None
    assert shown["state"] == "finished", "they can be taken again"
    assert FineTuning(service.store.folder, segmenter.weights, lambda _: 0).weights() == segmenter.weights
    shipped = FineTuning(service.store.folder, bundle_root() / "models" / "model.pt", lambda _: 0)
    assert shipped.using() == {"source": "shipped", "name": "model.pt", "run": 0}


def finished_run(service: Service, weights: Path, number: int = 1) -> Path:
    """A run that has ended and is better, and that began from some weights."""
    run = service.store.folder / "training" / str(number)
    (run / "run").mkdir(parents=True)
    (run / "run" / "model.pt").write_bytes(b"better")
    write_json(run / "state.json", {"phase": "finished", "better": True})
    write_json(run / "plan.json", {"base": digest(weights)})
    return run


def test_a_run_from_other_weights_is_neither_shown_nor_taken(service: Service, tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"other weights")
    run = finished_run(service, tmp_path / "other.pt")
    service.start()
    until(lambda: service.model["ready"])
    assert service.require_training().shown() is None
    with pytest.raises(ValueError, match="no run of fine-tuning has finished"):
        service.take_weights()
    assert not (run / TAKEN).exists()


def test_weights_that_can_not_be_noted_as_taken_are_not_used(
    service: Service, segmenter: Blank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network that draws is always that of which the page says so."""
    finished_run(service, segmenter.weights)
    service.start()
    until(lambda: service.model["ready"])
    loaded: list[Path | None] = []
    monkeypatch.setattr(segmenter, "load", lambda path=None: loaded.append(path) or "digest")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FineTuning, "take", full)
    with pytest.raises(OSError, match="No space left"):
        service.take_weights()
    assert [path and path.read_bytes() for path in loaded] == [b"better", b"weights"]
    assert service.model["source"] == "checkpoint"


def test_taken_weights_that_are_damaged_by_now_leave_those_given(
    service: Service, segmenter: Blank, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(service, segmenter.weights)
    (run / TAKEN).touch()
    segmenter.errors.append(ValueError("checkpoint model.pt: damaged"))
    service.start()
    until(lambda: service.model["ready"])
    assert service.model["source"] == "checkpoint"
    assert not (run / TAKEN).exists()
    said = "checkpoint model.pt: damaged; the weights that were given are used instead"
    assert said in capsys.readouterr().out


def test_a_stop_that_comes_too_late_leaves_the_result(service: Service, segmenter: Blank) -> None:
    finished_run(service, segmenter.weights)
    service.start()
    until(lambda: service.model["ready"])
    training = service.require_training()
    stopped = training.stop()
    assert stopped is not None
    assert stopped["state"] == "finished"
    assert training.dismiss() is None


def test_a_page_that_takes_no_more_is_let_go_alone(service: Service) -> None:
    async def listen() -> tuple[list[str], list[str]]:
        service.events.start()
        slow, quick = service.events.listen(), service.events.listen()
        heard = [await anext(slow)], [await anext(quick)]
        for number in range(1100):
            service.events.tell("model", {"number": number})
            heard[1].append(await anext(quick))
        heard[0].extend([text async for text in slow])
        service.events.tell("model", {"number": 1100})
        heard[1].append(await anext(quick))
        return heard

    slow, quick = asyncio.run(listen())
    assert len(slow) == 1001
    assert quick[-1].endswith('{"number": 1100}\n\n')
    assert len(quick) == 1102


def test_an_image_that_cannot_be_copied_leaves_no_half_of_it(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a.png").write_bytes(png(0))
    monkeypatch.setattr("shutil.copyfile", full)
    service.start(tmp_path / "dir")
    said = ""
    until(lambda: "No space left" in (said + capsys.readouterr().out))
    assert not list((service.store.folder / "incoming").iterdir())


def test_an_image_that_is_removed_meanwhile_is_left_out_of_an_export(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = phantom(0)
    content = cv2.imencode(".png", hand.image)[1].tobytes()
    ids = [ready(service, content + bytes([k]), f"{k}.png", hand.planes) for k in range(3)]
    ask = Child.ask

    def remove_next(self: Child, said: dict[str, Any], *more: Any, **named: Any) -> Any:
        if said.get("name") == "0.png":
            service.remove(ids[1])
        return ask(self, said, *more, **named)

    monkeypatch.setattr(Child, "ask", remove_next)
    exported = export(service.store, "csv", ids)
    assert list(exported.left_out) == ["1.png"]
    with zipfile.ZipFile(exported.path) as archive:
        assert sorted(archive.namelist()) == ["left-out.txt", "submission.csv"]


def test_others_hear_that_an_image_is_judged_anew(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = phantom(0)
    id = ready(service, cv2.imencode(".png", hand.image)[1].tobytes(), "a.png", hand.planes)
    service.view(id)
    told: list[object] = []
    monkeypatch.setattr(service.events, "tell", lambda kind, content: told.append(content))
    service.view(id)
    assert told == []
    service.corrections.clear(id, 0, INDEX["Capitate"], judged=False)
    told.clear()
    shown = service.view(id)
    assert told == [{"overview": shown["overview"]}]


def test_a_child_that_has_no_memory_for_a_request_ends() -> None:
    """Instead of a parent that waits for ever."""
    code = (
        "import resource; from handseg_monai.serve.child import answer\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "answer(lambda request, arrays: ({}, {}))"
    )
    text = json.dumps({"said": {}, "arrays": [["image", "uint8", [1 << 34]]]}).encode()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(struct.pack(">II", len(text), 1) + text)
        process.stdin.flush()
        try:
            assert process.wait(60) == 1
        finally:
            process.kill()


def rows_of(exported: Exported) -> list[dict[str, str]]:
    with exported.path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_measures_are_those_of_handseg_measure_without_the_unknown(service: Service, tmp_path: Path) -> None:
    """The file that is handed on, the page, and the command agree; each image has a time of its own."""
    hand, bone = phantom(0), INDEX["finger-11"]
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), hand.image)
    id = ready(service, (tmp_path / "images" / "a.png").read_bytes(), "a.png", hand.planes)
    before = {measure["name"]: measure["value"] for measure in service.views.view(id)["measures"]}
    assert before["length finger-11"]
    shown = service.corrections.mark_unknown(id, 0, bone, True)
    rows = rows_of(export(service.store, "measures", [id]))
    texts: list[str | None] = [*encode_planes(hand.planes)]
    texts[bone] = None  # no row: what the page hands on of a bone that is unknown
    write_csv(tmp_path / "own.csv", [("a.png", texts)])
    measure_submission(tmp_path / "own.csv", tmp_path / "images", tmp_path / "expected.csv", progress=False)
    with (tmp_path / "expected.csv").open(newline="", encoding="utf-8") as file:
        assert rows == list(csv.DictReader(file))
    values = {measure["name"]: measure["value"] for measure in shown["measures"]}
    assert values == {
        row["measure"]: pytest.approx(float(row["value"]), abs=1e-4) if row["value"] else None for row in rows
    }
    assert values["length finger-11"] is None
    again = service.corrections.undo(id, 1)
    assert {measure["name"]: measure["value"] for measure in again["measures"]} == before


@pytest.mark.parametrize("form", ["csv", "measures", "png"])
def test_one_damaged_image_is_left_out_of_what_is_handed_on(service: Service, form: str) -> None:
    planes = np.ones(SHAPE, np.int32)
    whole, damaged = (ready(service, png(seed), f"{seed}.png", planes) for seed in range(2))
    (service.store.folder / "planes" / f"{damaged}.npz").write_bytes(b"damaged")
    exported = export(service.store, form, [damaged, whole])
    assert list(exported.left_out) == ["1.png"]
    assert "what the network drew is gone or damaged" in exported.left_out["1.png"]
    with zipfile.ZipFile(exported.path) as archive:
        names = archive.namelist()
    assert "left-out.txt" in names
    assert len(names) >= 2
    exported.remove()


def test_an_image_whose_file_is_gone_is_left_out_of_measures(service: Service) -> None:
    planes = np.ones(SHAPE, np.int32)
    whole, gone = (ready(service, png(seed), f"{seed}.png", planes) for seed in range(2))
    service.store.image(gone).unlink()
    exported = export(service.store, "measures", [gone, whole])
    assert list(exported.left_out) == ["1.png"]
    assert str(service.store.folder) not in exported.left_out["1.png"]


@pytest.mark.parametrize("wrong", [{"image": np.zeros(3, np.complex64)}, {"image": None}])
def test_a_message_that_breaks_off_leaves_no_answer_behind(wrong: Any, tmp_path: Path) -> None:
    child = Child("handseg_monai.serve.decode", str(1 << 30))
    child.ask({}, seconds=120)
    before = child.pid
    with pytest.raises((ChildError, AttributeError)):
        child.ask({}, wrong, seconds=120)
    assert child.pid is None
    assert child.ask({"patients": []}, seconds=120)[0] == {"patients": []}
    assert child.pid != before
    child.close()


def test_errors_say_no_paths(service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    routes = Routes(service)

    def failing(error: Exception) -> HTTPException:
        def fail() -> None:
            raise error

        with pytest.raises(HTTPException) as found:
            asyncio.run(routes._done(fail))
        return found.value

    for error in (PermissionError(13, "Permission denied", "/home/x"), ValueError("/home/x"), KeyError("/home/x")):
        caplog.clear()
        answer = failing(error)
        assert (answer.status_code, answer.detail) == (500, MISTAKE)
        assert "/home/x" in caplog.text
    answer = failing(OSError(28, "No space left on device", "/home/x"))
    assert (answer.status_code, answer.detail) == (507, "No space left on device")
    assert failing(StaleError("look anew")).status_code == 409


def test_looking_at_runs_while_a_thread_holds_their_lock_never_says_running(service: Service, segmenter: Blank) -> None:
    """One thread tries to start a run, which comes to nothing; another one looks meanwhile."""
    id = ready(service, png(0), "0.png", np.ones(SHAPE, np.int32))
    service.store.mark(id, 0, done=True)
    held, go_on = threading.Event(), threading.Event()

    def edited(_: str) -> int:
        held.set()
        assert go_on.wait(60)
        return 0

    tuning = FineTuning(service.store.folder, segmenter.weights, edited)
    with ThreadPoolExecutor(2) as pool:
        started = pool.submit(tuning.start)
        assert held.wait(60)
        looked = pool.submit(lambda: tuning.state()["running"])
        wait([looked], 0.5)
        go_on.set()
        assert looked.result(60) is False
        assert isinstance(started.exception(60), ValueError)


def test_the_option_that_counts_steps_is_one_of_training() -> None:
    from monai.bundle import ConfigParser

    train = ConfigParser(ConfigParser.load_config_file(str(CONFIGS / "train.json")))
    assert "iteration" in train[STEPS]
    assert not any(part.isdecimal() for part in STEPS.split("#")), "it counts, and so may name another one later"
    assert [handler for handler in train["train#handlers"] if handler.get("iteration_log") == f"@{STEPS}"]
