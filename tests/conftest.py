"""Fixtures: small drawn radiographs in the competition's layout, made in milliseconds."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Threads of tiny networks cost more than they give, and the tests' own processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The same tests on every machine; what takes a GPU is tests/benchmarks/cuda.py.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# Of a shell's background job Ctrl-C is ignored, and so it would be of the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import cv2
import numpy as np
import pytest
from hypothesis import settings

from handseg_monai.bones import NAMES
from tests.programs import kept_globals

# The same examples on every machine, and no time limit for one of them, which a busy machine breaks.
settings.register_profile("handseg", deadline=None, derandomize=True)
settings.load_profile("handseg")


def draw_radiograph(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, dict[str, list[list[int]]]]:
    """Draw 29 overlapping ellipses on a ramp: uint8 ``shape``, and each bone's polygon.

    Bone k stands at the same place of every image but for a jitter, in 6 columns and 5 rows, taller than wide, so
    that a transposed or mirrored mask can't pass for the right one.
    """
    rng = np.random.default_rng(seed)
    height, width = shape
    image = np.linspace(20, 60, width)[None, :] + np.zeros((height, 1))
    polygons = {}
    for k, name in enumerate(NAMES):
        row, column = divmod(k, 6)
        centre = np.array([(column + 0.5) * width / 6, (row + 0.5) * height / 5]) + rng.uniform(-2, 2, 2)
        radii = np.array([width / 13, height / 8.5])
        points = cv2.ellipse2Poly(
            (int(centre[0]), int(centre[1])), (int(radii[0]), int(radii[1])), 0, 0, 360, 12
        ).astype(np.int32)
        points = np.clip(points, 0, (width - 1, height - 1))
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [points], 1)
        image += mask * (60 + 4 * k)
        polygons[name] = points.tolist()
    image += rng.normal(0, 2, shape)
    return np.clip(image, 0, 255).astype(np.uint8), polygons


def write_label(path: Path, polygons: dict[str, list[list[int]]]) -> None:
    """Write polygons as the competition does, in the wrong order and with a wrong size in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    annotations = [
        {"id": name, "type": "poly_seg", "attributes": {}, "points": points, "label": name}
        for name, points in reversed(polygons.items())
    ]
    content = {"annotations": annotations, "filename": f"{path.stem}.jpg", "metadata": {"width": 3060, "height": 3060}}
    path.write_text(json.dumps(content))


def write_drawn_dataset(root: Path, subjects: int, shape: tuple[int, int] = (96, 72), split: str = "train") -> Path:
    """Write a dataset of two drawn radiographs a subject."""
    for subject in range(subjects):
        for hand in range(2):
            name = f"image{1_661_392_000_000 + 10 * subject + hand + (5_000_000 if split == 'test' else 0)}"
            image, polygons = draw_radiograph(1000 * subject + hand, shape)
            path = root / split / "DCM" / f"ID{subject + 1:03d}" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.repeat(image[..., None], 3, axis=2))
            write_label(root / split / "outputs_json" / f"ID{subject + 1:03d}" / f"{name}.json", polygons)
    return root


@pytest.fixture(scope="session")
def drawn_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five subjects, ten images of 96 x 72 pixels; don't change it."""
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn"), subjects=5)


@pytest.fixture(scope="session")
def phantom_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty people, forty phantoms of 256 pixels with metadata; don't change it.

    The processes of pytest-xdist draw it once for all: the first one that asks for it.
    """
    from handseg_monai.phantom import write_dataset

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    root = folder / "phantoms"
    with (folder / "phantoms.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            write_dataset(folder / "phantoms.part", subjects=20, size=256, seed=5, workers=1, progress=False)
            (folder / "phantoms.part").rename(root)
    return root


LONGEST = (
    *("archive", "demo", "cuda_inference", "exports", "cuda", "pacs", "pacs_hostile"),
    *("cross_validation", "serve", "serve_hostile", "kills", "serve_page", "fine_tuning", "store", "measures"),
    *("notebooks", "phantom", "stopped", "labels", "drawn", "training", "scene", "weights"),
    *("network_overlays", "schedules", "track", "ranks", "submission", "report", "audit", "bad_input", "tracking"),
    *("here", "typed_paths", "resume", "proportions", "plausibility", "bundle", "evaluation", "ensemble", "compiled"),
)
"""Files of tests that take longest: they begin first, so that no process is left alone with one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand out files in the order of collection: of its own it begins with those of most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--slow``."""
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests without ``--slow``, those on real radiographs without ``HANDSEG_REAL_DIR``, and those of
    libraries that are not installed.
    """
    markers = [] if config.getoption("--slow") else ["slow"]
    markers += [] if os.environ.get("HANDSEG_REAL_DIR") else ["real"]
    if not all(importlib.util.find_spec(name) for name in ("segmentation_models_pytorch", "timm", "torchvision")):
        markers.append("networks")
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in markers)]
    config.hook.pytest_deselected(items=left_out)
    rank = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    kept = set(items) - set(left_out)
    items[:] = sorted((item for item in items if item in kept), key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture
def restore_globals() -> Iterator[None]:
    """Put back what a bundle run in this process sets for all of it."""
    with kept_globals():
        yield
