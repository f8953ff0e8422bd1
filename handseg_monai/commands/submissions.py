"""Commands that make submissions better, join them, and hand them on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from handseg_monai.commands.bundle import METAVAR, require_first
from handseg_monai.words import counted

ExportForm = Literal["png", "labelme", "coco", "nifti", "dicom-seg"]


def thresholds(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled radiographs.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar=METAVAR, help="Options of the bundle that the checkpoint was trained with."),
    ] = None,
    out: Annotated[Path, typer.Option(help="JSON file to write; pass it to inference as --threshold.")] = Path(
        "thresholds.json"
    ),
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint. Default: runs/train/model.pt if it exists, else the shipped weights."),
    ] = None,
    fold: Annotated[
        int, typer.Option(help="Fold to choose thresholds on; the checkpoint must not have trained on it.")
    ] = 0,
    folds_file: Annotated[Path | None, typer.Option(help="File that handseg folds wrote.")] = None,
    overlay: Annotated[
        list[str] | None, typer.Option(help="Configuration to lay over train.json, such as network_unet; repeatable.")
    ] = None,
) -> None:
    """Choose a probability threshold for each bone on a validation fold."""
    from handseg_monai.run.thresholds import find_thresholds

    require_first(data, "DATA")
    find_thresholds(
        data,
        out,
        checkpoint=checkpoint,
        fold=fold,
        folds_file=folds_file,
        overlays=overlay or (),
        options=options or (),
    )


def vote(
    submissions: Annotated[list[Path], typer.Argument(metavar="A.csv B.csv …", help="Submissions of the same images.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    min_votes: Annotated[
        int | None, typer.Option(help="Number of submissions that must have a pixel. Default: more than half.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weight of each submission, such as '2,1,1'; a pixel needs more than half of the sum."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, to check that the masks fit their sizes.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of all images, to check that the masks fit it.")
    ] = None,
    common: Annotated[
        bool,
        typer.Option("--common", help="If the submissions hold different images, vote on those that all of them hold."),
    ] = False,
) -> None:
    """Combine submissions of the same images by a vote on every pixel."""
    from handseg_monai.export.vote import print_vote, vote_submissions
    from handseg_monai.files import require_other, require_out

    require_out(out)
    require_other([out], [*submissions, images])
    shape = None
    if size is not None:
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", size)
        if not match:
            raise ValueError(f"--size: expected HxW in pixels, such as 2048x2048, got {size!r}")
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
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission to export.")],
    images: Annotated[Path, typer.Option(help="Folder of the submission's images.")],
    to: Annotated[ExportForm, typer.Option(help="Format to write.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must be empty or new.")],
) -> None:
    """Write the masks of a submission in another tool's format; overlaps are kept."""
    from handseg_monai.export.export import export as export_masks
    from handseg_monai.export.form import IncompleteExportError
    from handseg_monai.files import require_out
    from handseg_monai.rle import count_images

    require_out(out, folder=True)
    try:
        missing = export_masks(prediction, images, to, out)
    except IncompleteExportError as error:
        raise ChildProcessError(f"{error}\nthe others are in {out}") from error
    if missing:
        done = "no file written" if to == "png" else "written as absent"
        print(f"{counted(sum(missing.values()), 'row')} that {prediction} lacks, of {count_images(missing)}: {done}")
    print(out)
