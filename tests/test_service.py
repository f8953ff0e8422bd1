"""The service between store, processes and page: an error that nobody foresaw costs one image, never the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from handseg_monai.files import write_json
from handseg_monai.serve.decode import Decoder
from handseg_monai.serve.fine_tuning import TAKEN, FineTuning
from handseg_monai.serve.queue import Queue
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.service import Limits, Service
from handseg_monai.serve.state import Inferred
from handseg_monai.serve.store import Store
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
    service.start()
    until(lambda: service.model["ready"])
    segmenter.errors.append(ValueError("another network"))
    with pytest.raises(ValueError, match="another network"):
        service.take_weights()
    assert not (run / TAKEN).exists()
    assert FineTuning(service.store.folder, segmenter.weights).weights() == segmenter.weights
    service.take_weights()
    assert (run / TAKEN).exists()
