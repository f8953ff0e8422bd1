"""Networks compared at equal budgets: ``python -m tests.benchmarks.networks PHANTOMS [--seconds 300]``.

``PHANTOMS`` is a folder of ``handseg phantom --components``. Every network that an overlay of the bundle names, and
whose packages are installed, is trained from nothing on the same views, as in ``pretrain.json``, for the same
processor time in one thread, forward and backward and the optimiser's step counted; then it segments the same
held-out views. ``--upright`` shows whole upright hands alone, exposed alike, of which a few minutes teach something.
Its learning rate warms up and decays over that time. A step of training and an inference of one image of 512 x 512
are timed on the CPU, in one thread, and on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SimpleInferer
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bitplanes import pack, unpack
from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.dataset import prepare_planes
from handseg_monai.handlers.planes_dice import PlanesDice
from handseg_monai.inferers import AutocastInferer
from handseg_monai.networks import check_packages, set_output_bias
from handseg_monai.run.machine import processor

HELD_OUT, TIMED = 40, 512
_UPRIGHT = {"wide_share": 0.0, "wrist_share": 0.0, "part_share": 0.0, "turned_share": 0.0, "turn": (-5.0, 5.0)}
INFER = AutocastInferer(SimpleInferer())


def parser_of(overlay: Path | None, phantoms: str, size: int, upright: bool) -> ConfigParser:
    """Return the configuration of pretraining with a network laid over it."""
    configs = bundle_root() / "configs"
    files = [configs / "train.json", configs / "pretrain.json", *([overlay] if overlay else [])]
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update({"dataset_dir": phantoms, "size": size, "presets": ["easy"] if upright else ["standard", "hard"]})
    if upright:
        parser.update({f"view_ranges::{name}": value for name, value in _UPRIGHT.items()})
    return parser


def samples(transform: Any, items: list[dict[str, Any]], seed: int) -> Any:
    """Yield views without end, in an order drawn from the seed."""
    rng = np.random.default_rng(seed)
    transform.set_random_state(seed)
    while True:
        for place in rng.permutation(len(items)):
            yield transform(items[int(place)])


def learn(parser: ConfigParser, seconds: float, batch: int) -> tuple[torch.nn.Module, int]:
    """Train for a processor time; returns the network and the number of images that it saw."""
    torch.manual_seed(0)
    network: torch.nn.Module = parser.get_parsed_content("network_def")
    set_output_bias(network, parser["output_bias"])
    network.train()
    loss = parser.get_parsed_content("loss")
    peak = float(parser.get_parsed_content("learning_rate"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=1e-4)
    transform = parser.get_parsed_content("train#preprocessing")
    source = samples(transform, parser.get_parsed_content("datalist")["training"], 1)
    spent, steps = 0.0, 0
    while spent < seconds:
        pair = [next(source) for _ in range(batch)]
        stacked = {key: torch.stack([item[key] for item in pair]) for key in ("image", "label")}
        image, target = prepare_planes(stacked, torch.device("cpu"))
        done = spent / seconds
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, done / 0.05 + 0.01) * 0.5 * (1.0 + np.cos(np.pi * min(done, 1.0)))
        began = time.process_time()
        value = loss(INFER(image, network), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        spent += time.process_time() - began
        steps += 1
    return network.eval(), steps * batch


def judged(network: torch.nn.Module, parser: ConfigParser) -> float:
    """Return the mean Dice over bones in view of held-out views."""
    items = parser.get_parsed_content("datalist")["validation"]
    source = samples(parser.get_parsed_content("validate#preprocessing"), items, 2)
    metric, found = PlanesDice(), []
    for _ in range(HELD_OUT):
        item = next(source)
        with torch.no_grad():
            logits = INFER(item["image"][None], network)[0]
        size = tuple(int(n) for n in item["image_size"])
        planes = pack(torch.nn.functional.interpolate(logits[None].float(), size, mode="bilinear")[0] > 0)[None]
        dice = metric([planes], [item["label"]])[0]
        present = unpack(item["label"][0]).flatten(1).any(1)
        found += dice[present].tolist()
    return float(np.mean(found))


def least_time(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the least time of several rounds, seconds: of the processor, or of the clock with a GPU."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    times = []
    for _ in range(rounds):
        began = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - began)
    return min(times)


def timed(network: torch.nn.Module, loss: Any, device: str) -> tuple[float, float]:
    """Return the time of a step of training and of an inference, seconds, both of one image of 512 x 512."""
    network.to(device)
    image = torch.rand(1, 1, TIMED, TIMED, device=device)
    planes = torch.randint(ALL_KNOWN, (1, 1, TIMED, TIMED), dtype=torch.int32, device=device)
    target = planes, torch.full((1,), ALL_KNOWN, dtype=torch.int32, device=device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        loss(INFER(image, network), target).backward()
        optimizer.step()

    network.train()
    training = least_time(step)
    network.eval()
    with torch.no_grad():
        inference = least_time(lambda: INFER(image, network))
    network.cpu()
    return training, inference


def installed(overlay: Path | None) -> str | None:
    """Say what a network needs that is not there, or None."""
    if overlay is None:
        return None
    content = ConfigParser.load_config_file(str(overlay))
    try:
        check_packages(content["network_name"], content["network_def"])
    except ValueError as error:
        return str(error)
    return None


def machine() -> str:
    """Return the names of the processor and of the GPU, if any."""
    names = [processor()]
    return ", ".join(names + ([torch.cuda.get_device_name()] if torch.cuda.is_available() else []))


def main() -> None:
    """Train and judge every network, and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("phantoms")
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--batch", type=int, default=2)
    options.add_argument("--upright", action="store_true", help="whole upright hands alone, of the preset easy")
    options.add_argument("--learning_rate", type=float, help="peak; that of pretrain.json by default")
    options.add_argument("--networks", nargs="*", help="names of overlays; all of them by default")
    given = options.parse_args()
    torch.set_num_threads(1)
    overlays: dict[str, Path | None] = {"dynunet": None}
    overlays |= {file.stem[8:]: file for file in sorted((bundle_root() / "configs").glob("network_*.json"))}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(machine())
    views = "upright hands" if given.upright else "any view"
    budget = f"{given.seconds:g} s of one thread, {given.size} x {given.size}, batch {given.batch}, {views}"
    table = Table(title=f"{budget}; {machine()}")
    times = [f"{work}, {device}" for device in devices for work in (f"s a step at {TIMED}", f"s to infer {TIMED}")]
    for heading in ("network", "parameters", *times, "images seen", "Dice"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name in given.networks or overlays:
        if reason := installed(overlays[name]):
            print(reason, flush=True)
            continue
        parser = parser_of(overlays[name], given.phantoms, given.size, given.upright)
        if given.learning_rate is not None:
            parser.update({"learning_rate": given.learning_rate})
        network, images = learn(parser, given.seconds, given.batch)
        dice = judged(network, parser)
        loss = parser.get_parsed_content("loss")
        row = (
            name,
            f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M",
            *(f"{seconds:.3g}" for device in devices for seconds in timed(network, loss, device)),
            str(images),
            f"{dice:.3f}",
        )
        print(*row, sep=" | ", flush=True)
        table.add_row(*row)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
