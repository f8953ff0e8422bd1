"""Pictures show what they say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from handseg_monai.bones import BONES, INDEX
from handseg_monai.drawing import ADDED, MISSED, difference, draw_lines, with_notes
from handseg_monai.handlers import OverlayWriter


def test_lines_lie_at_their_pixels_and_show_on_bright_and_dark_ground() -> None:
    for ground in (0, 255):
        picture = np.full((30, 40, 3), ground, np.uint8)
        # Half a pixel is the middle of the first one.
        draw_lines(picture, [((5.5, 10.5), (30.5, 10.5))])
        assert (picture[10, 6:30] > 220).all()
        assert (picture[9, 6:30] < 100).all(), "a dark edge beside the line"
        assert (picture[11, 6:30] < 100).all()
        assert (picture[20] == ground).all()


@pytest.mark.parametrize(("height", "width"), [(1200, 800), (800, 1200)])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_notes_stand_beside_a_picture_in_the_order_of_their_points_and_apart(
    count: int, height: int, width: int
) -> None:
    picture, rng = np.full((height, width, 3), 90, np.uint8), np.random.default_rng(count)
    # Most points lie close together, at the lower end. A text is the longer, the lower its point lies.
    places = np.sort(height * rng.random(count) ** 0.2)
    points = [
        (float(x), float(y)) for x, y in zip(rng.permutation(np.linspace(4, width - 4, count)), places, strict=True)
    ]
    notes = [("1" * (8 + number), point) for number, point in enumerate(points)]
    noted = with_notes(picture, [notes[k] for k in rng.permutation(count)])
    margin = (noted.shape[1] - width) // 2
    assert noted.shape == (height, width + 2 * margin, 3)
    inside = noted[:, margin:-margin]
    assert (inside == 90).mean() > 0.8, "only thin lines run over it"
    for x, y in points:  # to each of which one runs
        near = inside[max(int(y) - 1, 0) : int(y) + 2, int(x) - 1 : int(x) + 2]
        assert (near != 90).any(), (x, y)
    seen = 0
    for side in (noted[:, :margin], noted[:, margin + width :]):
        lines = (side > 200).all(axis=2).any(axis=1)  # rows with letters, and no grey line
        edges = np.flatnonzero(np.diff(lines.astype(int), prepend=0, append=0)).reshape(-1, 2)
        lengths = [np.ptp(np.flatnonzero((side[top:end] > 200).all(axis=2).any(axis=0))) for top, end in edges]
        assert (np.diff(lengths) > 0).all(), "from top to bottom as the points lie, no text in the next"
        seen += len(lengths)
    assert seen == count
    if count == 1:  # beside its point
        assert abs(edges.mean() - np.clip(places[0], 10, height - 10)) < 12
    assert with_notes(picture, []) is picture


def test_differences_of_prediction_and_truth_have_their_colours() -> None:
    k = INDEX["Capitate"]
    prediction, truth, other = (np.zeros((60, 80), np.int32) for _ in range(3))
    prediction[20:40, 10:50] = 1 << k
    truth[20:40, 30:70] = 1 << k
    other[10:50, 5:75] = 1 << INDEX["Radius"]  # a bone that both have differs nowhere
    picture = difference(np.full((60, 80), 50, np.uint8), prediction | other, truth | other).astype(int)

    assert abs(picture[30, 20] - (20 + 0.6 * np.array(ADDED))).max() < 1
    assert abs(picture[30, 60] - (20 + 0.6 * np.array(MISSED))).max() < 1
    assert (picture[30, 40] == 50).all()  # both
    assert (picture[3, 3] == 50).all()  # neither
    assert picture[30, 69].min() > 200  # outline of the truth, smoothed
    assert abs(picture[30, 10] - np.array(BONES[k].colour)).max() < 40  # outline of the prediction


def test_an_overlay_of_two_hands_shows_the_bones_of_both_and_names_their_sides(tmp_path: Path) -> None:
    hands = np.zeros((2, 300, 400), np.int32)
    hands[0, 150:250, 40:160] = 1 << INDEX["Capitate"]
    hands[1, 150:250, 240:360] = 1 << INDEX["Radius"]
    writer = OverlayWriter(tmp_path, [])

    def drawn(name: str, planes: np.ndarray) -> np.ndarray:
        batch, output = {"name": name, "picture": torch.zeros(300, 400, dtype=torch.uint8)}, {"pred": planes}
        engine: Any = SimpleNamespace(state=SimpleNamespace(batch=[batch], output=[output]))
        output["pred"] = torch.from_numpy(planes)
        writer.write(engine)
        picture = cv2.imread(str(tmp_path / f"{name}.jpg"))
        assert picture is not None
        return picture[..., ::-1].astype(int)

    both, one = drawn("both", hands), drawn("one", hands[:1])
    for (x, bone), side in zip(((100, "Capitate"), (300, "Radius")), (slice(40, 160), slice(240, 360)), strict=True):
        assert abs(both[200, x] - 0.25 * np.array(BONES[INDEX[bone]].colour)).max() < 12
        assert both[125:148, side].min(axis=-1).max() > 150  # white letters
    assert one[:140].max() < 40
    assert one[200, 300].max() < 40
