"""Options as tables show them: ``handseg options`` and the pages of the documentation."""

from __future__ import annotations

import difflib
import json
from typing import NamedTuple

from pydantic.fields import FieldInfo

from handseg_monai import bundle_root
from handseg_monai.options.bundle import Options
from handseg_monai.options.declare import expected_of
from handseg_monai.options.views import PARTS


class Row(NamedTuple):
    """An option as tables show it."""

    name: str
    default: str
    expected: str
    text: str


def table(configuration: str) -> list[Row]:
    """Return the options that a configuration of the bundle holds, such as ``train`` or ``schedule_cosine``.

    Raises
    ------
    ValueError
        No such configuration; the message names the closest one.
    """
    folder = bundle_root() / "configs"
    stem = configuration.removesuffix(".json")
    path = folder / f"{stem}.json"
    if not path.is_file() or stem == "metadata":
        names = sorted(path.stem for path in folder.glob("*.json") if path.stem != "metadata")
        close = difflib.get_close_matches(stem, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the bundle has {', '.join(names)}"
        raise ValueError(f"no configuration {configuration}: {hint}")
    held = json.loads(path.read_text(encoding="utf-8"))
    refused = {name for key in ("refused", "+refused") for names in held.get(key, {}).values() for name in names}
    declared = {name: field for name, field in Options.model_fields.items() if name in held and name not in refused}
    rows = [_row(stem, name, field, held[name]) for name, field in declared.items()]
    for part, model in PARTS.items():
        for name, field in model.model_fields.items():
            if part in held and name in held[part]:
                rows.append(_row(stem, f"{part}#{name}", field, held[part][name]))
    return rows


def _row(configuration: str, name: str, field: FieldInfo, value: object) -> Row:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    derived = extra["derived"]
    if isinstance(derived, dict):
        derived = derived.get(configuration, derived.get(""))
    if str(value).startswith(("$", "@", "['@")):
        return Row(name, str(derived), expected_of(field), str(field.description))
    plain = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return Row(name, f"`{plain}`", expected_of(field), str(field.description))
