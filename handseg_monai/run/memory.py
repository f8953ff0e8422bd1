"""How the C library treats memory that was freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of these parameters in malloc.h of the GNU C library."""
_LARGEST, _KEPT = 32 << 20, 1 << 30
"""Bytes of the largest block that is kept (more is not possible), and of all that is kept."""


def keep_memory() -> None:
    """Have the C library keep memory that is freed, up to 1 GiB, for what this process asks for next.

    Of its own it gives blocks of some megabytes, such as logits, back to the system at once, which clears them page by
    page when they come again: an eighth of the processor time of inference. Other libraries than GNU's, and those that
    take the place of its ``malloc``, are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
