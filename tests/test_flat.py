"""Labels without overlaps: recognised, their hidden pixels unknown to losses and figures, true labels untouched."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from torch import nn

from handseg_monai.bitplanes import pack, rasterise, reduce, shared_areas, unpack
from handseg_monai.bones import ALL_KNOWN, DEPTHS, FLAT, INDEX, NUM_BONES, OVERLAPS
from handseg_monai.data import labelled_items, read_polygons, training_datalist
from handseg_monai.data.labels import convert
from handseg_monai.data.labels.converted import DATALIST
from handseg_monai.data.labels.flat import FLAT_SOURCE, OverlapCount, hidden, is_flat, visible
from handseg_monai.data.labels.table import print_conversion
from handseg_monai.data.layouts import read_truth
from handseg_monai.handlers.planes_dice import PlanesDice
from handseg_monai.losses import DeepSupervisionLoss, FocalTverskyLoss, LovaszHingeLoss, PerBoneLoss, WeightedLoss
from handseg_monai.losses.deep_supervision import presence_loss
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import encode_planes, write_csv
from handseg_monai.score.dice import dice
from handseg_monai.score.evaluation import evaluate
from tests.bundle_runs import run_here, tiny
from tests.conftest import draw_radiograph
from tests.flat_labels import DOWN, UP, flatten_labels, flattened, label_map
from tests.label_forms import CLASS_MAP, planes_of

ORDERS = {"up": UP, "down": DOWN, "mixed": tuple(np.random.default_rng(1).permutation(NUM_BONES).tolist())}
PISIFORM, TRIQUETRUM = INDEX["Pisiform"], INDEX["Triquetrum"]


@pytest.fixture(scope="module")
def hands(phantom_dataset: Path) -> list[np.ndarray]:
    """Bit planes of twelve phantoms, 256 x 256."""
    items = labelled_items(phantom_dataset / "train")[0][:12]
    return [rasterise(read_polygons(item["label"], (256, 256)), (256, 256)) for item in items]


def pixels(planes: np.ndarray) -> int:
    """Pixels of all bones together."""
    return int(np.bitwise_count(planes.view(np.uint32)).sum())


class TestRecognition:
    @pytest.mark.parametrize("side", [256, 128])
    @pytest.mark.parametrize("order", ORDERS)
    def test_flattened_phantoms_are_flat_and_true_ones_are_not(
        self, hands: list[np.ndarray], order: str, side: int
    ) -> None:
        smaller = [reduce(planes, (side, side)) for planes in hands]
        assert is_flat([flattened(planes, ORDERS[order]) for planes in smaller], len(hands))
        assert not is_flat(smaller, len(hands))

    def test_outlines_that_share_a_line_of_pixels_are_flat(self) -> None:
        count = OverlapCount()
        for number in range(3):
            classes = label_map(render_phantom(9, number, "left", PRESETS["easy"], 512).planes)
            grown = [
                cv2.dilate((classes == k + 1).astype(np.uint8), np.ones((2, 2), np.uint8)) for k in range(NUM_BONES)
            ]
            count.add(pack(np.array(grown) > 0))
        assert count.flat

    def test_one_overlapping_label_in_many_does_not_make_a_source_true_nor_a_third_flat(
        self, hands: list[np.ndarray]
    ) -> None:
        flat = [flattened(planes) for planes in hands] * 5
        assert is_flat([hands[0], *flat[1:]], len(flat))
        assert not is_flat([*flat[:40], *(hands * 2)], 64)

    def test_one_hand_proves_nothing(self, hands: list[np.ndarray]) -> None:
        assert not is_flat([flattened(hands[0])], 1)

    def test_bones_that_leave_gaps_are_not_flat(self) -> None:
        children = [render_phantom(3, n, "left", PRESETS["children"], 256).planes for n in range(8)]
        assert not is_flat(children, len(children))
        drawn = [planes_of(draw_radiograph(seed, (96, 72))[1]) for seed in range(10)]
        assert not is_flat(drawn, len(drawn))

    def test_true_sources_are_read_no_further_than_needed(self, hands: list[np.ndarray]) -> None:
        looked_at = []

        def labels() -> object:
            for planes in hands:
                looked_at.append(0)
                yield planes

        assert not is_flat(labels(), len(hands))  # type: ignore[arg-type]
        assert len(looked_at) < 4


class TestHidden:
    @pytest.mark.parametrize("order", ORDERS)
    def test_it_holds_nearly_all_that_was_covered_and_little_else(self, hands: list[np.ndarray], order: str) -> None:
        lost = found = marked = bone = 0
        for planes in hands:
            flat = flattened(planes, ORDERS[order])
            at = hidden(flat)
            assert not (at & flat).any()
            assert not at[flat == 0].any()
            lost += pixels(planes & ~flat)
            found += pixels(planes & ~flat & at)
            marked += pixels(at)
            bone += pixels(flat)
        assert found > 0.93 * lost
        assert marked < 0.23 * bone

    def test_what_lies_on_top_is_known(self, hands: list[np.ndarray]) -> None:
        """The pisiform was drawn over the triquetrum, and bites into it: no pixel of that hides it."""
        told = [not ((hidden(flattened(p)) >> PISIFORM) & (flattened(p) >> TRIQUETRUM) & 1).any() for p in hands]
        assert np.mean(told) > 0.8
        below = [((hidden(flattened(p)) >> TRIQUETRUM) & (flattened(p) >> PISIFORM) & 1).any() for p in hands]
        assert all(below)

    def test_arrays_and_tensors_agree(self, hands: list[np.ndarray]) -> None:
        for planes in (flattened(hands[0]), hands[1], hands[2][40:200, 100:], np.zeros((7, 5), np.int32)):
            expected = hidden(planes)
            assert expected.dtype == np.int32
            np.testing.assert_array_equal(hidden(torch.from_numpy(planes.copy())).numpy(), expected)

    def test_it_turns_and_scales_with_the_hand(self, hands: list[np.ndarray]) -> None:
        flat = flattened(hands[3])
        at = hidden(flat)
        turned = np.rot90(hidden(np.ascontiguousarray(np.rot90(flat))), -1)
        twice = hidden(np.repeat(np.repeat(flat, 2, 0), 2, 1))[::2, ::2]
        for other in (turned, twice):
            assert pixels(other & at) > 0.85 * max(pixels(other), pixels(at))

    def test_a_pisiform_that_is_gone_may_lie_anywhere_beneath(self, hands: list[np.ndarray]) -> None:
        flat = flattened(hands[0] & ~np.int32(1 << PISIFORM))
        whole = (flat >> TRIQUETRUM) & 1
        np.testing.assert_array_equal((hidden(flat) >> PISIFORM) & whole, whole)

    def test_depths_name_the_pairs_that_overlap_in_phantoms(self, phantom_dataset: Path) -> None:
        items = labelled_items(phantom_dataset / "train")[0]
        shared = np.array([shared_areas(rasterise(read_polygons(i["label"], (256, 256)), (256, 256))) for i in items])
        often = (shared > 0).mean(axis=0)
        for pair in combinations(range(NUM_BONES), 2):
            if often[pair] > 0.3:
                assert pair in DEPTHS
        assert set(DEPTHS) <= OVERLAPS


def known_of(images: int, known: int) -> torch.Tensor:
    return torch.full((images,), known, dtype=torch.int32)


LOSSES: dict[str, Callable[[], nn.Module]] = {
    "DiceCE": lambda: DiceCELoss(sigmoid=True),
    "cross-entropy": nn.BCEWithLogitsLoss,
    "Jaccard": lambda: DiceLoss(sigmoid=True, jaccard=True, smooth_nr=1.0, smooth_dr=1.0),
    "focal": lambda: FocalLoss(gamma=2.0),
    "focal Tversky": FocalTverskyLoss,
    "Lovász": LovaszHingeLoss,
    "combined": lambda: WeightedLoss({"a": nn.BCEWithLogitsLoss(), "b": LovaszHingeLoss()}, {"a": 1.0, "b": 0.5}),
}


class TestLoss:
    def example(self, hands: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (2, 29, 64, 64) of a wrist, flat planes (2, 1, 64, 64), and where bones may lie hidden."""
        wrists = []
        for planes in hands[:2]:
            y, x = (int(places.mean()) for places in np.nonzero((planes >> INDEX["Capitate"]) & 1))
            wrists.append(flattened(planes)[None, y - 32 : y + 32, x - 32 : x + 32])
        flat = torch.from_numpy(np.stack(wrists))
        logits = torch.randn(2, NUM_BONES, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        unknown = torch.stack([unpack(hidden(planes)) for planes in flat[:, 0]])
        assert unknown.sum() > 300
        return logits, flat, unknown

    @pytest.mark.parametrize("name", LOSSES)
    def test_hidden_pixels_have_no_gradient_and_no_say(self, hands: list[np.ndarray], name: str) -> None:
        logits, flat, unknown = self.example(hands)
        loss = PerBoneLoss(LOSSES[name]())
        given = logits.clone().requires_grad_()
        value = loss(given, (flat, known_of(2, ALL_KNOWN | FLAT)))
        value.backward()
        assert given.grad is not None
        assert (given.grad[unknown] == 0).all()
        assert given.grad.isfinite().all()
        # Whatever a network says there changes nothing, neither the value nor the gradient elsewhere.
        other = torch.where(unknown, torch.randn_like(logits) * 9, logits).requires_grad_()
        again = loss(other, (flat, known_of(2, ALL_KNOWN | FLAT)))
        again.backward()
        assert again.item() == value.item()
        torch.testing.assert_close(other.grad, given.grad, rtol=0, atol=0)
        # Without the mark there is a gradient.
        plain = logits.clone().requires_grad_()
        loss(plain, (flat, known_of(2, ALL_KNOWN))).backward()
        if name != "Lovász":
            assert (plain.grad[unknown] != 0).all()
        else:
            assert (plain.grad[unknown] != 0).any()

    def test_elsewhere_the_gradient_of_cross_entropy_stays_as_it_is(self, hands: list[np.ndarray]) -> None:
        logits, flat, unknown = self.example(hands)
        gradients = []
        for known in (ALL_KNOWN, ALL_KNOWN | FLAT):
            given = logits.clone().requires_grad_()
            PerBoneLoss(nn.BCEWithLogitsLoss())(given, (flat, known_of(2, known))).backward()
            gradients.append(given.grad)
        assert torch.equal(gradients[0][~unknown], gradients[1][~unknown])

    def test_dice_is_that_of_the_known_pixels(self, hands: list[np.ndarray]) -> None:
        logits, flat, unknown = self.example(hands)
        masks, probabilities = unpack(flat[:, 0]).double(), logits.sigmoid()
        terms = []
        for b in range(2):
            for k in range(NUM_BONES):
                p, t = probabilities[b, k][~unknown[b, k]], masks[b, k][~unknown[b, k]]
                terms.append(float(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)))
        loss = PerBoneLoss(DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0))
        assert float(loss(logits, (flat, known_of(2, ALL_KNOWN | FLAT)))) == pytest.approx(np.mean(terms), rel=1e-9)

    def test_only_the_flat_images_of_a_batch_have_unknown_pixels(self, hands: list[np.ndarray]) -> None:
        logits, flat, unknown = self.example(hands)
        logits.requires_grad_()
        known = torch.tensor([ALL_KNOWN, ALL_KNOWN | FLAT], dtype=torch.int32)
        PerBoneLoss(nn.BCEWithLogitsLoss())(logits, (flat, known)).backward()
        assert (logits.grad[0] != 0).all()
        assert (logits.grad[1] == 0).equal(unknown[1])

    def test_a_smaller_head_of_deep_supervision_leaves_them_out_too(self, hands: list[np.ndarray]) -> None:
        logits, flat, _ = self.example(hands)
        small = logits[..., ::2, ::2].clone().requires_grad_()
        loss = DeepSupervisionLoss(PerBoneLoss(nn.BCEWithLogitsLoss()))
        loss([logits, small], (flat, known_of(2, ALL_KNOWN | FLAT))).backward()
        unknown = torch.stack([unpack(hidden(planes)) for planes in flat[:, 0, 1::2, 1::2]])
        assert unknown.sum() > 60
        assert (small.grad == 0).equal(unknown)

    def test_sampled_pixels_leave_them_out_too(self, hands: list[np.ndarray]) -> None:
        logits, flat, _ = self.example(hands)
        logits.requires_grad_()
        PerBoneLoss(nn.BCEWithLogitsLoss(), stride=2)(logits, (flat, known_of(2, ALL_KNOWN | FLAT))).backward()
        y, x = (int(n) for n in torch.nonzero((logits.grad != 0).flatten(0, 1).any(0))[0])
        unknown = torch.stack([unpack(hidden(planes)) for planes in flat[:, 0, y::2, x::2]])
        assert unknown.sum() > 60
        assert (logits.grad[..., y::2, x::2] == 0).equal(unknown)

    def test_whether_a_hidden_bone_is_there_is_unknown(self, hands: list[np.ndarray]) -> None:
        flat = torch.from_numpy(flattened(hands[0] & ~np.int32(1 << PISIFORM | 1 << INDEX["Ulna"])))[None, None]
        logits = torch.zeros(1, NUM_BONES, 1, 1, requires_grad=True)
        presence_loss(logits, (flat, known_of(1, ALL_KNOWN | FLAT))).backward()
        assert torch.nonzero(logits.grad.flatten() == 0).flatten().tolist() == [PISIFORM]

    def test_whether_a_bone_is_there_counts_as_far_as_the_bone_does(self, hands: list[np.ndarray]) -> None:
        target = torch.from_numpy(hands[0])[None, None], known_of(1, ALL_KNOWN)
        logits = torch.zeros(1, NUM_BONES, 1, 1, requires_grad=True)
        mask = torch.zeros(1, NUM_BONES, *target[0].shape[-2:])
        counts = {"Pisiform": 0, "Ulna": 3}
        loss = DeepSupervisionLoss(PerBoneLoss(nn.BCEWithLogitsLoss(), bone_weights=counts))
        loss([mask, logits], target).backward()
        slopes = logits.grad.flatten().abs()
        assert slopes[PISIFORM] == 0
        assert slopes[INDEX["Ulna"]] == pytest.approx(3 * float(slopes[INDEX["Radius"]]))
        nothing = presence_loss(logits, target, [0.0] * NUM_BONES)
        assert nothing == 0


