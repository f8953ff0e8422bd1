"""Learning-rate schedules that torch lacks."""

from handseg_monai.schedules.warm_up_restarts import CosineAnnealingWarmUpRestarts, first_cycle

__all__ = ["CosineAnnealingWarmUpRestarts", "first_cycle"]
