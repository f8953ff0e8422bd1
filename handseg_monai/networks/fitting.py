"""What networks of libraries need before they train here: batch normalisation that keeps up, no idle layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import batch_norm


class LoneBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that takes its running statistics where a channel has one value, which has no variance.

    PyTorch's raises an error there. DeepLabV3+ and UPerNet pool the whole image into one pixel: with a batch of one
    image, as the last one of an epoch may be, that is a single value.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Features of the shape of ``input`` (B, C, H, W)."""
        if not self.training or input.shape[0] * input.shape[2] * input.shape[3] > 1:
            return super().forward(input)
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def take_lone_values(network: nn.Module) -> nn.Module:
    """Let every batch normalisation of a network take single values, and return the network."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = LoneBatchNorm2d
    return network


def with_momentum(network: nn.Module, momentum: float) -> nn.Module:
    """Set the share of a batch in the running statistics of batch normalisations, 0 to 1, and return the network.

    EfficientNet's 0.01 is for long training on large batches: after a few hundred steps of small ones its statistics
    are still those of the weights that it began with, and validation, which takes them, finds nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    return network


def without(network: nn.Module, layers: Sequence[str]) -> nn.Module:
    """Take layers that a network never runs, such as ``encoder._fc``, out of it, and return the network.

    Several ranks wait for a gradient of every parameter; one that is never used stops them.
    """
    for name in layers:
        network.set_submodule(name, nn.Identity(), strict=True)
    return network
