"""Inference at full size against the plain way: ``python -m tests.benchmarks.inference [--images 20]``.

The plain way brings the logits of all 29 bones to 2048 x 2048, takes the sigmoid, thresholds, and encodes mask by mask.
So it does with views of the whole image in windows of 1024 and 512, through MONAI's SlidingWindowInferer; there the
network is a tiny one, so that the rest shows. What counts are ratios in one run; peaks of memory are those of processes
of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.inferers import SlidingWindowInferer
from rich.console import Console
from rich.table import Table
from torch.nn.functional import interpolate

from handseg_monai import bundle_root
from handseg_monai.bitplanes import unpack
from handseg_monai.bones import NUM_BONES
from handseg_monai.inferers.looks import Look, planes_of_looks
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import encode_planes
from handseg_monai.run.machine import processor
from tests.benchmarks.runs import plain_encode, seconds

SIZE, VIEW = 2048, 512


def logits_of(planes: np.ndarray) -> torch.Tensor:
    """Logits (29, 512, 512) of a phantom: its masks, blurred."""
    soft = [
        cv2.GaussianBlur(cv2.resize(mask.astype(np.float32), (VIEW, VIEW), interpolation=cv2.INTER_AREA), (0, 0), 1.5)
        for mask in unpack(planes)
    ]
    return torch.from_numpy(12 * (np.stack(soft) - 0.5))


def plain(logits: torch.Tensor) -> list[str]:
    """Rows of a submission from logits: whole probabilities, thresholded, encoded one by one."""
    whole = interpolate(logits[None], (SIZE, SIZE), mode="bilinear", align_corners=False)[0]
    return [plain_encode(mask) for mask in (whole.sigmoid() > 0.5).numpy()]


def drawn(logits: torch.Tensor) -> list[str]:
    """The same as this project does it."""
    look = Look(torch.eye(3)[:2], logits)
    return encode_planes(planes_of_looks([[look]], (VIEW, VIEW), (SIZE, SIZE), (0.5,) * NUM_BONES).numpy())


def _status(key: str) -> float:
    """Of this process, in MB: VmRSS, what it holds, or VmHWM, the most it has held (ru_maxrss)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) / 1024


def _measured(queue: Any, call: Callable[..., object], args: tuple[Any, ...]) -> None:
    # The most held so far, by importing, is forgotten.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    result = call(*args)
    queue.put((_status("VmHWM") - before, result if isinstance(result, float) else None))


def memory(call: Callable[..., object], *args: Any) -> tuple[float, float | None]:
    """Return by how many MB the peak of a new process rises in a call, and what the call returns."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measured, args=(queue, call, args))
    process.start()
    result: tuple[float, float | None] = queue.get()
    process.join()
    return result


def _workflow(folder: str, out: str, **options: Any) -> ConfigWorkflow:
    bundle = ConfigWorkflow(
        str(bundle_root() / "configs" / "inference.json"),
        workflow_type="infer",
        bundle_root=str(bundle_root()),
        dataset_dir=folder,
        output_dir=out,
        num_workers=0,
        overlays=False,
        **options,
    )
    bundle.initialize()
    return bundle


def one_forward(folder: str, out: str) -> float:
    """Forward of one window, process warm from nothing else; returns its seconds."""
    bundle = _workflow(folder, out)
    network, side = bundle.parser.get_parsed_content("network").eval(), bundle.parser.get_parsed_content("window")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return seconds(lambda: network(torch.rand(1, 1, side, side)), 3)


def whole_run(folder: str, out: str) -> float:
    """Inference of a folder; returns the seconds of its run."""
    bundle = _workflow(folder, out)
    began = time.perf_counter()
    bundle.run()
    taken = time.perf_counter() - began
    bundle.finalize()
    return taken


def network_share(folder: str, out: str) -> tuple[float, float]:
    """Return seconds of a run and, of these, the network's own."""
    bundle = _workflow(folder, out)
    network = bundle.parser.get_parsed_content("network")
    spent = [0.0]
    network.register_forward_pre_hook(lambda *_: spent.append(-time.perf_counter()))
    network.register_forward_hook(lambda *_: spent.append(time.perf_counter()))
    began = time.perf_counter()
    bundle.run()
    taken = time.perf_counter() - began
    bundle.finalize()
    return taken, sum(spent)


class Painted(torch.nn.Module):
    """Sees bone k where the image, smoothed, has the grey value (k + 1) / 29."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = torch.nn.Conv2d(1, NUM_BONES, 3, padding=1)
        torch.nn.init.constant_(self.smooth.weight, 1 / 9)
        self.smooth.bias = torch.nn.Parameter(-torch.arange(1, NUM_BONES + 1) / NUM_BONES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 29, H, W)."""
        return self.smooth(image).abs_().mul_(-600).add_(9)


