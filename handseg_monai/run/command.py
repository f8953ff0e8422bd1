"""The bundle run that an expression of a configuration belongs to."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from types import FrameType, NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

import monai.bundle
from fire.core import Fire
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

from handseg_monai.options import Options

_OF_MONAI = inspect.signature(monai.bundle.run).parameters.keys()
_FLAG = re.compile("--|-[a-zA-Z]")
"""How what Fire takes for an option begins."""


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
    typed
        Their texts, None of one without a value; empty where the run was made in Python.
    ignored
        Those that were given as None, which MONAI leaves out.
    """

    def __init__(self) -> None:
        self.parser: ConfigParser | None = None
        self.files: str | list[str] | None = None
        self.given: Mapping[str, Any] = {}
        self.typed: Mapping[str, str | None] = {}
        self.ignored: list[str] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self.typed:
            if frame.f_code is ConfigWorkflow._run_expr.__code__ and self.files is None:
                self.parser = frame.f_locals["self"].parser
            elif frame.f_code is create_workflow.__code__:
                if self.files is not None:  # a run within a run has no command line
                    break
                self.files = frame.f_locals["config_file"]
                self.given = {name.replace("::", "#"): value for name, value in frame.f_locals["_args"].items()}
                left_out = [name for name, value in frame.f_locals["kwargs"].items() if value is None]
                self.ignored = [name.replace("::", "#") for name in left_out if name not in _OF_MONAI]
            elif frame.f_code is Fire.__code__ and _is_monais(frame.f_back):
                self.typed = _typed(frame.f_locals["args"])
            frame = frame.f_back
        if self.files is None:
            self.typed = {}
        self.given = {name: _meant(name, value, self.typed.get(name)) for name, value in self.given.items()}

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, unresolved; empty outside of a run."""
        return cast(dict[str, Any], self.parser.config) if self.parser is not None else {}


def _is_monais(frame: FrameType | None) -> bool:
    """Whether a command line is that of ``python -m monai.bundle``, and not of a program that calls MONAI."""
    return frame is not None and frame.f_globals.get("__package__") == "monai.bundle"


def takes_text(name: str) -> bool:
    """Whether an option takes nothing but a text, such as a path."""
    return name == "bundle_root" or (name in Options.model_fields and _types(name) <= {str, NoneType})


def _types(name: str) -> set[object]:
    annotation = Options.model_fields[name].annotation
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return {get_args(part)[0] if get_origin(part) is Annotated else part for part in parts}


def _typed(arguments: Sequence[str]) -> dict[str, str | None]:
    """Options of a command line by their ids, found as Fire finds them."""
    typed: dict[str, str | None] = {}
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        if _FLAG.match(argument):
            name, equals, text = argument.lstrip("-").partition("=")
            value = text if equals else None if _FLAG.match(following) else following
            typed[name.replace("-", "_").replace("::", "#")] = value
    return typed


def _meant(name: str, value: object, text: str | None) -> object:
    """Value of an option, the text itself where it takes a text.

    Fire reads Python: ``scan`` in ``scan #2``, ``(scan)`` and full-width letters, 1000.0 in ``1e3``.
    """
    if text is None or takes_text(name):
        return value if text is None else text
    if not isinstance(value, str):
        return DefaultParseValue(text)  # again: in a list MONAI has written :: for #
    return value if text.strip().startswith(("'", '"')) and name not in Options.model_fields else text
