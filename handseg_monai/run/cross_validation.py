"""K folds by one command: a run of the bundle for each, gone on with after a kill, and a table at the end."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bones import BONES, Bone
from handseg_monai.checkpoints.training import BEST, LAST
from handseg_monai.checkpoints.weights import Checkpoint
from handseg_monai.data.datalists import training_datalist
from handseg_monai.data.folds import read_folds, write_folds
from handseg_monai.files import atomic_open, exclusive, require_out, write_json
from handseg_monai.run.launch import require_processes
from handseg_monai.run.process import (
    bundle_command,
    named_options,
    overlay_file,
    require_not_misspelt,
    run_bundle,
    shown,
)

_OWN = frozenset({"fold", "num_folds", "folds_file", "dataset_dir", "output_dir", "exclude", "resume", "config_file"})
"""Options of training that the command sets itself."""
_OF_THE_COMMAND = ("out", "k", "overlay", "config", "folds-file", "exclude", "seed", "processes")
"""Options of ``handseg cross-validate`` itself."""
PLAN, FOLDS, RESULT = "plan.json", "folds.json", "result.json"
TABLE, SUMMARY = "cross_validation.csv", "cross_validation.json"


@dataclass(frozen=True)
class FoldResult:
    """Dice of the best checkpoint of one fold on the fold that it was not trained on, and was chosen by."""

    fold: int
    """Its number."""
    dice: float
    """Mean over images and bones that are known, as ``evaluate.json`` gives it."""
    epoch: int
    """Of the best checkpoint."""
    images: list[str]
    """Names of the N images of the fold."""
    of_bones: list[list[float | None]]
    """(N, 29): Dice of each image and bone, four digits; None where the bone is not known."""


@dataclass(frozen=True)
class _Plan:
    """What :func:`cross_validate` was called with."""

    data: Path
    out: Path
    k: int
    overlays: Sequence[Path]
    options: Sequence[str]
    folds_file: str | Path | None
    exclude: str | Path | None
    seed: int
    processes: int

    def described(self) -> dict[str, object]:
        """All that results depend on, files by their content."""
        words = [_digest_of_option(text) for text in self.options]
        # The shipped weights are what fine-tuning begins from.
        files = (bundle_root() / "configs" / "train.json", *self.overlays, bundle_root() / "models" / "model.pt")
        return {
            "folds": _digest(self.folds_file) if self.folds_file else f"{self.k} folds, seed {self.seed}",
            "configuration": [_digest(path) for path in files],
            "options": [*words, f"seed {self.seed}", f"{self.processes} processes"],
            "images left out": _digest(self.exclude) if self.exclude else None,
            "data": _data_digest(self.data, self.exclude),
        }


def cross_validate(
    data: str | Path,
    out: str | Path,
    *,
    k: int = 5,
    configs: Sequence[str | Path] = (),
    options: Sequence[str] = (),
    folds_file: str | Path | None = None,
    exclude: str | Path | None = None,
    seed: int = 0,
    processes: int = 1,
) -> list[FoldResult]:
    """Train on all folds but one and evaluate on that one, for each fold, and print a table over them.

    Each fold is a run of ``train.json`` in ``<out>/fold<i>``. Called again with the same arguments after a kill, it
    passes over the folds that are finished and resumes the one that is not, which gives the same result.

    Parameters
    ----------
    data
        Labelled radiographs, as training takes them.
    out
        Folder to write.
    k, seed
        Number of folds, and the seed of ``handseg folds`` that deals them and of training.
    configs
        Overlays to lay over ``train.json``: files, or names of files of the bundle.
    options
        Further arguments of each run, such as ``--epochs 50``.
    folds_file
        Folds that ``handseg folds`` wrote; by default they are made so.
    exclude
        List of images to leave out.
    processes
        Ranks of ``torchrun`` on this machine, with ``multi_gpu_train.json``; 1 runs without it.

    Raises
    ------
    ValueError
        What was given can't be right, or is not what ``out`` was begun with, or another run still writes there.
    ChildProcessError
        A run failed; the message says where its log is.
    """
    out = Path(out)
    require_out(out, folder=True)
    if k < 2:
        raise ValueError(f"--k {k}: expected at least 2 folds")
    if processes != 1:
        require_processes(processes)
    given = named_options(options)
    if own := sorted(_OWN & {name.partition("#")[0] for name in given}):
        raise ValueError(f"--{own[0]}: cross-validate sets it itself; leave it out")
    require_not_misspelt(given, _OF_THE_COMMAND)
    overlays = [overlay_file(config) for config in configs]
    plan = _Plan(Path(data), out, k, overlays, options, folds_file, exclude, seed, processes)
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out / ".lock", f"--out {out}") as lock:
        folds = _begin(plan)
        results = []
        for fold in range(folds):
            result = _finished(out / f"fold{fold}")
            if result is None:
                print(f"fold {fold} of {folds}", flush=True)
                result = _Run(plan, fold, lock).to_the_end()
            else:
                print(f"fold {fold} of {folds}: finished, Dice {result.dice:.4f}", flush=True)
            results.append(result)
        _write(results, out)
    _print(results, out, _network_file(out, overlays, given))
    return results


def _begin(plan: _Plan) -> int:
    """Make the folds, or make sure that the plan is the one that ``out`` was begun with. Number of folds."""
    out, folds_file = plan.out, plan.folds_file
    folds, note, described = out / FOLDS, out / PLAN, plan.described()
    if note.exists():
        begun = json.loads(note.read_text(encoding="utf-8"))
        trained = any(out.glob(f"fold*/{LAST}"))  # else an option was refused, and the next one may be right
        if trained and (other := [name for name, value in described.items() if begun.get(name) != value]):
            raise ValueError(f"--out {out} holds a run with other {' and '.join(other)}; choose another folder")
        if trained or begun == described:
            return max(read_folds(folds).values()) + 1
    elif strange := sorted(path.name for path in out.iterdir() if not path.name.startswith(".") and path != folds):
        raise ValueError(f"--out {out} holds {strange[0]}, which cross-validate did not write; choose another folder")
    if folds_file:
        read_folds(folds_file)
        with atomic_open(folds) as file:
            file.write(Path(folds_file).read_text(encoding="utf-8"))
    else:
        write_folds(folds, plan.data, plan.k, plan.seed, plan.exclude)
    write_json(note, described)
    return max(read_folds(folds).values()) + 1


def _digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _digest_of_option(text: str) -> str:
    """Text that differs once a file, or a file below a folder, that an option names is another one."""
    path = Path(text)
    if path.is_file():
        return _digest(path)
    if "/" not in text or not path.is_dir():
        return text
    files = [(str(file.relative_to(path)), file.stat()) for file in sorted(path.rglob("*")) if file.is_file()]
    known = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _data_digest(data: Path, exclude: str | Path | None) -> str:
    """Text that differs once an image or a label is another file or has changed."""
    items = [item for part in training_datalist(data, num_folds=2, exclude=exclude).values() for item in part]
    files = sorted((item["name"], path) for item in items for path in (item["image"], item["label"]))
    known = [(name, (stat := Path(path).stat()).st_size, stat.st_mtime_ns) for name, path in files]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


class _Run:
    """Training and evaluation of one fold."""

    def __init__(self, plan: _Plan, fold: int, lock: int) -> None:
        self.plan, self.fold, self.lock = plan, fold, lock
        self.folder = plan.out / f"fold{fold}"
        named: dict[str, object] = {"dataset_dir": plan.data.absolute(), "output_dir": self.folder.absolute()}
        named |= {"fold": fold, "folds_file": (plan.out / FOLDS).absolute(), "seed": plan.seed}
        named |= {"exclude": Path(plan.exclude).absolute()} if plan.exclude else {}
        self.arguments = [text for name, value in named.items() for text in (f"--{name}", str(value))]

    def to_the_end(self) -> FoldResult:
        self.folder.mkdir(exist_ok=True)
        resume = (self.folder / LAST).exists()
        self._bundle("training", [], ["--resume", str(resume).lower()], ("train_loss", "best score"))
        self._bundle("evaluation", ["evaluate.json"], [], ())
        result = self._read()
        with atomic_open(self.folder / RESULT) as file:
            json.dump(asdict(result), file)
        return result

    def _bundle(self, what: str, last: Sequence[str], more: Sequence[str], echo: tuple[str, ...]) -> None:
        configs = bundle_root() / "configs"
        files = [configs / "train.json", *self.plan.overlays, *(configs / name for name in last)]
        if self.plan.processes > 1:
            files.append(configs / f"multi_gpu_{'train' if what == 'training' else 'evaluate'}.json")
        run_id = "training" if what == "training" else "run"
        command = bundle_command(run_id, files, [*self.arguments, *self.plan.options, *more], self.plan.processes)
        run_bundle(command, self.folder / f"{what}.log", echo=echo, keep_open=(self.lock,))

    def _read(self) -> FoldResult:
        folder = self.folder / "evaluation"
        (line,) = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
        with (folder / "val_mean_dice_raw.csv").open(newline="", encoding="utf-8") as file:
            rows = sorted(list(csv.reader(file))[1:])
        # MONAI writes a name as it is, with its commas: the values, and their mean, are the last ones.
        values = slice(-1 - len(BONES), -1)
        of_bones = [[None if value == "nan" else float(value) for value in row[values]] for row in rows]
        epoch = int(Checkpoint.read(self.folder / BEST).content["epoch"])
        return FoldResult(
            self.fold, float(line.split(",")[-1]), epoch, [",".join(row[: -1 - len(BONES)]) for row in rows], of_bones
        )


def _finished(folder: Path) -> FoldResult | None:
    path = folder / RESULT
    return FoldResult(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _of_bones(results: Sequence[FoldResult]) -> np.ndarray:
    """Dice of all images, each by the checkpoint that has not seen it: float64 (N, 29), NaN where not known."""
    rows = [row for result in results for row in result.of_bones]
    return np.array([[np.nan if value is None else value for value in row] for row in rows])


def _known(values: np.ndarray) -> list[Bone]:
    return [bone for bone in BONES if np.isfinite(values[:, bone.index]).any()]


def _write(results: Sequence[FoldResult], out: Path) -> None:
    dice = np.array([result.dice for result in results])
    values = _of_bones(results)
    with atomic_open(out / TABLE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("fold", "image", *(bone.name for bone in BONES)))
        for result in results:
            for name, row in zip(result.images, result.of_bones, strict=True):
                writer.writerow((result.fold, name, *("" if value is None else f"{value:.4f}" for value in row)))
    summary = {
        "folds": [{"fold": r.fold, "dice": r.dice, "epoch": r.epoch, "images": len(r.images)} for r in results],
        "mean": float(dice.mean()),
        "sd": float(dice.std(ddof=1)),
        "out_of_fold": float(np.nanmean(values)),
        "bones": {bone.name: float(np.nanmean(values[:, bone.index])) for bone in _known(values)},
    }
    write_json(out / SUMMARY, summary)


def _network_file(out: Path, overlays: Sequence[Path], given: Mapping[str, str]) -> Path | None:
    """File that declares the network, which inference needs to be told, where the bundle has none; made for options."""
    bundled = bundle_root() / "configs"
    base = bundled / "train.json"
    for path in overlays:
        base = path if "network_def" in ConfigParser.load_config_file(path) else base
    content = ConfigParser.load_config_file(base)
    if base == bundled / "train.json":
        content = {name: content[name] for name in ("network_name", "size_divisor", "network_def")}
    chosen = {name: DefaultParseValue(value) for name, value in given.items() if name.partition("#")[0] in content}
    if not chosen:
        return None if base.parent == bundled else base
    parser = ConfigParser(content)
    parser.update(chosen)
    write_json(out / "network.json", {name: parser[name] for name in content})
    return out / "network.json"


def _print(results: Sequence[FoldResult], out: Path, network_file: Path | None) -> None:
    console = Console()
    table = Table("fold", "images", "best epoch", "Dice")
    for column in table.columns:
        column.justify = "right"
    for result in results:
        table.add_row(str(result.fold), str(len(result.images)), str(result.epoch), f"{result.dice:.4f}")
    dice = np.array([result.dice for result in results])
    table.add_row("mean ± sd", "", "", f"{dice.mean():.4f} ± {dice.std(ddof=1):.4f}")
    console.print(table)
    values = _of_bones(results)
    weakest = sorted(_known(values), key=lambda bone: float(np.nanmean(values[:, bone.index])))[:5]
    bones = Table("weakest bones, out of fold", "Dice", "lowest")
    for bone in weakest:
        dice_of_bone = values[:, bone.index]
        bones.add_row(bone.english, f"{np.nanmean(dice_of_bone):.4f}", f"{np.nanmin(dice_of_bone):.4f}")
    console.print(bones)
    print(f"{out / TABLE}, {out / SUMMARY}")
    configs = bundle_root() / "configs"
    arguments = ["--checkpoints", str([str(out / f"fold{result.fold}" / BEST) for result in results])]
    arguments += ["--network_files", str([str(network_file)])] if network_file else []
    arguments += ["--dataset_dir", "DIR_OF_IMAGES", "--output_dir", "OUT"]
    command = bundle_command("run", [configs / "inference.json", configs / "ensemble.json"], arguments)
    print(f"all {len(results)} checkpoints as an ensemble:\n$ {shown(command)}")
