"""Arguments of the inferers, which are options too, as ``--hand_inferer#flip false``."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from handseg_monai.options.declare import Declared, Flag, Number, Numbers, Scales, Whole, option

Invert = Literal["auto", "yes", "no"]
Hands = Literal["one", "both"]
_SCALES = "a list of one or more numbers, at least 1 each, as [1.0,1.2]"


class HandView(Declared):
    """Arguments of :class:`~handseg_monai.inferers.HandInferer` as options give them: ``--hand_inferer#flip false``."""

    window: int = option("side of each look (a square view of the image), in pixels", derived="`--window`", ge=1)
    turns: int = option(
        "largest number of quarter turns that the first look tries; 1 tries the image only as it is", ge=1, le=4
    )
    closer: int = option("number of closer looks at the hand; each starts from what the look before found", ge=0)
    margin: Number = option("side of a closer look, as a multiple of the extent of the hand's bones", ge=1)
    flip: Flag = option("average each closer look with its mirror image")
    scales: Scales = option("average each closer look over views whose side is `margin` times each of these", _SCALES)
    wrist: Number = option(
        "side of the look at the wrist, as a multiple of the extent of the carpal bones; 0 skips this look",
        "a number, at least 1, or 0",
        ge=0,
    )
    wrist_share: Number = option(
        "smallest side of the look at the wrist, as a share of the side of the look at the hand", ge=0, le=1
    )
    percentiles: Numbers = option(
        "percentiles of grey values that become black and white in a closer look",
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
    sw_batch_size: int = option("number of windows that the network sees at once", derived="`--sw_batch_size`", ge=1)
    overlap: Number = option("share of a window that the next window also covers", derived="`--overlap`", ge=0, lt=1)
    mode: Literal["gaussian", "constant"] = option(
        "`gaussian`: a window counts less towards its border; `constant`: it counts the same everywhere"
    )
    flip: Flag = option("average each window with its mirror image")
    scales: Scales = option(
        "average each window over views of the same place whose side is each of these times the window's", _SCALES
    )
    where: Literal["everywhere", "content", "hand"] = option(
        "`everywhere`: look at all windows; `content`: skip windows of even grey; `hand`: also skip windows "
        "away from the bones that a look at the whole, shrunk image finds, if that look finds nearly all "
        "bones"
    )

    @model_validator(mode="after")
    def _check(self) -> WindowView:
        if self.roi_size is not None and (len(self.roi_size) != 2 or min(self.roi_size) < 1):
            raise ValueError(f"roi_size: expected height and width, as [512,512], got {self.roi_size!r}")
        return self


PARTS: dict[str, type[Declared]] = {"hand_inferer": HandView, "window_inferer": WindowView}
"""Components whose arguments are options too, as ``--hand_inferer#flip``."""
