"""What the notebooks share: finding the data, making workflows of the bundle quiet, and the look of plots."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

from handseg_monai import bundle_root
from handseg_monai.bones import BONES, Group

GROUP_COLOURS = dict(zip(Group, ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#aa3377", "#ee6677"), strict=True))
"""Matplotlib's colour of each group of bones: Paul Tol's bright scheme, which the colour-blind can tell apart."""
BONE_COLOURS = {bone.name: tuple(channel / 255 for channel in bone.colour) for bone in BONES}
"""Matplotlib's colour of each bone, the same as in overlays."""
_BARS = {
    "ignite.handlers.ProgressBar": ("disable", True),
    "handseg_monai.data.dataset.RadiographDataset": ("progress", False),
}
"""Components of a configuration that draw progress bars, and the argument that stops them."""


def find_folder(given: str | Path, wanted: str, variable: str, fits: Callable[[Path], bool]) -> Path:
    """Return a folder that a user gave, absolute.

    The kernel starts in the notebook's folder; a relative path may be that of the shell which Jupyter was started from.

    Parameters
    ----------
    given
        The path.
    wanted, variable
        What is looked for, and the environment variable that names it, for the message.
    fits
        Whether a folder is what is wanted.

    Raises
    ------
    FileNotFoundError
        No such folder fits.
    """
    places = list(dict.fromkeys(Path(start, given) for start in (Path.cwd(), os.environ.get("PWD", Path.cwd()))))
    for place in places:
        if fits(place):
            return place.absolute()
    raise FileNotFoundError(f"no {wanted} in {' or '.join(map(str, places))}; set {variable}")


def make_workflow(*files: str, **options: Any) -> ConfigWorkflow:
    """Make a workflow of the bundle and initialise it, as ``python -m monai.bundle run`` does before it runs.

    Parameters
    ----------
    files
        Names of files in ``bundle/configs``, each laid over those before it.
    options
        What follows ``--`` on the command line. Progress bars and the log are off.

    Raises
    ------
    SystemExit
        With code 2, where options or data can't be right, after one line that says why.
    """
    root = bundle_root()
    paths = [str(root / "configs" / name) for name in files]
    parser = ConfigParser()
    parser.read_config(paths)
    logging.disable(logging.INFO)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # it warns that it makes no log
    for message in ("parsing config_file", "'(min_delta|cumulative_delta)' is", "Using `tqdm.autonotebook"):
        warnings.filterwarnings("ignore", message=message)
    # Bones that no image of a fold knows have no mean.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="monai.handlers.utils")
    return create_workflow(
        config_file=paths, bundle_root=str(root), logging_file=False, **dict(_without_bars(parser.config)), **options
    )


def _without_bars(config: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(config, dict) and config.get("_target_") in _BARS:
        argument, value = _BARS[config["_target_"]]
        yield f"{place}#{argument}", value
    children = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in children:
        yield from _without_bars(value, f"{place}#{key}" if place else str(key))


def set_style() -> None:
    """Set the look of plots: dark on an opaque light ground, which reads in light and in dark Jupyter alike."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.axisbelow": True,
            "font.size": 9,
        }
    )


def show(picture: np.ndarray, title: str, width: float = 12) -> Axes:
    """Plot a picture, uint8 (H, W, 3), without axes, ``width`` inches wide."""
    _, axes = plt.subplots(figsize=(width, width * picture.shape[0] / picture.shape[1]))
    axes.imshow(picture)
    axes.axis("off")
    axes.set_title(title)
    return axes
