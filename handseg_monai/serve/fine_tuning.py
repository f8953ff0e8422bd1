"""Fine-tuning on what is done: a run of its own, which goes on without the server, and what is known of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from handseg_monai import bundle_root
from handseg_monai.data.items import Item
from handseg_monai.data.labels.converted import DATALIST, converted_items, write_datalist
from handseg_monai.files import exclusive, write_json
from handseg_monai.serve.child import SAFE_PATH
from handseg_monai.serve.folder import digest, sync_folder
from handseg_monai.serve.state import MissingError, RequestError
from handseg_monai.words import counted

LEAST = 3
"""Patients, or images of unknown patients, that fine-tuning needs: one is held out."""
HELD_OUT = 0.2
"""Share of the images that are held out."""
PLAN, STATE, FOLDS, STOP, OUTPUT, ERRORS = (
    *("plan.json", "state.json", "folds.json", "stop"),
    *("output.log", "errors.log"),
)
"""Files of a run: what it is to do, how far it is, which images it holds out, that it is to stop, and what it says."""
DATA, TAKEN = "data", "taken"
UNCOMPARED = "nobody has corrected a bone of the images held out"
"""Why a run can't compare its weights with those from before."""
WEIGHTS = Path("run", "model.pt")
_PARTING = "held_out.json"
_ITERATION = re.compile(r"Epoch: (\d+)/(\d+), Iter: (\d+)/(\d+)")
_UNDER_WAY = ("starting", "before", "training", "after")
_BOUNDS: dict[str, tuple[type, float, float]] = {
    "epochs": (int, 1, 1000),
    "size": (int, 64, 4096),
    "batch_size": (int, 1, 64),
    "learning_rate": (float, 1e-7, 0.1),
    "seed": (int, 0, 2**31),
}
"""Options that a run takes, their kinds and bounds: expressions of the bundle's are never among them."""
_LOOK = 0.1
"""Seconds between two looks whether a run is over."""
_TRIES = 20
"""To find no image changed while a run's files are gathered."""
_DEFAULTS: dict[str, float] = {"epochs": 20, "learning_rate": 3e-4, "seed": 0}


