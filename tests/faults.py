"""Faults planted into data sets on disk, as annotators, exports and copies make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Annotations = list[dict[str, Any]]
Change = Callable[[Annotations], Annotations]


def images_of(root: Path) -> list[Path]:
    return sorted((root / "train" / "DCM").rglob("*.png"))


def label_of(image: Path) -> Path:
    split = image.parents[2]
    return (split / "outputs_json" / image.relative_to(split / "DCM")).with_suffix(".json")


def plant(image: Path, change: Change) -> None:
    """Change the annotations of an image's label."""
    content = json.loads(label_of(image).read_text())
    content["annotations"] = change(content["annotations"])
    label_of(image).write_text(json.dumps(content))


def points_of(annotations: Annotations, bone: str) -> np.ndarray:
    """Points of a bone's largest polygon."""
    polygons = [np.array(a["points"], np.float64) for a in annotations if a["label"] == bone]
    return max(polygons, key=lambda p: float(np.ptp(p, axis=0).prod()))


def swap(*pairs: tuple[str, str]) -> Change:
    new = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    return lambda annotations: [{**a, "label": new.get(a["label"], a["label"])} for a in annotations]


def drop(bone: str) -> Change:
    return lambda annotations: [a for a in annotations if a["label"] != bone]


def rescale(factor: float) -> Change:
    return lambda annotations: [{**a, "points": (np.array(a["points"]) * factor).tolist()} for a in annotations]


def in_shares(bone: str) -> Change:
    """Give a bone's points in shares of an image of 256 pixels."""
    scale = rescale(1 / 256)
    return lambda annotations: [*drop(bone)(annotations), *scale([a for a in annotations if a["label"] == bone])]


def grow(bone: str, factor: float) -> Change:
    """Scale a bone's polygons about their own centre."""

    def change(annotations: Annotations) -> Annotations:
        centre = points_of(annotations, bone).mean(axis=0)
        return [
            {**a, "points": (centre + factor * (np.array(a["points"]) - centre)).tolist()} if a["label"] == bone else a
            for a in annotations
        ]

    return change


def move(bone: str, right: float, down: float) -> Change:
    return lambda annotations: [
        {**a, "points": (np.array(a["points"]) + np.array([right, down])).tolist()} if a["label"] == bone else a
        for a in annotations
    ]


def add(label: str, points: Callable[[Annotations], np.ndarray]) -> Change:
    return lambda annotations: [
        *annotations,
        {"id": "new", "type": "poly_seg", "attributes": {}, "label": label, "points": points(annotations).tolist()},
    ]
