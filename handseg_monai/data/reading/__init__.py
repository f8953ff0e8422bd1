"""Files -> radiographs: PNG, JPEG, TIFF and DICOM."""

MAX_PIXELS = 200_000_000
"""Pixels of an image that is read, at most: a small file may state any number."""
