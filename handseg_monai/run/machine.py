"""The machine that something was measured on."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """Name of the processor. Python knows none on Linux; the kernel does."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
