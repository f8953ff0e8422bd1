"""Pseudo-labels: what a network is sure of becomes a label to train on, and never one to validate on."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from handseg_monai.bones import ALL_KNOWN, INDEX, NAMES, NUM_BONES
from handseg_monai.cli import main
from handseg_monai.data import DatasetError, LabelError, training_datalist
from handseg_monai.data.confidence import HEADER, confidence_rows, read_confidence
from handseg_monai.data.labels import convert
from handseg_monai.data.layouts import read_truth
from handseg_monai.inferers.coarse import coarse_masks, coarse_probabilities, confidences
from handseg_monai.inferers.looks import Look, whole_view
from handseg_monai.rle import encode_planes, read_csv, write_csv
from tests.bundle_runs import CONFIGS, TINY, run_bundle, run_here, save_untrained, tiny
from tests.conftest import write_drawn_dataset
from tests.hands import hand
from tests.rank_runs import config_files, run_ranks

pytestmark = pytest.mark.usefixtures("restore_globals")


def test_confidence_is_the_dice_that_the_probabilities_let_expect() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((NUM_BONES, 6, 5)).astype(np.float32)
    grid = rng.random((NUM_BONES, 6, 5)) < 0.4
    grid[3] = False
    planes = np.zeros((12, 10), np.int32)
    for bone in range(NUM_BONES):  # each pixel of the grid is two by two of the image
        planes |= np.kron(grid[bone], np.ones((2, 2))).astype(np.int32) << np.int32(bone)
    found = confidences(torch.from_numpy(probabilities), torch.from_numpy(planes)).tolist()
    for bone in range(NUM_BONES):
        p, m = probabilities[bone], grid[bone]
        expected = 2 * (p * m).sum() / (p.sum() + m.sum()) if m.any() else 1 - p.max()
        assert found[bone] == pytest.approx(expected, rel=1e-5)


def test_coarse_masks_and_probabilities_lie_at_the_same_place() -> None:
    """Logits that are one bone's mask, of an image that is not square, on a coarse grid."""
    mask = np.zeros((48, 80), np.uint8)
    cv2.ellipse(mask, (55, 14), (18, 9), 20, 0, 360, 1, -1)
    logits = torch.full((NUM_BONES, 24, 40), -20.0)
    logits[7] = torch.from_numpy(40.0 * cv2.resize(mask, (40, 24), interpolation=cv2.INTER_AREA) - 20)
    look = Look(whole_view((24, 40), (48, 80)), logits)
    probabilities = coarse_probabilities([[look]], (48, 80), 20)
    assert probabilities.shape == (NUM_BONES, 12, 20)
    coarse = coarse_masks(torch.from_numpy(mask.astype(np.int32) << 7), (12, 20))
    assert (coarse[7] == (probabilities[7] > 0.5)).float().mean() > 0.97
    assert coarse[:7].sum() == coarse[8:].sum() == 0
    assert 15 < coarse[7].sum() < 60
    doubtful = Look(look.matrix, torch.zeros_like(logits))
    both = coarse_probabilities([[look], [doubtful]], (48, 80), 20)
    torch.testing.assert_close(both, (probabilities + 0.5) / 2)


def test_inference_writes_the_confidence_of_each_bone_on_one_rank_or_two(drawn_dataset: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:3]:
        shutil.copy(path, images)
    (images / "bad.png").write_bytes(b"no image")
    checkpoint = save_untrained(tmp_path / "model.pt", "dynunet")
    arguments = ["--dataset_dir", str(images), "--checkpoint", str(checkpoint), *TINY]
    texts = []
    for name, run, files in (
        ("one", run_bundle, ["inference.json"]),
        ("two", run_ranks, ["inference.json", "multi_gpu_inference.json"]),
    ):
        out = ["--output_dir", str(tmp_path / name), "--confidence", "true"]
        assert run("--config_file", config_files(*files), *out, *arguments).returncode == 1  # bad.png
        texts.append((tmp_path / name / "confidence.csv").read_text())
    assert texts[0] == texts[1]
    found = read_confidence(tmp_path / "one" / "confidence.csv")
    assert list(found) == list(read_csv(tmp_path / "one" / "submission.csv"))
    values = np.array(list(found.values()))
    assert values.shape == (3, NUM_BONES)
    assert ((values > 0) & (values < 1)).all()
    assert len(np.unique(values)) > 30
    run_here(
        "inference.json",
        dataset_dir=str(images / next(iter(found))),
        output_dir=str(tmp_path / "one"),
        checkpoint=str(checkpoint),
        **tiny(inference=True),
    )
    assert not (tmp_path / "one" / "confidence.csv").exists()  # that of other masks


