"""DUCK-Net: a U-Net whose blocks look at each place through six kinds of convolutions at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import interpolate


class ConvReluNorm(nn.Sequential):
    """Convolution that keeps the size, ReLU, batch normalisation, in this order."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int] = (3, 3), dilation: int = 1
    ) -> None:
        height, width = (dilation * (side - 1) for side in kernel)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel, dilation=dilation, padding=(height // 2, width // 2)),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_channels),
        ]
        if height % 2 or width % 2:  # an even kernel has no middle: one pixel more on the right or below
            layers.insert(0, nn.ZeroPad2d((0, width % 2, 0, height % 2)))
        super().__init__(*layers)


class Dilated(nn.Sequential):
    """Convolutions of 3 x 3 one after the other, of dilation 1, 2, … ``depth``.

    DUCK-Net's *midscope* of 2 and *widescope* of 3.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        channels = (in_channels, *[out_channels] * depth)
        super().__init__(*(ConvReluNorm(channels[k], out_channels, dilation=k + 1) for k in range(depth)))


class Residual(nn.Module):
    """Two convolutions of 3 x 3 and, beside them, one of 1 x 1; their sum, normalised."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(ConvReluNorm(in_channels, out_channels), ConvReluNorm(out_channels, out_channels))
        self.beside = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU(inplace=True))
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, out_channels, H, W) of ``x`` (B, in_channels, H, W)."""
        return self.norm(self.deep(x) + self.beside(x))


def residuals(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    """Chain ``count`` residual blocks."""
    return nn.Sequential(*(Residual(out_channels if k else in_channels, out_channels) for k in range(count)))


class NormedSum(nn.Module):
    """The sum of parallel branches, (B, in_channels, H, W) to (B, out_channels, H, W), normalised before and after."""

    def __init__(self, in_channels: int, out_channels: int, *branches: nn.Module) -> None:
        super().__init__()
        self.before, self.after = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, out_channels, H, W) of ``x`` (B, in_channels, H, W)."""
        x = self.before(x)
        return self.after(torch.stack([branch(x) for branch in self.branches]).sum(0))


class DUCK(NormedSum):
    """*Deep understanding convolutional kernel*: wide, middle, one to three residual blocks, and a separated 6 x 6."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            in_channels,
            out_channels,
            Dilated(in_channels, out_channels, 3),
            Dilated(in_channels, out_channels, 2),
            *(residuals(in_channels, out_channels, count) for count in (1, 2, 3)),
            nn.Sequential(
                ConvReluNorm(in_channels, out_channels, (1, 6)), ConvReluNorm(out_channels, out_channels, (6, 1))
            ),
        )


class DUCKNet(nn.Module):
    """DUCK-Net (Dumitru et al., Using DUCK-Net for polyp image segmentation, Scientific Reports 13, 2023).

    Five times the image is halved by strided convolutions, both from the block above and from a second path that has
    nothing but them; the two are added. On the way up nearest neighbours are enlarged and added to the encoder's.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image, and bones.
    filters
        Channels at full resolution, 17 or 34 in the paper; twice as many at each level below.
    """

    def __init__(self, in_channels: int, out_channels: int, filters: int = 17) -> None:
        super().__init__()
        if filters < 1:
            raise ValueError(f"filters: expected at least 1, got {filters}")
        widths = [filters * 2**level for level in range(6)]
        self.path = nn.ModuleList(
            nn.Conv2d(before, width, 2, stride=2) for before, width in pairwise((in_channels, *widths[1:]))
        )
        self.down = nn.ModuleList(nn.Conv2d(before, width, 2, stride=2) for before, width in pairwise(widths))
        self.encoder = nn.ModuleList(
            DUCK(before, width) for before, width in zip((in_channels, *widths[1:]), widths[:5], strict=False)
        )
        self.bottom = nn.Sequential(residuals(widths[5], widths[5], 2), residuals(widths[5], widths[4], 2))
        # From the fourth level to full resolution; each gives the width of the level above it.
        self.decoder = nn.ModuleList(DUCK(widths[level], widths[max(level - 1, 0)]) for level in reversed(range(5)))
        self.head = nn.Conv2d(filters, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of ``image`` (B, c, H, W), whose sides divide by 32."""
        skips, plain, x = [], image, image
        for block, halve, halve_plain in zip(self.encoder, self.down, self.path, strict=True):
            skips.append(block(x))
            plain = halve_plain(plain)
            x = halve(skips[-1]) + plain
        x = self.bottom(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(interpolate(x, scale_factor=2.0, mode="nearest") + skip)
        return self.head(x)
