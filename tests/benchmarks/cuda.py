"""What a machine with a GPU is to show, in at most eight minutes: ``python -m tests.benchmarks.cuda --out DIR``.

Draws phantoms; fine-tunes in mixed precision, is killed after the first epoch, and resumes; infers a hundred images,
and some of them on the processor too; times the way of a batch to its loss, and two networks. Prints a table, and
writes it to ``DIR/cuda.json`` after each step. Needs the extra ``[phantom]``. ``--device cpu`` tries the script itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from monai.bundle import ConfigParser
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bitplanes import unpack
from handseg_monai.bones import ALL_KNOWN, NUM_BONES
from handseg_monai.data.dataset import prepare_planes
from handseg_monai.files import write_json
from handseg_monai.phantom import write_dataset
from handseg_monai.rle import decode_planes, read_csv
from tests.benchmarks.networks import machine, timed

MINUTES = 8.0
ROUNDS = 5
DICE = 0.999
"""Of masks of the GPU and of the processor, at least."""


@dataclass
class Sheet:
    """Figures so far, and the time that is left."""

    path: Path
    begun: float = field(default_factory=time.monotonic)
    rows: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds."""
        return max(1.0, 60 * MINUTES - (time.monotonic() - self.begun))

    def add(self, what: str, figure: str) -> None:
        """Keep a figure, and write all."""
        self.rows[what] = figure
        print(f"{what}: {figure}", flush=True)
        write_json(self.path, {"machine": machine(), "torch": torch.__version__, "figures": self.rows})


def bundle(given: argparse.Namespace, files: tuple[str, ...], **options: object) -> list[str]:
    """Command of a run of the bundle."""
    configs = str([str(bundle_root() / "configs" / name) for name in files])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", configs]
    for name, value in {"num_workers": given.workers, **options}.items():
        command += [f"--{name}", str(value)]
    return command


def start(command: list[str], device: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a command that sees the GPUs, or none of them."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | hidden)


def finish(process: subprocess.Popen[bytes], sheet: Sheet, log: Path, masks: Path | None = None) -> None:
    """Wait for a command while time is left; raise where it fails.

    Inference that has written its masks may end with 1: an image shows no bone.
    """
    try:
        code = process.wait(sheet.left)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if code and not (code == 1 and masks is not None and masks.exists()):
        raise RuntimeError(f"exit code {code}:\n{log.read_text()[-2000:]}")


def train(given: argparse.Namespace, sheet: Sheet) -> None:
    """Fine-tune for three epochs, killed after the first, and check what is left."""
    out, log = given.out / "run", given.out / "train.log"
    options = {"dataset_dir": given.out / "phantoms", "output_dir": out, "epochs": 3, "size": given.size}
    command = bundle(given, ("train.json", "finetune.json"), weights=given.weights, **options)
    began, last = time.monotonic(), out / "last.pt"
    process = start(command, given.device, log)
    while not last.exists() and process.poll() is None and sheet.left > 1:
        time.sleep(0.05)
    alive = process.poll() is None
    process.kill()
    process.wait()
    if not last.exists():
        raise RuntimeError(f"training wrote no checkpoint:\n{log.read_text()[-2000:]}")
    sheet.add("start and the first epoch of training", f"{time.monotonic() - began:.1f} s")
    before = torch.load(last, weights_only=True)
    finish(start([*command, "--resume", "true"], given.device, log), sheet, log)
    after = torch.load(last, weights_only=True)
    scaler = after["states"].get("scaler", {})
    killed = f"killed {'' if alive else 'too late '}in epoch {before['epoch'] + 1}, resumed to {after['epoch']}"
    sheet.add("kill and resume", f"{killed}; scale of the loss {scaler.get('scale', 'none')}")
    sheet.add("best Dice of validation", f"{after['best_score']:.4f}")


def infer(given: argparse.Namespace, sheet: Sheet) -> None:
    """Infer on the device, and some images on the processor in float32; compare the masks."""
    images = sorted((given.out / "phantoms" / "train" / "DCM").rglob("*.png"))
    found = {}
    for device, count, amp in ((given.device, given.images, "true"), ("cpu", given.compared, "false")):
        name = f"{device}_{'amp' if amp == 'true' else 'float32'}"
        folder, log = given.out / "images" / name, given.out / f"{name}.log"
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number:04d}.png").symlink_to(images[number % len(images)].resolve())
        out = given.out / f"masks_{name}"
        options = {"dataset_dir": folder, "output_dir": out, "checkpoint": given.weights, "amp": amp}
        began = time.monotonic()
        finish(
            start(bundle(given, ("inference.json",), overlays="false", **options), device, log),
            sheet,
            log,
            out / "submission.csv",
        )
        sheet.add(f"inference of {count} images, {device}, start included", f"{time.monotonic() - began:.1f} s")
        found[name] = read_csv(out / "submission.csv")
    ours, plain = found.values()
    scores = []
    for name, texts in plain.items():
        shape = cv2.imread(str(images[int(Path(name).stem) % len(images)]), cv2.IMREAD_GRAYSCALE).shape
        a, b = (unpack(decode_planes([text or "" for text in of], shape)) for of in (ours[name], texts))
        whole = a.sum((1, 2)) + b.sum((1, 2))
        scores.append(np.where(whole > 0, 2 * (a & b).sum((1, 2)) / np.maximum(whole, 1), 1).mean())
    enough = "" if np.mean(scores) >= DICE else f", EXPECTED {DICE}"
    sheet.add("Dice of its masks and the processor's", f"{np.mean(scores):.5f}, least {np.min(scores):.5f}{enough}")


