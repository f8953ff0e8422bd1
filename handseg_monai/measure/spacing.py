"""Millimetres a pixel, and the plane that they hold in: what the header of a DICOM file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handseg_monai.data.reading.dicom import is_dicom, read_header, value_of

if TYPE_CHECKING:
    from pydicom import Dataset

PATIENT, DETECTOR = "in the patient's plane", "at the detector"
FIDUCIAL = "in the plane of the object that calibrated it"
CALIBRATED = "calibrated, in a plane that the file does not name"
UNNAMED = "in a plane that the file does not name"
FILM = "on the film"
ASPECT = "in widths of a pixel"
PIXELS = "in pixels"
IMPOSSIBLE = "in pixels: the spacing that the file states can't be that of a hand"
_MAGNIFIED = 1.0, 3.0
"""Radiographic magnification that an image of a hand can have."""
_SAME = 1e-3
"""Share by which two spacings that mean the same may differ."""


@dataclass(frozen=True)
class Spacing:
    """Size of a pixel."""

    row: float
    """Distance of two rows."""
    column: float
    """Distance of two columns."""
    says: str
    """The plane that it holds in: :data:`PATIENT`, :data:`DETECTOR` ..."""
    unit: str = "mm"
    """``mm``, or ``px`` where only the ratio of height and width is known."""

    def placed(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Points of the image, float64 (N,) in pixels, in this unit: complex128 (N,), x + iy."""
        return np.asarray(x * self.column + 1j * y * self.row)

    def pixel(self, point: complex) -> tuple[float, float]:
        """(x, y) in pixels of the image; the upper left corner of the first pixel is (0, 0)."""
        return point.real / self.column, point.imag / self.row


NO_SPACING = Spacing(1.0, 1.0, PIXELS, "px")
"""Of an image that says nothing of the size of its pixels: they are square."""
IMPOSSIBLE_SPACING = Spacing(1.0, 1.0, IMPOSSIBLE, "px")
"""Of an image whose file states what no image of a hand has."""


def spacing_of(path: str | Path) -> Spacing | None:
    """Tell the size of a radiograph's pixels.

    Where a DICOM file states several, the first of these counts:

    1. *Pixel Spacing* whose *Pixel Spacing Calibration Type* says how it was calibrated: ``GEOMETRY`` is
       :data:`PATIENT`, ``FIDUCIAL`` :data:`FIDUCIAL`;
    2. *Pixel Spacing* that differs from *Imager Pixel Spacing*: somebody calibrated it, :data:`CALIBRATED`;
    3. *Imager Pixel Spacing* over *Estimated Radiographic Magnification Factor*, :data:`PATIENT`; without a factor of
       1 to 3 as it is, :data:`DETECTOR`, where the hand is shown larger than it is;
    4. *Pixel Spacing* alone, :data:`UNNAMED`;
    5. *Nominal Scanned Pixel Spacing*, :data:`FILM`;
    6. *Pixel Aspect Ratio*: no millimetres, the unit is the width of a pixel, and ratios and angles come out right.

    Parameters
    ----------
    path
        The image.

    Returns
    -------
    spacing
        None of a picture, and of DICOM that states none of these.

    Raises
    ------
    ValueError
        As :func:`~handseg_monai.data.reading.dicom.read_header`.
    """
    if not is_dicom(path):
        return None
    header = read_header(path)
    given, imager = _pair(header, "PixelSpacing"), _pair(header, "ImagerPixelSpacing")
    kind = str(value_of(header, "PixelSpacingCalibrationType") or "").strip().upper()
    if given and kind in ("GEOMETRY", "FIDUCIAL"):
        return Spacing(*given, PATIENT if kind == "GEOMETRY" else FIDUCIAL)
    if given and imager and any(abs(a - b) > _SAME * b for a, b in zip(given, imager, strict=True)):
        return Spacing(*given, CALIBRATED)
    if imager:
        factor = _number(value_of(header, "EstimatedRadiographicMagnificationFactor"))
        if _MAGNIFIED[0] <= factor <= _MAGNIFIED[1]:
            return Spacing(imager[0] / factor, imager[1] / factor, PATIENT)
        return Spacing(*imager, DETECTOR)
    if given:
        return Spacing(*given, UNNAMED)
    if scanned := _pair(header, "NominalScannedPixelSpacing"):
        return Spacing(*scanned, FILM)
    if ratio := _pair(header, "PixelAspectRatio", largest=1e6):
        return Spacing(ratio[0] / ratio[1], 1.0, ASPECT, "px")
    return None


def _pair(header: Dataset, keyword: str, largest: float = 10.0) -> tuple[float, float] | None:
    """Two positive numbers of an attribute, of rows and of columns; None where it holds anything else."""
    value = value_of(header, keyword)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        return None
    rows, columns = (_number(one) for one in value)
    return (rows, columns) if 0 < rows < largest and 0 < columns < largest else None


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
