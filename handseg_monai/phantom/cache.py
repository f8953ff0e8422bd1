"""Phantoms on disk before their exposure, to be viewed and exposed anew in each epoch of training."""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handseg_monai.bones import SIDES
from handseg_monai.files import atomic_open, atomic_path
from handseg_monai.phantom.components import MIN_SIZE, Components, render_components
from handseg_monai.phantom.presets import preset as ranges_of
from handseg_monai.phantom.processes import check_numbers, in_processes

SIZE = 1024
"""Width of the upright view that is kept, pixels: 0.26 mm each, as fine as a wrist in a training image."""


def write_components(
    out: str | Path,
    *,
    subjects: int,
    size: int = SIZE,
    seed: int = 0,
    workers: int = 2,
    preset: str = "standard",
    progress: bool = True,
) -> list[Path]:
    """Write both hands of each subject before exposure, ``<number>_<side>.npz``.

    Parameters
    ----------
    out
        Folder to write to. One of the same seed, size and preset, as ``phantoms.json`` in it says, is gone on with,
        unless the preset's ranges have changed since.
    size
        Width of the view in pixels.
    subjects, seed, workers, preset, progress
        As for :func:`~handseg_monai.phantom.dataset.write_dataset`; of the preset the ranges of subject and pose count.

    Raises
    ------
    ValueError
        A number is too small, or the preset is unknown.
    FileExistsError
        ``out`` is a file, or holds phantoms of another seed, size or preset.
    """
    out = Path(out)
    ranges_of(preset)
    check_numbers(subjects=(subjects, 1), size=(size, MIN_SIZE), seed=(seed, 0), workers=(workers, 1))
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; phantoms need a folder")
    drawn_from = hashlib.sha256(repr(ranges_of(preset)).encode()).hexdigest()[:12]
    facts = {"seed": seed, "size": size, "preset": preset, "ranges": drawn_from}
    note = out / "phantoms.json"
    held = json.loads(note.read_text()) if note.exists() else facts if not list(out.glob("*.npz")) else None
    if held != facts:
        raise FileExistsError(f"{out} holds phantoms of {held}, but this run makes {facts}; choose another folder")
    with atomic_open(note) as file:
        json.dump(facts, file)
    # Compiled code and meshes are made here once, not by each worker.
    render_components(seed, 0, "left", ranges_of(preset), MIN_SIZE)
    files: dict[int, list[Path]] = {}
    with tqdm(total=2 * subjects, unit="hand", disable=not progress, desc="phantoms") as bar:
        for number, pair in in_processes(partial(_write_pair, out, seed, preset, size), subjects, workers):
            files[number] = pair
            bar.update(2)
    return [path for number in range(subjects) for path in files[number]]


def _write_pair(out: Path, seed: int, preset: str, size: int, number: int) -> list[Path]:
    paths = []
    for side in SIDES:
        path = out / f"{number:05d}_{side}.npz"
        if not path.exists():
            save_components(path, render_components(seed, number, side, ranges_of(preset), size))
        paths.append(path)
    return paths


def save_components(path: str | Path, parts: Components) -> None:
    """Write a view before exposure, cut to what it holds: attenuations as float16, planes as int32.

    The lower edge stays where it is, because the forearm goes on below it.
    """
    rows, columns = (np.flatnonzero((parts.soft > 0).any(axis=axis)) for axis in (1, 0))
    # A border of air, so that repeating the border continues nothing but the forearm.
    box = slice(max(int(rows[0]) - 2, 0), None), slice(max(int(columns[0]) - 2, 0), int(columns[-1]) + 3)
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
    if soft.ndim != 2 or not soft.shape == bone.shape == planes.shape or side not in SIDES:
        raise ValueError(
            f"{path}: expected soft, bone and planes of one shape (H, W), got {soft.shape}, {bone.shape} and "
            f"{planes.shape}, of a left or right hand, got {side}"
        )
    layers = soft.astype(np.float32), bone.astype(np.float32), planes.astype(np.int32)
    return Components(*layers, spacing, "left" if side == "left" else "right")
