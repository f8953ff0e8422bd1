"""Texts that machines print into a picture, and what readers draw on it."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.phantom.acquisition.lettering import FONTS, lay, turned, words
from handseg_monai.phantom.acquisition.ranges import OverlayRanges
from handseg_monai.phantom.resample import Floats

_WORDS = (
    *("HAND PA", "HAND AP", "WRIST PA", "L HAND", "R HAND", "ST. MARY HOSPITAL", "CITY CLINIC", "RADIOLOGY"),
    *("PORTABLE", "Anonymous", "BEDSIDE", "kVp 52 mAs 3.2", "Dr. Kim", "CR 12", "DX"),
    *("W 4096 L 2048", "Zoom 48%", "PID", "F 043Y"),
)


def print_texts(rng: np.random.Generator, ranges: OverlayRanges, image: Floats) -> None:
    """Print one to five lines of text near the edges of a picture (0 to 1), in place."""
    if rng.random() >= ranges.text_share:
        return
    side = min(image.shape)
    grey = float(rng.choice((1.0, 1.0, 0.85, 0.0)))
    font = int(rng.choice(FONTS))
    for _ in range(int(rng.integers(1, 6))):
        canvas = words(_text(rng), side * float(rng.uniform(0.012, 0.04)), font, heavy=float(rng.uniform(0.06, 0.16)))
        if rng.random() < 0.15:
            canvas = turned(canvas, 90.0 * int(rng.integers(1, 4)))
        free = np.maximum(np.array(image.shape) - canvas.shape, 1)
        y, x = rng.random(2) * free
        if rng.random() < 0.5:
            y = (0.0, float(free[0]))[int(rng.integers(0, 2))]
        else:
            x = (0.0, float(free[1]))[int(rng.integers(0, 2))]
        if rng.random() < 0.2:
            lay(image, np.full_like(canvas, rng.uniform(0.4, 1.0)), int(x), int(y), 1.0 - grey)
        lay(image, canvas, int(x), int(y), grey)


def _text(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.45:
        return str(rng.choice(_WORDS))
    if kind < 0.7:
        year, month, day, hour, minute = rng.integers((1995, 1, 1, 0, 0), (2025, 13, 29, 24, 60))
        date = f"{year}-{month:02d}-{day:02d}" if rng.random() < 0.5 else f"{day:02d}.{month:02d}.{year}"
        return date + (f" {hour:02d}:{minute:02d}" if rng.random() < 0.5 else "")
    if kind < 0.85:
        return str(rng.integers(10, 10**8))
    return "".join(chr(65 + int(k)) for k in rng.integers(0, 26, int(rng.integers(2, 12))))


def annotate(rng: np.random.Generator, ranges: OverlayRanges, image: Floats) -> None:
    """Draw an arrow, a circle, a measured line or a ruler on a picture (0 to 1), in place."""
    if rng.random() >= ranges.annotation_share:
        return
    height, width = image.shape
    size = np.array([width, height])
    thick = max(1, round(max(image.shape) * float(rng.uniform(0.0015, 0.005))))
    layer = np.zeros(image.shape, np.uint8)
    kind = rng.random()
    start = (rng.uniform(0.1, 0.9, 2) * size).astype(int)
    angle, reach = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.05, 0.25)) * min(image.shape)
    end = (start + reach * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    if kind < 0.4:
        cv2.arrowedLine(layer, start.tolist(), end.tolist(), 255, thick, cv2.LINE_AA, tipLength=0.3)
    elif kind < 0.6:
        axes = (max(3, int(0.5 * reach)), max(3, int(rng.uniform(0.2, 0.5) * reach)))
        cv2.ellipse(layer, start.tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 255, thick, cv2.LINE_AA)
    elif kind < 0.8:
        cv2.line(layer, start.tolist(), end.tolist(), 255, thick, cv2.LINE_AA)
        number = words(f"{rng.uniform(1, 90):.1f} mm", 0.03 * min(image.shape), FONTS[0])
        lay(image, number, int(end[0]), int(end[1]), 1.0)
    else:
        x = int(rng.choice((0.03, 0.97)) * width)
        low, high = int(0.2 * height), int(0.8 * height)
        cv2.line(layer, (x, low), (x, high), 255, thick)
        for k, y in enumerate(np.linspace(low, high, 11).astype(int).tolist()):
            cv2.line(layer, (x, y), (x + (1 if x < width / 2 else -1) * (8 if k % 5 else 16) * thick, y), 255, thick)
    lay(image, layer.astype(np.float32) / np.float32(255), 0, 0, float(rng.choice((1.0, 0.9, 0.0))))
