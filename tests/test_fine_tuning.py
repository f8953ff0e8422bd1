"""Fine-tuning from the page: what it needs, what it holds out, how it stops, and when its weights count."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handseg_monai.bones import ALL_KNOWN, NUM_BONES
from handseg_monai.networks import set_output_bias
from handseg_monai.serve.fine_tuning import FineTuning
from handseg_monai.serve.store import Store
from handseg_monai.serve.training import Training
from tests.bundle_runs import CONFIGS
from tests.test_store import add_ready, png


def add_done(store: Store, *seeds: int, edited: Iterable[int] = range(NUM_BONES)) -> list[str]:
    """Add images, take a pixel off some bones of each, and mark them as done."""
    ids = [add_ready(store, seed) for seed in seeds]
    for id in ids:
        for bone in edited:
            state = store.open(id)
            y, x = np.argwhere(state.planes >> bone & 1)[0].tolist()
            store.edit(id, state.revision, bone, np.zeros((1, 1), bool), (slice(y, y + 1), slice(x, x + 1)))
        store.mark(id, store.open(id).revision, done=True)
    return ids


def tuning_of(store: Store, weights: Path) -> FineTuning:
    return FineTuning(store.folder, weights, lambda id: store.marks(id).edited)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "work")
    yield store
    store.close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the bundle's network before any training, that say they saw small whole images."""
    from monai.bundle import ConfigParser

    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.manual_seed(0)
    network = ConfigParser(ConfigParser.load_config_file(str(CONFIGS / "train.json"))).get_parsed_content("network_def")
    set_output_bias(network, -4.0)  # no bone anywhere: a Dice of 0
    facts = {"network_name": "dynunet", "epoch": 1, "size": 128, "window": 128, "views": "image"}
    torch.save({"network": network.state_dict(), **facts}, path)
    return path


@pytest.fixture
def tuning(store: Store, weights: Path) -> Iterator[FineTuning]:
    tuning = tuning_of(store, weights)
    yield tuning
    tuning.stop()
    ended(tuning)


def ended(tuning: FineTuning, seconds: float = 300) -> dict[str, Any]:
    """Wait for the end of a run, which never goes back, and return its state."""
    deadline = time.monotonic() + seconds
    seen = (0, 0)
    while (state := tuning.state())["running"]:
        assert time.monotonic() < deadline, state
        assert (state["epoch"], state["step"]) >= seen
        seen = (state["epoch"], state["step"])
        time.sleep(0.05)
    return state


def held_out(tuning: FineTuning, run: int) -> set[str]:
    folds = json.loads((tuning.folder / str(run) / "folds.json").read_text())["training"]
    return {Path(entry["image"]).stem for entry in folds if entry["fold"] == 0}


def test_too_few_images_are_said_with_their_number(store: Store, tuning: FineTuning) -> None:
    add_done(store, 0, 1)
    with pytest.raises(ValueError, match="needs images of 3 or more patients that are marked as done, and has 2 such"):
        tuning.start()
    assert tuning.state()["run"] == 0
    assert tuning.state()["running"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs 0: expected a whole number from 1 to 1000"),
        ({"epochs": True}, "expected a whole number"),
        ({"epochs": "$__import__('os').abort()"}, "expected a whole number"),
        ({"learning_rate": float("nan")}, "expected a number"),
        ({"output_dir": 3}, "output_dir: fine-tuning has no such option; expected epochs, "),
    ],
)
def test_other_options_are_not_taken(store: Store, tuning: FineTuning, options: dict[str, Any], words: str) -> None:
    add_done(store, 0, 1, 2)
    with pytest.raises(ValueError, match=words):
        tuning.start(**options)
    assert tuning.state()["run"] == 0


