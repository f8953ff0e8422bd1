"""Commands that make submissions better, join them, and hand them on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

ExportForm = Literal["png", "labelme", "coco", "nifti", "dicom-seg"]


def thresholds(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled radiographs.")],
    out: Annotated[Path, typer.Option(help="JSON file to write, for inference's --threshold.")] = Path(
        "thresholds.json"
    ),
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights; runs/train/model.pt, or else the shipped ones.")
    ] = None,
    fold: Annotated[int, typer.Option(help="Fold to choose on: the one that the weights have not seen.")] = 0,
    folds_file: Annotated[Path | None, typer.Option(help="Folds that handseg folds wrote.")] = None,
) -> None:
    """Find the threshold of each bone's probability on a validation fold."""
    from handseg_monai.run.thresholds import find_thresholds

    find_thresholds(data, out, checkpoint=checkpoint, fold=fold, folds_file=folds_file)


def vote(
    submissions: Annotated[list[Path], typer.Argument(metavar="A.csv B.csv …", help="Submissions of the same images.")],
    out: Annotated[Path, typer.Option(help="Submission to write.")],
    min_votes: Annotated[
        int | None, typer.Option(help="Submissions that must have a pixel; by default more than half.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Number for each submission, '2,1,1': a pixel needs more than half of the sum.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, to check runs against their sizes.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Size of all images, to check runs against.")] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Vote on the images that all submissions have, where they differ.")
    ] = False,
) -> None:
    """Make one submission from several by a vote on every pixel."""
    from handseg_monai.export.vote import print_vote, vote_submissions
    from handseg_monai.files import require_out

    require_out(out)
    shape = None
    if size is not None:
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", size)
        if not match:
            raise ValueError(f"--size: expected HxW in pixels, as 2048x2048, got {size!r}")
        shape = int(match[1]), int(match[2])
    result = vote_submissions(
        submissions,
        out,
        min_votes=min_votes,
        weights=weights.split(",") if weights is not None else None,
        images=images,
        size=shape,
        common=common,
    )
    print_vote(result)
    print(out)


def export(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    to: Annotated[ExportForm, typer.Option(help="Form to write.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not hold anything yet.")],
) -> None:
    """Write a submission in the form that another tool reads; overlaps are kept."""
    from handseg_monai.export.export import export as export_masks
    from handseg_monai.files import require_out

    require_out(out, folder=True)
    missing = export_masks(prediction, images, to, out)
    if missing:
        done = "have no file" if to == "png" else "are written as absent"
        print(f"{sum(missing.values())} rows that {prediction} lacks, of {len(missing)} images, {done}")
    print(out)
