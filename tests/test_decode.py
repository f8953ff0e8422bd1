"""Radiographs are read in a process of its own: what a hostile file does to it is said, and the next one is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from handseg_monai.data import UnreadableImageError, read_radiograph
from handseg_monai.serve.decode import Decoder
from tests.conftest import draw_radiograph
from tests.dicoms import write_dicom
from tests.pictures import png

MEMORY = 160 << 20


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(memory=MEMORY)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.png"
    cv2.imwrite(str(path), draw_radiograph(0, (96, 72))[0])
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 100 million pixels in a small file."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    cv2.imwrite(str(path), np.zeros((10_000, 10_000), np.uint8))
    return path


def still_reads(decoder: Decoder, path: Path) -> bool:
    return np.array_equal(decoder.read(path).image, read_radiograph(path))


def test_nothing_is_imported_from_the_current_directory(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queue.py", "handseg_monai.py", "numpy.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    decoder = Decoder()
    try:
        assert still_reads(decoder, plain)
    finally:
        decoder.close()


def test_radiographs_are_those_of_the_reader(decoder: Decoder, plain: Path, tmp_path: Path) -> None:
    image = draw_radiograph(1, (96, 72))[0]
    wide = image.astype(np.uint16) * 200
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    cv2.imwrite(str(tmp_path / "float.tif"), image.astype(np.float32) / 7)
    write_dicom(tmp_path / "x.dcm", wide)
    (tmp_path / "nameless").write_bytes(plain.read_bytes())
    for path in (plain, *tmp_path.iterdir()):
        read, expected = decoder.read(path).image, read_radiograph(path)
        assert read.dtype == expected.dtype
        assert np.array_equal(read, expected)


def test_what_is_no_image_is_said_without_its_path(decoder: Decoder, tmp_path: Path) -> None:
    for name, content in {"a.png": b"hello", "b.dcm": b"", "c": b"\x89PNG\r\n\x1a\n", "손.png": b"GIF89a"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImageError) as found:
            decoder.read(tmp_path / name)
        assert str(tmp_path) not in str(found.value)
        with pytest.raises(UnreadableImageError) as expected:
            read_radiograph(tmp_path / name)
        assert str(expected.value) == f"{tmp_path / name}: {found.value}"


def test_another_part_of_the_body_is_not_read_as_inference_does_not(decoder: Decoder, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "chest.dcm", draw_radiograph(0, (96, 72))[0], BodyPartExamined="CHEST")
    with pytest.raises(UnreadableImageError, match="CHEST"):
        decoder.read(path)


def test_a_bomb_is_not_decoded(decoder: Decoder, tmp_path: Path, plain: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(100_000, 100_000, 8, 0, b"\0" * 1000))
    with pytest.raises(UnreadableImageError, match="100000 x 100000 pixels are more than 200000000"):
        decoder.read(tmp_path / "bomb.png")
    with pytest.raises(UnreadableImageError, match="72 x 96 pixels are more than 6000"):
        decoder.read(plain, max_pixels=6000)
    assert still_reads(decoder, plain)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_more_memory_than_it_may_have(decoder: Decoder, plain: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large{suffix}"
    cv2.imwrite(str(path), np.zeros((10_000, 20_000), np.uint8))
    with pytest.raises(UnreadableImageError, match="it takes more than 160 MiB of memory to read"):
        decoder.read(path)
    assert still_reads(decoder, plain)


def test_a_file_that_takes_too_long(large: Path, plain: Path) -> None:
    decoder = Decoder()
    try:
        assert still_reads(decoder, plain)
        before = decoder.pid
        decoder.seconds = 0.02
        with pytest.raises(UnreadableImageError, match=r"reading it failed: no answer within 0\.02 seconds"):
            decoder.read(large)
        decoder.seconds = 60
        assert still_reads(decoder, plain)
        assert decoder.pid != before
    finally:
        decoder.close()


def test_a_file_that_ends_the_process(large: Path, plain: Path) -> None:
    decoder = Decoder()
    try:
        assert still_reads(decoder, plain)
        pid = decoder.pid
        assert pid is not None
        killer = threading.Timer(0.02, os.kill, (pid, signal.SIGSEGV))
        killer.start()
        words = r"reading it failed: its process ended \(code -11\); it is damaged"
        with pytest.raises(UnreadableImageError, match=words):
            [decoder.read(large) for _ in range(1000)]
        assert still_reads(decoder, plain)
    finally:
        decoder.close()


def test_the_process_ends_with_the_one_that_reads(large: Path) -> None:
    code = (
        "import sys; from handseg_monai.serve.decode import Decoder\n"
        "decoder = Decoder()\n"
        "while True:\n    decoder.read(sys.argv[1]); print(decoder.pid, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, large], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()


def test_the_system_ends_a_read_that_nobody_waits_for_any_more() -> None:
    code = "from handseg_monai.serve.decode import end_after; end_after(0.2); [0 for _ in iter(int, 1)]"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - start < 50


def test_it_needs_no_torch() -> None:
    code = "import sys, handseg_monai.serve.decode as _; print('torch' in sys.modules, 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