def way_of_a_batch(given: argparse.Namespace, sheet: Sheet) -> None:
    """Time copies to the device, the unpacking of planes and the loss, of two images."""
    device, side = torch.device(given.device), given.side
    batch = {
        "image": torch.rand(2, 1, side, side),
        "label": torch.randint(ALL_KNOWN, (2, 1, side, side), dtype=torch.int32),
    }
    pinned = {key: value.pin_memory() for key, value in batch.items()} if device.type == "cuda" else batch
    _, target = prepare_planes(batch, device)
    parser = ConfigParser(ConfigParser.load_config_file(str(bundle_root() / "configs" / "train.json")))
    loss = parser.get_parsed_content("loss")
    logits = torch.randn(2, NUM_BONES, side, side, device=device, requires_grad=True)
    for what, work in (
        ("to the device", lambda: prepare_planes(batch, device)),
        ("to the device from pinned memory", lambda: prepare_planes(pinned, device, non_blocking=True)),
        ("unpacked to floats", lambda: unpack(target[0][:, 0]).float()),
        ("loss and its gradient", lambda: loss(logits, target).backward()),
    ):
        sheet.add(f"2 images of {side} x {side}, {what}", f"{1000 * least(work, device):.2f} ms")


def least(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the quickest of some rounds; the first one is not counted."""
    times = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def networks(given: argparse.Namespace, sheet: Sheet) -> None:
    """Time the default network and others, on an image of 512 x 512."""
    configs = bundle_root() / "configs"
    for name in ("dynunet", *given.networks):
        files = [str(configs / "train.json"), *([] if name == "dynunet" else [str(configs / f"network_{name}.json")])]
        parser = ConfigParser(ConfigParser.load_config_files(files))
        network, loss = (parser.get_parsed_content(part) for part in ("network_def", "loss"))
        training, inference = timed(network, loss, given.device)
        sheet.add(f"{name}, 512 x 512", f"{1000 * training:.1f} ms a step, {1000 * inference:.1f} ms to infer")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, required=True, help="empty folder for all that is written")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--subjects", type=int, default=50, help="people of whom phantoms are drawn, two images each")
    options.add_argument("--size", type=int, default=512, help="side of phantoms and of windows in training, pixels")
    options.add_argument("--images", type=int, default=100, help="to infer on the device")
    options.add_argument("--compared", type=int, default=20, help="of these, to infer on the processor too")
    options.add_argument("--side", type=int, default=1024, help="of the batch whose way is timed, pixels")
    options.add_argument("--networks", nargs="*", default=["segresnet", "swinunetr"], help="names of overlays")
    options.add_argument("--weights", type=Path, default=bundle_root() / "models" / "model.pt")
    options.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes that read")
    given = options.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        options.error("PyTorch finds no GPU here; --device cpu tries the script without one")
    given.out.mkdir(parents=True, exist_ok=True)
    sheet = Sheet(given.out / "cuda.json")
    workers = max(given.workers, 1)
    write_dataset(given.out / "phantoms", subjects=given.subjects, size=given.size, workers=workers, progress=False)
    sheet.add(f"{2 * given.subjects} phantoms of {given.size} pixels drawn", f"{time.monotonic() - sheet.begun:.1f} s")
    failed = []
    for step in (way_of_a_batch, networks, train, infer):
        try:
            step(given, sheet)
        except Exception as error:  # the other steps have their figures all the same
            failed.append(step.__name__)
            sheet.add(f"{step.__name__} FAILED", str(error))
    table = Table("what", "figure", title=f"{machine()}; PyTorch {torch.__version__}")
    for what, figure in sheet.rows.items():
        table.add_row(what, figure)
    Console(width=120).print(table)
    sys.exit(1 if failed or any("EXPECTED" in figure for figure in sheet.rows.values()) else 0)


if __name__ == "__main__":
    main()
