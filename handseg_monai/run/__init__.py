"""What starts, guards and ends runs of the bundle; the names below are for configurations."""

from handseg_monai.run.ending import checked, stop, until_stopped
from handseg_monai.run.identity import asked_for, parameters
from handseg_monai.run.memory import keep_memory
from handseg_monai.run.preflight import preflight
from handseg_monai.run.ranks import join_ranks

__all__ = ["asked_for", "checked", "join_ranks", "keep_memory", "parameters", "preflight", "stop", "until_stopped"]
