"""Commands that make, convert, check and divide data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from handseg_monai.words import counted

Preset = Literal["easy", "standard", "hard", "children"]
LabelForm = Literal["coco", "labelme", "masks", "labelmap", "submission"]
MissingBone = Literal["absent", "unknown"]
LabelOrientation = Literal["upright", "stored"]


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write the dataset to.")],
    subjects: Annotated[int, typer.Option(help="Number of subjects to train on; each has two radiographs.")],
    test_subjects: Annotated[int, typer.Option(help="Number of subjects to test on.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(help="Long side of the radiographs, in pixels. Default: 2048; random with the preset hard."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same files.")] = 0,
    workers: Annotated[int, typer.Option(help="Number of processes.")] = 2,
    preset: Annotated[Preset, typer.Option(help="How much the radiographs vary.")] = "standard",
    preview: Annotated[Path | None, typer.Option(help="PNG file to write a contact sheet to.")] = None,
    components: Annotated[
        bool,
        typer.Option("--components", help="Write hands before exposure, for pretrain.json, instead of radiographs."),
    ] = False,
) -> None:
    """Write phantoms: synthetic radiographs with exact labels, in the competition's layout."""
    from handseg_monai.phantom import write_components, write_dataset

    if components and (test_subjects or size or preview):
        raise ValueError("--components does not combine with --test-subjects, --size or --preview")
    try:
        if components:
            files = write_components(out, subjects=subjects, seed=seed, workers=workers, preset=preset)
        else:
            files = write_dataset(
                out,
                subjects=subjects,
                test_subjects=test_subjects,
                size=size,
                seed=seed,
                workers=workers,
                preset=preset,
                preview=preview,
            )
    except KeyboardInterrupt:
        next_step = "the same command goes on" if components else "remove it, or choose another folder"
        print(f"interrupted: {out} is not whole; {next_step}", file=sys.stderr)
        raise
    what = "hand" if components else "radiograph"
    print(f"{out}: {counted(len(files), what)} of {counted(subjects + test_subjects, 'subject')}")


