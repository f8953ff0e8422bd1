"""Pictures show what they say."""

from __future__ import annotations

import numpy as np

from handseg_monai.bones import BONES, INDEX
from handseg_monai.drawing import ADDED, MISSED, difference


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
