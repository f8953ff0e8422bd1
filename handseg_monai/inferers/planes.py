"""An inferer that gives masks at each radiograph's own size, as bit planes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from monai.inferers import Inferer

from handseg_monai.inferers.coarse import coarse_probabilities
from handseg_monai.inferers.hand import HandInferer
from handseg_monai.inferers.looks import Box, Look, LookingInferer, placed, planes_of_looks, whole_view
from handseg_monai.inferers.scene import Looking, Scene, scene_of, sides, two_hands
from handseg_monai.inferers.thresholds import Threshold, thresholds_of
from handseg_monai.inferers.windows import WindowsInferer
from handseg_monai.options import Hands, Invert

FAINT = 1e-4
"""Probability below which what a network saw may count as nothing in the mean of several."""
IN_THE_NEGATIVE = "bones are dark, inferred in the negative"
"""What is said of such an image."""
_LARGER = 2.0
"""Certainties that differ by less leave it to the size of two hands which one counts."""


class PlanesInferer(Inferer):
    """Infer, and draw the masks of each image at its own size straight from what the network saw.

    Logits never exist at the image's size, but for one bone at a time and inside of its own box.

    What the network saw says how bright bones are against what lies around them. Where that leaves any doubt the
    network looks at the negative too, and counts it if its bones are brighter and more certain. Where bones, or else
    bright pixels, lie on both sides of a line that touches hardly any, the network looks at either side alone. If both
    show most of the same bones, these are two hands.

    Parameters
    ----------
    inferer
        :class:`~handseg_monai.inferers.HandInferer`; :class:`~handseg_monai.inferers.WindowsInferer`, which keeps
        logits near bones alone; or any inferer that returns logits (B, 29, h, w) of the whole image, as MONAI's do.
    threshold
        Of the probability, see :func:`~handseg_monai.inferers.thresholds_of`: a pixel belongs to a bone where it is
        above.
    enabled, dtype
        Autocast of the network, see :class:`~handseg_monai.inferers.AutocastInferer`.
    invert
        ``"auto"``: infer in the negative of an image whose bones are dark; ``"yes"``: in that of every image; ``"no"``:
        in that of none.
    hands
        ``"one"``: of two hands draw the one of which the network is more certain, the larger one if that is about the
        same; ``"both"``: draw both.

    Raises
    ------
    ValueError
        ``dtype``, ``invert`` or ``hands`` is something else.
    """

    def __init__(
        self,
        inferer: Inferer,
        threshold: Threshold = 0.5,
        enabled: bool = True,
        dtype: str = "bfloat16",
        invert: Invert = "auto",
        hands: Hands = "one",
    ) -> None:
        super().__init__()
        for name, value, values in (("invert", invert, get_args(Invert)), ("hands", hands, get_args(Hands))):
            if value not in values:
                raise ValueError(f"{name}: expected {' or '.join(values)}, got {value!r}")
        if dtype not in ("bfloat16", "float16"):
            raise ValueError(f"expected dtype bfloat16 or float16, got {dtype!r}")
        self.inferer, self.enabled, self.dtype = inferer, enabled, getattr(torch, dtype)
        self.thresholds = thresholds_of(threshold)
        self.invert, self.hands = invert, hands

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Any,
        *args: Any,
        image_size: torch.Tensor,
        coarse_side: int | None = None,
        notes: bool = False,
        **kwargs: Any,
    ) -> torch.Tensor | dict[str, Any]:
        """Bit planes, int32 (1, 1, H, W); where both hands are drawn (1, 2, H, W), left and right.

        Parameters
        ----------
        inputs
            float32 (1, 1, h, w), grey values in [0, 1]. An empty image, (1, 1, 0, 0), stands for one that could not
            be read; the network doesn't see it.
        network
            What to infer with.
        image_size
            int64 (1, 2): height and width of the radiograph, H and W.
        coarse_side
            Long side of a grid on which the probabilities are wanted too.
        notes
            Whether to say what was found out about the image.

        Returns
        -------
        result
            The planes, or where more is wanted a dictionary: ``planes``; ``probabilities``, float32 (1, 29, h, w), of
            :func:`~handseg_monai.inferers.coarse.coarse_probabilities`, of two hands (1, 58, h, w); ``notes``, a list
            of one text, empty where nothing is unusual.
        """
        result: dict[str, Any] = {"notes": [""]}
        if inputs.numel() == 0:
            result["planes"] = inputs.new_zeros((len(inputs), 1, *inputs.shape[2:]), dtype=torch.int32)
            result["probabilities"] = result["planes"].float()
        else:
            if len(inputs) != 1:
                raise ValueError(f"expected one image at a time, as their sizes differ; got {len(inputs)}")
            shape = (inputs.shape[-2], inputs.shape[-1])
            height, width = (int(n) for n in image_size[0])
            # Below it nothing is drawn, nor counted for a probability; a scene is judged at one half.
            least = min(0.5, *(min(each) for each in self._drawn_at()))
            if coarse_side is not None:
                least = min(least, FAINT)

            def look(image: torch.Tensor, box: Box = (0, 0, *shape)) -> Scene:
                # What looks for a hand sees more of it in a box; others need the size that the whole image has.
                box = box if isinstance(self.inferer, HandInferer) else (0, 0, *shape)
                top, left, bottom, right = box
                size = -(-height * (bottom - top) // shape[0]), -(-width * (right - left) // shape[1])
                members = self.members(image[None, :, top:bottom, left:right], network, size, least)
                return scene_of([[placed(one, box) for one in looks] for looks in members], image)

            def whole(hand: Scene) -> Scene:
                return replace(hand, members=self.with_arms(hand.image[None], network, hand.members))

            found, result["notes"] = self._hands_in(inputs[0].float(), look, whole)
            drawn = [
                planes_of_looks(hand.members, shape, (height, width), each)
                for hand in found
                for each in self._drawn_at()
            ]
            result["planes"] = torch.stack(drawn)[None]
            if coarse_side is not None:
                seen = [coarse_probabilities(hand.members, shape, coarse_side) for hand in found]
                result["probabilities"] = torch.cat(seen)[None]
        wanted = {"planes", *(["probabilities"] if coarse_side is not None else []), *(["notes"] if notes else [])}
        return {key: result[key] for key in wanted} if len(wanted) > 1 else result["planes"]

    def _hands_in(
        self, image: torch.Tensor, look: Looking, whole: Callable[[Scene], Scene]
    ) -> tuple[list[Scene], list[str]]:
        """Scenes of the hands to draw, left and right of two, and what to say of the image: a list of one text."""
        said = []
        if self.invert == "yes":
            image = 1 - image
        scene = look(image)
        something = bool(image.amin() < image.amax())
        if self.invert == "auto" and something and not scene.surely_bright:
            negative = look(1 - image)
            if negative.brightness > max(scene.brightness, 0.0) and negative.evidence > scene.evidence:
                scene = negative
                said.append(IN_THE_NEGATIVE)
        hands = two_hands(scene, look)
        if hands:
            hands, more = self._drawn_of(hands)
            return [whole(hand) for hand in hands], ["; ".join(said + more)]
        return [scene], ["; ".join(said)]

    def _drawn_of(self, hands: Sequence[Scene]) -> tuple[list[Scene], list[str]]:
        """Which of two hands to draw, left and right of both, and what to say of them."""
        names, told = sides(*hands)
        said = [] if told else ["both hands look like the same one, so their places name them"]
        if self.hands == "both":
            return [hand for _, hand in sorted(zip(names, hands, strict=True), key=lambda pair: pair[0])], said
        by = hands[0].certainty - hands[1].certainty
        first = by > _LARGER or (by >= -_LARGER and hands[0].area >= hands[1].area)
        chosen = 0 if first else 1
        return [hands[chosen]], [
            f"two hands, the {names[chosen]} one is segmented; `--hands both` segments both",
            *said,
        ]

    def _drawn_at(self) -> Sequence[tuple[float, ...]]:
        return [self.thresholds]

    def members(self, inputs: torch.Tensor, network: Any, size: tuple[int, int], least: float) -> list[list[Look]]:
        """What each network, here the only one, saw in the one image of ``inputs``; see :meth:`looks`."""
        return [self.looks(inputs, network, size, least)]

    def with_arms(self, inputs: torch.Tensor, network: Any, members: Sequence[Sequence[Look]]) -> list[list[Look]]:
        """What :meth:`members` gave of one hand of two, and a look at hand and forearm of each network that sees hands.

        ``inputs`` show that hand alone.
        """
        return [self.with_arm(inputs, network, looks) for looks in members]

    def with_arm(self, inputs: torch.Tensor, network: Any, looks: Sequence[Look]) -> list[Look]:
        """The same of one network."""
        if not isinstance(self.inferer, HandInferer):
            return list(looks)
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.enabled):
            return self.inferer.with_arm(inputs[0], looks, network)

    def looks(self, inputs: torch.Tensor, network: Any, size: tuple[int, int], least: float = FAINT) -> list[Look]:
        """What a network saw in the one image of ``inputs``, to draw at ``size`` where it is above a probability."""
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.enabled):
            if isinstance(self.inferer, WindowsInferer):
                # What an interpolated value may depend on, and one that is averaged first where the image is smaller.
                reach = 2 + math.ceil(2 * max(inputs.shape[-2] / size[0], inputs.shape[-1] / size[1]))
                return self.inferer.looks(inputs, network, math.log(least / (1 - least)), reach)[0]
            if isinstance(self.inferer, LookingInferer):
                return self.inferer.looks(inputs, network)[0]
            logits = self.inferer(inputs, network)[0].float()
        view, shape = (logits.shape[-2], logits.shape[-1]), (inputs.shape[-2], inputs.shape[-1])
        return [Look(whole_view(view, shape), logits)]


class SweepInferer(PlanesInferer):
    """Draw the masks of each image at T thresholds, each of all bones, to find the best ones: int32 (1, T, H, W).

    For the rest see :class:`PlanesInferer`.
    """

    def __init__(
        self,
        inferer: Inferer,
        sweep: Sequence[float],
        enabled: bool = True,
        dtype: str = "bfloat16",
        invert: Invert = "auto",
    ) -> None:
        super().__init__(inferer, 0.5, enabled, dtype, invert)
        self.sweep = [thresholds_of(threshold) for threshold in sweep]

    def _drawn_at(self) -> Sequence[tuple[float, ...]]:
        return self.sweep
