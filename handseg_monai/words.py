"""Counting things in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1: ``1 image``, ``2 images``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
