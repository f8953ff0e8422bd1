"""The threshold of each bone's probability, found by running the bundle on a validation fold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import monai.bundle

from handseg_monai import bundle_root
from handseg_monai.checkpoints import first_checkpoint
from handseg_monai.files import require_other, require_out
from handseg_monai.run.process import plain_path


def find_thresholds(
    data: str | Path,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    fold: int = 0,
    folds_file: str | Path | None = None,
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

    Raises
    ------
    OSError
        ``out`` can't be a file.
    ValueError
        No checkpoint, or ``out`` is what the command reads. What else can't be right ends the process with code 2, as
        in any run of the bundle.
    """
    require_out(out)
    root = bundle_root()
    weights = checkpoint or first_checkpoint("runs/train/model.pt", root / "models" / "model.pt")
    require_other([out], [data, weights, folds_file])
    options: dict[str, Any] = {"dataset_dir": plain_path(data), "fold": fold}
    options |= {"thresholds_file": plain_path(out), "checkpoint": plain_path(weights)}
    options |= {"folds_file": plain_path(folds_file)} if folds_file else {}
    files = [str(root / "configs" / f"{name}.json") for name in ("train", "evaluate", "thresholds")]
    # MONAI warns of configurations that can run code: these are the package's own.
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
    monai.bundle.run(run_id="run", config_file=files, bundle_root=str(root), **options)
