"""Commands that make, convert, check and divide data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Preset = Literal["easy", "standard", "hard", "children"]
LabelForm = Literal["coco", "labelme", "masks", "labelmap", "submission"]
MissingBone = Literal["absent", "unknown"]


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder of the dataset to write.")],
    subjects: Annotated[int, typer.Option(help="Subjects to train on; each has two radiographs.")],
    test_subjects: Annotated[int, typer.Option(help="Subjects to test on.")] = 0,
    size: Annotated[
        int | None, typer.Option(help="Longer side of the radiographs in pixels; 2048, drawn by the preset hard.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    preset: Annotated[Preset, typer.Option(help="How much the radiographs vary.")] = "standard",
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
        write_components(out, subjects=subjects, seed=seed, workers=workers, preset=preset)
        return
    write_dataset(
        out,
        subjects=subjects,
        test_subjects=test_subjects,
        size=size,
        seed=seed,
        workers=workers,
        preset=preset,
        preview=preview,
    )


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
    confidence: Annotated[
        Path | None, typer.Option(help="confidence.csv of a submission: bones below --least are unknown.")
    ] = None,
    least: Annotated[float, typer.Option(help="Confidence, 0 to 1, from which a bone of a submission is taken.")] = 0.9,
    plausible: Annotated[
        bool, typer.Option("--plausible", help="Leave out images of a submission that do not look like a hand.")
    ] = False,
) -> None:
    """Convert labels of another form to the one that training reads; bones nobody has labelled stay unknown."""
    from handseg_monai.data.labels import convert as convert_labels
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
        confidence=confidence,
        least=least,
        leave_out=leave_out,
    )
    print_conversion(result)
    print(f"{out}: {len(result.items)} images of {len({item['subject'] for item in result.items})} subjects")


def folds(
    data: Annotated[Path, typer.Argument(help="Dataset in the competition's layout, or converted.")],
    out: Annotated[Path, typer.Option(help="Datalist JSON to write.")] = Path("folds.json"),
    k: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which subjects are dealt.")] = 0,
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


def audit(
    source: Annotated[Path, typer.Argument(metavar="DATA|PRED.csv", help="Dataset, or submission.")],
    images: Annotated[Path | None, typer.Option(help="Folder of a submission's images.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for audit.csv, exclude.txt and worst.png.")] = Path("audit"),
) -> None:
    """Find what is wrong with labels and images, and list the images that training should leave out."""
    from handseg_monai.audit import audit as audit_data
    from handseg_monai.audit import print_audit, write_audit
    from handseg_monai.files import require_out

    folder = images if images is not None else source
    if any(part == "DCM" for part in out.parts) or (
        images is not None and out.resolve().is_relative_to(folder.resolve())
    ):
        raise ValueError(f"--out {out} lies among the radiographs; its picture would be taken for one. Choose another")
    require_out(out, folder=True)
    result = audit_data(source, images)
    print_audit(result)
    print(", ".join(str(path) for path in write_audit(result, out)))
