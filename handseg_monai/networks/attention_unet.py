"""A U-Net of dilated blocks with attention to channels and places: the *CUSTOM* network of the original system."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import nn
from torch.nn.functional import interpolate, max_pool2d


class ChannelAttention(nn.Module):
    """Weigh each channel by its mean and its maximum (Woo et al., CBAM, ECCV 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 8, 4)
        self.layers = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of the shape of ``x`` (B, C, H, W)."""
        mean, most = x.mean((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
        return x * (self.layers(mean) + self.layers(most)).sigmoid()


class SpatialAttention(nn.Module):
    """Weigh each pixel by the mean and the maximum of its channels (Woo et al., CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of the shape of ``x`` (B, C, H, W)."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.layer(seen).sigmoid()


class DilatedAttentionUNet(nn.Module):
    """U-Net of blocks of dilated convolution, batch normalisation and GELU, each followed by both attentions.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image, and bones.
    filters
        Channels of each level, the finest first; each further level has half the resolution.
    dilations
        Of the convolutions of a block, one after the other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (32, 64, 128, 256, 512),
        dilations: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        if len(filters) < 2 or not dilations:
            raise ValueError(f"expected at least 2 filters and 1 dilation, got {tuple(filters)} and {tuple(dilations)}")
        before = (in_channels, *filters)
        self.encoder = nn.ModuleList(_block(a, b, dilations) for a, b in zip(before, filters, strict=False))
        coarse_first = [*reversed(filters)]
        pairs = list(pairwise(coarse_first))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine in pairs)
        self.decoder = nn.ModuleList(_block(2 * fine, fine, dilations) for _, fine in pairs)
        self.head = nn.Conv2d(filters[0], out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of ``image`` (B, c, H, W), whose sides divide by 2 for each level but the first."""
        skips: list[torch.Tensor] = []
        for block in self.encoder:
            skips.append(block(max_pool2d(skips[-1], 2) if skips else image))
        x = skips.pop()
        for narrow, block in zip(self.narrow, self.decoder, strict=True):
            up = interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([skips.pop(), up], 1))
        return self.head(x)


def _block(in_channels: int, out_channels: int, dilations: Sequence[int]) -> nn.Sequential:
    channels = (in_channels, *[out_channels] * len(dilations))
    convolutions = (
        Convolution(2, a, out_channels, kernel_size=3, dilation=d, act="GELU", norm="batch", adn_ordering="NA")
        for a, d in zip(channels, dilations, strict=False)
    )
    return nn.Sequential(*convolutions, ChannelAttention(out_channels), SpatialAttention())
