"""A submission in another form."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handseg_monai.data.reading.image_sizes import image_paths
from handseg_monai.data.reading.images import UnreadableImageError, image_size, without_suffix
from handseg_monai.export.form import IncompleteExportError, Masks, MasksNotWrittenError
from handseg_monai.export.forms import FORMS
from handseg_monai.files import atomic_folder
from handseg_monai.rle import decode_image, read_csv


def export(
    prediction: str | Path, images: str | Path, form: str, out: str | Path, progress: bool = True
) -> dict[str, int]:
    """Write a submission in another form; overlaps are kept.

    ========= ================================================================== =======================
    form      files                                                              bone without a row
    ========= ================================================================== =======================
    png       ``<image>/<bone>.png``                                             has no file
    labelme   ``<image>.json``                                                   is absent
    coco      ``annotations.json``, run-lengths                                  is absent
    nifti     ``<image>.nii.gz``, (W, H, 1, 29)                                  is empty
    dicom-seg ``<image>.dcm``, 29 segments; of DICOM images alone                is empty
    ========= ================================================================== =======================

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
        Rows that the submission lacks, by image, where there are any.

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
    paths = image_paths(texts, images)
    _refuse_one_stem(texts)
    FORMS[form].check(paths.values())
    missing, failures = {}, {}
    with atomic_folder(out) as part:
        writer = FORMS[form](part)
        for name, path in tqdm(paths.items(), desc="export", unit="image", disable=None if progress else True):
            given = np.array([text is not None for text in texts[name]])
            if not given.all():
                missing[name] = int((~given).sum())
            try:
                planes = decode_image(prediction, name, texts[name], image_size(path))
                writer.add(Masks(name, path, planes, given))
            except (MasksNotWrittenError, UnreadableImageError) as error:
                failures[name] = str(error).removeprefix(f"{path}: ")
                missing.pop(name, None)
        if len(failures) == len(paths):
            raise ValueError(f"no image can be exported; {path}: {failures[name]}")
        writer.finish()
    if failures:
        raise IncompleteExportError(failures, len(paths))
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
