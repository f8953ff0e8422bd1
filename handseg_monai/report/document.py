"""The page of a report: template, style, scripts and data in one HTML file that loads nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import IO

_MODULES = (
    "elements.js",
    "strings.js",
    "report_strings.js",
    "settings.js",
    "measures.js",
    "data.js",
    "drawing.js",
    "bones.js",
    "stage.js",
    "cards.js",
    "findings.js",
    "charts.js",
    "viewer.js",
    "gallery.js",
    "report.js",
)
"""In the order in which they need one another: together they are one script."""
_TEXT = r"""("(?:\\.|[^"\\\n])*"|(?<=[\[(])/(?![/*])(?:\\.|[^/\\\n])+/|.*`.*)"""
"""A text, a pattern, or a line with a template, in which every space counts."""
_COMMENT = re.compile(rf"^\s*//.*|{_TEXT}|//.*|/\*[\s\S]*?\*/", re.MULTILINE)
_JOINTS = re.compile(r"^import [^;]*;\n|^export ", re.MULTILINE)
"""What joins modules that are files of their own."""


class Document:
    """Writes the page: first the images, one after another, then what all of them need.

    Every text of others goes into the page as data, never as markup: JSON in which no ``<`` is left. The page's policy
    forbids every script and style but its own, and every request.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._count = 0
        modules = "".join(_JOINTS.sub("", _read(name)) for name in _MODULES)
        self._script = _compact(f'"use strict";\n{modules}', r"[{}()\[\],;:=>&|!]")
        style = _compact(_read("page.css"), r"[{},;]")
        policy = (
            f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(self._script)}'; "
            "base-uri 'none'; form-action 'none'"
        )
        head, self._tail = (
            _read("page.html").replace("{{policy}}", policy).replace("{{style}}", style).split("{{data}}")
        )
        file.write(head)

    def add(self, image: object) -> None:
        """Write the data of one image that the page needs only when somebody opens the image."""
        self._write_data(f"image-{self._count}", image)
        self._count += 1

    def finish(self, summary: object) -> None:
        """Write what is needed at once, and the rest of the page."""
        self._write_data("summary", summary)
        self._file.write(self._tail.replace("{{script}}", self._script))

    def _write_data(self, name: str, content: object) -> None:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        self._file.write(f'<script type="application/json" id="{name}">{text}</script>\n')


def _compact(code: str, joint: str) -> str:
    """Leave out comments, and spaces and ends of lines beside a joint; the code ends each statement itself."""
    parts = re.split(_TEXT, _COMMENT.sub(lambda found: found[1] or "", code))
    for n in range(0, len(parts), 2):
        parts[n] = re.sub(rf"\s*({joint})\s*", r"\1", re.sub(r"\s+", " ", parts[n]))
    return "".join(parts)


def _read(name: str) -> str:
    return (files("handseg_monai.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
