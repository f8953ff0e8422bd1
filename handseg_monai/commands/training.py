"""Commands that train."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from handseg_monai.commands.bundle import METAVAR, require_first


def cross_validate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled radiographs.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar=METAVAR,
            help="Options of the bundle for each training run; handseg options train lists them.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write fold0, fold1 … and the table to.")] = Path("runs/cv"),
    k: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    overlay: Annotated[
        list[str] | None,
        typer.Option(
            "--overlay", "--config", help="Configuration to lay over train.json, such as finetune; repeatable."
        ),
    ] = None,
    folds_file: Annotated[
        Path | None,
        typer.Option("--folds-file", "--folds_file", help="File that handseg folds wrote; it replaces --k."),
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="exclude.txt from handseg audit; the command leaves out these images.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of folds and training.")] = 0,
    processes: Annotated[
        int, typer.Option(help="Number of processes for each run, started by torchrun: one for each GPU.")
    ] = 1,
) -> None:
    """Train and evaluate each fold, and print a table; after an interruption, the same command continues."""
    from handseg_monai.run.cross_validation import cross_validate as validate_folds

    require_first(data, "DATA")
    # Like an interrupt, it also ends the run that is under way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    validate_folds(
        data,
        out,
        k=k,
        configs=overlay or (),
        options=options or (),
        folds_file=folds_file,
        exclude=exclude,
        seed=seed,
        processes=processes,
    )
