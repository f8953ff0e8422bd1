"""What objects are added to: a view's attenuation, and pieces of it with coordinates of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from handseg_monai.phantom.acquisition.landmarks import Landmark, Vector
from handseg_monai.phantom.resample import Floats


@dataclass(frozen=True)
class Scene:
    """A view to which objects in the beam are added."""

    signal: Floats
    """(H, W) float32 attenuation; objects are added in place."""
    soft: Floats
    """(H, W) attenuation of the soft tissue alone."""
    spacing: float
    """Millimetres per pixel."""
    marks: dict[int, Landmark]
    """Where the bones lie, by index."""

    def mark_of_one(self, rng: np.random.Generator, bones: Iterable[int]) -> Landmark | None:
        """Draw one of some bones; None where none of them is in view."""
        seen = [bone for bone in bones if bone in self.marks]
        return self.marks[int(rng.choice(seen))] if seen else None

    def patch(self, centre: Vector, axis: Vector, half_along: float, half_across: float) -> Patch | None:
        """Return the patch around a rectangle, or None where it lies outside of the image.

        Parameters
        ----------
        centre
            (x, y), pixels.
        axis
            Unit vector (x, y).
        half_along, half_across
            Half of the rectangle's sides, millimetres.
        """
        reach = (np.abs(axis) * half_along + np.abs(axis[::-1]) * half_across) / self.spacing + 2.0
        low = np.maximum(np.floor(centre - reach).astype(int), 0)
        high = np.minimum(np.ceil(centre + reach).astype(int) + 1, self.signal.shape[::-1])
        if (high - low < 1).any():
            return None
        x = ((np.arange(low[0], high[0]) - centre[0]) * self.spacing).astype(np.float32)[None, :]
        y = ((np.arange(low[1], high[1]) - centre[1]) * self.spacing).astype(np.float32)[:, None]
        a, b = np.float32(axis[0]), np.float32(axis[1])
        return Patch(self.signal[low[1] : high[1], low[0] : high[0]], x * a + y * b, y * a - x * b, self.spacing)


@dataclass(frozen=True)
class Patch:
    """A piece of an image around an object."""

    image: Floats
    """(h, w) float32, a view into the image: what is added to it shows there."""
    along: Floats
    across: Floats
    """(h, w) float32 coordinates along the object's axis and 90 degrees clockwise from it in the image, millimetres
    from its centre."""
    spacing: float
    """Millimetres per pixel."""

    def inside(self, distance: Floats) -> Floats:
        """Return the share (0 to 1) of a pixel within an outline; `distance` is positive inside, millimetres."""
        return np.clip(distance / np.float32(self.spacing) + np.float32(0.5), 0, 1)

    def box(self, half_along: float, half_across: float) -> Floats:
        """Return the share of a pixel within a rectangle around the centre, half sides in millimetres."""
        return self.inside(
            np.minimum(np.float32(half_along) - np.abs(self.along), np.float32(half_across) - np.abs(self.across))
        )

    def disc(self, along: float, across: float, radius: float) -> Floats:
        """Return the share of a pixel within a circle, millimetres."""
        return self.inside(
            np.float32(radius) - np.hypot(self.along - np.float32(along), self.across - np.float32(across))
        )
