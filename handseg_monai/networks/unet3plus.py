"""UNet 3+: every decoder level sees every scale, each is supervised, and a classifier says which bones are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from monai.networks.blocks import Convolution
from torch import nn
from torch.nn.functional import interpolate, max_pool2d, softplus


def _convolution(in_channels: int, out_channels: int, norm: str) -> Convolution:
    return Convolution(2, in_channels, out_channels, kernel_size=3, act="RELU", norm=norm, adn_ordering="NA")


class UNet3Plus(nn.Module):
    """UNet 3+ (Huang et al., UNet 3+: A full-scale connected UNet for medical image segmentation, ICASSP 2020).

    Full-scale skip connections, deep supervision of all levels at full resolution, and the classification-guided
    module, here for several labels: from the deepest features it tells for each bone whether it is there. A pixel's
    probability is the product of its own and of that, so that bones which are not there leave no false positives. (The
    paper multiplies by a decision of 0 or 1, which has no gradient.)

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image, and bones.
    filters
        Channels of each encoder level, the finest first; each further level has half the resolution. The paper's
        default.
    branch
        Channels that each of the scales contributes to a decoder level; the paper has 64.
    norm
        MONAI's name of the normalisation, ``"batch"`` in the paper.
    classify
        Whether to have the classification-guided module.
    dropout
        Share of features dropped before the classifier.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (64, 128, 256, 512, 1024),
        branch: int = 64,
        norm: str = "batch",
        classify: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        levels = len(filters)
        if levels < 2:
            raise ValueError(f"filters: expected at least 2 levels, got {tuple(filters)}")
        self.encoder = nn.ModuleList(
            nn.Sequential(_convolution(before, channels, norm), _convolution(channels, channels, norm))
            for before, channels in zip((in_channels, *filters), filters, strict=False)
        )
        fused = branch * levels
        # Per decoder level, the finest first: a branch for each scale. Coarser ones come from the decoder, but for the
        # deepest, which is the encoder's.
        self.branches = nn.ModuleList(
            nn.ModuleList(
                _convolution(filters[scale] if scale <= level or scale == levels - 1 else fused, branch, norm)
                for scale in range(levels)
            )
            for level in range(levels - 1)
        )
        self.fusions = nn.ModuleList(_convolution(fused, fused, norm) for _ in range(levels - 1))
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, out_channels, 3, padding=1) for channels in (*[fused] * (levels - 1), filters[-1])
        )
        self.classifier: nn.Sequential | None = None
        if classify:
            # Without a bias of its own: the one of heads says how rare a bone's pixels are, not how rare the bone is.
            self.classifier = nn.Sequential(
                nn.Dropout(dropout), nn.Conv2d(filters[-1], out_channels, 1, bias=False), nn.AdaptiveMaxPool2d(1)
            )

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (B, C, H, W) of ``image`` (B, c, H, W), whose sides divide by 2 for each level but the first.

        In training a list: the logits of each level, the finest first, all (B, C, H, W), and those that each bone is
        there, (B, C, 1, 1).
        """
        encoded: list[torch.Tensor] = []
        for stage in self.encoder:
            encoded.append(stage(max_pool2d(encoded[-1], 2) if encoded else image))
        scales = [*encoded]
        for level in reversed(range(len(encoded) - 1)):
            # What is coarser is decoded by now, what is finer the encoder's.
            parts = [branch(_resized(scales[scale], level - scale)) for scale, branch in self._branches(level)]
            scales[level] = self.fusions[level](torch.cat(parts, 1))
        logits = [
            _resized(head(features), -level)
            for level, (head, features) in enumerate(zip(self.heads, scales, strict=True))
            if self.training or level == 0
        ]
        if self.classifier is not None:
            there = self.classifier(encoded[-1])
            logits = [both(one, there) for one in logits]
            if self.training:
                logits.append(there)
        return logits if self.training else logits[0]

    def _branches(self, level: int) -> Iterator[tuple[int, nn.Module]]:
        branches = self.branches[level]
        assert isinstance(branches, nn.ModuleList)
        return enumerate(branches)


def _resized(features: torch.Tensor, levels: int) -> torch.Tensor:
    """Halve features so many times, or double them where negative."""
    if levels > 0:
        return max_pool2d(features, 2**levels)
    if levels < 0:
        return interpolate(features, scale_factor=float(2**-levels), mode="bilinear", align_corners=False)
    return features


def both(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Logit of the product of two probabilities, from their logits; shapes broadcast."""
    # 1 / (p q) - 1 = e^-a + e^-b (1 + e^-a)
    return -torch.logaddexp(-one, softplus(-one) - other)
