"""The bundle run that an expression of a configuration belongs to."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, cast

import monai.bundle
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

_OF_MONAI = inspect.signature(monai.bundle.run).parameters.keys()


class Command:
    """What MONAI knows of the run that this is made in, and hands to no expression: found among its local variables.

    Attributes
    ----------
    parser
        The configuration with everything laid over it; None outside of a run.
    files
        The configuration files; None where the run was made by another way than ``python -m monai.bundle run`` or
        ``monai.bundle.create_workflow``.
    given
        The options of the command line by their ids, as ``hand_inferer#flip``.
    ignored
        Those that were given as None, which MONAI leaves out.
    """

    def __init__(self) -> None:
        self.parser: ConfigParser | None = None
        self.files: str | list[str] | None = None
        self.given: Mapping[str, Any] = {}
        self.ignored: list[str] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and self.files is None:
            if frame.f_code is ConfigWorkflow._run_expr.__code__:
                self.parser = frame.f_locals["self"].parser
            elif frame.f_code is create_workflow.__code__:
                self.files = frame.f_locals["config_file"]
                self.given = {name.replace("::", "#"): value for name, value in frame.f_locals["_args"].items()}
                left_out = [name for name, value in frame.f_locals["kwargs"].items() if value is None]
                self.ignored = [name.replace("::", "#") for name in left_out if name not in _OF_MONAI]
            frame = frame.f_back

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, unresolved; empty outside of a run."""
        return cast(dict[str, Any], self.parser.config) if self.parser is not None else {}
