"""Outlines, overlaps, intervals, groups and comparisons of an evaluation, each against a plain reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.stats import wilcoxon

from handseg_monai.bitplanes import rasterise, unpack
from handseg_monai.bones import INDEX, NAMES, NUM_BONES
from handseg_monai.data import labelled_items, read_polygons
from handseg_monai.data.wrist import hand_side
from handseg_monai.rle import encode_planes, write_csv
from handseg_monai.score.bootstrap import difference, interval
from handseg_monai.score.evaluation import Evaluation, evaluate
from handseg_monai.score.surfaces import surfaces
from handseg_monai.score.tables import compare, groups
from tests.hands import hand, without
from tests.programs import Done, handseg

SIZE = 256


def noisy(seed: int) -> np.ndarray:
    """Masks of any shape: of some bones none, of some at the border."""
    rng = np.random.default_rng(seed)
    planes = np.zeros((60, 70), np.int32)
    for bone in range(NUM_BONES):
        if rng.random() < 0.7:
            top, left = rng.integers(0, 50, 2)
            mask = np.zeros(planes.shape, bool)
            mask[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = True
            planes |= (mask & (rng.random(planes.shape) < 0.9)).astype(np.int32) << bone
    return planes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_outlines_are_compared_as_monai_does_on_whole_masks(seed: int) -> None:
    prediction, truth = noisy(seed), noisy(seed + 10)
    found = surfaces(prediction, truth, spacing=0.4)
    masks = [torch.from_numpy(unpack(planes))[None] for planes in (prediction, truth)]
    some = [mask[0].flatten(1).any(1).numpy() for mask in masks]
    both = some[0] & some[1]
    assert both.any() and (some[0] != some[1]).any() and not (some[0] | some[1]).all()  # noqa: PT018
    for values, tolerance, spacing in ((found.nsd_pixels, 2.0, None), (found.nsd_mm, 1.0, 0.4)):
        expected = compute_surface_dice(*masks, [tolerance] * NUM_BONES, include_background=True, spacing=spacing)
        np.testing.assert_allclose(values[both], expected[0].numpy()[both], atol=1e-6)
        assert (values[some[0] != some[1]] == 0).all()
        assert (values[~some[0] & ~some[1]] == 1).all()
    hausdorff = compute_hausdorff_distance(*masks, include_background=True, percentile=95)
    np.testing.assert_allclose(found.hd95[both], hausdorff[0].numpy()[both], rtol=1e-5)
    assert np.isnan(found.hd95[~both]).all()
    assert np.isnan(surfaces(prediction, truth).nsd_mm).all()


def test_an_interval_is_that_of_drawn_people() -> None:
    rng = np.random.default_rng(1)
    subjects = ["a", "b", "b", "c", "c", "d"]
    values = rng.random((6, 4))
    values[1, 2] = values[5] = np.nan
    of = {name: [row for row, own in zip(values, subjects, strict=True) if own == name] for name in "abcd"}
    means = []
    # Nothing is known of d, who is not drawn.
    for picks in np.random.default_rng(0).integers(3, size=(1000, 3)):
        means.append(np.nanmean(np.concatenate([row for pick in picks for row in of["abcd"[pick]]])))
    np.testing.assert_allclose(interval(values, subjects), np.percentile(means, (2.5, 97.5)))
    assert np.isnan(interval(values[[5]], ["d"])).all()


def test_a_difference_is_paired_and_tested_over_people() -> None:
    rng = np.random.default_rng(2)
    subjects = [n // 2 for n in range(24)]
    first = rng.random((24, 5))
    second = first + 0.1 + rng.normal(0, 0.05, first.shape)
    second[3, 1] = np.nan
    found = difference(first, second, subjects)
    change = second - first
    means = [np.nanmean(change[2 * n : 2 * n + 2]) for n in range(12)]
    assert found.subjects == 12
    assert found.mean == pytest.approx(np.nanmean(change))
    assert found.p == pytest.approx(wilcoxon(means).pvalue)
    assert 0 < found.low < found.mean < found.high
    assert difference(first, first, subjects).p == 1.0
    assert difference(first, np.full_like(first, np.nan), subjects).subjects == 0


def test_the_hand_is_told_at_any_turn_and_a_mirror_exchanges_it() -> None:
    for number in range(4):
        planes = hand(number)
        side = "right" if number % 2 else "left"
        other = "left" if side == "right" else "right"
        for turn in range(4):
            assert hand_side(np.rot90(planes, turn)) == side
            assert hand_side(np.rot90(planes, turn)[:, ::-1]) == other
    assert hand_side(without(hand(0), "finger-19")) is None
    assert hand_side(np.zeros((4, 4), np.int32)) is None


@pytest.fixture(scope="module")
def truths(phantom_dataset: Path) -> dict[str, np.ndarray]:
    items = labelled_items(phantom_dataset / "train")[0][:8]
    shape = (SIZE, SIZE)
    return {item["name"]: rasterise(read_polygons(item["label"], shape), shape) for item in items}


def shifted(path: Path, truths: dict[str, np.ndarray], pixels: int) -> Path:
    rows = ((name, encode_planes(np.roll(planes, pixels, 1))) for name, planes in truths.items())
    write_csv(path, rows)
    return path


@pytest.fixture
def result(phantom_dataset: Path, truths: dict[str, np.ndarray], tmp_path: Path) -> Evaluation:
    prediction = shifted(tmp_path / "p.csv", truths, 2)
    return evaluate(prediction, phantom_dataset / "train", "skip", progress=False, detail=True, spacing=0.9)


def test_overlaps_are_judged_by_their_shared_area(result: Evaluation, truths: dict[str, np.ndarray]) -> None:
    assert result.detail is not None
    pairs = result.detail.pairs
    assert (INDEX["Triquetrum"], INDEX["Pisiform"]) in pairs
    assert (INDEX["Radius"], INDEX["finger-1"]) not in pairs
    assert not any(a >= b for a, b in pairs)
    for row, name in enumerate(result.names):
        found = unpack(np.roll(truths[name], 2, 1)), unpack(truths[name])
        for column, (a, b) in enumerate(pairs):
            predicted, true = (masks[a] & masks[b] for masks in found)
            total = predicted.sum() + true.sum()
            expected = 1.0 if not total else 2 * (predicted & true).sum() / total
            assert result.detail.pair_dice[row, column] == pytest.approx(expected)
    np.testing.assert_allclose(result.detail.hd95[result.truth > 0], 2.0, atol=0.5)


def test_images_are_grouped_by_hand_and_wrist(result: Evaluation, truths: dict[str, np.ndarray]) -> None:
    found = groups(result)
    assert found["left hands"].sum() == found["right hands"].sum() == 4
    wrists = sum(images.sum() for name, images in found.items() if "wrist" in name)
    assert wrists == 8
    assert len(set(result.subjects)) == 4


def test_the_better_submission_is_told_with_its_interval(
    phantom_dataset: Path, truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    worse, better = (
        evaluate(shifted(tmp_path / f"{n}.csv", truths, n), phantom_dataset / "train", "skip", progress=False)
        for n in (3, 1)
    )
    found = compare(worse, better)
    assert list(found) == ["all", *NAMES]
    assert found["all"].mean == pytest.approx(better.mean_dice - worse.mean_dice)
    assert 0 < found["all"].low <= found["all"].mean <= found["all"].high
    few = dict(list(truths.items())[:3])
    third = evaluate(shifted(tmp_path / "q.csv", few, 1), phantom_dataset / "train", "skip", progress=False)
    with pytest.raises(ValueError, match="different images: 5"):
        compare(worse, third)


def test_command(phantom_dataset: Path, truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    a, b = shifted(tmp_path / "a.csv", truths, 1), shifted(tmp_path / "b.csv", truths, 3)

    def run(*options: object) -> Done:
        return handseg("evaluate", a, "--truth", phantom_dataset / "train", *options)

    done = run("--missing", "skip", "--detail", "--spacing", "1.2", "--against", b, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for text in ("NSD 1 mm", "HD95", "right hands", "Pisiform", "Wilcoxon", "95 %"):
        assert text in done.stdout
    assert "Warning" not in done.stderr
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["interval_95"][0] < summary["mean_dice"] < summary["interval_95"][1]
    assert summary["nsd_1mm"] < summary["nsd_2px"] == 1.0
    header = (tmp_path / "out" / "evaluation.csv").read_text().splitlines()[0]
    assert header == "image_name,class,dice,predicted_pixels,truth_pixels,nsd_2px,nsd_1mm,hd95_pixels"
    assert run("--spacing", "0.9").returncode == 2
    assert run("--detail", "--spacing", "-1").returncode == 2
