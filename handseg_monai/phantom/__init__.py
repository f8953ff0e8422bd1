"""Synthetic hand radiographs with exact, overlapping labels of the 29 bones.

The bones are those of the MyoHand of MyoSim (package ``myo-sim``, Apache License 2.0). Needs the packages of the extra
``phantom``; they are imported with the first use of a name below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handseg_monai.phantom.cache import write_components
    from handseg_monai.phantom.dataset import write_dataset
    from handseg_monai.phantom.phantom import Phantom, render_phantom, render_planes
    from handseg_monai.phantom.presets import PRESETS, PhantomRanges

__all__ = [
    "PRESETS",
    "Phantom",
    "PhantomRanges",
    "render_phantom",
    "render_planes",
    "write_components",
    "write_dataset",
]

_HOME = {
    "PRESETS": "presets",
    "PhantomRanges": "presets",
    "Phantom": "phantom",
    "render_phantom": "phantom",
    "render_planes": "phantom",
    "write_components": "cache",
    "write_dataset": "dataset",
}
_EXTRA = {"cv2", "mujoco", "myo_sim", "numba", "openpyxl", "scipy", "tqdm"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name in _EXTRA:
            raise ImportError(f"The phantom needs {error.name}: pip install 'handseg-monai[phantom]'") from error
        raise
