"""Commands that judge results and show them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from handseg_monai.words import counted

MissingRows = Annotated[
    Literal["error", "zero", "skip"],
    typer.Option(help="If the CSV lacks images or rows: stop, count them as empty, or leave them out."),
]


def evaluate(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission to judge.")],
    truth: Annotated[
        Path,
        typer.Option(
            help="Labels: a dataset in the competition's layout, one of its splits, converted labels, or a CSV."
        ),
    ],
    images: Annotated[Path | None, typer.Option(help="Folder of the images; needed if --truth is a CSV.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write evaluation.csv and evaluation.json to.")] = None,
    missing: MissingRows = "error",
    detail: Annotated[
        bool,
        typer.Option("--detail", help="Also measure outlines (NSD, HD95) and overlaps; takes about 0.5 s per image."),
    ] = False,
    spacing: Annotated[
        float | None,
        typer.Option(help="Millimetres per pixel of all images, for NSD at 1 mm; DICOM files state their own."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER.csv", help="Another submission of the same images to compare with.")
    ] = None,
) -> None:
    """Print the Dice of a submission by bone, at each image's own size, or compare two submissions."""
    from handseg_monai.files import require_other, require_out
    from handseg_monai.score.evaluation import evaluate as evaluate_csv
    from handseg_monai.score.tables import compare, print_comparison, print_evaluation, write_evaluation

    if spacing is not None and not detail:
        raise ValueError("--spacing needs --detail; add it")
    if out is not None:
        require_out(out, folder=True)
        require_other([out / "evaluation.csv", out / "evaluation.json"], [prediction, truth, against])
    result = evaluate_csv(prediction, truth, missing, detail=detail, spacing=spacing, images=images)
    other = evaluate_csv(against, truth, missing, images=images) if against is not None else None
    print_evaluation(result)
    if other is not None:
        print_comparison(str(against), str(prediction), compare(other, result))
    if out is not None:
        write_evaluation(result, out)
        print(f"{out}/evaluation.csv, {out}/evaluation.json")


def joints(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission to judge.")],
    points: Annotated[
        Path,
        typer.Option(
            help="CSV of marked joints with the columns image, joint, x, y (pixels), distal_bone, proximal_bone."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images; not needed if the CSV of joints has the columns height and width."),
    ] = None,
    within: Annotated[
        float, typer.Option(help="Largest distance, in pixels, of both bones from the point of a hit joint.")
    ] = 12.0,
    out: Annotated[Path | None, typer.Option(help="CSV file to write, with a row for each joint.")] = None,
) -> None:
    """Count the marked joints that a submission hits, on radiographs without masks."""
    from handseg_monai.files import require_other, require_out
    from handseg_monai.plausibility.joints import joints as hit_joints
    from handseg_monai.plausibility.joints import print_joints

    if out is not None:
        require_out(out)
        require_other([out], [prediction, points, images])
    result = hit_joints(prediction, points, images, within)
    print_joints(result)
    if out is not None:
        result.write(out)
        print(out)


def plausibility(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission to judge.")],
    images: Annotated[Path, typer.Option(help="Folder of the submission's images.")],
    out: Annotated[Path | None, typer.Option(help="CSV file to write, with a row for each finding.")] = None,
) -> None:
    """Judge whether the masks of each hand look like one, the worst first; needs no labels."""
    from handseg_monai.data.reading.submission_images import images_without_rows
    from handseg_monai.files import require_other, require_out
    from handseg_monai.plausibility.submission import judge_submission, print_judgements, write_judgements

    if out is not None:
        require_out(out)
        require_other([out], [prediction, images])
    judgements = judge_submission(prediction, images)
    print_judgements(judgements)
    if lacks := sorted(images_without_rows(judgements, images)):
        print(f"{counted(len(lacks), 'image')} of {images} not in {prediction}: {', '.join(lacks[:5])}")
    if out is not None:
        write_judgements(judgements, out)
        print(out)


def measure(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission to measure.")],
    images: Annotated[Path, typer.Option(help="Folder of the submission's images.")],
    out: Annotated[Path, typer.Option(help="CSV file to write, with a row for each image, hand and measure.")] = Path(
        "measures.csv"
    ),
    overlays: Annotated[
        Path | None, typer.Option(help="Folder to write pictures to, with the lines that were measured.")
    ] = None,
) -> None:
    """Measure hands: lengths, widths, angles and gaps of the bones; in millimetres where DICOM files state them."""
    from handseg_monai.files import require_other, require_out
    from handseg_monai.measure.submission import IncompleteMeasuresError, measure_submission, print_tally

    require_out(out)
    require_other([out], [prediction, images])
    if overlays is not None:
        require_out(overlays, folder=True)
    try:
        tally = measure_submission(prediction, images, out, overlays)
    except IncompleteMeasuresError as error:
        raise ChildProcessError(f"{error}\nthe others are in {out}") from error
    print_tally(tally)
    print(out if overlays is None else f"{out}, {overlays}")


def report(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission to show.")],
    images: Annotated[Path, typer.Option(help="Folder of the submission's images.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Labels: a dataset in the competition's layout, one of its splits, converted labels, or a CSV."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    missing: MissingRows = "error",
    size: Annotated[int, typer.Option(help="Longest side of the pictures, in pixels.")] = 1024,
) -> None:
    """Write an HTML page that shows each image with the outlines of its bones, the worst first; it works offline."""
    from handseg_monai.files import require_other, require_out
    from handseg_monai.report import write_report

    require_out(out)
    require_other([out], [prediction, images, truth])
    result = write_report(prediction, images, out, truth, missing, long_side=size)
    done = "counted as empty" if missing == "zero" else "left out"
    for lacking, what in ((result.missing_images, "image"), (result.missing_rows, "row")):
        if lacking:
            print(f"{counted(len(lacking), what)} that {prediction} lacks: {done}")
    if result.evaluation is not None:
        print(f"mean Dice {result.evaluation.mean_dice:.6f} of {counted(len(result.names), 'image')}")
    print(f"{out}: {counted(len(result.names), 'image')}, {result.size / 1e6:.1f} MB")


def track(
    place: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of one run or of several.")] = Path("runs"),
    port: Annotated[
        int, typer.Option(help="Port on this machine; other machines can't reach it.", min=1, max=65535)
    ] = 5000,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Also open a public address with cloudflared; anyone who has it can see and change everything.",
        ),
    ] = False,
) -> None:
    """Show the logs of training in a browser: MLflow's pages, or TensorBoard's if there is no MLflow store."""
    from handseg_monai.follow.pages import track as serve

    serve(place, port, share)
