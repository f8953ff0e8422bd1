"""Segment the 29 bones of the hand and wrist on a radiograph, as a MONAI bundle."""

from pathlib import Path

__version__ = "0.1.0"


def bundle_root() -> Path:
    """Folder of the MONAI bundle: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "bundle"
    return installed if installed.is_dir() else package.parent / "bundle"
