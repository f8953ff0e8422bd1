"""A network that works on blocks of pixels: a quarter of the cost, output at full resolution."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class SpaceToDepth(nn.Module):
    """Run a network on space-to-depth blocks, and spread its output over their pixels again (sub-pixel convolution).

    A block of ``factor`` x ``factor`` pixels becomes one with ``factor²`` channels, so that no detail is lost before
    the first convolution; each output block carries the logits of all of its pixels. At ``factor`` 2 the network costs
    a quarter of what it costs on the pixels. (Shi et al., Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network, CVPR 2016.)

    Parameters
    ----------
    network
        A network of ``factor²`` input channels (for one-channel images) and ``factor²`` times as many output channels
        as there are classes.
    factor
        Side of a block in pixels, at least 1.
    """

    def __init__(self, network: nn.Module, factor: int = 2) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"factor: expected at least 1, got {factor}")
        self.network = network
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (B, C, H, W) of ``image`` (B, c, H, W); heads, stacked (B, heads, C, H, W) or listed, stay so.

        H and W must divide by ``factor``.
        """
        if image.shape[-2] % self.factor or image.shape[-1] % self.factor:
            raise ValueError(f"expected sides that divide by {self.factor}, got {tuple(image.shape[-2:])}")
        out = self.network(pixel_unshuffle(image, self.factor))
        if isinstance(out, list | tuple):
            return [_spread(head, self.factor) for head in out]
        return _spread(out, self.factor)


def _spread(blocks: torch.Tensor, factor: int) -> torch.Tensor:
    """Return what ``pixel_shuffle`` does, which takes five times as long on a CPU; exported it is one operation."""
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return pixel_shuffle(blocks, factor)
    parts = blocks.unflatten(-3, (-1, factor, factor)).movedim((-4, -3), (-3, -1))
    return parts.flatten(-2).flatten(-3, -2)
