"""Refusing values of a configuration that can't be right, before a run has begun."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from handseg_monai.files import why_not_writable
from handseg_monai.run.ending import stop


def flag(value: object) -> bool:
    """Read an option that is true or false, in any case: the command line hands on ``false`` as a text, which is true.

    Anything else becomes :func:`stop`.
    """
    if str(value).lower() not in ("true", "false"):
        stop(f"expected true or false, got {value!r}")
    return str(value).lower() == "true"


def check_views(views: str) -> None:
    """Refuse any other way to view an image than ``image`` and ``hand``.

    Raises
    ------
    ValueError
        It is neither.
    """
    if views not in ("image", "hand"):
        raise ValueError(f"--views {views}: expected image or hand")


def check_window(window: int, size_divisor: int, network_name: str, option: str = "window") -> None:
    """Refuse a window that the network can't take, by the name of its option.

    Raises
    ------
    ValueError
        ``window`` is no positive multiple of ``size_divisor``, or below twice that.
    """
    if not isinstance(window, int) or window % size_divisor or window < 2 * size_divisor:
        raise ValueError(
            f"--{option} {window}: network {network_name} takes multiples of {size_divisor}, from {2 * size_divisor}"
        )


def check_compile(enabled: bool, backend: str) -> None:
    """Refuse ``torch.compile`` where its backend can't run, by compiling a sum; without it nothing is tried.

    Raises
    ------
    ValueError
        No such backend, or it failed, as inductor does on a CPU without a C++ compiler.
    """
    if not enabled:
        return

    try:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(8))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"--compile true: the backend {backend} can't run here ({reason}); "
            "install what it needs, such as a C++ compiler, give another --compile_backend, or leave it out"
        ) from error


_LIMITS: dict[str, tuple[type, float, float]] = {
    "fold": (int, 0, math.inf),
    "num_folds": (int, 2, math.inf),
    "seed": (int, 0, 2**32 - 1),
    "epochs": (int, 1, math.inf),
    "val_interval": (int, 1, math.inf),
    "curves_interval": (int, 0, math.inf),
    "patience": (int, 1, math.inf),
    "batch_size": (int, 1, math.inf),
    "accumulate": (int, 1, math.inf),
    "learning_rate": (float, 0, 10),
    "weight_decay": (float, 0, 1),
    "output_bias": (float, -100, 100),
    "loss_stride": (int, 1, math.inf),
    "ema": (float, 0, 0.99999),
    "sw_batch_size": (int, 1, math.inf),
    "num_workers": (int, 0, math.inf),
    "size": (int, 32, math.inf),
    "frame": (int, 32, math.inf),
    "overlap": (float, 0, 0.99),
    "least_piece": (float, 0.0, 1.0),
    "least_carpal_piece": (float, 0.0, 1.0),
    "most_covered": (float, 0.0, 1.0),
    "least_bone": (float, 0.0, 1.0),
    "most_hole": (float, 0.0, 1.0),
    "cache_rate": (float, 0, 1),
    "warmup": (float, 0, 1),
    "cycles": (int, 1, math.inf),
    "cycle_growth": (int, 1, math.inf),
    "lr_decay": (float, 0.001, 0.99),
    "peak_decay": (float, 0.01, 1),
    "cycle_warmup": (float, 0, math.inf),
    "plateau_patience": (int, 0, math.inf),
}
"""Type, least and greatest value of options that are numbers."""


def check_numbers(**numbers: object) -> None:
    """Refuse numbers out of range, by the name of their option; ``size`` and ``frame`` may be None.

    Raises
    ------
    ValueError
        The first that is no number of its type or out of range, or ``val_interval`` above ``epochs``.
    """
    for name, value in numbers.items():
        kind, least, most = _LIMITS[name]
        if name in ("size", "frame") and value is None:
            continue
        right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        if not right or not least <= value <= most:  # type: ignore[operator]
            wanted = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
            raise ValueError(f"--{name} {value!r}: expected {'a whole number, ' if kind is int else ''}{wanted}")
    if "epochs" in numbers and numbers["val_interval"] > numbers["epochs"]:  # type: ignore[operator]
        raise ValueError(f"--val_interval {numbers['val_interval']} is above --epochs {numbers['epochs']}")


def check_paths(dataset_dir: object, output_dir: object, apart: bool = False, **others: object) -> None:
    """Refuse folders and files that can't be meant.

    Parameters
    ----------
    dataset_dir, output_dir
        Folders.
    apart
        Whether one may not lie in the other.
    others
        Further paths by the name of their option; None says that there is none. Of them ``cache_dir`` is written to.

    Raises
    ------
    ValueError
        A path that the command line has read as something else (``a,b`` becomes a tuple, ``2024_11_25`` the number
        20241125), an ``output_dir`` or ``cache_dir`` that is a file or can't be written to, or, with ``apart``, an
        ``output_dir`` inside of ``dataset_dir``, whose pictures would be taken for radiographs the next time.
    """
    for name, value in {"dataset_dir": dataset_dir, "output_dir": output_dir, **others}.items():
        if isinstance(value, tuple | list | dict):
            raise ValueError(f"--{name} {value!r}: the command line reads this as a list; write a path without commas")
        if isinstance(value, int | float):
            raise ValueError(
                f"--{name}: the command line reads this path as {value!r}; "
                f"write ./ before it, as in --{name} ./2024_11_25"
            )
    for name, value in (("output_dir", output_dir), ("cache_dir", others.get("cache_dir"))):
        if value is not None:
            _require_writable(name, str(value))
    source, out = Path(str(dataset_dir)).absolute(), Path(str(output_dir)).absolute()
    if apart and out.is_relative_to(source):
        raise ValueError(f"--output_dir {output_dir} is inside of --dataset_dir {dataset_dir}; choose one beside it")


def _require_writable(name: str, folder: str) -> None:
    path = Path(folder).absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"--{name} {folder}: {there} is a file; give a folder")
    if reason := why_not_writable(there):
        raise ValueError(f"--{name} {folder}: {there} can't be written to ({reason}); choose another folder")
