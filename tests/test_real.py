"""Real radiographs run through: each gives 29 rows at its own size, nothing transposed."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import monai.bundle
import numpy as np
import pytest
import torch

from handseg_monai import bundle_root
from handseg_monai.bones import BONES, NUM_BONES, Group
from handseg_monai.data.reading.images import find_images, read_radiograph
from handseg_monai.plausibility.joints import joints
from handseg_monai.plausibility.submission import judge_submission
from handseg_monai.rle import decode, read_csv
from tests.bundle_runs import CONFIGS, run_here

pytestmark = pytest.mark.real
LEAST_JOINTS, LEAST_HANDS, LEAST_WRISTS = 50, 8, 5


def test_every_real_radiograph_gives_29_rows_at_its_own_size(tmp_path: Path) -> None:
    """The network is one convolution that marks where the prepared image is bright: bone 0 must lie there."""
    net = torch.nn.Conv2d(1, NUM_BONES, 1)
    with torch.no_grad():
        net.weight.fill_(50.0)
        net.bias.fill_(-25.0)
    torch.save({"network": net.state_dict(), "network_name": "threshold"}, tmp_path / "model.pt")
    folder = Path(os.environ["HANDSEG_REAL_DIR"])
    run_here(
        "inference.json",
        dataset_dir=str(folder),
        output_dir=str(tmp_path),
        checkpoint=str(tmp_path / "model.pt"),
        network_name="threshold",
        network_def={"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": NUM_BONES, "kernel_size": 1},
        size=512,
        window=512,
        overlays=False,
        least_piece=0.0,
        least_carpal_piece=0.0,
        most_covered=1.0,
        least_bone=0.0,
        most_apart=0.0,
        most_hole=0.0,
    )
    texts = read_csv(tmp_path / "submission.csv")
    paths = find_images(folder)
    assert sorted(texts) == sorted(path.name for path in paths)
    assert len(paths) >= 10
    for path in paths:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float64)
        low, high = np.percentile(grey, (0.5, 99.5))
        bright = (grey - low) / (high - low) > 0.5
        for text in texts[path.name]:
            mask = decode(text, grey.shape)
            agreement = 2 * (mask & bright).sum() / (mask.sum() + bright.sum())
            assert agreement > 0.8, path


def test_the_shipped_weights_find_joints_and_plausible_hands(tmp_path: Path) -> None:
    """With the folders ``joints`` (and its ``joints.csv``) and ``hands``; whole hands, at any turn."""
    folder = Path(os.environ["HANDSEG_REAL_DIR"])
    if not (folder / "joints" / "joints.csv").is_file():
        pytest.skip(f"{folder} has no joints/joints.csv")
    for name in ("joints", "hands"):
        monai.bundle.run(
            config_file=str(CONFIGS / "inference.json"),
            dataset_dir=str(folder / name),
            output_dir=str(tmp_path / name),
            checkpoint=str(bundle_root() / "models" / "model.pt"),
            num_workers=0,
            overlays=False,
        )
    found = joints(tmp_path / "joints" / "submission.csv", folder / "joints" / "joints.csv", folder / "joints")
    assert found.hits >= LEAST_JOINTS
    judgements = judge_submission(tmp_path / "hands" / "submission.csv", folder / "hands", progress=False)
    assert sum(judgement.plausible for judgement in judgements.values()) >= LEAST_HANDS


def test_the_shipped_weights_find_the_bones_of_wrists_and_no_fingers_beyond(tmp_path: Path) -> None:
    """With the folder ``wrists``: every metacarpal, carpal, radius and ulna, and no middle or distal phalanx."""
    folder = Path(os.environ["HANDSEG_REAL_DIR"], "wrists")
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    monai.bundle.run(
        config_file=str(CONFIGS / "inference.json"),
        dataset_dir=str(folder),
        output_dir=str(tmp_path),
        checkpoint=str(bundle_root() / "models" / "model.pt"),
        num_workers=0,
        overlays=False,
    )
    right = 0
    for name, texts in read_csv(tmp_path / "submission.csv").items():
        shape = read_radiograph(folder / name).shape
        area = {bone: decode(texts[bone.index], shape[:2]).sum() / (shape[0] * shape[1]) for bone in BONES}
        wrist = Group.METACARPAL, Group.CARPAL, Group.FOREARM
        found = all(area[bone] > 1e-3 for bone in BONES if bone.group in wrist)
        beyond = any(area[bone] for bone in BONES if bone.group in (Group.MIDDLE_PHALANX, Group.DISTAL_PHALANX))
        right += found and not beyond
    assert right >= LEAST_WRISTS
