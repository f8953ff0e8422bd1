"""Reading a label file in JSON, with errors that name it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handseg_monai.data.items import LabelError


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file; raise :class:`LabelError` where it can't be read or is none."""
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not JSON (byte {error.start} is not UTF-8)") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not JSON ({error})") from error


def kind_of(value: object) -> str:
    """Return what a value of a JSON file is, in the format's words."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
