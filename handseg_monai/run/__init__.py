"""What starts, guards and ends runs of the bundle; the names below are for configurations."""

from handseg_monai.run.ending import checked, stop, until_stopped
from handseg_monai.run.options import (
    asked_for,
    check_options,
    check_parts,
    check_tracking,
    parameters,
    refuse_options,
    warn_of_patience,
)
from handseg_monai.run.ranks import join_ranks
from handseg_monai.run.values import (
    check_compile,
    check_numbers,
    check_paths,
    check_views,
    check_window,
    flag,
)

__all__ = [
    "asked_for",
    "check_compile",
    "check_numbers",
    "check_options",
    "check_parts",
    "check_paths",
    "check_tracking",
    "check_views",
    "check_window",
    "checked",
    "flag",
    "join_ranks",
    "parameters",
    "refuse_options",
    "stop",
    "until_stopped",
    "warn_of_patience",
]
