"""Real radiographs run through: each gives 29 rows at its own size, nothing transposed."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from handseg_monai.bones import NUM_BONES
from handseg_monai.data.images import find_images
from handseg_monai.rle import decode, read_csv
from tests.bundle_runs import run_here

pytestmark = pytest.mark.real


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
