"""Files -> radiographs: PNG, JPEG, TIFF and DICOM."""

MAX_PIXELS = 200_000_000
"""Pixels of a picture that are decoded at most, unless a caller asks for more."""
