"""The data path against plain references, both sides doing the same: ``python -m tests.benchmarks.data_path``.

Times are the least of several rounds in one process and one thread; what counts is their ratio.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.metrics import DiceMetric
from monai.transforms import Compose
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bitplanes import NUM_BONES, unpack
from handseg_monai.bones import INDEX
from handseg_monai.data import labelled_items
from handseg_monai.data.dataset import RadiographDataset
from handseg_monai.handlers.planes_dice import PlanesDice
from handseg_monai.phantom import write_dataset
from handseg_monai.run.machine import processor
from handseg_monai.transforms import LoadBonePlanesd, LoadRadiographd, RandAlbumentationsd, ScalePercentilesd

STORED, WORKING, ROUNDS = 2048, 1024, 7
Steps = list[A.BasicTransform]


def affine() -> Steps:
    """One affine warp, as in ``train.json``."""
    return [A.Affine(scale=(0.8, 1.2), rotate=(-25, 25), shear=(-6, 6), translate_percent=(-0.06, 0.06), p=1.0)]


def default_set() -> Steps:
    """The augmentations of ``train.json``."""
    parser = ConfigParser(ConfigParser.load_config_file(bundle_root() / "configs" / "train.json"))
    steps = parser["train"]["preprocessing"]["transforms"]
    (found,) = [step for step in steps if step["_target_"].endswith("RandAlbumentationsd")]
    parser["augmentations"] = found["transforms"]
    made: Steps = parser.get_parsed_content("augmentations")
    return made


def reference(item: dict[str, Any], compose: A.Compose, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a plain dataset does: 29 masks at the stored size, reduced and warped with the image, floats in the end."""
    stored = cv2.imread(item["image"], cv2.IMREAD_GRAYSCALE)
    masks = np.zeros((*stored.shape, NUM_BONES), np.uint8)
    for annotation in json.loads(Path(item["label"]).read_text())["annotations"]:
        mask = np.zeros(stored.shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(np.array(annotation["points"])).astype(np.int32)], 1)
        masks[..., INDEX[annotation["label"]]] |= mask
    image = cv2.resize(stored, (WORKING, WORKING), interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = np.percentile(image, (0.5, 99.5)).astype(np.float32)
    image = np.clip((image - low) / (high - low), 0, 1)
    compose.set_random_seed(seed)
    small = cv2.resize(masks, (WORKING, WORKING), interpolation=cv2.INTER_NEAREST)
    warped = compose(image=image[..., None], mask=small)
    return (
        torch.from_numpy(np.ascontiguousarray(warped["image"].transpose(2, 0, 1))),
        torch.from_numpy(np.ascontiguousarray(warped["mask"].transpose(2, 0, 1))).float(),
    )


def loading(transforms: Steps) -> Compose:
    """The training path of ``train.json`` up to image and bit planes."""
    return Compose(
        [
            LoadRadiographd("image", WORKING),
            ScalePercentilesd("image", 0.5, 99.5),
            LoadBonePlanesd("label", WORKING),
            RandAlbumentationsd("image", "label", transforms),
        ]
    )


def least(call: Callable[[int], Any], rounds: int = ROUNDS) -> float:
    """Seconds of the quickest of several calls; each gets its number, the first one is not counted."""
    call(0)
    times = []
    for number in range(1, rounds + 1):
        start = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - start)
    return min(times)


def mean(call: Callable[[int], Any], rounds: int) -> float:
    """Seconds of the mean call, for steps that happen with a probability."""
    call(0)
    start = time.perf_counter()
    for number in range(1, rounds + 1):
        call(number)
    return (time.perf_counter() - start) / rounds


