"""RAPUNet: a CAFormer encoder, and beside it convolutions from the image on; their features are merged and fused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from handseg_monai.networks.ducknet import Dilated, NormedSum, residuals


class RAPU(NormedSum):
    """*Residual and atrous parallel unit*: three dilated convolutions, and beside them a residual block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            in_channels, out_channels, Dilated(in_channels, out_channels, 3), residuals(in_channels, out_channels, 1)
        )


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _up(x: torch.Tensor, factor: int, mode: str = "nearest") -> torch.Tensor:
    align = False if mode == "bilinear" else None
    return interpolate(x, scale_factor=float(factor), mode=mode, align_corners=align)


class SelectiveAggregation(nn.Module):
    """*Selective boundary aggregation*: features of two resolutions; each lets the other in where it is unsure.

    Source: Tang et al., DuAT: Dual-aggregation transformer network for medical image segmentation, PRCV 2023.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        width = 16
        self.fine_gate, self.coarse_gate = (nn.Conv2d(channels, width, 1, bias=False) for _ in range(2))
        self.fine, self.coarse = (_conv_norm_relu(width, width, 1) for _ in range(2))
        self.fuse = nn.Sequential(
            _conv_norm_relu(2 * width, 2 * width, 3), nn.Conv2d(2 * width, out_channels, 1, bias=False)
        )

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Maps (B, out_channels, H, W) of ``fine`` (B, channels, H, W) and ``coarse``, half as large."""
        fine, coarse = self.fine_gate(fine), self.coarse_gate(coarse)
        sure_fine, sure_coarse = fine.sigmoid(), coarse.sigmoid()
        fine, coarse = self.fine(fine), self.coarse(coarse)
        let_in = interpolate(sure_fine * fine, coarse.shape[-2:], mode="bilinear", align_corners=False)
        merged_fine = fine + fine * sure_fine + (1 - sure_fine) * _up(sure_coarse * coarse, 2)
        merged_coarse = coarse + coarse * sure_coarse + (1 - sure_coarse) * let_in
        return self.fuse(torch.cat([merged_fine, _up(merged_coarse, 2)], 1))


class RAPUNet(nn.Module):
    """RAPUNet (Lee and Yoo, MetaFormer and CNN hybrid model for polyp image segmentation, IEEE Access 12, 2024).

    As there, maps come at a quarter and at an eighth of the resolution, are enlarged and added; each has a channel for
    each bone, where the paper's, for one class, have one.

    Parameters
    ----------
    encoder
        A network of features at a quarter, 1/8, 1/16 and 1/32 of the image's size, with ``feature_info``, as
        ``timm.create_model("caformer_s18", features_only=True, in_chans=1)`` makes it.
    in_channels, out_channels
        Channels of the image, and bones.
    filters
        Channels of the convolutions at full resolution, 17 in the paper; twice as many at each level below.
    width
        Channels of what is fused; the paper has 32.

    Raises
    ------
    ValueError
        The encoder's features have other sizes.
    """

    def __init__(
        self, encoder: nn.Module, in_channels: int, out_channels: int, filters: int = 17, width: int = 32
    ) -> None:
        super().__init__()
        info: Any = encoder.feature_info
        if list(info.reduction()) != [4, 8, 16, 32]:
            raise ValueError(f"encoder: expected features at 1/4, 1/8, 1/16 and 1/32, got 1/{info.reduction()}")
        self.encoder = encoder
        widths = [filters * 2**level for level in range(6)]
        self.stem = nn.Conv2d(in_channels, widths[1], 3, stride=2, padding=1)
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, wide, 1) for channels, wide in zip(info.channels(), widths[2:], strict=True)
        )
        self.units = nn.ModuleList(
            RAPU(before, width) for before, width in zip((in_channels, *widths[1:]), widths[:5], strict=False)
        )
        self.down = nn.ModuleList(nn.Conv2d(before, wide, 2, stride=2) for before, wide in pairwise(widths))
        self.bottom = nn.Sequential(residuals(widths[5], widths[5], 2), residuals(widths[5], widths[4], 2))
        self.deep = nn.Sequential(
            _conv_norm_relu(2 * widths[4] + widths[3], width, 1), nn.Conv2d(width, out_channels, 1, bias=False)
        )
        self.fine = _conv_norm_relu(widths[2], width, 3)
        self.coarse = _conv_norm_relu(2 * widths[4], width, 1)
        self.aggregation = SelectiveAggregation(width, out_channels)
        self.head = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of ``image`` (B, c, H, W), whose sides divide by 32."""
        features = self.encoder(image)
        beside = [self.stem(image), *(lateral(one) for lateral, one in zip(self.laterals, features, strict=True))]
        units, x = [], image
        for unit, halve, added in zip(self.units, self.down, beside, strict=True):
            units.append(unit(x))
            x = halve(units[-1]) + added
        bottom = self.bottom(x)
        low = torch.cat([_up(bottom, 2), units[4]], 1)
        deep = self.deep(torch.cat([_up(low, 2), units[3]], 1))
        fused = self.aggregation(self.fine(units[2]), _up(self.coarse(low), 2))
        return self.head(_up(deep, 8, "bilinear") + _up(fused, 4, "bilinear"))
