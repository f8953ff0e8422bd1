"""Refusing options of a schedule that can't be right, before training has begun."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


def check_step(step: object, scheduler: LRScheduler) -> None:
    """Refuse another time to step a schedule than it was made for.

    Parameters
    ----------
    step
        ``iteration``, ``epoch``, or ``validation``, after which the schedule is handed the metric.
    scheduler
        The schedule.

    Raises
    ------
    ValueError
        Another word; or one that does not fit: torch's ``ReduceLROnPlateau`` takes a metric, and no other does.
    """
    right = ("validation",) if isinstance(scheduler, ReduceLROnPlateau) else ("iteration", "epoch")
    if step not in right:
        raise ValueError(f"--schedule_step {step}: {type(scheduler).__name__} takes {' or '.join(right)}")


def check_milestones(milestones: object, epochs: int) -> None:
    """Refuse milestones that are not whole epochs, ascending, within the run.

    Raises
    ------
    ValueError
        They aren't. A milestone at the last epoch is refused as well: no epoch would follow it.
    """
    wanted = f"expected ascending whole numbers from 1 to {epochs - 1}, for a run of {epochs} epochs"
    if not isinstance(milestones, Sequence) or isinstance(milestones, str):
        raise ValueError(f"--milestones {milestones!r}: {wanted}")
    before = 0
    for milestone in milestones:
        if not isinstance(milestone, int) or not before < milestone < epochs:
            raise ValueError(f"--milestones {list(milestones)}: {wanted}, got {milestone!r}")
        before = milestone


def check_rates(learning_rate: object, least_rate: object) -> None:
    """Refuse a least rate that is not below the learning rate.

    Raises
    ------
    ValueError
        Either is no number, or ``least_rate`` is not from 0 and below ``learning_rate``.
    """
    for name, rate in (("learning_rate", learning_rate), ("least_rate", least_rate)):
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            raise ValueError(f"--{name} {rate!r}: expected a number")
    if not 0 <= least_rate < learning_rate:  # type: ignore[operator]
        raise ValueError(f"--least_rate {least_rate}: expected from 0 and below --learning_rate {learning_rate}")


def check_cycle(first_cycle: object, epochs: int, warm_up: object = 0.0) -> None:
    """Refuse a first cycle that does not fit a run, or a warm-up that does not fit the cycle; both in epochs.

    Raises
    ------
    ValueError
        They don't.
    """
    for name, value in (("first_cycle", first_cycle), ("cycle_warmup", warm_up)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"--{name} {value!r}: expected a number of epochs")
    if not 0 < first_cycle <= epochs:  # type: ignore[operator]
        raise ValueError(f"--first_cycle {first_cycle}: expected above 0 and at most the {epochs} epochs of the run")
    if not 0 <= warm_up < first_cycle:  # type: ignore[operator]
        raise ValueError(
            f"--cycle_warmup {warm_up:g}: expected from 0 and below the first cycle, {first_cycle:g} epochs"
        )


def check_plateau(plateau_patience: int, patience: int) -> None:
    """Refuse a schedule more patient than early stopping, which would never lower the rate.

    Raises
    ------
    ValueError
        ``plateau_patience`` is not below ``patience``, both in validations.
    """
    if plateau_patience >= patience:
        raise ValueError(
            f"--plateau_patience {plateau_patience}: training stops after {patience} validations without a better "
            "Dice, before the rate would fall; expected below --patience"
        )