def convert(
    form: Annotated[LabelForm, typer.Argument(help="Form of the labels.")],
    source: Annotated[Path, typer.Argument(help="File or folder that holds the labels.")],
    images: Annotated[Path, typer.Option(help="Folder of the radiographs; they stay where they are.")],
    out: Annotated[Path, typer.Option(help="Folder to write; train on it with handseg train.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="JSON file that maps each class to a bone, a list of bones (labelled jointly or in part) or null."
        ),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Class that is not a bone; repeatable.")] = None,
    missing: Annotated[
        MissingBone | None,
        typer.Option(
            help="Meaning of a bone that only other images have. Default: unknown for masks, submission; else absent."
        ),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Regular expression whose first group is the subject in an image's path.")
    ] = None,
    subjects: Annotated[Path | None, typer.Option(help="CSV with the columns image and subject.")] = None,
    relative_names: Annotated[
        bool, typer.Option("--relative-names", help="Name images by their path inside --images, not by file name.")
    ] = False,
    skip_unlabelled: Annotated[
        bool, typer.Option("--skip-unlabelled", help="Leave out images without a label, or without a bone.")
    ] = False,
    rows_first: Annotated[
        bool, typer.Option("--rows-first", help="Read the first axis of NIfTI as rows, not columns.")
    ] = False,
    pixel_centres: Annotated[
        bool,
        typer.Option(
            "--pixel-centres", help="Read coordinates of COCO and LabelMe outlines as pixel centres, not pixel edges."
        ),
    ] = False,
    orientation: Annotated[
        LabelOrientation | None,
        typer.Option(
            help="For images with an EXIF or TIFF orientation: what the labels lie on. Default: by form, size."
        ),
    ] = None,
    small_bones: Annotated[
        bool,
        typer.Option("--small-bones", help="Accept bones of a few pixels, such as carpal dots of a young child."),
    ] = False,
    confidence: Annotated[
        Path | None, typer.Option(help="confidence.csv of the submission; bones below --least become unknown.")
    ] = None,
    least: Annotated[
        float, typer.Option(help="Lowest confidence, 0 to 1, of a bone to keep; needs --confidence.")
    ] = 0.9,
    plausible: Annotated[
        bool,
        typer.Option("--plausible", help="Leave out images whose masks in the submission do not look like a hand."),
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Largest number of pixels that an image may have.")
    ] = 200_000_000,
) -> None:
    """Convert labels to the form that training reads; bones that nobody has labelled stay unknown."""
    from handseg_monai.data.labels import convert as convert_labels
    from handseg_monai.data.labels.convert import ADAPTERS
    from handseg_monai.data.labels.table import print_conversion

    leave_out: list[str] = []
    if plausible and form == "submission":
        from handseg_monai.plausibility.submission import judge_submission

        judged = judge_submission(source, images)
        leave_out = [name for name, judgement in judged.items() if not judgement.plausible]
        print(f"{len(leave_out)} of {len(judged)} images are not plausible, left out (handseg plausibility says why)")
    elif plausible:
        raise ValueError(f"--plausible is for submissions, not for {form}")
    result = convert_labels(
        form,
        source,
        images,
        out,
        classes=classes,
        ignore=ignore or (),
        missing=missing,
        subject=subject,
        subjects=subjects,
        relative_names=relative_names,
        skip_unlabelled=skip_unlabelled,
        rows_first=rows_first,
        pixel_centres=pixel_centres,
        orientation=orientation,
        small_bones=small_bones,
        confidence=confidence,
        least=least,
        leave_out=leave_out,
        max_pixels=max_pixels,
    )
    print_conversion(result, assumed=missing is None and ADAPTERS[form][1] == "absent")
    subjects_made = len({item["subject"] for item in result.items})
    print(f"{out}: {counted(len(result.items), 'image')} of {counted(subjects_made, 'subject')}")


def folds(
    data: Annotated[
        Path, typer.Argument(help="Dataset in the competition's layout, or a folder that handseg convert wrote.")
    ],
    out: Annotated[Path, typer.Option(help="JSON file to write: a MONAI datalist.")] = Path("folds.json"),
    k: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the order in which the command deals subjects.")] = 0,
    exclude: Annotated[
        Path | None, typer.Option(help="exclude.txt from handseg audit; the command leaves out these images.")
    ] = None,
) -> None:
    """Divide the subjects of a dataset into folds that are alike in sex, height and wrist deviation."""
    from collections import Counter

    from handseg_monai.data.folds import dataset_traits, read_folds, write_folds
    from handseg_monai.data.folds.traits import print_balance
    from handseg_monai.files import require_other, require_out

    require_out(out)
    require_other([out], [data, exclude])
    if out.is_file() and out.stat().st_size:
        try:
            read_folds(out)
        except ValueError as error:
            raise ValueError(
                f"{out} is there, and handseg folds did not write it; choose another one (--out)"
            ) from error
    traits = dataset_traits(data, exclude)
    fold_of = write_folds(out, data, k, seed, exclude, traits)
    print_balance(fold_of, traits)
    counts = Counter(fold_of.values())
    print(f"{out}: {counted(len(fold_of), 'subject')}, by fold {[counts[i] for i in range(k)]}")


def audit(
    source: Annotated[Path, typer.Argument(metavar="DATA|PRED.csv", help="Dataset or submission to check.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the submission's images; a dataset needs none.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write audit.csv, exclude.txt and worst.png to.")] = Path("audit"),
) -> None:
    """Find faults in labels and images, and list the images that training should leave out."""
    from handseg_monai.audit import audit as audit_data
    from handseg_monai.audit import print_audit, write_audit
    from handseg_monai.files import require_other, require_out

    folder = images if images is not None else source
    if any(part == "DCM" for part in out.parts) or (
        images is not None and out.resolve().is_relative_to(folder.resolve())
    ):
        raise ValueError(
            f"--out {out} lies among the radiographs, where worst.png would count as one; choose another folder"
        )
    require_out(out, folder=True)
    require_other([out / "audit.csv"], [source])
    result = audit_data(source, images)
    print_audit(result)
    print(", ".join(str(path) for path in write_audit(result, out)))
