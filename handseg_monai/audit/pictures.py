"""Pictures of what an audit found: the radiograph beside its label, with the bones concerned filled and named."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from handseg_monai.audit.findings import AuditFinding
from handseg_monai.audit.sources import Radiograph, read_label
from handseg_monai.bitplanes import reduce
from handseg_monai.bones import INDEX, NAMES
from handseg_monai.data.items import LabelError
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from handseg_monai.drawing import fit, grey8, overlay, sheet

_SIDE = 480
_LINE = 18
_LINES = 3
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_GAP = 4
_COLUMNS = 2
_ZOOM, _LEAST_VIEW = 1.5, 0.4


def audit_sheet(radiographs: Sequence[Radiograph], findings: Sequence[AuditFinding], panels: int = 12) -> np.ndarray:
    """Draw the worst images, at most ``panels``, one panel each, two in a row.

    A panel says the image's path and what is wrong, and shows the plain radiograph on the left and its label on the
    right: bones that a finding names are filled and named, of the others there is the outline. Of a duplicate the
    right side is the other image. The right side shows the bones concerned and what is around them.

    Parameters
    ----------
    radiographs
        Those that were audited.
    findings
        In the order of their weight; kinds of faults take turns, so that none crowds out the others.

    Returns
    -------
    picture
        uint8 (H, W, 3); a black pixel where there is nothing to draw.
    """
    by_name = {radiograph.name: radiograph for radiograph in radiographs}
    of_image: dict[str, list[AuditFinding]] = {}
    for finding in findings:
        if finding.image in by_name:
            of_image.setdefault(finding.image, []).append(finding)
    drawn = [_panel(by_name[image], of_image[image], by_name) for image in _in_turns(of_image)[:panels]]
    return sheet(drawn, min(_COLUMNS, len(drawn)), gap=12) if drawn else np.zeros((1, 1, 3), np.uint8)


def _in_turns(of_image: dict[str, list[AuditFinding]]) -> list[str]:
    queues: dict[str, list[str]] = {}
    for image, findings in of_image.items():
        queues.setdefault(findings[0].fault, []).append(image)
    return [image for turn in itertools.zip_longest(*queues.values()) for image in turn if image]


def _panel(radiograph: Radiograph, findings: Sequence[AuditFinding], by_name: dict[str, Radiograph]) -> np.ndarray:
    other = next((f.other for f in findings if f.other), "")
    left = _plain(radiograph)
    if other in by_name and len(findings) == 1:
        right = _plain(by_name[other])
    else:
        bones = {bone for finding in findings for bone in finding.bones}
        right = _labelled(radiograph, bones)
    row = sheet([left, right], 2, gap=_GAP)
    bar = np.zeros((_LINE * (_LINES + 1) + 4, row.shape[1], 3), np.uint8)
    texts = [f"{'' if f.exclude else 'note: '}{f.text}" for f in findings]
    if len(texts) > _LINES:
        texts = [*texts[: _LINES - 1], f"and {len(texts) - _LINES + 1} more"]
    lines = [(radiograph.name, (255, 255, 255)), *((text, (255, 190, 80)) for text in texts)]
    for number, (text, colour) in enumerate(lines):
        place = (6, _LINE * (number + 1) - 2)
        cv2.putText(bar, _shortened(text, row.shape[1] - 12), place, _FONT, _SCALE, colour, 1, cv2.LINE_AA)
    return np.concatenate([bar, row])


def _shortened(text: str, width: int) -> str:
    text = text.encode("ascii", "replace").decode()
    while len(text) > 4 and cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] > width:
        text = f"{text.removesuffix('...')[:-1]}..."
    return text


def _square(picture: np.ndarray) -> np.ndarray:
    return sheet([picture, np.zeros((_SIDE, _SIDE, 3), np.uint8)], 2, gap=0)[:, :_SIDE]


def _plain(radiograph: Radiograph) -> np.ndarray:
    try:
        image = read_radiograph(radiograph.path)
    except UnreadableImageError:
        return np.zeros((_SIDE, _SIDE, 3), np.uint8)
    small, _ = fit(*_enlarged(grey8(image), np.zeros(image.shape, np.int32)), _SIDE)
    return _square(np.repeat(small[..., None], 3, axis=2))


def _labelled(radiograph: Radiograph, bones: Iterable[str]) -> np.ndarray:
    try:
        image = read_radiograph(radiograph.path)
        label = read_label(radiograph, (image.shape[0], image.shape[1]))
    except (UnreadableImageError, LabelError):
        return _plain(radiograph)
    if label is None:
        return _plain(radiograph)
    view = _around(label.planes, bones)
    small, planes = fit(*_enlarged(grey8(image)[view], label.planes[view]), _SIDE)
    picture = overlay(small, planes, fill=0)
    named = planes & np.int32(sum(1 << INDEX[bone] for bone in bones))
    filled = overlay(small, named, fill=0.6)
    picture[named != 0] = filled[named != 0]
    for bone in sorted(bones, key=NAMES.index):
        y, x = np.nonzero(named & np.int32(1 << INDEX[bone]))
        if x.size:
            _write(picture, bone, int(x.mean()), int(y.mean()))
    return _square(picture)


def _around(planes: np.ndarray, bones: Iterable[str]) -> tuple[slice, slice]:
    """Square view of the bones concerned and what is around them; the whole image where there are none."""
    y, x = np.nonzero(planes & np.int32(sum(1 << INDEX[bone] for bone in bones)))
    if not x.size:
        return slice(None), slice(None)
    side = max(_ZOOM * max(np.ptp(y), np.ptp(x)), _LEAST_VIEW * max(planes.shape))
    top, left = (
        int(np.clip((c.min() + c.max() - side) / 2, 0, max(0, n - side)))
        for c, n in zip((y, x), planes.shape, strict=True)
    )
    return slice(top, top + int(side)), slice(left, left + int(side))


def _enlarged(radiograph: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring a view that is smaller than the panel to its size."""
    factor = _SIDE / max(planes.shape)
    if factor <= 1:
        return radiograph, planes
    size = round(planes.shape[1] * factor), round(planes.shape[0] * factor)
    return cv2.resize(radiograph, size, interpolation=cv2.INTER_CUBIC), reduce(planes, size[::-1])


def _write(picture: np.ndarray, text: str, x: int, y: int) -> None:
    (width, height), _ = cv2.getTextSize(text, _FONT, _SCALE, 1)
    place = (
        int(np.clip(x - width // 2, 0, max(0, picture.shape[1] - width))),
        int(np.clip(y + height // 2, height, picture.shape[0] - 1)),
    )
    cv2.putText(picture, text, place, _FONT, _SCALE, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, place, _FONT, _SCALE, (255, 255, 255), 1, cv2.LINE_AA)