def test_dice_leaves_hidden_pixels_of_flat_labels_out(hands: list[np.ndarray]) -> None:
    truth = flattened(hands[0])
    assert dice(hands[0], truth)[TRIQUETRUM] < 0.85
    expected = dice(hands[0] & ~hidden(truth), truth)
    assert expected[TRIQUETRUM] > 0.97
    pair = torch.from_numpy(hands[0])[None, None], torch.from_numpy(truth)[None, None]
    metric = PlanesDice()
    metric(*pair, known=[ALL_KNOWN | FLAT])
    np.testing.assert_allclose(metric.get_buffer()[0].numpy(), expected)
    metric.reset()
    metric(*pair, known=[ALL_KNOWN])
    np.testing.assert_allclose(metric.get_buffer()[0].numpy(), dice(hands[0], truth))
    assert visible(hands[0], truth, ALL_KNOWN) is hands[0]


@pytest.fixture(scope="module")
def maps(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms with label maps, converted."""
    root = tmp_path_factory.mktemp("maps")
    for item in labelled_items(phantom_dataset / "train")[0][:6]:
        planes = rasterise(read_polygons(item["label"], (256, 256)), (256, 256))
        for folder in ("images", "maps"):
            (root / folder / item["subject"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(item["image"], root / "images" / item["subject"])
        cv2.imwrite(str(root / "maps" / item["subject"] / item["name"]), label_map(planes))
    (root / "classes.json").write_text(str(CLASS_MAP).replace("'", '"'))
    return root


@pytest.fixture(scope="module")
def converted(maps: Path) -> Path:
    convert("labelmap", maps / "maps", maps / "images", maps / "data", classes=maps / "classes.json", progress=False)
    return maps / "data"


class TestSources:
    def test_a_conversion_says_so_and_stores_it(self, maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = maps / "again"
        result = convert("labelmap", maps / "maps", maps / "images", out, classes=maps / "classes.json", progress=False)
        assert result.flat
        print_conversion(result)
        assert FLAT_SOURCE in capsys.readouterr().out
        assert (out / DATALIST).read_text().count(f'"known": {ALL_KNOWN | FLAT}') == 6

    def test_training_marks_all_forms_of_flat_sources(
        self, converted: Path, phantom_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        old = tmp_path / "old"
        shutil.copytree(converted, old)
        text = (old / DATALIST).read_text().replace(f'"known": {ALL_KNOWN | FLAT}', f'"known": {ALL_KNOWN}')
        (old / DATALIST).write_text(text.replace("../images", str(converted.parent / "images")))
        layout = tmp_path / "layout"
        for part in ("DCM", "outputs_json"):
            for subject in sorted((phantom_dataset / "train" / part).iterdir())[:4]:
                shutil.copytree(subject, layout / "train" / part / subject.name)
        assert all("known" not in i for i in training_datalist(layout, num_folds=2)["training"])
        flatten_labels(layout)
        for root in (converted, old, layout):
            caplog.clear()
            with caplog.at_level(logging.INFO, logger="handseg_monai.data.datalists"):
                lists = training_datalist(root, num_folds=2, verify=True)
            assert {i["known"] for data in lists.values() for i in data} == {ALL_KNOWN | FLAT}
            assert FLAT_SOURCE in caplog.text

    def test_evaluation_says_so_and_leaves_hidden_pixels_out(
        self, converted: Path, phantom_dataset: Path, tmp_path: Path
    ) -> None:
        items = labelled_items(phantom_dataset / "train")[0][:6]
        rows = [(i["name"], encode_planes(read_truth(i["label"], (256, 256)))) for i in items]
        write_csv(tmp_path / "p.csv", rows)
        result = evaluate(tmp_path / "p.csv", converted, progress=False)
        assert result.flat == 6
        assert result.mean_dice > 0.985
        assert evaluate(tmp_path / "p.csv", phantom_dataset, "skip", progress=False).flat == 0


@pytest.mark.usefixtures("restore_globals")
def test_training_on_label_maps_runs_and_its_figure_is_that_of_evaluate(converted: Path, tmp_path: Path) -> None:
    options = tiny() | {"threshold": 0.45}
    common = {"dataset_dir": str(converted), "num_folds": 3, "output_dir": str(tmp_path / "run"), **options}
    run_here("train.json", run_id="training", epochs=2, output_bias=0.0, **common)
    run_here("train.json", "evaluate.json", **common)
    metrics = (tmp_path / "run" / "evaluation" / "metrics.csv").read_text().split()
    run_here(
        "inference.json",
        **(tiny(inference=True) | {"threshold": 0.45}),
        dataset_dir=str(converted.parent / "images"),
        output_dir=str(tmp_path / "out"),
        checkpoint=str(tmp_path / "run" / "model.pt"),
    )
    result = evaluate(tmp_path / "out" / "submission.csv", converted)
    validation = training_datalist(converted, num_folds=3)["validation"]
    rows = [result.names.index(item["name"]) for item in validation]
    assert float(metrics[-1].split(",")[-1]) == pytest.approx(np.nanmean(result.dice[rows]), abs=1e-6)
