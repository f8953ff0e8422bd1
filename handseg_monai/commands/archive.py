"""Commands for a hospital's archive: segment it on a cluster, and make a submission of the rows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from handseg_monai.signals import stopped_by_sigterm
from handseg_monai.words import counted

_NAMED = 10
"""Failures that are printed, at most; the rows hold all of them."""


def archive(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of radiographs, a .txt with a path a line, or Parquet with a column path; a path or a URI "
            "(s3://, gs:// …).",
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder to write, a path or a URI; all nodes need to reach it.")],
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, 'auto' or HOST:PORT. Default: this machine alone.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint. Default: runs/train/model.pt if it exists, else the shipped weights."),
    ] = None,
    hands: Annotated[
        Literal["one", "both"], typer.Option(help="Where an image shows both hands: segment one or both.")
    ] = "one",
    invert: Annotated[
        Literal["auto", "yes", "no"], typer.Option(help="Invert images: those with dark bones, all, or none.")
    ] = "auto",
    any_body_part: Annotated[
        bool,
        typer.Option("--any_body_part", "--any-body-part", help="Take DICOM of other parts of the body too."),
    ] = False,
    relative_names: Annotated[
        bool,
        typer.Option("--relative_names", "--relative-names", help="Name images by their path in SOURCE."),
    ] = False,
    rows_per_file: Annotated[
        int, typer.Option("--rows_per_file", "--rows-per-file", help="Images of a Parquet file.", min=1)
    ] = 500,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry_failed", "--retry-failed", help="Try images again that failed in an earlier run."),
    ] = False,
) -> None:
    """Segment, judge and measure an archive on a Ray cluster: a row of Parquet an image. The same command goes on."""
    _require("ray", "pyarrow")
    try:
        with stopped_by_sigterm():
            from handseg_monai.archive.run import IncompleteArchiveError, Options, archive

            try:
                done = archive(
                    source,
                    out,
                    address=address,
                    checkpoint=None if checkpoint is None else str(checkpoint),
                    options=Options(hands=hands, invert=invert, any_body_part=any_body_part),
                    relative_names=relative_names,
                    rows_per_file=rows_per_file,
                    retry_failed=retry_failed,
                )
            except IncompleteArchiveError as error:
                raise ChildProcessError(str(error)) from error
    except KeyboardInterrupt as error:
        print(f"interrupted: {str(error) or 'it had not begun'}; the same command goes on", file=sys.stderr)
        raise
    failed = f", {len(done.failures)} failed" if done.failures else ""
    before = f"; {counted(done.earlier, 'row')} of earlier runs" if done.earlier else ""
    print(f"{out}: {_share(done.images - len(done.failures), done.images)}{failed}{before}")
    if done.failures:
        lines = [f"  {reason}" for reason in list(done.failures.values())[:_NAMED]]
        more = f"\n  and {len(done.failures) - _NAMED} more" if len(done.failures) > _NAMED else ""
        listed = "\n".join(lines) + more + "\n  --retry_failed tries them again"
        raise ChildProcessError(f"{len(done.failures)} of {counted(done.images, 'image')} failed:\n{listed}")


def archive_csv(
    folder: Annotated[str, typer.Argument(metavar="DEST", help="Folder that handseg archive has written, or a URI.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("submission.csv"),
) -> None:
    """Write the masks of an archive as a submission, the same file that inference writes of these images."""
    _require("pyarrow")
    from handseg_monai.archive.csv import archive_csv
    from handseg_monai.files import require_out

    require_out(out)
    images, failed = archive_csv(folder, out)
    lacking = f", {failed} failed and have no rows" if failed else ""
    print(f"{out}: {_share(images, images + failed)}{lacking}")


def _share(with_masks: int, images: int) -> str:
    return f"{with_masks} of {counted(images, 'image')} {'has' if images == 1 else 'have'} masks"


def _require(*names: str) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing: pip install 'handseg-monai[archive]'")
