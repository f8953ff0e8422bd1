"""A submission in another form."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handseg_monai.data.reading.images import UnreadableImageError, image_size, without_suffix
from handseg_monai.data.reading.submission_images import submission_images
from handseg_monai.export.form import HandMasks, IncompleteExportError, Masks, MasksNotWrittenError
from handseg_monai.export.forms import FORMS
from handseg_monai.files import atomic_folder
from handseg_monai.rle import by_image, decode_image, read_csv


def export(
    prediction: str | Path, images: str | Path, form: str, out: str | Path, progress: bool = True
) -> dict[str, int]:
    """Write a submission in another form; overlaps are kept.

    ========= ================================================================== =======================
    form      files                                                              bone without a row
    ========= ================================================================== =======================
    png       ``<image>/<class>.png``                                            has no file
    labelme   ``<image>.json``                                                   is absent
    coco      ``annotations.json``, run-lengths                                  is absent
    nifti     ``<image>.nii.gz``, (W, H, 1, 29)                                  is empty
    dicom-seg ``<image>.dcm``, 29 segments; of DICOM images alone                is empty
    ========= ================================================================== =======================

    The class of a bone is its name; of an image with rows of both hands it has the side before it, ``left_Radius``, a
    DICOM SEG has 58 segments, and NIfTI 58 channels, those of the left hand first.

    Parameters
    ----------
    prediction
        Submission CSV.
    images
        Folder of its images.
    form
        A key of :data:`~handseg_monai.export.forms.FORMS`.
    out
        Folder to write, which appears when it is complete; it must not hold anything yet.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    missing
        Rows that the submission lacks, by image or by hand, where there are any.

    Raises
    ------
    ValueError
        No such form, a folder that holds something, a submission that breaks the contract or holds no image, an
        image that is not there, or not one of which the form can be written.
    IncompleteExportError
        The form can't be written of some images; the others are written.
    OSError
        A file can't be read or written.
    """
    out = Path(out)
    if form not in FORMS:
        raise ValueError(f"no form {form!r}; expected one of {', '.join(FORMS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already holds files; choose another folder, or remove it first")
    texts = read_csv(prediction, empty=False)
    shown = submission_images(texts, images)
    _refuse_one_stem(by_image(texts, shown))
    FORMS[form].check([image.path for image in shown.values()])
    missing: dict[str, int] = {}
    failures: dict[str, str] = {}
    with atomic_folder(out) as part:
        writer = FORMS[form](part)
        for name, (path, rows) in tqdm(shown.items(), "export", unit="image", disable=None if progress else True):
            hands = []
            try:
                for side, row in rows.items():
                    given = np.array([text is not None for text in texts[row]])
                    planes = decode_image(prediction, row, texts[row], image_size(path))
                    hands.append(HandMasks(side, planes, given))
                writer.add(Masks(name, path, hands))
            except (MasksNotWrittenError, UnreadableImageError) as error:
                failures[name] = str(error).removeprefix(f"{path}: ")
                continue
            for row, hand in zip(rows.values(), hands, strict=True):
                if not hand.given.all():
                    missing[row] = int((~hand.given).sum())
        if len(failures) == len(shown):
            raise ValueError(f"no image can be exported; {path}: {failures[name]}")
        writer.finish()
    if failures:
        raise IncompleteExportError(failures, len(shown))
    return missing


def _refuse_one_stem(names: Collection[str]) -> None:
    """Files are named after images without their suffix."""
    seen: dict[str, str] = {}
    for name in names:
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts:
            raise ValueError(f"image {name!r}: the name leads out of the output folder; rename the image")
        stem = without_suffix(name).lower()
        if stem in seen:
            raise ValueError(f"images {seen[stem]} and {name}: their files would have the same name; export them apart")
        seen[stem] = name
