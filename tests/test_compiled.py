"""Compiled loops: equal to their Python, loaded without Numba from the second process on, whatever lies on disk."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handseg_monai.rle import loops

LOOP = """
from handseg_monai.compiled import compiled

FACTOR = 3


@compiled("int64", "int32*", "int64", "float64")
def scaled_sum(values, count, by):
    total = 0.0
    for k in range(count):
        total += FACTOR * by * values[k]
        values[k] = 0
    return int(total)
"""
RUN = """
import sys
import numpy as np
from tool import scaled_sum
values = np.arange(5, dtype=np.int32)
print(scaled_sum(values, 5, 0.5), values.any(), "numba" in sys.modules)
"""


def run(folder: Path, home: Path | None = None) -> list[str]:
    """Run the loop in a process of its own, and return its result, what it left, and whether Numba was loaded."""
    environment = os.environ | {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(home or folder / "home")}
    command = [sys.executable, "-c", RUN]
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout.split()


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    (tmp_path / "tool.py").write_text(LOOP)
    return tmp_path


def code_of(folder: Path) -> Path:
    (path,) = folder.rglob("tool.scaled_sum.*.o")
    return path


def test_only_the_first_process_loads_numba(tool: Path) -> None:
    assert run(tool) == ["15", "False", "True"]
    assert run(tool) == ["15", "False", "False"]


def test_changed_source_is_compiled_anew(tool: Path) -> None:
    run(tool)
    (tool / "tool.py").write_text(LOOP.replace("FACTOR = 3", "FACTOR = 4"))
    assert run(tool) == ["20", "False", "True"]
    assert run(tool) == ["20", "False", "False"]


@pytest.mark.parametrize("damage", [b"", b"x" * 20, b"x" * 4000])
def test_damaged_code_is_compiled_anew(tool: Path, damage: bytes) -> None:
    run(tool)
    code = code_of(tool)
    whole = code.read_bytes()
    code.write_bytes(whole[: len(whole) - len(damage)] + damage if damage else damage)
    assert run(tool) == ["15", "False", "True"]
    assert code.read_bytes() == whole


def test_code_lies_at_home_where_the_package_takes_no_files(tool: Path) -> None:
    (tool / "__pycache__").write_text("a file where the folder would be")
    assert run(tool) == ["15", "False", "True"]
    assert code_of(tool / "home").parent == tool / "home" / "handseg-monai"
    assert run(tool) == ["15", "False", "False"]


def test_a_loop_runs_where_nothing_can_be_written(tool: Path) -> None:
    for name in ("__pycache__", "home"):
        (tool / name).write_text("a file where the folder would be")
    assert run(tool) == run(tool) == ["15", "False", "True"]


def test_arrays_of_another_type_or_order_raise() -> None:
    edges_first, edges, end = np.array([0, 2]), np.array([3, 5]), np.empty(1, np.int64)
    text = np.empty(40, np.uint8)
    assert loops.write_runs(edges_first, edges, 1, end, text) == 3
    for wrong in (edges.astype(np.int32), np.array([3, 9, 5, 9])[::2]):
        with pytest.raises(ctypes.ArgumentError):
            loops.write_runs(edges_first, wrong, 1, end, text)
