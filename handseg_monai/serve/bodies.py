"""What a request may hold: bodies of limited size that don't dawdle, and JSON of the forms that are expected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from handseg_monai.bones import NUM_BONES
from handseg_monai.serve.strokes import FARTHEST

MOST_JSON = 1 << 20
_MOST_POINTS = 10_000
_STALL = 20.0
"""Seconds that a body may pause."""
_LEAST_RATE = 2000.0
"""Bytes a second that a body must come with, after a first grace."""
_GRACE = 30.0
_AT_ONCE = 1 << 20
"""Bytes of a file that are written together."""
_SHOWN = 60
"""Characters that an error repeats of what came."""
_EXPECTED = {
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing_size"), "a whole number"),
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "literal_error": "{expected}",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "too_short": "{min_length} or more",
    "too_long": "{max_length} or fewer",
    "model_type": "a JSON object",
}
"""What is expected in place of a fault of a kind of pydantic's."""
_DRAINED, _DRAINING = 64 << 20, 5.0
"""Bytes and seconds for which a body that is too large is read on, so that its sender hears the answer."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Revised(_Form):
    """A change, and the revision that it is based on."""

    revision: Annotated[int, Field(ge=0, lt=1 << 31)]


class OfBone(Revised):
    """A change of a bone."""

    bone: Annotated[int, Field(ge=0, lt=NUM_BONES)]


class Unknown(OfBone):
    """Whether a bone is unknown."""

    on: bool


class Done(Revised):
    """Whether an image is done."""

    on: bool


_Number = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]


class Edit(OfBone):
    """A stroke on a bone: a line or a polygon, (x, y) in pixels of the image."""

    tool: Literal["brush", "erase", "add", "cut"]
    points: Annotated[list[tuple[_Number, _Number]], Field(min_length=1, max_length=_MOST_POINTS)]
    radius: Annotated[float, Field(ge=0, le=2000)] = 0.0


class Epochs(_Form):
    """How long to fine-tune."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 20


class Nothing(_Form):
    """No more than the request itself."""


class Take(_Form):
    """Whether weights are wanted that could not be compared with those from before."""

    uncompared: bool = False


T = TypeVar("T", bound=BaseModel)


async def form(request: Request, kind: type[T]) -> T:
    """Read the JSON of a request.

    Raises
    ------
    HTTPException
        It is too large (413), comes too slowly (408), is not called JSON (415), or is not of this form (400).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "expected JSON; send Content-Type: application/json")
    content = b"".join([part async for part in _parts(request, MOST_JSON)])
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise HTTPException(400, _in_words(error.errors(include_url=False)[0])) from None


def _in_words(fault: ErrorDetails) -> str:
    """What came and what is expected, of one fault in a body."""
    kind, place, bounds = fault["type"], ".".join(map(str, fault["loc"])), fault.get("ctx", {})
    if kind == "json_invalid":
        return f"the body is no JSON: {bounds['error']}"
    if kind == "missing":
        return f"{place} is missing"
    came = json.dumps(fault["input"], ensure_ascii=False)
    came = came if len(came) <= _SHOWN else f"{came[:_SHOWN]} …"
    if kind == "extra_forbidden":
        return f"{place} {came}: there is no such field"
    expected = _EXPECTED.get(kind, fault["msg"]).format(**bounds)
    return f"{place} {came}: expected {expected}".lstrip()


async def save(request: Request, path: Path, most: int) -> None:
    """Write the body of a request to a file, piece by piece.

    Raises
    ------
    HTTPException
        It is empty (400), too large (413), comes too slowly (408), or the disk is full (507).
    """
    size = 0
    try:
        with path.open("wb") as file:
            waiting = bytearray()
            async for part in _parts(request, most):
                size += len(part)
                waiting += part
                if len(waiting) >= _AT_ONCE:
                    await run_in_threadpool(file.write, bytes(waiting))
                    waiting.clear()
            await run_in_threadpool(file.write, bytes(waiting))
    except OSError as error:
        raise HTTPException(507, f"the file could not be kept: {error.strerror}") from error
    if not size:
        raise HTTPException(400, "the file is empty")


async def _parts(request: Request, most: int) -> AsyncIterator[bytes]:
    """Parts of a body as they come."""
    if (length := request.headers.get("content-length", "0")).isdecimal() and int(length) > most:
        await _drain(request)
        raise HTTPException(413, f"{int(length)} bytes; {most} are the most")
    begin, size = asyncio.get_running_loop().time(), 0
    stream = request.stream()
    while True:
        try:
            part = await asyncio.wait_for(anext(stream, None), _STALL)
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {_STALL:g} seconds") from None
        except ClientDisconnect:
            raise HTTPException(400, "the request broke off") from None
        if part is None:
            return
        size += len(part)
        if size > most:
            await _drain(request)
            raise HTTPException(413, f"more than {most} bytes")
        seconds = asyncio.get_running_loop().time() - begin
        if seconds > _GRACE and size < _LEAST_RATE * (seconds - _GRACE):
            raise HTTPException(408, f"{size} bytes in {seconds:.0f} seconds; too slow")
        yield part


async def _drain(request: Request) -> None:
    size = 0
    try:
        async with asyncio.timeout(_DRAINING):
            while size < _DRAINED:
                message = await request.receive()
                size += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
