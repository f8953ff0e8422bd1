"""Loops that Numba compiles on their first run; from then on LLVM alone loads them from disk.

Numba starts in 0.4 s, LLVM in 0.04 s: commands that answer at once never wait for Numba.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from handseg_monai.files import atomic_path

if TYPE_CHECKING:
    import llvmlite.binding as llvm
    import numba

_SYMBOL = "loop"
_LOADING = Lock()
"""Threads that come at once load, or even compile, a loop once."""


class Loop:
    """Function that runs as machine code, and lets other threads run meanwhile.

    Attributes
    ----------
    function
        The same in Python.
    """

    def __init__(self, function: Callable[..., int | None], result: str, arguments: tuple[str, ...]) -> None:
        self.function = function
        self._result, self._arguments = result, arguments
        self._native: Callable[..., int] | None = None

    def __call__(self, *arguments: np.ndarray | float) -> int:
        """Run it. Raises ``ctypes.ArgumentError`` for an array of another type, or not in C order."""
        if self._native is None:
            with _LOADING:
                self._native = self._native or self._load()
        return self._native(*arguments)

    def _load(self) -> Callable[..., int]:
        import llvmlite
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        machine = llvm.Target.from_default_triple().create_target_machine(cpu, features, opt=3, jit=True)
        source = Path(self.function.__code__.co_filename)
        name = f"{source.stem}.{self.function.__name__}.{cpu}.o"
        made_by = (llvmlite.__version__, machine.triple, cpu, features, self._result, self._arguments)
        key = repr(made_by).encode() + source.read_bytes()
        own = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        places = [source.with_name("__pycache__") / name, Path(own, "handseg-monai", name)]
        code = next(filter(None, (_read(place, key) for place in places)), None)
        if code is None:
            code = self._compile(machine)
            for place in places:
                with suppress(OSError):
                    with atomic_path(place) as part:
                        part.write_bytes(_seal(key, code) + code)
                    break
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        types = [_ctype(name) for name in (self._result, *self._arguments)]
        native = ctypes.CFUNCTYPE(*types)(engine.get_function_address(_SYMBOL))
        native.engine = engine  # type: ignore[attr-defined]  # it holds the code, which goes with it
        return native

    def _compile(self, machine: llvm.TargetMachine) -> bytes:
        import llvmlite.binding as llvm
        import numba

        signature = _numba_type(self._result)(*map(_numba_type, self._arguments))
        compiled = numba.cfunc(signature, error_model="numpy")(self.function)
        module = llvm.parse_assembly(compiled.inspect_llvm())
        module.get_function(compiled.native_name).name = _SYMBOL
        return bytes(machine.emit_object(module))


def compiled(result: str, *arguments: str) -> Callable[[Callable[..., int | None]], Loop]:
    """Compile a function of numbers and flat arrays.

    It may neither raise nor make arrays: then it needs nothing of Numba when it runs. No index is checked.

    Parameters
    ----------
    result, arguments
        NumPy's names of their types: ``"int64"`` is a number, ``"int64*"`` an array in C order, which the function
        indexes as if it were flat.
    """
    return lambda function: Loop(function, result, arguments)


def _seal(key: bytes, code: bytes) -> bytes:
    return hashlib.sha256(key + code).digest()


def _read(path: Path, key: bytes) -> bytes | None:
    """Return the code in a file; None where there is none, it is damaged, or it was made of something else."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, code = content[:32], content[32:]
    return code if seal == _seal(key, code) else None


@dataclass(frozen=True)
class _Array:
    """Type of an argument, as ctypes asks for it; NumPy's own takes five times as long for each array."""

    dtype: np.dtype

    def from_param(self, array: object) -> ctypes.c_void_p:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"expected an array of {self.dtype}, got {type(array).__name__}")
        if array.dtype != self.dtype or not array.flags.c_contiguous:
            order = "" if array.flags.c_contiguous else ", not in C order"
            raise TypeError(f"expected an array of {self.dtype} in C order, got {array.dtype}{order}")
        return ctypes.c_void_p(array.ctypes.data)


def _ctype(name: str) -> Any:
    return _Array(np.dtype(name[:-1])) if name.endswith("*") else np.ctypeslib.as_ctypes_type(name)


def _numba_type(name: str) -> numba.types.Type:
    import numba

    if name.endswith("*"):
        return numba.types.CPointer(getattr(numba.types, name[:-1]))
    return getattr(numba.types, name)
