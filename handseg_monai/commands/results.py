"""Commands that judge results and show them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

MissingRows = Annotated[
    Literal["error", "zero", "skip"],
    typer.Option(help="Images or rows that the CSV lacks: stop, take as empty, or leave out."),
]


def evaluate(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    truth: Annotated[Path, typer.Option(help="Dataset in the competition's layout, one of its splits, or converted.")],
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.csv and evaluation.json.")] = None,
    missing: MissingRows = "error",
    detail: Annotated[
        bool, typer.Option("--detail", help="Outlines (NSD, HD95) and overlaps too, about half a second an image.")
    ] = False,
    spacing: Annotated[
        float | None, typer.Option(help="Millimetres a pixel of all images, for NSD at 1 mm; DICOM tells its own.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER.csv", help="Submission of the same images to compare with.")
    ] = None,
) -> None:
    """Print the Dice of a submission by bone, at each image's own size, and compare two of them."""
    from handseg_monai.files import require_out
    from handseg_monai.score.evaluation import evaluate as evaluate_csv
    from handseg_monai.score.tables import compare, print_comparison, print_evaluation, write_evaluation

    if spacing is not None and not detail:
        raise ValueError("--spacing goes with --detail")
    if out is not None:
        require_out(out, folder=True)
    result = evaluate_csv(prediction, truth, missing, detail=detail, spacing=spacing)
    other = evaluate_csv(against, truth, missing) if against is not None else None
    print_evaluation(result)
    if other is not None:
        print_comparison(str(against), str(prediction), compare(other, result))
    if out is not None:
        write_evaluation(result, out)
        print(f"{out}/evaluation.csv, {out}/evaluation.json")


def joints(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    points: Annotated[
        Path, typer.Option(help="CSV of marked joints: image, joint, x, y (pixels), distal_bone, proximal_bone.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images. Not needed where the points have columns height, width.")
    ] = None,
    within: Annotated[float, typer.Option(help="Pixels within which both bones must come to the point.")] = 12.0,
    out: Annotated[Path | None, typer.Option(help="CSV to write, a row for each joint.")] = None,
) -> None:
    """Count the marked joints that a submission hits, on radiographs without masks."""
    from handseg_monai.files import require_out
    from handseg_monai.plausibility.joints import joints as hit_joints
    from handseg_monai.plausibility.joints import print_joints

    if out is not None:
        require_out(out)
    result = hit_joints(prediction, points, images, within)
    print_joints(result)
    if out is not None:
        result.write(out)
        print(out)


def plausibility(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    out: Annotated[Path | None, typer.Option(help="CSV to write, a row for each finding.")] = None,
) -> None:
    """Judge each image's masks by what hands look like, the worst first; needs no labels."""
    from handseg_monai.data.reading.images import find_images
    from handseg_monai.files import require_out
    from handseg_monai.plausibility.submission import judge_submission, print_judgements, write_judgements

    if out is not None:
        require_out(out)
    judgements = judge_submission(prediction, images)
    print_judgements(judgements)
    if lacks := sorted(
        path.name for path in find_images(images) if path.name not in {Path(n).name for n in judgements}
    ):
        print(f"{len(lacks)} images of {images} are not in {prediction}: {', '.join(lacks[:5])}")
    if out is not None:
        write_judgements(judgements, out)
        print(out)


def report(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    truth: Annotated[
        Path | None, typer.Option(help="Dataset in the competition's layout, one of its splits, or converted.")
    ] = None,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    missing: MissingRows = "error",
    size: Annotated[int, typer.Option(help="Longer side of the pictures in pixels, at most.")] = 1024,
) -> None:
    """Write a page that shows each image with its bones' outlines, the worst first; it works without a network."""
    from handseg_monai.files import require_out
    from handseg_monai.report import write_report

    require_out(out)
    result = write_report(prediction, images, out, truth, missing, long_side=size)
    done = "taken as empty" if missing == "zero" else "left out"
    for lacking, what in ((result.missing_images, "images"), (result.missing_rows, "rows")):
        if lacking:
            print(f"{len(lacking)} {what} that {prediction} lacks: {done}")
    if result.evaluation is not None:
        print(f"mean Dice {result.evaluation.mean_dice:.6f} of {len(result.names)} images")
    print(f"{out}: {len(result.names)} images, {result.size / 1e6:.1f} MB")


def track(
    place: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or of several.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on this machine, which others can't reach.", min=1, max=65535)] = 5000,
    share: Annotated[
        bool, typer.Option("--share", help="A public address too, by Cloudflare's cloudflared, for whoever has it.")
    ] = False,
) -> None:
    """Open what training has logged: MLflow's pages, or TensorBoard's where there is no MLflow store."""
    from handseg_monai.follow.pages import track as serve

    serve(place, port, share)
