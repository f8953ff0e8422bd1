"""Label images as they are stored, value by value: PNG, TIFF and BMP, palettes too, NIfTI, and stacks of NumPy."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from handseg_monai.data.labels.label import require_size
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.samples import luminance, read_samples, require_indices, require_seen
from handseg_monai.data.reading.stored import DEFLATED, CheckSize, Samples, require_dense, require_pixels

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".nii", ".nii.gz")
PIXEL_SUFFIXES = (*LABEL_SUFFIXES, ".npy")
_ROUNDED = 1e-6
"""Share of a class number by which one in floating point may miss it: a slope of NIfTI has 24 bits."""
Meaning = Literal["mask", "label map"]
"""What the values of a label image are: of a mask 0 is nothing and one other value is the bone, and a palette counts by
its colours, of which black is nothing; of a label map each is a class, and a palette counts by its indices."""


def stem_of(path: Path) -> str:
    """Name of a file without its suffix, of which ``.nii.gz`` is one."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem


def read_pixels(
    path: Path,
    meaning: Meaning,
    rows_first: bool = False,
    check_size: CheckSize | None = None,
    classes: Collection[str] = (),
) -> np.ndarray:
    """Read the values of a label image, (H, W); of a label map integers.

    Parameters
    ----------
    path
        PNG, TIFF or BMP of one channel, of equal channels or with a palette; NIfTI of one slice.
    meaning
        See :data:`Meaning`.
    rows_first
        Of NIfTI: the first axis counts rows. By the convention of the format it counts columns. Its affine, which may
        turn a picture over, is not looked at: the values belong to the image's stored pixels.
    check_size
        Called with (height, width), or what the file has for it, before anything is decoded; None accepts
        :data:`~handseg_monai.data.reading.MAX_PIXELS`.
    classes
        Numbers of the classes of a label map, by which a palette of greys is refused that shows other ones of them.

    Raises
    ------
    ValueError
        No such image, several different channels or slices, values that losses of JPEG have changed, an alpha channel
        that would change them, a palette that shows other classes, classes that are not whole numbers, or a mask in
        which 0 is white and nothing black.
    """
    check_size = check_size or partial(require_pixels, max_pixels=MAX_PIXELS)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        pixels = _nifti(path, rows_first, check_size)
        return pixels if meaning == "mask" else _whole(pixels)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror})") from error
    return decode_pixels(content, meaning, check_size, classes)


def decode_pixels(content: bytes, meaning: Meaning, check_size: CheckSize, classes: Collection[str] = ()) -> np.ndarray:
    """Decode the values of a PNG, TIFF or BMP as :func:`read_pixels` does."""
    samples = read_samples(content, check_size)
    if samples.lossy:
        raise ValueError("JPEG, whose losses change values; expected PNG, TIFF without JPEG, or BMP")
    if meaning == "mask":
        return _mask(samples)
    if samples.palette is None:
        values = _whole(_one_channel(samples))
        require_seen(values, samples.alpha)
        return values
    _require_indices_meant(samples.palette, classes)
    # Classes may shine through, as where they lie over a picture.
    require_seen(samples.values, None if samples.alpha is None else samples.alpha > 0)
    return samples.values


def read_fitting(
    path: Path, shape: tuple[int, int], meaning: Meaning, rows_first: bool, classes: Collection[str] = ()
) -> np.ndarray:
    """Read the values of a label image as :func:`read_pixels` does, and require the (height, width) of its image.

    Of NIfTI whose axes are exchanged the error says so.
    """

    def check_size(stored: tuple[int, int]) -> None:
        if stored != shape and stored == shape[::-1] and path.name.lower().endswith((".nii", ".nii.gz")):
            raise ValueError(
                f"NIfTI whose axes are {'columns, rows' if rows_first else 'rows, columns'}, by the image's size; "
                f"{'leave out' if rows_first else 'give'} --rows-first"
            )
        require_size(stored, shape)

    return read_pixels(path, meaning, rows_first, check_size, classes)


def count_channels(path: Path, shape: tuple[int, int]) -> int:
    """Count the channels of a stack of masks, NumPy's ``.npy`` of shape (C, H, W).

    ``ValueError`` for anything else, and where (H, W) is neither the ``shape`` of the image nor that once it is turned.
    """
    stack = _stack(path).shape
    if len(stack) != 3 or not stack[0] or stack[1:] not in (shape, shape[::-1]):
        raise ValueError(f"an array of shape {stack}; expected a stack (C, H, W), here (C, {shape[0]}, {shape[1]})")
    return int(stack[0])


def read_channel(path: Path, channel: int, shape: tuple[int, int]) -> np.ndarray:
    """Read one mask of a stack, and require the (height, width) of its image."""
    stack = _stack(path)
    require_size(stack.shape[1:], shape)
    return np.asarray(stack[channel])


