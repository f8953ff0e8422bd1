"""Prepared images on disk: the same as those prepared anew, kept from run to run, never those of another file."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandSpatialCropd
from PIL import Image

from handseg_monai.data import labelled_items
from handseg_monai.data.dataset import RadiographDataset
from handseg_monai.transforms import LoadBonePlanesd, LoadRadiographd


class Counted(LoadBonePlanesd):
    """Count the labels that were read."""

    read = 0

    def __call__(self, data: Any) -> Any:
        type(self).read += 1
        return super().__call__(data)


@pytest.fixture
def items(drawn_dataset: Path, tmp_path: Path) -> list[Any]:
    shutil.copytree(drawn_dataset / "train", tmp_path / "train")
    return labelled_items(tmp_path / "train")[0][:3]


def dataset(items: list[Any], folder: Path | None, size: int = 96, **options: Any) -> RadiographDataset:
    crop = RandSpatialCropd(["image", "label"], roi_size=[32, 32], random_size=False)
    steps = Compose([LoadRadiographd("image", size), Counted("label", size), crop])
    return RadiographDataset(items, steps, progress=False, cache_dir=folder, **options)


def reads(data: RadiographDataset) -> int:
    before = Counted.read
    _ = [data[i] for i in range(len(data))]
    return Counted.read - before


def fill(items: list[Any], folder: Path) -> None:
    data = dataset(items, folder)
    _ = [data[i] for i in range(len(data))]


@pytest.mark.parametrize("cache_rate", [0.0, 0.5, 1.0])
def test_items_are_those_prepared_anew_and_read_once(items: list[Any], tmp_path: Path, cache_rate: float) -> None:
    plain = dataset(items, None)
    expected = [plain[i] for i in range(3)]
    for run in range(2):
        before = Counted.read
        data = dataset(items, tmp_path / "cache", cache_rate=cache_rate)
        for epoch in range(2):
            for i, item in enumerate(expected):
                found = data[i + 3 * epoch]
                assert set(found) == set(item)
                if epoch == 0:
                    assert torch.equal(found["image"], item["image"])
                    assert torch.equal(found["label"], item["label"])
                    assert torch.equal(found["image_size"], item["image_size"])
        assert Counted.read - before == (3 if run == 0 else 0)


def test_a_changed_file_or_setting_is_read_anew(items: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert reads(dataset(items, folder)) == 3
    assert reads(dataset(items, folder)) == 0
    assert reads(dataset(items, folder, size=64)) == 3
    pixels = np.asarray(Image.open(items[0]["image"])) // 2
    Image.fromarray(pixels).save(items[0]["image"])
    changed = dataset(items, folder)
    assert reads(changed) == 1
    assert changed[0]["image"].max() <= 127
    os.utime(items[1]["label"], ns=(1, 1))
    assert reads(dataset(items, folder)) == 1


def test_a_broken_file_is_written_again(items: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    fill(items, folder)
    for number, path in enumerate(sorted(folder.glob("*.pt"))):
        path.write_bytes((b"", b"no torch file", path.read_bytes()[:-50])[number])
    assert reads(dataset(items, folder)) == 3
    assert reads(dataset(items, folder)) == 0


@pytest.mark.parametrize("content", [b"", b"hello", bytes(4), bytes(99), b'{"a": 1}', b"\x80\x02}"])
def test_any_other_file_is_written_again(items: list[Any], tmp_path: Path, content: bytes) -> None:
    fill(items, tmp_path / "cache")
    for path in (tmp_path / "cache").glob("*.pt"):
        path.write_bytes(content)
    assert reads(dataset(items, tmp_path / "cache")) == 3
    assert reads(dataset(items, tmp_path / "cache")) == 0


def test_pixels_that_the_disk_has_changed_are_read_anew(items: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    expected = dataset(items, None)[0]
    fill(items, folder)
    for path in folder.glob("*.pt"):
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle] ^= 1
        path.write_bytes(content)
    found = dataset(items, folder)
    assert torch.equal(found[0]["image"], expected["image"])
    assert torch.equal(found[0]["label"], expected["label"])
    assert reads(found) == 2, "the first is written again"


def test_a_file_of_the_same_time_and_size_is_another(items: list[Any], tmp_path: Path) -> None:
    folder, label = tmp_path / "cache", Path(items[0]["label"])
    fill(items, folder)
    stat, content = label.stat(), label.read_text()
    label.write_text(content.replace("Radius", "Lunate"))
    os.utime(label, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (label.stat().st_mtime_ns, label.stat().st_size) == (stat.st_mtime_ns, stat.st_size)
    assert reads(dataset(items, folder)) == 1


def test_processes_may_fill_one_folder_together(items: list[Any], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(items, folder)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list(folder.iterdir())) == 3, "no part files are left"
    assert reads(dataset(items, folder)) == 0


def test_a_file_in_the_place_of_the_folder_is_named(items: list[Any], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a folder for prepared images"):
        dataset(items, tmp_path / "cache")