def save_painted(images: Path, planes: np.ndarray) -> Path:
    """Write an image of bones, each in a grey value of its own, and the checkpoint of the network that sees them."""
    images.mkdir()
    image = np.zeros(planes.shape, np.uint8)
    for bone in range(NUM_BONES):
        image[(planes >> bone) & 1 != 0] = 8 * (bone + 1)
    cv2.imwrite(str(images / "0.png"), image)
    content = {"network": Painted().state_dict(), "network_name": "painted", "views": "image"}
    torch.save(content, images.with_suffix(".pt"))
    return images


def _windows(folder: str, out: str, window: int, where: str) -> ConfigWorkflow:
    options: dict[str, Any] = {"network_name": "painted", "checkpoint": f"{folder}.pt", "size": SIZE, "window": window}
    options |= {"network_def": {"_target_": "tests.benchmarks.inference.Painted"}}
    return _workflow(folder, out, **options, **{"window_inferer#where": where})


def one_window(folder: str, out: str, window: int) -> float:
    """Forward of one window of the whole image; returns its seconds."""
    network = _windows(folder, out, window, "content").parser.get_parsed_content("network").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return seconds(lambda: network(torch.rand(1, 1, window, window)), 3)


def windows_here(folder: str, out: str, window: int, where: str) -> float:
    """Inference of a folder in windows; returns its seconds."""
    bundle = _windows(folder, out, window, where)
    began = time.perf_counter()
    bundle.run()
    bundle.finalize()
    taken = time.perf_counter() - began
    inferer = bundle.parser.get_parsed_content("window_inferer")
    counts = f"{inferer.shown} windows shown, {inferer.passed_over} passed over"
    print(f"window {window}, {where}: {counts}", flush=True)
    return taken


def windows_plainly(folder: str, out: str, window: int) -> float:
    """The same by MONAI's inferer, whole logits and probabilities; returns its seconds."""
    bundle = _windows(folder, out, window, "everywhere")
    network = bundle.parser.get_parsed_content("network").eval()
    inferer = SlidingWindowInferer((window, window), overlap=0.5, mode="gaussian")
    began = time.perf_counter()
    for item in bundle.parser.get_parsed_content("dataset"):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = inferer(item["image"][None], network)[0].float()
        for mask in (logits.sigmoid() > 0.5).numpy():
            plain_encode(mask)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=100)
    given = options.parse_args()
    torch.set_num_threads(1)
    hands = [render_phantom(77, n, "right", PRESETS["standard"], SIZE) for n in range(4)]
    logits = logits_of(hands[0].planes)
    found, expected = drawn(logits), plain(logits)
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    table = Table(title=f"{processor()}, one thread")
    for heading in ("what", "plain", "here", "ratio"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    slow, fast = seconds(lambda: plain(logits)), seconds(lambda: drawn(logits))
    what = f"logits {VIEW} x {VIEW} to rows at {SIZE}"
    table.add_row(f"{what}, s ({same} of 29 texts the same)", f"{slow:.3f}", f"{fast:.3f}", f"{slow / fast:.1f}")
    (most, _), (least, _) = memory(plain, logits), memory(drawn, logits)
    table.add_row(f"{what}, peak MB", f"{most:.0f}", f"{least:.0f}", f"{most / least:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        cv2.imwrite(str(images / "0.png"), hands[0].image)
        window, _ = memory(one_forward, str(images), f"{folder}/a")
        run, _ = memory(whole_run, str(images), f"{folder}/b")
        table.add_row(f"peak MB of inference at {SIZE} less one window's", "", f"{run - window:.0f}", "")
        painted = str(save_painted(Path(folder) / "painted", hands[0].planes))
        for side in (1024, 512):
            window, _ = memory(one_window, painted, f"{folder}/d", side)
            most, slow = memory(windows_plainly, painted, f"{folder}/e", side)
            for where in ("everywhere", "content"):
                least, fast = memory(windows_here, painted, f"{folder}/f{side}{where}", side, where)
                what = f"{SIZE} in windows of {side}, {where}"
                cells = f"{most - window:.0f}", f"{least - window:.0f}", f"{(most - window) / (least - window):.1f}"
                table.add_row(f"{what}: peak MB less one window's", *cells)
                assert slow is not None
                assert fast is not None
                table.add_row(f"{what}: s an image", f"{slow:.1f}", f"{fast:.1f}", f"{slow / fast:.1f}")
        for number in range(1, given.images):
            cv2.imwrite(str(images / f"{number}.png"), hands[number % len(hands)].image)
        taken, network = network_share(str(images), f"{folder}/c")
        table.add_row(f"{given.images} images of {SIZE}, s (network alone)", f"{network:.1f}", f"{taken:.1f}", "")
        table.add_row("overhead beyond the network, %", "", f"{100 * (taken / network - 1):.0f}", "")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
