"""Marked joints hit by a submission: a figure on radiographs that have no masks."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from handseg_monai.bones import INDEX, NAMES
from handseg_monai.data.reading.images import image_size
from handseg_monai.data.reading.submission_images import image_paths
from handseg_monai.files import atomic_open, nfc, require_file
from handseg_monai.plausibility.judge import Plausibility, plausibility
from handseg_monai.rle import by_image, decode_image, read_csv
from handseg_monai.words import counted

WITHIN = 12.0
"""Pixels within which both bones must come to the joint's point."""
COLUMNS = ("image", "joint", "x", "y", "distal_bone", "proximal_bone")
_HEADER = (
    *("image", "joint", "distal_bone", "proximal_bone", "hit"),
    *("distal_distance", "proximal_distance", "image_score", "reason"),
)


@dataclass(frozen=True)
class JointPoint:
    """A marked joint."""

    image: str
    joint: str
    """Names of the rows, of an image or of one of its two hands, and of the joint."""
    x: float
    y: float
    """Its centre in pixels of the image."""
    bones: tuple[int, int]
    """Indices of the distal and the proximal bone."""


@dataclass(frozen=True)
class JointResult:
    """What a submission does at one joint."""

    point: JointPoint
    """The joint."""
    distances: tuple[float | None, float | None]
    """Pixels from the point to the nearest pixel of the distal and of the proximal bone; None where that is missing."""
    reasons: tuple[str, ...]
    """Why the joint is missed; none where it is hit."""
    near: bool
    """Both bones come near enough, whatever the image's masks look like."""

    @property
    def hit(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons


@dataclass(frozen=True)
class Joints:
    """Joints of a set of images."""

    results: list[JointResult]
    """In the order of the points."""
    judgements: dict[str, Plausibility]
    """Plausibility of each image's masks."""

    @property
    def hits(self) -> int:
        """Joints hit."""
        return sum(result.hit for result in self.results)

    def write(self, path: str | Path) -> None:
        """Write a CSV with a row for each joint."""
        with atomic_open(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            for r in self.results:
                point, score = r.point, self.judgements[r.point.image].score
                bones = [NAMES[k] for k in point.bones]
                distances = ["" if d is None else f"{d:.1f}" for d in r.distances]
                row = (point.image, point.joint, *bones, int(r.hit), *distances, f"{score:.4f}", "; ".join(r.reasons))
                writer.writerow(row)


def read_points(path: str | Path) -> tuple[list[JointPoint], dict[str, tuple[int, int]]]:
    """Read marked joints.

    Parameters
    ----------
    path
        CSV with the columns ``image, joint, x, y, distal_bone, proximal_bone``, in any order, others among them.

    Returns
    -------
    points
        In the order of the file.
    sizes
        (height, width) of each image where the file has the columns ``height`` and ``width``, else empty.

    Raises
    ------
    ValueError
        A column is missing, a bone is unknown or both distal and proximal, a value is not a number, a joint comes
        twice, or there is no row. The message names the file and the line.
    """
    path = Path(path)
    require_file(path, "a CSV of marked joints")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 (byte {error.start}); save it as UTF-8") from error
    rows = csv.DictReader(io.StringIO(content, newline=""))
    header = [name.strip() for name in rows.fieldnames or ()]
    if lacks := [name for name in COLUMNS if name not in header]:
        raise ValueError(f"{path}: the header lacks {', '.join(lacks)}; expected {','.join(COLUMNS)}")
    rows.fieldnames = header
    points: list[JointPoint] = []
    sizes: dict[str, tuple[int, int]] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        if None in row or None in row.values():
            raise ValueError(f"{where}: expected {len(header)} fields, as the header has")
        point = _point(row, where)
        if (point.image, point.joint) in seen:
            raise ValueError(f"{where}: a second row of image {point.image!r} and joint {point.joint!r}")
        seen.add((point.image, point.joint))
        points.append(point)
        if {"height", "width"} <= row.keys():
            size = int(_number(row, "height", where)), int(_number(row, "width", where))
            if sizes.setdefault(point.image, size) != size or min(size) < 1:
                raise ValueError(
                    f"{where}: image {point.image!r} is {size[0]} x {size[1]}, not a size, or not that of earlier rows"
                )
    if not points:
        raise ValueError(f"{path}: no joints")
    return points, sizes


def _point(row: Mapping[str, str], where: str) -> JointPoint:
    for column in ("distal_bone", "proximal_bone"):
        if row[column] not in INDEX:
            raise ValueError(f"{where}: unknown {column} {row[column]!r}; expected one of {', '.join(NAMES)}")
    bones = INDEX[row["distal_bone"]], INDEX[row["proximal_bone"]]
    if bones[0] == bones[1]:
        raise ValueError(f"{where}: distal_bone and proximal_bone are both {row['distal_bone']}; expected two bones")
    return JointPoint(nfc(row["image"]), row["joint"], _number(row, "x", where), _number(row, "y", where), bones)


def _number(row: Mapping[str, str], column: str, where: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {column} {row[column]!r} is not a number")
    return value


def joints(
    prediction: str | Path,
    points_file: str | Path,
    images: str | Path | None = None,
    within: float = WITHIN,
    progress: bool = True,
) -> Joints:
    """Tell which marked joints a submission hits.

    A joint is hit when both of its bones were found, the nearest pixel of each lies within ``within`` pixels of the
    point, and the masks of the image are plausible (:func:`~handseg_monai.plausibility.judge.plausibility`): masks
    that cover everything hit nothing.

    Parameters
    ----------
    prediction
        Submission CSV. Images without marked joints are passed over.
    points_file
        CSV of the joints, see :func:`read_points`.
    images
        Folder of the images, which gives their sizes. May be None where ``points_file`` has the columns ``height`` and
        ``width``.
    within
        Distance in pixels of the image.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        A file breaks its contract, the submission or the folder lacks an image of the points, no size is given, or
        one that is not the image's, or a point lies outside its image.
    OSError
        A file can't be read.
    """
    if not within > 0:
        raise ValueError(f"within: expected a distance above 0, got {within}")
    points, sizes = read_points(points_file)
    texts = read_csv(prediction)
    names = list(dict.fromkeys(point.image for point in points))
    lacks = [name for name in names if name not in texts]
    rows = by_image(texts)
    if both := next((name for name in lacks if name in rows), None):
        raise ValueError(
            f"{prediction}: {both} has rows of two hands; name one in the column image of {points_file}: "
            f"{' or '.join(rows[both].values())}"
        )
    if lacks:
        shown = ", ".join(lacks[:3]) + (", …" if len(lacks) > 3 else "")
        raise ValueError(f"{prediction}: lacks {len(lacks)} of the images of {points_file} ({shown})")
    if images is not None:
        stated, sizes = sizes, {name: image_size(path) for name, path in image_paths(names, images).items()}
        for name, size in stated.items():
            if size != sizes[name]:
                raise ValueError(
                    f"{points_file}: height and width of image {name} are {size[0]} x {size[1]}; the image in "
                    f"{images} is {sizes[name][0]} x {sizes[name][1]}"
                )
    elif not sizes:
        raise ValueError(
            f"{points_file}: a submission holds no image size; give the folder of the images (--images), or the "
            "columns height and width"
        )
    found: dict[JointPoint, JointResult] = {}
    judgements = {}
    for name in tqdm(names, desc="joints", unit="image", disable=None if progress else True):
        here = [point for point in points if point.image == name]
        height, width = sizes[name]
        for point in here:
            if not (0 <= point.x <= width and 0 <= point.y <= height):
                raise ValueError(
                    f"{points_file}: joint {point.joint} at ({point.x:g}, {point.y:g}) lies outside image {name}, "
                    f"{height} x {width}"
                )
        planes = decode_image(prediction, name, texts[name], sizes[name])
        judgements[name] = plausibility(planes)
        found.update((point, _judge(point, planes, judgements[name], within)) for point in here)
    return Joints([found[point] for point in points], judgements)


def _judge(point: JointPoint, planes: np.ndarray, judgement: Plausibility, within: float) -> JointResult:
    distances = _distance(planes, point, point.bones[0]), _distance(planes, point, point.bones[1])
    reasons = []
    for bone, distance in zip(point.bones, distances, strict=True):
        if distance is None:
            reasons.append(f"{NAMES[bone]} was not found")
        elif distance > within:
            reasons.append(f"{NAMES[bone]} is {distance:.1f} px away")
    near = not reasons
    if not judgement.plausible:
        reasons.append(f"image implausible (score {judgement.score:.2f}): {_why(judgement)}")
    return JointResult(point, distances, tuple(reasons), near)


def _why(judgement: Plausibility) -> str:
    first, *others = judgement.findings  # a score below 1 has at least one
    return f"{first}, and {len(others)} more" if others else str(first)


def _distance(planes: np.ndarray, point: JointPoint, bone: int) -> float | None:
    y, x = np.nonzero(planes & np.int32(1 << bone))
    return float(np.hypot(x - point.x, y - point.y).min()) if y.size else None


def print_joints(result: Joints) -> None:
    """Print the joints hit by image, those missed with the reason, and the sum."""
    console = Console()
    by_image = Table()
    by_image.add_column("image", overflow="fold")
    for heading in ("hits", "joints", "score"):
        by_image.add_column(heading, justify="right")
    by_image.add_column("plausible")
    for name, judgement in result.judgements.items():
        here = [r for r in result.results if r.point.image == name]
        by_image.add_row(
            escape(name),
            str(sum(r.hit for r in here)),
            str(len(here)),
            f"{judgement.score:.3f}",
            "yes" if judgement.plausible else f"no: {_why(judgement)}",
        )
    console.print(by_image)
    if missed := [r for r in result.results if not r.hit]:
        table = Table("image", "joint", "missed because", title=f"{len(missed)} missed", title_justify="left")
        for r in missed:
            told_above = not result.judgements[r.point.image].plausible
            reasons = (*r.reasons[:-1], "image implausible") if told_above else r.reasons
            table.add_row(escape(r.point.image), escape(r.point.joint), "; ".join(reasons))
        console.print(table)
    if near := sum(r.near and not r.hit for r in result.results):
        print(f"{counted(near, 'missed joint')} near enough, but on images with implausible masks")
    print(f"{result.hits} / {len(result.results)} joints hit")
