"""Label images as they are stored, value by value: PNG, TIFF and BMP, with a palette too, and NIfTI."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from handseg_monai.data.labels.label import require_size

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".nii", ".nii.gz")
PIXEL_SUFFIXES = (*LABEL_SUFFIXES, ".npy")


def stem_of(path: Path) -> str:
    """Name of a file without its suffix, of which ``.nii.gz`` is one."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem


def read_pixels(path: Path, rows_first: bool = False) -> np.ndarray:
    """Read the values of a label image, integers (H, W).

    Parameters
    ----------
    path
        PNG, TIFF or BMP of one channel, of equal channels or with a palette, whose indices count; NIfTI of one slice.
    rows_first
        Of NIfTI: the first axis counts rows. By the convention of the format it counts columns. Its affine, which may
        turn a picture over, is not looked at: the values belong to the image's stored pixels.

    Raises
    ------
    ValueError
        No such image, several different channels or slices, or values that are not whole numbers.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _nifti(path, rows_first)
    try:
        with Image.open(path) as image:
            if (count := getattr(image, "n_frames", 1)) > 1:
                raise ValueError(f"holds {count} pictures; expected one")
            pixels = np.asarray(image)
    except (OSError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(f"not an image, or cut short or damaged ({error})") from error
    if pixels.ndim == 3:
        colours = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
        if (colours != colours[..., :1]).any():
            raise ValueError("a colour image; expected one channel of class numbers, or a palette")
        pixels = colours[..., 0]
    return _whole(pixels)


def read_fitting(path: Path, shape: tuple[int, int], rows_first: bool) -> np.ndarray:
    """Read the values of a label image as :func:`read_pixels` does, and require the (height, width) of its image.

    Of NIfTI whose axes are exchanged the error says so.
    """
    pixels = read_pixels(path, rows_first)
    if pixels.shape != shape and pixels.shape == shape[::-1] and path.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(
            f"NIfTI whose axes are {'columns, rows' if rows_first else 'rows, columns'}, by the image's size; "
            f"{'leave out' if rows_first else 'give'} --rows-first"
        )
    require_size(pixels.shape, shape)
    return pixels


def _nifti(path: Path, rows_first: bool) -> np.ndarray:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        volume = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise ValueError(f"not NIfTI, or cut short or damaged ({error})") from error
    flat = volume.reshape(volume.shape[:2]) if volume.ndim > 2 and set(volume.shape[2:]) == {1} else volume
    if flat.ndim != 2:
        raise ValueError(f"NIfTI of shape {volume.shape}; expected one slice")
    return _whole(flat if rows_first else flat.T)


def _whole(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind in "iu":
        return pixels
    if pixels.dtype.kind != "f" or not np.isfinite(pixels).all() or (pixels != np.rint(pixels)).any():
        raise ValueError("values are not whole numbers; expected class numbers")
    return pixels.astype(np.int64)
