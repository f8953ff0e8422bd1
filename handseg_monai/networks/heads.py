"""One place for what networks return: a tensor, a dictionary, a list or a stack of heads becomes logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.functional import interpolate

Output = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]


def heads_of(output: Output) -> list[torch.Tensor]:
    """List the logits of each head of a network, the one with the most pixels first.

    Parameters
    ----------
    output
        Logits (B, C, H, W) of one head; a stack of several (B, heads, C, H, W), as DynUNet gives; a list or tuple of
        them, as SegResNetDS and MedNeXt give; or a dictionary, as torchvision gives, in which ``"out"`` comes first.
        Heads of the same size keep their order.

    Raises
    ------
    TypeError
        It is none of these.
    """
    if isinstance(output, torch.Tensor) and output.ndim == 5:
        return list(torch.unbind(output, 1))
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = [output[key] for key in sorted(output, key=lambda key: key != "out")]
    if isinstance(output, list | tuple) and output and all(isinstance(head, torch.Tensor) for head in output):
        return sorted(output, key=lambda head: -head.shape[-2] * head.shape[-1])
    raise TypeError(f"expected logits, or a stack, list or dictionary of them, got {type(output).__name__}")


class Heads(nn.Module):
    """Fit a network of another library to this project: a grey image in, logits of the image's size out.

    While it evaluates, only the first head is returned, (B, C, H, W), enlarged to the image's size where the network
    leaves that to its caller; while it trains, all of them, for
    :class:`~handseg_monai.losses.DeepSupervisionLoss`.

    Parameters
    ----------
    network
        The network, of any output that :func:`heads_of` knows.
    in_channels
        Channels that the network takes; the grey image is repeated for each of them.
    """

    def __init__(self, network: nn.Module, in_channels: int = 1) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"in_channels: expected at least 1, got {in_channels}")
        self.network = network
        self.in_channels = in_channels

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (B, C, H, W) of ``image`` (B, 1, H, W), or in training a list of the heads if there are several."""
        first, *others = heads_of(self.network(image.expand(-1, self.in_channels, -1, -1)))
        if first.shape[-2:] != image.shape[-2:]:
            first = interpolate(first, image.shape[-2:], mode="bilinear", align_corners=False)
        return [first, *others] if self.training and others else first