def mask_of(pixels: np.ndarray) -> np.ndarray:
    """Bool (H, W): where a mask is not 0; ``ValueError`` where it has two other values or more, or no numbers."""
    if pixels.dtype.kind not in "biuf":
        raise ValueError(f"pixels of type {pixels.dtype}; expected numbers")
    if not np.isfinite(pixels).all():
        raise ValueError("some pixels are NaN or infinite; expected finite numbers")
    mask = pixels != 0
    values = np.unique(pixels[mask])
    if len(values) > 1:
        raise ValueError(
            f"{len(values) + (not mask.all())} values, {values[0]} and {values[1]} among them; "
            "expected 0 and one other: threshold the mask"
        )
    return mask


def _mask(samples: Samples) -> np.ndarray:
    values = _one_channel(samples) if samples.palette is None else _palette_mask(samples.values, samples.palette)
    require_seen(values, samples.alpha)
    if samples.turned and values.all() and values.min() < values.max():
        raise ValueError(
            "a TIFF in which 0 is white (WhiteIsZero) and no pixel is black, so that it shows no background; expected "
            "black and one other value: save it with BlackIsZero"
        )
    return values


def _palette_mask(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Grey values of the colours, above 0 for all but black, the darkest blue too."""
    require_indices(indices, palette)
    shades = np.maximum(luminance(palette[None])[0], palette.any(axis=1))
    values = np.asarray(shades[indices])
    if (values == values[0, 0]).all() and (indices != indices[0, 0]).any():
        raise ValueError("its palette has one colour for all; save the mask as white on black")
    return values


def _require_indices_meant(palette: np.ndarray, classes: Collection[str]) -> None:
    """Raise ``ValueError`` where a palette shows the classes as greys that are class numbers too, and other ones."""
    numbers = [number for number in (0, *map(int, classes)) if number < len(palette)]
    shown = {number: int(palette[number, 0]) for number in numbers if palette[number].any()}
    no_numbers = (palette[numbers] != palette[numbers, :1]).any() or len(set(shown.values())) < len(shown)
    if no_numbers or not {str(grey) for grey in shown.values()} <= set(classes):
        return
    if wrong := sorted((number, grey) for number, grey in shown.items() if number != grey):
        number, grey = wrong[0]
        raise ValueError(
            f"its palette shows class number {grey} where it stores {number}, and nobody knows which is meant; save "
            "the label map as grey, without a palette"
        )


def _one_channel(samples: Samples) -> np.ndarray:
    values = samples.values
    if values.ndim == 2:
        return values
    if (values != values[..., :1]).any():
        raise ValueError(
            "a colour image; expected grey values: white on black for a mask, class numbers for a label map"
        )
    return np.ascontiguousarray(values[..., 0])


def _nifti(path: Path, rows_first: bool, check_size: CheckSize) -> np.ndarray:
    import nibabel

    with _nifti_errors():
        image = nibabel.load(path)
        shape, dtype = image.shape, image.get_data_dtype()  # type: ignore[attr-defined]
        if min(shape, default=0) < 1:
            raise ValueError(f"of shape {shape}")
    if len(shape) < 2 or set(shape[2:]) - {1}:
        raise ValueError(f"NIfTI of shape {shape}; expected one slice")
    if dtype.kind not in "iuf":
        raise ValueError("NIfTI of colours or complex numbers; expected one whole number a pixel")
    check_size(shape[:2] if rows_first else shape[1::-1])
    with _nifti_errors():
        ratio = DEFLATED if path.name.lower().endswith(".gz") else 1
        require_dense(shape[0] * shape[1] * dtype.itemsize, path.stat().st_size, ratio)
        pixels = np.asarray(image.dataobj).reshape(shape[:2])  # type: ignore[attr-defined]
    return pixels if rows_first else pixels.T


@contextmanager
def _nifti_errors() -> Iterator[None]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        yield
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise ValueError(f"not NIfTI, or cut short or damaged ({error})") from error


def _stack(path: Path) -> np.ndarray:
    try:
        stack = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile, TokenError) as error:
        raise ValueError(f"not a NumPy array, or damaged ({error})") from error
    if not isinstance(stack, np.ndarray):
        raise ValueError("a NumPy archive; expected one array, .npy")
    return stack


def _whole(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind in "iu":
        return pixels
    if pixels.dtype.kind == "f" and np.isfinite(pixels).all():
        whole = np.rint(pixels)
        if (abs(pixels - whole) <= _ROUNDED * np.maximum(abs(whole), 1)).all():
            return whole.astype(np.int64)
    raise ValueError("values are not whole numbers; expected class numbers")
