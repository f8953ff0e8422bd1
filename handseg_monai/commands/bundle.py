"""Commands that spell a run of the bundle, show its options, and publish what it has trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_OPTIONS = typer.Argument(metavar="-- --OPTION VALUE …", help="Any option of the bundle.")


def infer(
    images: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of radiographs, or one file.")],
    options: Annotated[list[str] | None, _OPTIONS] = None,
    out: Annotated[Path, typer.Option(help="Folder for submission.csv and overlays.")] = Path("runs/inference"),
    overlay: Annotated[
        list[str] | None, typer.Option(help="Configuration to lay over inference.json, as ensemble; may be repeated.")
    ] = None,
) -> None:
    """Segment radiographs: print the monai.bundle command of inference, and run it."""
    from handseg_monai.run.here import run_here

    run_here("run", "inference", overlay or (), images, out, options or ())


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled radiographs.")],
    options: Annotated[list[str] | None, _OPTIONS] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, curves, log.")] = Path("runs/train"),
    overlay: Annotated[
        list[str] | None, typer.Option(help="Configuration to lay over train.json, as finetune; may be repeated.")
    ] = None,
) -> None:
    """Train a network: print the monai.bundle command of training, and run it."""
    from handseg_monai.run.here import run_here

    run_here("training", "train", overlay or (), data, out, options or ())


def options(
    configuration: Annotated[
        str, typer.Argument(help="Configuration of the bundle, such as inference or schedule_plateau.")
    ] = "train",
) -> None:
    """Show the options of a configuration of the bundle: default, what a value must be, and what it does."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from handseg_monai.options import table

    console = Console(highlight=False)
    for row in table(configuration):
        default, text = row.default.replace("`", ""), row.text.replace("`", "")
        console.print(Text.assemble((f"--{row.name}", "bold cyan"), "  ", default))
        console.print(Padding(Text.assemble(text, (f" [{row.expected}]", "dim")), (0, 0, 0, 4)))


def publish(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint that training wrote, as runs/train/model.pt.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Write the weights of a checkpoint for others: in half precision, without the names of the training images."""
    from handseg_monai.checkpoints import publish_weights
    from handseg_monai.files import require_out

    require_out(out)
    print(f"{publish_weights(checkpoint, out)}: {out.stat().st_size / 1e6:.1f} MB")
