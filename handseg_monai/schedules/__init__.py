"""Learning-rate schedules that torch lacks, and checks of their options."""

from handseg_monai.schedules.checks import check_cycle, check_milestones, check_plateau, check_rates, check_step
from handseg_monai.schedules.warm_up_restarts import CosineAnnealingWarmUpRestarts, first_cycle

__all__ = [
    "CosineAnnealingWarmUpRestarts",
    "check_cycle",
    "check_milestones",
    "check_plateau",
    "check_rates",
    "check_step",
    "first_cycle",
]