def test_a_run_stops_and_the_next_one_holds_out_the_same(store: Store, tuning: FineTuning, weights: Path) -> None:
    add_done(store, 0, 1, 2)
    tuning.start()
    with pytest.raises(ValueError, match="fine-tuning is under way; wait for its end, or stop it"):
        tuning.start()
    again = tuning_of(store, weights)
    assert again.state()["running"]
    again.stop()
    assert ended(again)["phase"] == "stopped"
    add_done(store, *range(3, 10))
    tuning.start()
    tuning.stop()
    shown = Training(tuning, print).shown()
    assert shown is not None
    assert (shown["state"], shown["says"]) == ("running", "stopping")
    state = ended(tuning)
    assert state["stopping"] is False
    assert (state["run"], state["phase"], state["images"], state["held_out"]) == (2, "stopped", 8, 2)
    assert len(held_out(tuning, 1)) == 1
    assert held_out(tuning, 1) < held_out(tuning, 2)
    assert tuning.weights() == weights
    with pytest.raises(ValueError, match="no run of fine-tuning has finished"):
        tuning.take()
    assert not list(tuning.folder.glob("*/data"))


def test_images_that_weights_have_seen_are_never_held_out(store: Store, tuning: FineTuning) -> None:
    ids = add_done(store, 0, 1, 2)
    tuning.start()
    tuning.stop()
    ended(tuning)
    (measured,) = held_out(tuning, 1)
    store.remove(measured)
    store.mark(add_ready(store, 3), 0, unknown=(1, True))
    kept = [id for id in ids if id != measured]
    with pytest.raises(ValueError, match="has 2 such"):
        tuning.start()
    (new,) = add_done(store, 4)
    tuning.start()
    tuning.stop()
    ended(tuning)
    assert held_out(tuning, 2) == {new}
    assert new not in kept


def stopped(tuning: FineTuning) -> Path:
    """Start a run, stop it, and return its folder."""
    tuning.start()
    number = tuning.state()["run"]
    known = json.loads((tuning.folder / str(number) / "data" / "datalist.json").read_text())["training"]
    tuning.stop()
    ended(tuning)
    (tuning.folder / str(number) / "known.json").write_text(
        json.dumps({Path(entry["image"]).stem: entry["known"] for entry in known})
    )
    return tuning.folder / str(number)


def known_in(run: Path) -> dict[str, int]:
    found = json.loads((run / "known.json").read_text())
    assert isinstance(found, dict)
    return found


def test_what_nobody_edited_is_unknown_where_it_is_held_out(store: Store, tuning: FineTuning) -> None:
    ids = [*add_done(store, 0, 1, edited=()), *add_done(store, 2, edited=(3, 5)), *add_done(store, 3, edited=())]
    state = store.open(ids[2])
    store.mark(ids[2], store.mark(ids[2], state.revision, unknown=(5, True)).revision, done=True)
    run = stopped(tuning)
    assert held_out(tuning, 1) == {ids[2]}, "the one on which something can be compared"
    assert tuning.state()["counted"] == {ids[2]: 1}
    assert known_in(run) == dict.fromkeys(ids, ALL_KNOWN) | {ids[2]: 1 << 3}
    assert json.loads((run / "plan.json").read_text())["compares"] is True


def test_images_held_out_before_in_vain_are_joined_by_one_that_was_edited(store: Store, tuning: FineTuning) -> None:
    add_done(store, 0, 1, 2, edited=())
    stopped(tuning)
    (before,) = held_out(tuning, 1)
    (edited,) = add_done(store, 3, edited=(7,))
    run = stopped(tuning)
    assert held_out(tuning, 2) == {edited}
    assert before not in known_in(run), "it is neither measured nor trained on"
    assert tuning.state()["images"] == 2


def test_where_nothing_was_edited_the_weights_are_taken_by_a_plain_choice_alone(
    store: Store, tuning: FineTuning
) -> None:
    add_done(store, 0, 1, 2, edited=())
    run = stopped(tuning)
    assert json.loads((run / "plan.json").read_text())["compares"] is False
    assert set(known_in(run).values()) == {ALL_KNOWN}
    state = json.loads((run / "state.json").read_text())
    (run / "state.json").write_text(json.dumps(state | {"phase": "finished", "better": None}))
    (run / "run").mkdir(exist_ok=True)
    (run / "run" / "model.pt").write_bytes(b"weights")
    shown = Training(tuning, print).shown()
    assert shown is not None
    assert shown["says"] == "nobody has corrected a bone of the images held out"
    assert shown["better"] is None
    with pytest.raises(ValueError, match="nobody has corrected a bone of the images held out, so nobody knows"):
        tuning.take()
    (run / "state.json").write_text(json.dumps(state | {"phase": "finished", "better": False}))
    with pytest.raises(ValueError, match="not better on what was held out; those from before stay in use"):
        tuning.take()
    (run / "state.json").write_text(json.dumps(state | {"phase": "finished", "better": None}))
    assert tuning.take(uncompared=True) == run / "run" / "model.pt"


