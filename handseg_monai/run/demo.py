"""The demo: phantoms, the shipped weights on them, fine-tuning, evaluation; by the commands that a user would type."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from handseg_monai import bundle_root, drawing
from handseg_monai.files import write_json
from handseg_monai.run.machine import processor
from handseg_monai.run.process import bundle_command, run_bundle

SUBJECTS, TEST_SUBJECTS, SIZE, PRESET = 32, 8, 512, "easy"
MARK = ".handseg-demo"
MADE = (
    *("data", "run", "shipped", "result"),
    *("phantoms.png", "overlays.png", "summary.json", "shipped.log", "training.log", "inference.log"),
)
"""What a demo leaves in its folder, and the next one removes."""


def run_demo(out: str | Path, seed: int = 0) -> dict[str, object]:
    """Make phantoms, infer with the shipped weights, fine-tune them, infer again and evaluate, all below one folder.

    What an earlier demo left there is replaced. Returns what ``summary.json`` holds: Dice, times, machine and paths.

    Raises
    ------
    ValueError
        ``out`` holds something else than an earlier demo.
    ChildProcessError
        A command failed; the message says where its log is.
    """
    from handseg_monai.phantom import write_dataset
    from handseg_monai.score.evaluation import evaluate
    from handseg_monai.score.tables import print_evaluation, write_evaluation

    out = Path(out).absolute()
    _make_room(out)
    data, run, shipped, result = out / "data", out / "run", out / "shipped", out / "result"
    weights = bundle_root() / "models" / "model.pt"
    start = time.perf_counter()
    times = {}

    _say(f"1/5  phantoms: {SUBJECTS} subjects to train on, {TEST_SUBJECTS} to test on, two hands each -> {data}")
    _say(
        f"     $ handseg phantom {data} --subjects {SUBJECTS} --test-subjects {TEST_SUBJECTS} --size {SIZE} "
        f"--preset {PRESET} --seed {seed} --preview {out / 'phantoms.png'}"
    )
    write_dataset(
        data,
        subjects=SUBJECTS,
        test_subjects=TEST_SUBJECTS,
        size=SIZE,
        seed=seed,
        workers=min(2, os.cpu_count() or 1),
        preset=PRESET,
        preview=out / "phantoms.png",
    )
    times["phantoms"] = time.perf_counter() - start

    images = data / "test" / "DCM"
    _say(f"2/5  the test radiographs by the weights that come with the project -> {shipped}")
    times["shipped_inference"] = _infer(out / "shipped.log", images, shipped, weights)
    before = evaluate(shipped / "submission.csv", data / "test", progress=False)
    _say(f"     Dice {before.mean_dice_present:.4f} of the bones present")
    _say(f"3/5  fine-tuning -> {run}   (watch it: tensorboard --logdir {run})")
    times["training"] = _bundle(
        out / "training.log",
        ["train.json", "finetune.json", "demo.json"],
        {"dataset_dir": data, "output_dir": run, "seed": seed, "weights": weights},
        run_id="training",
        echo=("train_loss", "Epoch["),
    )
    _say(f"4/5  inference on the test radiographs -> {result}")
    times["inference"] = _infer(out / "inference.log", images, result, run / "model.pt")
    _say(f"5/5  evaluation -> {result}")
    _say(f"     $ handseg evaluate {result / 'submission.csv'} --truth {data / 'test'} --out {result}")
    evaluation = evaluate(result / "submission.csv", data / "test")
    write_evaluation(evaluation, result)
    pictures = [np.asarray(Image.open(file)) for file in sorted((result / "overlays").rglob("*.jpg"))[:8]]
    drawing.save(out / "overlays.png", drawing.sheet(pictures, columns=4))

    summary: dict[str, object] = {
        "mean_dice": evaluation.mean_dice,
        "mean_dice_of_bones_present": evaluation.mean_dice_present,
        "mean_dice_of_bones_present_before_fine_tuning": before.mean_dice_present,
        "test_images": len(evaluation.names),
        "seconds": {name: round(seconds, 1) for name, seconds in times.items()}
        | {"total": round(time.perf_counter() - start, 1)},
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "submission": str(result / "submission.csv"),
        "evaluation": str(result / "evaluation.csv"),
        "overlays": str(out / "overlays.png"),
        "phantoms": str(out / "phantoms.png"),
        "checkpoint": str(run / "model.pt"),
    }
    write_json(out / "summary.json", summary)
    print_evaluation(evaluation)
    _say(f"done in {time.perf_counter() - start:.0f} s; everything is in {out}")
    for name in ("overlays", "phantoms", "submission", "evaluation", "checkpoint"):
        _say(f"  {name:<11} {summary[name]}")
    _say(f"  {'summary':<11} {out / 'summary.json'}")
    return summary


def _say(text: str) -> None:
    print(text, flush=True)


def _make_room(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise ValueError(f"{out} holds other files; choose another folder with --out")
        for name in MADE:
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _infer(log: Path, images: Path, out: Path, checkpoint: Path) -> float:
    options = {"dataset_dir": images, "output_dir": out, "checkpoint": checkpoint, "num_workers": 0}
    return _bundle(log, ["inference.json"], options)


def _bundle(
    log: Path, configs: list[str], options: Mapping[str, object], run_id: str = "run", echo: tuple[str, ...] = ()
) -> float:
    files = [bundle_root() / "configs" / name for name in configs]
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return run_bundle(bundle_command(run_id, files, arguments), log, echo, indent="     ", folder=log.parent)
