"""How the C library treats memory that was freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of these parameters in malloc.h of the GNU C library."""
_KEPT = 1 << 30
"""Bytes at the heap's end that stay free without being given back."""


def keep_memory() -> None:
    """Have the C library keep memory that is freed, up to 1 GiB, for what this process asks for next.

    Of its own it maps blocks of some megabytes, such as logits, one by one, and gives them back at once; the system
    clears them page by page when they come again. That is up to an eighth of inference's processor time, and half of
    that of training (``tests/benchmarks/memory.py``). Other libraries than GNU's, and those that take the place of its
    ``malloc``, are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _KEPT)
