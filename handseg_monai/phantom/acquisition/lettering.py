"""Words on a canvas of their own, and canvases laid into a picture."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.phantom.resample import Floats

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_PLAIN,
)


def words(text: str, height: float, font: int, *, heavy: float = 0.12) -> Floats:
    """Return a canvas (h, w), 0 to 1, with a line of text in capitals of a height in pixels."""
    high = max(height, 5.0)
    weight = max(1, round(heavy * high))
    scale = cv2.getFontScaleFromHeight(font, max(round(high), 2), weight)
    (w, h), base = cv2.getTextSize(text, font, scale, weight)
    canvas = np.zeros((h + base + 2 * weight + 2, w + 2 * weight + 2), np.uint8)
    cv2.putText(canvas, text, (weight + 1, h + weight), font, scale, 255, weight, cv2.LINE_AA)
    return canvas.astype(np.float32) / np.float32(255)


def turned(canvas: Floats, angle: float, *, mirrored: bool = False) -> Floats:
    """Return a canvas turned by degrees, on one that holds it whole."""
    if mirrored:
        canvas = canvas[:, ::-1]
    height, width = canvas.shape
    cosine, sine = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    w, h = int(np.ceil(width * cosine + height * sine)), int(np.ceil(width * sine + height * cosine))
    matrix = cv2.getRotationMatrix2D((0.5 * (width - 1), 0.5 * (height - 1)), angle, 1.0)
    matrix[:, 2] += 0.5 * (w - width), 0.5 * (h - height)
    return np.asarray(cv2.warpAffine(np.ascontiguousarray(canvas), matrix, (w, h)), np.float32)


def lay(image: Floats, canvas: Floats, x: int, y: int, grey: float) -> None:
    """Lay a canvas of opacities with its upper left corner at (x, y) into a picture, in place; cut by the edges."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + canvas.shape[1], image.shape[1]), min(y + canvas.shape[0], image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    piece = image[y0:y1, x0:x1]
    piece += canvas[y0 - y : y1 - y, x0 - x : x1 - x] * (np.float32(grey) - piece)