def write_predictions(folder: Path, images: Path, seed: int = 0) -> dict[str, list[float]]:
    """Write ``submission.csv`` and ``confidence.csv`` for all images, random confidences, one mask a bone."""
    rng = np.random.default_rng(seed)
    texts, rows, sure = {}, [], {}
    for path in sorted(images.rglob("*.png")):
        planes = np.full(cv2.imread(str(path)).shape[:2], ALL_KNOWN, np.int32)
        planes[:10] = planes[30:] = 0
        texts[path.name] = encode_planes(planes)
        sure[path.name] = rng.uniform(0, 1, NUM_BONES).round(4).tolist()
        rows += confidence_rows(path.name, sure[path.name])
    write_csv(folder / "submission.csv", texts.items())
    with (folder / "confidence.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return sure


def test_bones_of_low_confidence_are_unknown(drawn_dataset: Path, tmp_path: Path) -> None:
    images = drawn_dataset / "train" / "DCM"
    sure = write_predictions(tmp_path, images)
    doubtful = next(iter(sure))
    rows = [row for row in (tmp_path / "confidence.csv").read_text().splitlines() if not row.startswith(doubtful)]
    rows += [",".join(row) for row in confidence_rows(doubtful, [0.1] * NUM_BONES)]
    (tmp_path / "confidence.csv").write_text("\n".join(rows) + "\n")
    for missing in ("unknown", "absent"):
        arguments = ("submission", tmp_path / "submission.csv", images, tmp_path / missing)
        result = convert(*arguments, missing=missing, confidence=tmp_path / "confidence.csv", least=0.6)
        assert [path.name for path in result.unlabelled] == [doubtful]
        assert len(result.items) == len(sure) - 1
        for item in result.items:
            values = sure[item["name"]]
            known = {name for name in NAMES if item["known"] >> INDEX[name] & 1}
            assert known == {name for name in NAMES if values[INDEX[name]] >= 0.6}
            assert 3 < len(known) < 20
            assert (read_truth(item["label"], (96, 72))[10:30] == item["known"]).all()


def test_confidences_that_do_not_fit_are_named(drawn_dataset: Path, tmp_path: Path) -> None:
    images = drawn_dataset / "train" / "DCM"
    write_predictions(tmp_path, images)
    file = tmp_path / "confidence.csv"
    whole = file.read_text().splitlines()
    for lines, match in (
        (["image_name,class,rle", *whole[1:]], "expected the header image,bone,confidence"),
        ([*whole[:5], "a.png,finger-1,1.5"], "line 6: expected image, bone and a number from 0 to 1"),
        ([*whole[:5], "a.png,finger-99,0.5"], "line 6: expected image, bone"),
        ([*whole[:5], "a.png,finger-1," + "5" * 200_000], "field larger than field limit|line 6: expected image"),
        (whole[:-1], "has 28 bones, expected 29"),
        (whole[:30], "it belongs to another submission"),
    ):
        file.write_text("\n".join(lines) + "\n")
        with pytest.raises(LabelError, match=match):
            convert("submission", tmp_path / "submission.csv", images, tmp_path / "out", confidence=file)
    with pytest.raises(ValueError, match="--least 95: expected"):
        convert("submission", tmp_path / "submission.csv", images, tmp_path / "out", confidence=file, least=95)
    with pytest.raises(ValueError, match="for submissions, not for coco"):
        convert("coco", tmp_path / "submission.csv", images, tmp_path / "out", confidence=file)


def test_images_that_are_not_plausible_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    texts = {}
    for name, planes in (("good.png", hand(0)), ("half.png", hand(1) & np.int32(0b101)), ("fine.png", hand(5))):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros(planes.shape, np.uint8))
        texts[name] = encode_planes(planes)
    write_csv(tmp_path / "submission.csv", texts.items())
    arguments = [str(tmp_path / "submission.csv"), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["handseg", "convert", "submission", *arguments, "--plausible"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    assert "1 of 3 images are not plausible, left out" in output
    assert "2 images of 2 subjects" in output


@pytest.fixture
def pseudo(tmp_path: Path) -> Path:
    """Three subjects that the other data set has not, converted from a submission."""
    data = write_drawn_dataset(tmp_path / "more", subjects=8, split="test") / "test" / "DCM"
    for folder in sorted(data.iterdir())[:5]:
        shutil.rmtree(folder)
    write_predictions(tmp_path, data, seed=1)
    convert(
        *("submission", tmp_path / "submission.csv", data, tmp_path / "pseudo"),
        confidence=tmp_path / "confidence.csv",
        least=0.5,
    )
    return tmp_path / "pseudo"


def test_pseudo_labels_are_trained_on_and_never_validated_on(drawn_dataset: Path, tmp_path: Path, pseudo: Path) -> None:
    for fold in range(5):
        plain, more = (training_datalist(drawn_dataset, fold, pseudo_labels=labels) for labels in (None, pseudo))
        assert more["validation"] == plain["validation"]
        names = [item["name"] for item in more["training"]]
        assert names[:8] == [item["name"] for item in plain["training"]]
        assert len(names) == len(set(names)) == 8 + 6
        assert {item["known"] for item in more["training"][:8]} == {ALL_KNOWN}
        assert all(0 < item["known"] < ALL_KNOWN for item in more["training"][8:])
    training_datalist(drawn_dataset, pseudo_labels=pseudo, verify=True)
    options = tiny() | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run"), "epochs": 1}
    run_here("train.json", run_id="training", pseudo_labels=str(pseudo), **options)
    trained_on = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["trained_on"]
    first = training_datalist(drawn_dataset, pseudo_labels=pseudo)["training"]
    assert trained_on == sorted(item["name"] for item in first)


def test_pseudo_labels_of_images_that_are_there_already_are_refused(
    drawn_dataset: Path, tmp_path: Path, pseudo: Path
) -> None:
    lists = training_datalist(drawn_dataset)
    added = tmp_path / "more" / "test" / "DCM" / "ID006"

    def message() -> str:
        write_predictions(tmp_path, tmp_path / "more" / "test" / "DCM")
        shutil.rmtree(pseudo)
        convert("submission", tmp_path / "submission.csv", tmp_path / "more" / "test" / "DCM", pseudo)
        with pytest.raises(DatasetError) as raised:
            training_datalist(drawn_dataset, pseudo_labels=pseudo)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    for kind in ("training", "validation"):
        item = lists[kind][0]
        for name, words in (
            (item["name"], f"the name of an image of {kind}"),
            ("new.png", f"{item['image']} of {kind}"),
        ):
            shutil.copy(item["image"], added / name)
            assert words in message()
            (added / name).unlink()
    added.rename(added.with_name(lists["validation"][0]["subject"]))
    assert "who is in the validation fold" in message()


def test_no_configuration_takes_pseudo_labels_by_itself() -> None:
    for path in CONFIGS.glob("*.json"):
        if path.name != "train.json":
            assert "pseudo_labels" not in json.loads(path.read_text()), path
            assert "@pseudo_labels" not in path.read_text(), path
