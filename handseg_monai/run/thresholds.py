"""The threshold of each bone's probability, found by running the bundle on a validation fold."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai.bundle
from fire.parser import DefaultParseValue

from handseg_monai import bundle_root
from handseg_monai.checkpoints import first_checkpoint
from handseg_monai.files import require_other, require_out
from handseg_monai.run.process import named_options, overlay_file, plain_path, require_not_misspelt

_OF_THE_COMMAND = ("out", "checkpoint", "fold", "folds-file", "overlay")
"""Options of ``handseg thresholds`` itself."""


def find_thresholds(
    data: str | Path,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    fold: int = 0,
    folds_file: str | Path | None = None,
    overlays: Sequence[str] = (),
    options: Sequence[str] = (),
) -> None:
    """Run ``thresholds.json`` over ``train.json`` and ``evaluate.json``, and print what each bone gains.

    Parameters
    ----------
    data
        Labelled radiographs, as training takes them.
    out
        JSON file to write, see :class:`~handseg_monai.handlers.ThresholdSearch`.
    checkpoint
        Weights; ``runs/train/model.pt``, or else the shipped ones, if None.
    fold, folds_file
        Fold to choose on, which the weights have not seen.
    overlays
        Configurations to lay over ``train.json``, as :func:`~handseg_monai.run.process.overlay_file` takes them.
    options
        Further options of the bundle, with which the weights were trained: ``--name`` and value by turns.

    Raises
    ------
    OSError
        ``out`` can't be a file.
    ValueError
        No checkpoint, no such overlay, options that are no pairs or that the command sets itself, or ``out`` is what
        the command reads. What else can't be right ends the process with code 2, as
        in any run of the bundle.
    """
    require_out(out)
    root = bundle_root()
    weights = checkpoint or first_checkpoint("runs/train/model.pt", root / "models" / "model.pt")
    require_other([out], [data, weights, folds_file])
    own: dict[str, Any] = {"dataset_dir": plain_path(data), "fold": fold}
    own |= {"thresholds_file": plain_path(out), "checkpoint": plain_path(weights)}
    own |= {"folds_file": plain_path(folds_file)} if folds_file else {}
    given = named_options(options)
    require_not_misspelt(given, _OF_THE_COMMAND)
    if twice := [name for name in given if name in own]:
        raise ValueError(f"--{twice[0]}: handseg thresholds sets it itself; see handseg thresholds --help")
    configs = root / "configs"
    base, *over = (configs / f"{name}.json" for name in ("train", "evaluate", "thresholds"))
    files = [str(file) for file in (base, *map(overlay_file, overlays), *over)]
    # MONAI warns of configurations that can run code: these are the package's own.
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
    parsed = {name: DefaultParseValue(value) for name, value in given.items()}
    monai.bundle.run(run_id="run", config_file=files, bundle_root=str(root), **own, **parsed)