@pytest.mark.slow
def test_a_run_without_edits_trains_and_compares_nothing(store: Store, tuning: FineTuning) -> None:
    add_done(store, 0, 1, 2, edited=())
    tuning.start(epochs=1)
    found = ended(tuning, 900)
    assert (found["phase"], found["better"], found["error"]) == ("finished", None, "")
    assert found["dice_before"] is found["dice_after"] is None


def test_a_run_that_is_killed_has_failed_in_words(store: Store, tuning: FineTuning) -> None:
    add_done(store, 0, 1, 2)
    tuning.start()
    state = tuning.folder / "1" / "state.json"
    while "pid" not in (kept := json.loads(state.read_text())):
        time.sleep(0.02)
    os.killpg(kept["pid"], signal.SIGKILL)
    found = ended(tuning)
    assert (found["phase"], found["error"]) == ("failed", "the run ended without a word")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["at once", "as it is heard of", "as its command begins", "as torch is loaded"])
def test_a_run_that_begins_can_be_stopped(store: Store, tuning: FineTuning, moment: str) -> None:
    add_done(store, 0, 1, 2)
    tuning.start(epochs=1000)
    run = tuning.folder / "1"
    while moment != "at once" and tuning.state()["phase"] == "starting":
        time.sleep(0.001)
    while moment == "as its command begins" and not (run / "before.log").exists():
        time.sleep(0.001)
    time.sleep(2 if moment == "as torch is loaded" else 0)
    tuning.stop()
    assert tuning.is_over(60)
    found = tuning.state()
    assert (found["phase"], found["error"], found["dice_before"]) == ("stopped", "", None)
    assert not (run / "data").exists()


@pytest.mark.slow
def test_damaged_weights_fail_in_words(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the current directory holds modules, none of which is imported."""
    for name in ("queue.py", "handseg_monai.py", "torch.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    add_done(store, 0, 1, 2)
    (tmp_path / "model.pt").write_bytes(png(0))
    tuning = tuning_of(store, tmp_path / "model.pt")
    tuning.start()
    found = ended(tuning)
    assert found["phase"] == "failed"
    assert f"checkpoint {tmp_path / 'model.pt'}: damaged, or no checkpoint" in found["error"]


@pytest.mark.slow
def test_weights_that_are_better_on_what_was_held_out_are_those_to_use(
    store: Store, tuning: FineTuning, weights: Path, tmp_path: Path
) -> None:
    add_done(store, *range(8))
    tuning.start(epochs=14, learning_rate=0.01)
    found = ended(tuning, 900)
    assert found["phase"] == "finished", found
    assert (found["images"], found["held_out"], found["epoch"], found["step"]) == (6, 2, 14, 3)
    assert found["dice_before"] == 0 < found["dice_after"] <= 1
    assert found["better"] is True
    best = tuning.folder / "1" / "run" / "model.pt"
    assert tuning.weights() == weights
    assert tuning.take() == best
    assert tuning_of(store, weights).weights() == best
    other = tmp_path / "other.pt"
    other.write_bytes(png(0))
    assert tuning_of(store, other).weights() == other

    # The next run begins from them, and what it has trained stays when it is stopped.
    tuning.start(epochs=1000, learning_rate=1e-7)
    while tuning.state()["epoch"] < 2:
        assert tuning.state()["running"]
        time.sleep(0.05)
    tuning.stop()
    second = ended(tuning)
    assert second["phase"] == "stopped"
    assert second["dice_before"] == found["dice_after"]
    assert held_out(tuning, 2) == held_out(tuning, 1)
    assert (tuning.folder / "2" / "run" / "last.pt").exists()
    assert tuning.weights() == best


def test_a_label_that_is_gone_is_said(store: Store, tuning: FineTuning) -> None:
    id = add_done(store, 1, 2, 3)[0]
    (store.folder / "labels" / f"{id}.npz").unlink()
    name = store.entry(id).title
    with pytest.raises(ValueError, match=rf"^{name}: its image or its label is gone; start handseg serve again$"):
        tuning.start()
    assert not tuning.state()["running"]
