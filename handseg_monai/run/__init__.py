"""What starts, guards and ends runs of the bundle; the names below are for configurations.

They are imported once they are asked for: they need torch and MONAI, which take long to load, and who only starts a run
in another process needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handseg_monai.run.checks import preflight
    from handseg_monai.run.ending import checked, stop, until_stopped
    from handseg_monai.run.identity import asked_for, parameters
    from handseg_monai.run.memory import keep_memory
    from handseg_monai.run.ranks import join_ranks

__all__ = ["asked_for", "checked", "join_ranks", "keep_memory", "parameters", "preflight", "stop", "until_stopped"]
_PLACES = {
    **dict.fromkeys(("checked", "stop", "until_stopped"), "ending"),
    **dict.fromkeys(("asked_for", "parameters"), "identity"),
    **{"join_ranks": "ranks", "keep_memory": "memory", "preflight": "checks"},
}


def __getattr__(name: str) -> Any:
    """Import a name of :data:`__all__` from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
