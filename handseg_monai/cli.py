"""The command line ``handseg``: each command is the face of a Python function of the package."""

from __future__ import annotations

import re
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

# What needs torch or numba is imported inside its command, so that --help answers at once.

app = typer.Typer(
    help="Segment the 29 bones of the hand on radiographs. Training and inference: python -m monai.bundle run …",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Preset(StrEnum):
    """Presets of the phantom."""

    EASY = "easy"
    STANDARD = "standard"
    HARD = "hard"
    CHILDREN = "children"


class MissingRows(StrEnum):
    """What to do with images or rows that a CSV lacks."""

    ERROR = "error"
    ZERO = "zero"
    SKIP = "skip"


class LabelForm(StrEnum):
    """Forms of labels that can be converted."""

    COCO = "coco"
    LABELME = "labelme"
    MASKS = "masks"
    LABELMAP = "labelmap"
    SUBMISSION = "submission"


class ExportForm(StrEnum):
    """Forms that a submission can be exported to."""

    PNG = "png"
    LABELME = "labelme"
    COCO = "coco"
    NIFTI = "nifti"
    DICOM_SEG = "dicom-seg"


class MissingBone(StrEnum):
    """What a bone is that the source labels in other images, and not in this one."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("handseg-demo"),
    seed: Annotated[int, typer.Option(help="Of phantoms and training.")] = 0,
) -> None:
    """Make phantoms, infer, fine-tune and evaluate, in a few minutes on two cores without a GPU."""
    from handseg_monai.demo import run_demo

    run_demo(out, seed=seed)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder of the dataset to write.")],
    subjects: Annotated[int, typer.Option(help="Subjects to train on; each has two radiographs.")],
    test_subjects: Annotated[int, typer.Option(help="Subjects to test on.")] = 0,
    size: Annotated[
        int | None, typer.Option(help="Longer side of the radiographs in pixels; 2048, drawn by the preset hard.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    preset: Annotated[Preset, typer.Option(help="How much the radiographs vary.")] = Preset.STANDARD,
    preview: Annotated[Path | None, typer.Option(help="PNG of a contact sheet to write.")] = None,
    components: Annotated[
        bool, typer.Option("--components", help="Write hands before exposure, for pretrain.json, not radiographs.")
    ] = False,
) -> None:
    """Write synthetic radiographs with exact labels in the competition's layout."""
    from handseg_monai.phantom import write_components, write_dataset

    if components:
        if test_subjects or size or preview:
            raise ValueError("--components takes neither --test-subjects, --size nor --preview")
        write_components(out, subjects=subjects, seed=seed, workers=workers, preset=preset.value)
        return
    write_dataset(
        out,
        subjects=subjects,
        test_subjects=test_subjects,
        size=size,
        seed=seed,
        workers=workers,
        preset=preset.value,
        preview=preview,
    )


@app.command()
def convert(
    form: Annotated[LabelForm, typer.Argument(help="Of the labels.")],
    source: Annotated[Path, typer.Argument(help="File or folder of the labels.")],
    images: Annotated[Path, typer.Option(help="Folder of the radiographs, which stay where they are.")],
    out: Annotated[Path, typer.Option(help="Folder to write; training takes it as --dataset_dir.")],
    classes: Annotated[
        Path | None,
        typer.Option(help="JSON object of class -> bone, list of bones (labelled jointly or in part) or null."),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A class that is no bone; may be given again.")] = None,
    missing: Annotated[
        MissingBone | None,
        typer.Option(
            help="What a bone is that other images of the source have; unknown for masks and submission, else absent."
        ),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Regular expression whose first group finds the subject in an image's path.")
    ] = None,
    subjects: Annotated[Path | None, typer.Option(help="CSV with columns image and subject.")] = None,
    relative_names: Annotated[
        bool, typer.Option("--relative-names", help="Name images by their path below the folder, not by base name.")
    ] = False,
    skip_unlabelled: Annotated[
        bool, typer.Option("--skip-unlabelled", help="Leave out images of which the source holds nothing.")
    ] = False,
    rows_first: Annotated[
        bool, typer.Option("--rows-first", help="The first axis of NIfTI counts rows, not columns.")
    ] = False,
) -> None:
    """Convert labels of another form to the one that training reads; bones nobody has labelled stay unknown."""
    from handseg_monai.data.adapters import convert as convert_labels
    from handseg_monai.data.adapters.report import print_conversion

    result = convert_labels(
        form.value,
        source,
        images,
        out,
        classes=classes,
        ignore=ignore or (),
        missing=missing.value if missing else None,
        subject=subject,
        subjects=subjects,
        relative_names=relative_names,
        skip_unlabelled=skip_unlabelled,
        rows_first=rows_first,
    )
    print_conversion(result)
    print(f"{out}: {len(result.items)} images of {len({item['subject'] for item in result.items})} subjects")


@app.command()
def folds(
    data: Annotated[Path, typer.Argument(help="Dataset in the competition's layout, or converted.")],
    out: Annotated[Path, typer.Option(help="Datalist JSON to write.")] = Path("folds.json"),
    k: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the order in which subjects are dealt.")] = 0,
    exclude: Annotated[Path | None, typer.Option(help="exclude.txt of handseg audit: images to leave out.")] = None,
) -> None:
    """Deal the subjects of a dataset into folds alike in sex, height and wrist deviation; write a MONAI datalist."""
    from collections import Counter

    from handseg_monai.data.folds import dataset_traits, write_folds
    from handseg_monai.data.folds.traits import print_balance
    from handseg_monai.files import require_out

    require_out(out)
    traits = dataset_traits(data, exclude)
    fold_of = write_folds(out, data, k, seed, exclude, traits)
    print_balance(fold_of, traits)
    counts = Counter(fold_of.values())
    print(f"{out}: {len(fold_of)} subjects, by fold {[counts[i] for i in range(k)]}")


@app.command()
def audit(
    source: Annotated[Path, typer.Argument(metavar="DATA|PRED.csv", help="Dataset, or submission.")],
    images: Annotated[Path | None, typer.Option(help="Folder of a submission's images.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for audit.csv, exclude.txt and worst.png.")] = Path("audit"),
) -> None:
    """Find what is wrong with labels and images, and list the images that training should leave out."""
    from handseg_monai.files import require_out
    from handseg_monai.report import audit as audit_data
    from handseg_monai.report import print_audit, write_audit

    folder = images if images is not None else source
    if any(part == "DCM" for part in out.parts) or (
        images is not None and out.resolve().is_relative_to(folder.resolve())
    ):
        raise ValueError(f"--out {out} lies among the radiographs; its picture would be taken for one. Choose another")
    require_out(out, folder=True)
    result = audit_data(source, images)
    print_audit(result)
    print(", ".join(str(path) for path in write_audit(result, out)))


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    truth: Annotated[Path, typer.Option(help="Dataset in the competition's layout, one of its splits, or converted.")],
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.csv and evaluation.json.")] = None,
    missing: Annotated[
        MissingRows, typer.Option(help="Images or rows that the CSV lacks: stop, take as empty, or leave out.")
    ] = MissingRows.ERROR,
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
    from handseg_monai.metrics.evaluation import evaluate as evaluate_csv
    from handseg_monai.metrics.evaluation_report import compare, print_comparison, print_evaluation, write_evaluation

    if spacing is not None and not detail:
        raise ValueError("--spacing goes with --detail")
    if out is not None:
        require_out(out, folder=True)
    result = evaluate_csv(prediction, truth, missing.value, detail=detail, spacing=spacing)
    other = evaluate_csv(against, truth, missing.value) if against is not None else None
    print_evaluation(result)
    if other is not None:
        print_comparison(str(against), str(prediction), compare(other, result))
    if out is not None:
        write_evaluation(result, out)
        print(f"{out}/evaluation.csv, {out}/evaluation.json")


@app.command()
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
    from handseg_monai.metrics.joints import joints as hit_joints
    from handseg_monai.metrics.joints import print_joints

    result = hit_joints(prediction, points, images, within)
    print_joints(result)
    if out is not None:
        result.write(out)
        print(out)


@app.command()
def plausibility(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    out: Annotated[Path | None, typer.Option(help="CSV to write, a row for each finding.")] = None,
) -> None:
    """Judge each image's masks by what hands look like, the worst first; needs no labels."""
    from handseg_monai.data.images import find_images
    from handseg_monai.metrics.plausibility_report import judge_submission, print_judgements, write_judgements

    judgements = judge_submission(prediction, images)
    print_judgements(judgements)
    if lacks := sorted(
        path.name for path in find_images(images) if path.name not in {Path(n).name for n in judgements}
    ):
        print(f"{len(lacks)} images of {images} are not in {prediction}: {', '.join(lacks[:5])}")
    if out is not None:
        write_judgements(judgements, out)
        print(out)


@app.command()
def report(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    truth: Annotated[
        Path | None, typer.Option(help="Dataset in the competition's layout, one of its splits, or converted.")
    ] = None,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    missing: Annotated[
        MissingRows, typer.Option(help="Images or rows that the CSV lacks: stop, take as empty, or leave out.")
    ] = MissingRows.ERROR,
    size: Annotated[int, typer.Option(help="Longer side of the pictures in pixels, at most.")] = 1024,
) -> None:
    """Write a page that shows each image with its bones' outlines, the worst first; it works without a network."""
    from handseg_monai.report import write_report

    result = write_report(prediction, images, out, truth, missing.value, long_side=size)
    done = "taken as empty" if missing is MissingRows.ZERO else "left out"
    for lacking, what in ((result.missing_images, "images"), (result.missing_rows, "rows")):
        if lacking:
            print(f"{len(lacking)} {what} that {prediction} lacks: {done}")
    if result.evaluation is not None:
        print(f"mean Dice {result.evaluation.mean_dice:.6f} of {len(result.names)} images")
    print(f"{out}: {len(result.names)} images, {result.size / 1e6:.1f} MB")


@app.command()
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
    import monai.bundle

    from handseg_monai import bundle_root
    from handseg_monai.files import require_out
    from handseg_monai.handlers import first_checkpoint

    require_out(out)

    root = bundle_root()
    weights = checkpoint or first_checkpoint("runs/train/model.pt", root / "models" / "model.pt")
    options: dict[str, Any] = {"dataset_dir": str(data), "fold": fold, "thresholds_file": str(out)}
    options |= {"checkpoint": str(weights)} | ({"folds_file": str(folds_file)} if folds_file else {})
    files = [str(root / "configs" / f"{name}.json") for name in ("train", "evaluate", "thresholds")]
    # MONAI warns of configurations that can run code: these are the package's own.
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
    monai.bundle.run(run_id="run", config_file=files, bundle_root=str(root), **options)


@app.command()
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

    shape = None
    if size is not None:
        match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", size)
        if not match:
            raise ValueError(f"--size: expected HxW, as 2048x2048, got {size!r}")
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


@app.command()
def export(
    prediction: Annotated[Path, typer.Argument(metavar="PRED.csv", help="Submission.")],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    to: Annotated[ExportForm, typer.Option(help="Form to write.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not hold anything yet.")],
) -> None:
    """Write a submission in the form that another tool reads; overlaps are kept."""
    from handseg_monai.export.export import export as export_masks

    missing = export_masks(prediction, images, to.value, out)
    if missing:
        done = "have no file" if to is ExportForm.PNG else "are written as absent"
        print(f"{sum(missing.values())} rows that {prediction} lacks, of {len(missing)} images, {done}")
    print(out)


def main() -> None:
    """Run the command line: exit code 0; 1 where a step failed; 2, with one line, for input that can't be right."""
    try:
        app()
    except ChildProcessError as error:
        print(f"handseg: {error}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, OSError, ImportError) as error:
        print(f"handseg: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("handseg: interrupted", file=sys.stderr)
        sys.exit(130)
