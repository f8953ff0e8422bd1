"""Cosine annealing with warm restarts, each of which warms up, from peaks that decay."""

from __future__ import annotations

from math import cos, pi
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class CosineAnnealingWarmUpRestarts(LRScheduler):
    """Cycles of a linear warm-up to a peak and a cosine down from it, each cycle longer and its peak lower.

    Known in competitions under this name, or as custom CAWR; torch's ``CosineAnnealingWarmRestarts`` has neither
    warm-up nor decay. It goes back to I. Loshchilov and F. Hutter, SGDR: Stochastic gradient descent with warm
    restarts, ICLR 2017. The peak of the first cycle is the optimiser's rate. The rate is a function of the step alone.

    Parameters
    ----------
    optimizer
        Whose rate is set.
    first_cycle
        Length of the first cycle with its warm-up, in steps (``T_0``), not necessarily whole.
    growth
        The cosine of each cycle is this many times as long as that of the one before (``T_mult``).
    warm_up
        Length of each cycle's warm-up, in steps (``T_up``); it does not grow.
    decay
        The peak of each cycle is this share of that of the one before (``gamma``).
    eta_min
        Rate at which warm-ups begin and cosines end.
    last_epoch
        As in torch: the step that was last.

    Raises
    ------
    ValueError
        A cycle that is not longer than its warm-up, a growth below 1, or a decay that is not above 0 and at most 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        first_cycle: float,
        growth: float = 1.0,
        warm_up: float = 0.0,
        decay: float = 1.0,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warm_up < first_cycle:
            raise ValueError(f"expected a warm-up from 0 and below the first cycle, got {warm_up} and {first_cycle}")
        if growth < 1 or not 0 < decay <= 1:
            raise ValueError(f"expected a growth from 1 and a decay in (0, 1], got {growth} and {decay}")
        self.first_cycle = first_cycle
        self.growth = growth
        self.warm_up = warm_up
        self.decay = decay
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Rate of each group of parameters at the present step."""
        step, cosine, peak = float(self.last_epoch), self.first_cycle - self.warm_up, 1.0
        while step >= self.warm_up + cosine:
            step -= self.warm_up + cosine
            cosine *= self.growth
            peak *= self.decay
        share = step / self.warm_up if step < self.warm_up else (1 + cos(pi * (step - self.warm_up) / cosine)) / 2
        return [self.eta_min + max(base * peak - self.eta_min, 0) * share for base in self.base_lrs]


def first_cycle(epochs: float, cycles: int, growth: float, warm_up: float = 0.0) -> float:
    """Length of the first cycle, in epochs, such that so many cycles fill a run.

    Parameters
    ----------
    epochs
        Of the run.
    cycles
        Number of cycles.
    growth, warm_up
        As :class:`CosineAnnealingWarmUpRestarts` has them, ``warm_up`` in epochs.
    """
    return (epochs - cycles * warm_up) / sum(growth**k for k in range(cycles)) + warm_up
