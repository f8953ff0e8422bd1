"""Phantoms on disk before their exposure, to be viewed and exposed anew in each epoch of training."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import get_args

import numpy as np

from handseg_monai.files import atomic_path
from handseg_monai.phantom.components import Components
from handseg_monai.phantom.view import Side


def save_components(path: str | Path, parts: Components) -> None:
    """Write a view before exposure, cut to what it holds: attenuations as float16, planes as int32.

    The lower edge stays where it is, because the forearm goes on below it.
    """
    rows, columns = (np.flatnonzero((parts.soft > 0).any(axis=axis)) for axis in (1, 0))
    # A border of air, so that repeating the border continues nothing but the forearm.
    box = (
        slice(max(int(rows[0]) - 2, 0), None),
        slice(max(int(columns[0]) - 2, 0), int(columns[-1]) + 3),
    )
    with atomic_path(Path(path)) as part, part.open("wb") as file:
        np.savez(
            file,
            soft=parts.soft[box].astype(np.float16),
            bone=parts.bone[box].astype(np.float16),
            planes=parts.planes[box],
            spacing=np.float64(parts.spacing),
            side=np.str_(parts.side),
        )


def load_components(path: str | Path) -> Components:
    """Read what :func:`save_components` wrote.

    Raises
    ------
    ValueError
        The file can't be read as such.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            soft, bone, planes = file["soft"], file["bone"], file["planes"]
            spacing, side = float(file["spacing"]), str(file["side"])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: expected a phantom before exposure, as handseg phantom --components writes it ({error})"
        ) from error
    if soft.ndim != 2 or not soft.shape == bone.shape == planes.shape or side not in get_args(Side):
        raise ValueError(
            f"{path}: expected soft, bone and planes of one shape (H, W), got {soft.shape}, {bone.shape} and {planes.shape}"
        )
    return Components(
        soft.astype(np.float32),
        bone.astype(np.float32),
        planes.astype(np.int32),
        spacing,
        "left" if side == "left" else "right",
    )
