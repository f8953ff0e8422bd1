"""Commands that train."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer


def cross_validate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled radiographs.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="-- --OPTION VALUE …", help="Options of each training run.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write: fold0, fold1 …, and the table.")] = Path("runs/cv"),
    k: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    overlay: Annotated[
        list[str] | None,
        typer.Option("--overlay", "--config", help="Configuration to lay over train.json; may be repeated."),
    ] = None,
    folds_file: Annotated[Path | None, typer.Option(help="Folds that handseg folds wrote, instead of --k.")] = None,
    exclude: Annotated[Path | None, typer.Option(help="exclude.txt of handseg audit: images to leave out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and training.")] = 0,
    processes: Annotated[int, typer.Option(help="Ranks of each run, by torchrun: one for each GPU.")] = 1,
) -> None:
    """Train and evaluate each fold, and print a table over them; the same command goes on after a kill."""
    from handseg_monai.run.cross_validation import cross_validate as validate_folds

    # As for an interrupt: the run that is under way ends too.
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