class FineTuning:
    """Runs of fine-tuning below ``WORK/training``, one at a time.

    A run trains on what is done but for a held-out part of the patients, measures the Dice of the weights from before
    and of the new ones on that part, and is better where the new one is higher. There only bones count that a person
    has edited: the others are as the old weights drew them, which would be right by definition. Images that weights
    have been trained on are never held out later. A server that is started anew finds the run that goes on.

    Parameters
    ----------
    work
        The folder of the store.
    weights
        Weights to begin from where those of no run were taken yet.
    edited
        Gives the bones of an image, by its id, that a person has edited: bit k for bone k.
    """

    def __init__(self, work: str | Path, weights: str | Path, edited: Callable[[str], int]) -> None:
        self.work = Path(work).absolute()
        self.folder = self.work / "training"
        self.base, self._edited = Path(weights).absolute(), edited
        self._process: subprocess.Popen[bytes] | None = None
        self._probing = threading.Lock()

    def start(self, **options: float) -> None:
        """Start a run: ``epochs``, ``size``, ``batch_size``, ``learning_rate`` and ``seed`` as training has them.

        By default 20 epochs, at the size of the weights.

        Raises
        ------
        ValueError
            A run is under way, too little is marked as done, or an option is none or out of bounds.
        """
        chosen = _DEFAULTS | options
        for name, value in chosen.items():
            _require_option(name, value)
        if not self.base.is_file():
            raise RequestError(f"no weights {self.base.name} to begin from")
        self.folder.mkdir(exist_ok=True)
        with self._alone() as lock:
            for left in self.folder.glob(f"*/{DATA}"):  # a kill has left it
                shutil.rmtree(left)
            run = self.folder / str(1 + max(self._runs(), default=0))
            run.mkdir()
            try:
                items, edited = self._snapshot(run)
                held_out = self._held_out(items, edited)
                compares = any(edited[name] for name in held_out)
                measured = _write_parts(run, items, held_out, edited if compares else None)
                plan = {"weights": str(self.weights()), "base": digest(self.base), "options": chosen}
                write_json(run / PLAN, {**plan, "compares": compares})
            except BaseException:
                shutil.rmtree(run)
                raise
            facts = {"epochs": chosen["epochs"], "images": len(items) - len(held_out), "held_out": len(measured)}
            counted_bones = {name: edited[name].bit_count() for name in measured} if compares else {}
            write_json(run / STATE, {"phase": "starting", "counted": counted_bones, **facts})
            command = [sys.executable, "-m", "handseg_monai.serve.fine_tuning_run", str(run), str(lock)]
            with (run / OUTPUT).open("ab") as output, (run / ERRORS).open("ab") as errors:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=os.environ | SAFE_PATH,
                    pass_fds=(lock,),
                    start_new_session=True,
                )

    def state(self) -> dict[str, Any]:
        """How far the last run is.

        Returns
        -------
        state
            ``run``, its number, 0 where there is none; ``running``; ``phase``: ``starting``, ``before``, ``training``,
            ``after``, ``finished``, ``stopped``, ``failed`` or ``none``; ``epoch`` of ``epochs``, and ``step`` of the
            epoch's ``steps``; ``images`` and ``held_out``, their numbers; ``dice_before`` and ``dice_after`` on those
            held out, None as long as they are not measured; ``counted``, how many bones of each of those count, by its
            id; ``better``, None where a run that has finished compared nothing because of :data:`UNCOMPARED`;
            ``stopping``, whether a run under way has been asked to end; and ``error`` in words, else empty. A run that
            has ended and began from other weights than those given counts for none.
        """
        number = max(self._runs(), default=0)
        state: dict[str, Any] = {"run": number, "running": False, "phase": "none", "better": False, "error": ""}
        state |= dict.fromkeys(("epoch", "epochs", "step", "steps", "images", "held_out"), 0)
        state |= {"dice_before": None, "dice_after": None, "counted": {}}
        run = self.folder / str(number)
        running = self._is_running()  # before the state, which a run writes last
        if not running and number and not self._begins_here(run):
            return state | {"run": 0, "stopping": False}
        kept = _read(run / STATE)
        state |= {key: kept[key] for key in state if key in kept} | {"running": running}
        state["stopping"] = running and (run / STOP).exists()
        if not running and state["phase"] in _UNDER_WAY:
            state |= {"phase": "failed", "error": last_words(run / ERRORS) or "the run ended without a word"}
        if found := _ITERATION.findall(_text(run / OUTPUT)):
            state |= dict(zip(("epoch", "epochs", "step", "steps"), map(int, found[-1]), strict=True))
        return state

    def stop(self) -> None:
        """Ask the run, if one is under way, to stop; what it has trained stays in its folder. It ends soon after."""
        if self._is_running():
            (self.folder / str(max(self._runs())) / STOP).touch()

    def is_over(self, seconds: float) -> bool:
        """Wait at most so long until no run is under way; whether that is so."""
        until = time.monotonic() + seconds
        while self._is_running():
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK)
        return True

    def better(self, uncompared: bool = False) -> Path:
        """File of the weights of the last run; with ``uncompared`` also where they could not be compared.

        Raises
        ------
        ValueError
            The run has not finished, or its weights are not better on what was held out.
        """
        state = self.state()
        if state["phase"] != "finished":
            raise RequestError("no run of fine-tuning has finished; its weights can be taken once it has")
        if state["better"] is None and not uncompared:
            raise RequestError(
                f"{UNCOMPARED}, so nobody knows whether the new weights are better; say that you want them"
            )
        if state["better"] is False:
            raise RequestError("the new weights are not better on what was held out; those from before stay in use")
        return self.folder / str(state["run"]) / WEIGHTS

    def take(self, uncompared: bool = False) -> Path:
        """Use the weights of the last run from now on, and return their file; raises as :meth:`better`."""
        run = self.better(uncompared).parents[1]
        (run / TAKEN).touch()
        sync_folder(run)
        return self.weights()

    def weights(self) -> Path:
        """Weights to use now: those that were taken last, else those given."""
        return next((run / WEIGHTS for run in self._taken()), self.base)

    def put_back(self) -> None:
        """Use the weights that were given from now on."""
        for run in self._taken():
            (run / TAKEN).unlink()
            sync_folder(run)

    def using(self) -> dict[str, Any]:
        """Which weights are used now: ``source``, ``shipped``, ``checkpoint`` or ``run``; ``name``; ``run``, or 0."""
        if run := next(self._taken(), None):
            return {"source": "run", "name": "", "run": int(run.name)}
        source = "shipped" if self.base.parent == bundle_root() / "models" else "checkpoint"
        return {"source": source, "name": self.base.name, "run": 0}

    def _taken(self) -> Iterator[Path]:
        """Runs whose weights were taken, the last first; those that began from other weights than given don't count."""
        for number in sorted(self._runs(), reverse=True):
            run = self.folder / str(number)
            taken = (run / TAKEN).exists() and (run / WEIGHTS).is_file()
            if taken and self._begins_here(run):
                yield run

    def _begins_here(self, run: Path) -> bool:
        """Whether a run, or the first of those whose weights it went on from, began from the weights given."""
        return bool(_read(run / PLAN).get("base") == digest(self.base))

    def _runs(self) -> list[int]:
        return [int(path.name) for path in self.folder.glob("*") if path.name.isdecimal()]

    def _is_running(self) -> bool:
        if self._process is not None:
            self._process.poll()  # one that has ended is to be let go of
        if not (self.folder / "lock").exists():
            return False
        try:
            with self._alone():
                return False
        except ValueError:
            return True

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Hold the lock on the runs, and give its descriptor; ``ValueError`` while a run holds it."""
        # One thread at a time: who only looks whether the lock is free holds it too.
        with self._probing, ExitStack() as held:
            try:
                lock = held.enter_context(exclusive(self.folder / "lock", "fine-tuning"))
            except ValueError as error:
                raise RequestError("fine-tuning is under way; wait for its end, or stop it") from error
            yield lock

    def _snapshot(self, run: Path) -> tuple[list[Item], dict[str, int]]:
        """Give the run files of its own: the page goes on changing the others. Items, and what was edited, by name.

        An image is called after its id there, by which weights know what they were trained on.
        """
        data = run / DATA
        if not (self.work / DATALIST).exists():
            raise RequestError("which patients the images are of could not be read; start handseg serve again")
        for _ in range(_TRIES):
            before = (self.work / DATALIST).read_bytes()
            items, edited = [], {}
            with suppress(FileNotFoundError, MissingError):  # one is removed just now
                for item in converted_items(self.work)[0]:
                    image, label = (_linked(Path(item[key]), data / f"{key}s") for key in ("image", "label"))
                    name = Path(image).stem
                    items.append(Item(**{**item, "image": image, "label": label, "name": name}))
                    edited[name] = self._edited(name) & item["known"]
                if (self.work / DATALIST).read_bytes() == before:
                    return items, edited
            shutil.rmtree(data, ignore_errors=True)
        for item in converted_items(self.work)[0]:
            if not (Path(item["image"]).is_file() and Path(item["label"]).is_file()):
                raise RequestError(f"{item['name']}: its image or its label is gone; start handseg serve again")
        raise RequestError("images change all the time; start once nobody corrects any")

    def _held_out(self, items: Sequence[Item], edited: Mapping[str, int]) -> set[str]:
        """Hold out a part of the subjects: those of earlier runs, then those with edited bones; names of its images."""
        images: defaultdict[str, list[str]] = defaultdict(list)
        for item in items:
            images[item["subject"]].append(item["name"])
        if len(images) < LEAST:
            raise RequestError(
                f"fine-tuning needs images of {LEAST} or more patients that are marked as done, and has "
                f"{counted(len(images), 'such patient')}; an image of an unknown patient counts as one"
            )
        is_edited = {of: any(edited[name] for name in names) for of, names in images.items()}
        earlier = _read(self.folder / _PARTING)
        trained, held = set(earlier.get("trained", [])), set(earlier.get("held_out", []))
        held_out = {of for of, names in images.items() if held & set(names) and not trained & set(names)}
        new = [of for of in images if not (trained | held) & set(images[of])]
        wanted = max(1, round(HELD_OUT * len(items)))
        for subject in sorted(new, key=lambda of: (not is_edited[of], min(images[of]))):
            few = sum(len(images[of]) for of in held_out) < wanted
            if few or (is_edited[subject] and not any(is_edited[of] for of in held_out)):
                held_out.add(subject)
        if not held_out:
            raise RequestError(
                "the weights were trained on all that is marked as done; mark another image as done to measure on"
            )
        if len(held_out) == len(images):
            raise RequestError("all that is marked as done is held out to measure on; mark another image as done")
        names = {name for of in held_out for name in images[of]}
        trained |= edited.keys() - names
        write_json(self.folder / _PARTING, {"held_out": sorted((held | names) - trained), "trained": sorted(trained)})
        return names


def _write_parts(run: Path, items: Sequence[Item], held_out: Set[str], edited: Mapping[str, int] | None) -> list[str]:
    """Write the data set of a run and its folds; names of the images that are measured on.

    Fold 0 is held out, fold 1 is trained on. In what is held out bones that nobody has edited are unknown; without
    ``edited`` all stay, since training has to validate on something.
    """
    kept = []
    for item in items:
        known = edited[item["name"]] if edited is not None and item["name"] in held_out else item["known"]
        if known:
            kept.append(Item(**{**item, "known": known}))
    write_datalist(run / DATA / DATALIST, kept, "a copy for fine-tuning")
    folds = [
        {"image": item["image"], "subject": item["subject"], "fold": int(item["name"] not in held_out)} for item in kept
    ]
    write_json(run / FOLDS, {"training": folds})
    return [item["name"] for item in kept if item["name"] in held_out]


def _require_option(name: str, value: object) -> None:
    if name not in _BOUNDS:
        raise RequestError(f"{name}: fine-tuning has no such option; expected {', '.join(_BOUNDS)}")
    kind, least, most = _BOUNDS[name]
    fits = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not fits or not least <= value <= most:  # type: ignore[operator]
        what = "a whole number" if kind is int else "a number"
        raise RequestError(f"{name} {value!r}: expected {what} from {least} to {most}")


def _linked(source: Path, folder: Path) -> str:
    """Link, or else copy, a file into a folder; its new path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a disk without links
        shutil.copyfile(source, target)
    return str(target)


def _read(path: Path) -> dict[str, Any]:
    """Return what a file of JSON holds; nothing where it is not there, or not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def last_words(path: Path) -> str:
    """Last line of a file that says something and is no progress bar; empty where there is none."""
    lines = [line.strip() for line in _text(path).splitlines() if line.strip() and "%|" not in line]
    return lines[-1] if lines else ""
