"""Arguments of the inferers, which are options too, as ``--hand_inferer#flip false``."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from handseg_monai.options.declare import Declared, Flag, Number, Numbers, Scales, Whole, option

_SCALES = "a list of one or more numbers, at least 1 each, as [1.0,1.2]"


class HandView(Declared):
    """Arguments of :class:`~handseg_monai.inferers.HandInferer` as options give them: ``--hand_inferer#flip false``."""

    window: int = option("side of each look, in pixels", derived="`--window`", ge=1)
    turns: int = option("quarter turns of the first look", ge=1, le=4)
    closer: int = option("looks at the hand after the first, each from what the one before it found", ge=0)
    margin: Number = option("side of a closer look, as a multiple of the extent of the hand's bones", ge=1)
    flip: Flag = option("use mirror images of the closer looks too")
    scales: Scales = option("take the closer looks at several sizes and average them", _SCALES)
    wrist: Number = option(
        "side of the look at the wrist, as a multiple of the extent of the carpal bones; 0 skips this look",
        "a number, at least 1, or 0",
        ge=0,
    )
    wrist_share: Number = option(
        "least side of the look at the wrist, as a share of that of the look at the hand", ge=0, le=1
    )
    negative: Flag = option(
        "where the first look is uncertain, look at the negative too, in case bones are dark in the image"
    )
    percentiles: Numbers = option(
        "grey values between which a closer look is stretched, in percent of its pixels",
        "a lower and a higher percentage, as [0.5,99.5]",
    )

    @model_validator(mode="after")
    def _check(self) -> HandView:
        if self.wrist is not None and 0 < self.wrist < 1:
            raise ValueError(f"wrist: expected at least 1, or 0 for no look at the wrist, got {self.wrist:g}")
        if self.percentiles is not None:
            pair = self.percentiles
            if len(pair) != 2 or not 0 <= pair[0] < pair[1] <= 100:
                raise ValueError(f"percentiles: expected a lower and a higher one, as [0.5,99.5], got {pair!r}")
        return self


class WindowView(Declared):
    """Arguments of :class:`~handseg_monai.inferers.WindowsInferer` as options give them."""

    roi_size: Whole = option(
        "height and width of the window, in pixels", "height and width, as [512,512]", derived="`--window`"
    )
    sw_batch_size: int = option("windows that the network sees at once", derived="`--sw_batch_size`", ge=1)
    overlap: Number = option("share of a window that neighbouring ones cover too", derived="`--overlap`", ge=0, lt=1)
    mode: Literal["gaussian", "constant"] = option("whether a window counts less towards its border")
    flip: Flag = option("average each window with its mirror image")
    scales: Scales = option("average each window over larger views of its place", _SCALES)
    where: Literal["everywhere", "content", "hand"] = option(
        "windows to look at: `content` skips those of even grey; `hand` also skips those apart from the bones that a "
        "look at the whole, shrunk image shows, if that look shows nearly all of them; `everywhere` skips none"
    )

    @model_validator(mode="after")
    def _check(self) -> WindowView:
        if self.roi_size is not None and (len(self.roi_size) != 2 or min(self.roi_size) < 1):
            raise ValueError(f"roi_size: expected height and width, as [512,512], got {self.roi_size!r}")
        return self


PARTS: dict[str, type[Declared]] = {"hand_inferer": HandView, "window_inferer": WindowView}
"""Components whose arguments are options too, as ``--hand_inferer#flip``."""
