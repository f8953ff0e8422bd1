"""How options are declared: a type, a range, a line of help; and how values are read and checked by that."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

Call = TypeVar("Call", bound=Callable[..., Any])


class Declared(BaseModel):
    """Options by name, each read strictly: no text for a number, no number for a flag."""

    model_config = ConfigDict(strict=True, extra="forbid")


def option(
    text: str, expected: str | None = None, derived: str | Mapping[str, str] | None = None, **bounds: float
) -> Any:
    """Declare an option.

    Parameters
    ----------
    text
        A line of help.
    expected
        What a value must be, in words; None derives it from the type and the bounds.
    derived
        The default in words, where a configuration computes it, or by configuration where several do.
    bounds
        ``ge``, ``le``, ``gt`` and ``lt``, as pydantic's ``Field`` takes them.
    """
    known = {"expected": expected, "derived": derived}
    return Field(default=None, description=text, json_schema_extra=known, **bounds)  # type: ignore[call-overload]


def _read_flag(value: object) -> object:
    # The command line hands on `false` as a text, which Python takes as true.
    return {"true": True, "false": False}.get(str(value).lower(), value)


def _read_optional_path(value: object) -> object:
    return None if str(value).lower() == "none" else _read_path(value)


def _read_path(value: object) -> object:
    if isinstance(value, tuple | list | dict):
        raise ValueError(f"{value!r}: the command line reads this as a list; write a path without commas")
    if isinstance(value, int | float):
        raise ValueError(
            f"{value!r}: the command line reads this path as a number; write ./ before it, as in ./2024_11_25"
        )
    if value == "":
        raise ValueError("is empty; expected a path (is a variable of the shell not set?)")
    return str(value) if isinstance(value, Path) else value


def _read_text(value: object) -> object:
    # A name such as 2024 comes as a number.
    return str(value) if isinstance(value, int | float) else value


def _read_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


_PATH, _OPTIONAL_PATH = BeforeValidator(_read_path), BeforeValidator(_read_optional_path)
_LIST = BeforeValidator(_read_list)

Flag = Annotated[bool, BeforeValidator(_read_flag)]
PathText = Annotated[str, _PATH]
OptionalPath = Annotated[str | None, _OPTIONAL_PATH]
Text = Annotated[str, BeforeValidator(_read_text)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[list[Number], _LIST]
Whole = Annotated[list[int], _LIST]
Texts = Annotated[list[str], _LIST]
Scales = Annotated[list[Annotated[float, Field(ge=1, allow_inf_nan=False)]], _LIST, Field(min_length=1)]


Model = TypeVar("Model", bound=BaseModel)


def checked_values(model: type[Model], values: Mapping[str, object], as_option: bool = True) -> Model:
    """Return values of options as their model reads them.

    Parameters
    ----------
    model
        :class:`Options`, or one of `PARTS`.
    values
        By name; those that the model does not declare are an error of the program.
    as_option
        Whether the error speaks of an option of the command line, ``--turns 7: expected …``, or of an argument,
        ``turns: expected …, got 7``.

    Raises
    ------
    ValueError
        The first value that can't be right, or two that don't go together: what came, and what was expected.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        said = first.get("ctx", {}).get("error")
        if not first["loc"]:  # of values that don't go together
            raise ValueError(str(said)) from None
        name = str(first["loc"][0])
        if said is not None:
            raise ValueError(f"--{name} {said}" if as_option else f"{name}: {said}") from None
        expected, value = expected_of(model.model_fields[name]), values[name]
        message = (
            f"--{name} {value!r}: expected {expected}" if as_option else f"{name}: expected {expected}, got {value!r}"
        )
        raise ValueError(message) from None


def arguments_of(model: type[BaseModel]) -> Callable[[Call], Call]:
    """Decorate a function, whose arguments of the model's names are then read and checked as the model says.

    Its arguments may come as a command line or a configuration gives them: ``"false"``, a tuple for a list.
    """

    def wrap(function: Call) -> Call:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = {name: value for name, value in bound.arguments.items() if name in model.model_fields}
            read = checked_values(model, given, as_option=False)
            bound.arguments.update({name: getattr(read, name) for name in given})
            return function(*bound.args, **bound.kwargs)

        return called  # type: ignore[return-value]

    return wrap


def expected_of(field: FieldInfo) -> str:
    """Return in words what the value of an option must be, such as ``a whole number, 1 to 4``."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra["expected"]:
        return str(extra["expected"])
    annotation, metadata = field.annotation, list(field.metadata)
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not types.NoneType)
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata += inner
    if get_origin(annotation) is Literal:
        *others, last = map(str, get_args(annotation))
        return f"{', '.join(others)} or {last}"
    if _PATH in metadata:
        return "a path"
    if _OPTIONAL_PATH in metadata:
        return "a path, or none"
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[annotation]  # type: ignore[index]
    bounds = {name: getattr(part, name) for part in metadata for name in _BOUNDS if hasattr(part, name)}
    if {"ge", "le"} <= bounds.keys():
        return f"{kind}, {bounds['ge']:.10g} to {bounds['le']:.10g}"
    return ", ".join([kind, " and ".join(f"{_BOUNDS[name]} {bound:g}" for name, bound in bounds.items())]).rstrip(", ")


_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
