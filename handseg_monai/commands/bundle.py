"""Commands that spell a run of the bundle, show its options, and publish what it has trained."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

METAVAR = "--OPTION VALUE …"
"""Of what is passed on to the bundle."""
PASSED_ON = {"ignore_unknown_options": True}
"""Settings of commands that pass options which they don't know on to the bundle."""


def infer(
    images: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of radiographs, or one radiograph.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar=METAVAR, help="Options of the bundle; handseg options inference lists them."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write submission.csv and overlays to.")] = Path("runs/inference"),
    overlay: Annotated[
        list[str] | None, typer.Option(help="Configuration to lay over inference.json, such as ensemble; repeatable.")
    ] = None,
    hands: Annotated[
        Literal["one", "both"] | None,
        typer.Option(help="Where an image shows both hands: segment one or both. Default: one."),
    ] = None,
    invert: Annotated[
        Literal["auto", "yes", "no"] | None,
        typer.Option(help="Invert images: those with dark bones, all, or none. Default: auto."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(min=1, help="Number of processes that share the images: one for each GPU, or core or two."),
    ] = 1,
) -> None:
    """Segment radiographs: print the monai.bundle command for inference, then run it."""
    from handseg_monai.run.here import run_here

    require_first(images, "DIR")
    given = list(options or ())
    for name, value in (("--hands", hands), ("--invert", invert)):
        if value is not None and name in given[::2]:
            raise ValueError(f"{name} is there before and after --; give it once")
        given += [name, value] if value is not None else []
    run_here("run", "inference", overlay or (), images, out, given, processes)
    if os.environ.get("RANK", "0") == "0":
        folder = images.parent if images.is_file() else images
        command = ["handseg", "plausibility", str(out / "submission.csv"), "--images", str(folder)]
        print(f"Which masks do not look like a hand? {shlex.join(command)}")


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled radiographs.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar=METAVAR, help="Options of the bundle; handseg options train lists them."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write checkpoints, curves and the log to.")] = Path("runs/train"),
    overlay: Annotated[
        list[str] | None, typer.Option(help="Configuration to lay over train.json, such as finetune; repeatable.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes that train together: one a GPU.")] = 1,
) -> None:
    """Train a network: print the monai.bundle command for training, then run it."""
    from handseg_monai.run.here import run_here

    require_first(data, "DATA")
    run_here("training", "train", overlay or (), data, out, options or (), processes)


def require_first(given: Path, name: str) -> None:
    """Refuse an option of the bundle in the place of what the command works on."""
    if str(given).startswith("--"):
        raise ValueError(f"expected {name}, got {given}; give {name} first, and options of the bundle after it")


def options(
    configuration: Annotated[
        str, typer.Argument(help="Configuration in bundle/configs, such as inference or schedule_plateau.")
    ] = "train",
) -> None:
    """List the options of a configuration of the bundle, each with its default, its effect and the accepted values."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from handseg_monai.options import table

    console = Console(highlight=False)
    rows = table(configuration)
    if not rows:
        console.print(f"{configuration}: no options of its own")
    for row in rows:
        default, text = row.default.replace("`", ""), row.text.replace("`", "")
        console.print(Text.assemble((f"--{row.name}", "bold cyan"), "  ", default))
        console.print(Padding(Text.assemble(text, (f" [{row.expected}]", "dim")), (0, 0, 0, 4)))


def publish(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint that training wrote, such as runs/train/model.pt.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Write the weights of a checkpoint to pass on: in half precision, without the names of the training images."""
    from handseg_monai.checkpoints import publish_weights
    from handseg_monai.files import require_other, require_out

    require_out(out)
    require_other([out], [checkpoint])
    print(f"{publish_weights(checkpoint, out)}: {out.stat().st_size / 1e6:.1f} MB")