def main() -> None:
    """Measure and print the table."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    table = Table(title=f"Data path on {processor()}, one thread; PyTorch {torch.__version__}")
    for column in ("what", "reference, ms", "ours, ms", "ratio", "asked"):
        table.add_column(column, justify="left" if column == "what" else "right")

    def row(what: str, plain: float, ours: float, asked: str) -> None:
        table.add_row(what, f"{1000 * plain:.1f}", f"{1000 * ours:.1f}", f"{plain / ours:.1f} x", asked)

    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder + "/d", subjects=1, test_subjects=0, size=STORED, seed=1, workers=1, progress=False)
        item: Any = labelled_items(Path(folder) / "d" / "train")[0][0]
        three = cv2.imread(item["image"], cv2.IMREAD_COLOR)
        cv2.imwrite(item["image"], three)
        read = least(lambda _: cv2.imread(item["image"], cv2.IMREAD_GRAYSCALE))

        plain = A.Compose(affine(), mask_interpolation=0)
        slow = least(lambda k: reference(item, plain, k), 4)
        cold = RadiographDataset([item], loading(affine()), progress=False)
        row("cold sample, affine", slow, least(lambda k: cold[k]), "7 x")
        cached = RadiographDataset([item], loading(affine()), cache_rate=1.0, progress=False)
        warm = least(lambda k: cached[k])
        row("sample cached in memory, affine", slow, warm, "30 x")
        disk = RadiographDataset([item], loading(affine()), cache_dir=folder + "/c", progress=False)
        row("sample cached on disk, affine", slow, least(lambda k: disk[k]), "")
        whole = A.Compose(default_set(), mask_interpolation=0)
        slow_set = mean(lambda k: reference(item, whole, k), 12)
        augmented = RadiographDataset([item], loading(default_set()), cache_rate=1.0, progress=False)
        row("sample cached in memory, default augmentations", slow_set, mean(lambda k: augmented[k], 40), "5 x")

        planes = cached[0]["label"][None]
        masks = unpack(planes[:, 0])
        unpacking = least(lambda _: unpack(planes[:, 0]).float())
        table.add_row("unpacking 29 x 1024 x 1024 masks to floats", "", f"{1000 * unpacking:.1f}", "", "")
        _metric(row, item)
    console = Console(width=120)
    console.print(table)
    console.print(f"Decoding the PNG of three channels alone: {1000 * read:.1f} ms.")
    label = masks[0].to(torch.uint8)
    console.print(f"A cached label: {planes.nbytes / 2**20:.1f} MiB, as 29 x uint8 {label.nbytes / 2**20:.1f} MiB.")
    shares = Table(title="Each augmentation on a cached sample of 1024 x 1024")
    for column in ("transform", "probability", "ms", "ms in the mean"):
        shares.add_column(column, justify="left" if column == "transform" else "right")
    image, label_planes = cached[0]["image"][0].numpy()[..., None], cached[0]["label"][0].numpy()
    for step in default_set():
        probability, step.p = step.p, 1.0
        alone = A.Compose([step], mask_interpolation=0)
        spent = least(lambda _, alone=alone: alone(image=image, mask=label_planes))  # type: ignore[misc]
        shares.add_row(
            type(step).__name__, f"{probability:.2f}", f"{1000 * spent:.1f}", f"{1000 * probability * spent:.1f}"
        )
    console.print(shares)


def _metric(row: Callable[[str, float, float, str], None], item: Any) -> None:
    truth = LoadBonePlanesd("label")(LoadRadiographd("image")(item))["label"]
    guess = torch.roll(truth, (5, -7), (1, 2))
    ours, plain = PlanesDice(), DiceMetric(include_background=True, ignore_empty=False)

    def slow(_: int) -> None:
        plain.reset()
        plain(unpack(guess).float(), unpack(truth).float())

    def fast(_: int) -> None:
        ours.reset()
        ours([guess], [truth])

    times = least(slow, 3), least(fast, 3)
    difference = abs(float(plain.aggregate()) - float(ours.aggregate()))
    row(f"Dice of an image of 2048 x 2048 (within {difference:.0e})", *times, "10 x")


if __name__ == "__main__":
    main()
