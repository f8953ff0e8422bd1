"""Networks compared at equal budgets: ``python -m tests.benchmarks.networks PHANTOMS [--seconds 300]``.

``PHANTOMS`` is a folder of ``handseg phantom --components``. Every network that an overlay of the bundle names is
trained from nothing on the same views, as in ``pretrain.json``, for the same processor time in one thread, forward and
backward and the optimiser's step counted; then it segments the same held-out views. Its learning rate warms up and
decays over that time.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bitplanes import unpack
from handseg_monai.metrics import PlanesDice
from handseg_monai.networks import set_output_bias
from handseg_monai.transforms import LogitsToPlanesd

HELD_OUT, INFERENCE = 40, 512


def parser_of(overlay: Path | None, phantoms: str, size: int) -> ConfigParser:
    """Return the configuration of pretraining with a network laid over it."""
    configs = bundle_root() / "configs"
    files = [configs / "train.json", configs / "pretrain.json", *([overlay] if overlay else [])]
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update({"dataset_dir": phantoms, "size": size, "presets": ["standard", "hard"]})
    return parser


def samples(transform: Any, items: list[dict[str, Any]], seed: int) -> Any:
    """Yield views without end, in an order drawn from the seed."""
    rng = np.random.default_rng(seed)
    transform.set_random_state(seed)
    while True:
        for place in rng.permutation(len(items)):
            yield transform(items[int(place)])


def learn(parser: ConfigParser, seconds: float, batch: int) -> tuple[torch.nn.Module, int, float]:
    """Train for a processor time; returns the network, the images it saw, and seconds a step."""
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
        image = torch.stack([item["image"] for item in pair])
        truth = unpack(torch.stack([item["label"][0] for item in pair])).float()
        done = spent / seconds
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, done / 0.05 + 0.01) * 0.5 * (1.0 + np.cos(np.pi * min(done, 1.0)))
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            output = network(image)
        value = loss(output, truth)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        spent += time.process_time() - began
        steps += 1
    return network.eval(), steps * batch, spent / steps


def judged(network: torch.nn.Module, parser: ConfigParser) -> float:
    """Return the mean Dice over bones in view of held-out views."""
    items = parser.get_parsed_content("datalist")["validation"]
    source = samples(parser.get_parsed_content("validate#preprocessing"), items, 2)
    metric, found = PlanesDice(), []
    to_planes = LogitsToPlanesd("pred", threshold=0.5)
    for _ in range(HELD_OUT):
        item = next(source)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = network(item["image"][None])[0].float()
        planes = to_planes({"pred": logits, "image_size": item["image_size"]})["pred"]
        dice = metric([planes], [item["label"]])[0]
        present = unpack(item["label"][0]).flatten(1).any(1)
        found += dice[present].tolist()
    return float(np.mean(found))


def inference_time(network: torch.nn.Module, rounds: int = 3) -> float:
    """Return the least time of a forward at 512 x 512, seconds."""
    image, times = torch.rand(1, 1, INFERENCE, INFERENCE), []
    for _ in range(rounds):
        began = time.process_time()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            network(image)
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Train and judge every network, and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("phantoms")
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--batch", type=int, default=2)
    options.add_argument("--networks", nargs="*", help="names of overlays; all of them by default")
    given = options.parse_args()
    torch.set_num_threads(1)
    overlays: dict[str, Path | None] = {"dynunet": None}
    overlays |= {file.stem[8:]: file for file in sorted((bundle_root() / "configs").glob("network_*.json"))}
    budget = f"{given.seconds:g} s of one thread, {given.size} x {given.size}, batch {given.batch}"
    table = Table(title=f"{budget}, {platform.processor() or platform.machine()}")
    for heading in ("network", "parameters", "s a step", "images seen", f"s at {INFERENCE}", "Dice"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name in given.networks or overlays:
        parser = parser_of(overlays[name], given.phantoms, given.size)
        network, images, step = learn(parser, given.seconds, given.batch)
        row = (
            name,
            f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M",
            f"{step:.2f}",
            str(images),
            f"{inference_time(network):.2f}",
            f"{judged(network, parser):.3f}",
        )
        print(*row, flush=True)
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
