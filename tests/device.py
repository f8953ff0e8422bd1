"""A GPU that is none: tensors that say ``cuda:0``, are computed on the CPU, and refuse what a real device refuses.

Inside of :func:`cuda` this machine seems to have one GPU. A :class:`DeviceTensor` holds a CPU tensor that nothing else
sees. PyTorch takes it for one of CUDA down to the dispatcher, so that autocast casts what it casts on CUDA and a
checkpoint says where its tensors lay; below the dispatcher each operator runs on the CPU tensors. Values are true, so
that what depends on them (``item``, ``nonzero``) goes on. Raised as on a GPU is

- an operator of tensors on both devices, but for what CUDA allows: numbers without dimensions, copies, indices;
- NumPy's view of a tensor on the device.

Matrix products and convolutions of float16 are summed in float32 and rounded once, as on tensor cores. What isn't
shown: speed, memory, kernels that CUDA lacks, and their rounding. Autograd's engine wants a real accelerator, so that
gradients are gathered in :func:`_run_backward`, node by node, as the engine does it.
"""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cuda:0")
_aten = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_TAKE_INDICES = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
_TAKE_NUMBERS = {"fill", "fill_", "masked_fill", "masked_fill_", "where", *_TAKE_INDICES}
_SOFTMAX = {_aten._softmax.default, _aten._log_softmax.default}
_SOFTMAX_BACKWARD = {_aten._softmax_backward_data.default, _aten._log_softmax_backward_data.default}
_SUMS = {"convolution", "convolution_backward", "mm", "bmm", "addmm", "baddbmm", "addbmm", "addmv", "mv", "dot"}


class DeviceTensor(torch.Tensor):
    """A tensor on the device; ``elem`` is the CPU tensor that it stands for."""

    elem: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, elem: torch.Tensor) -> DeviceTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            elem.shape,
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device=DEVICE,
        )
        made.elem = elem
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.elem})"

    def tolist(self) -> Any:
        """Values, as a tensor of CUDA gives them; PyTorch's own knows no subclasses."""
        return self.elem.tolist()

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        """Make a tensor of data; PyTorch's own asks no subclass."""
        return torch.tensor(data, **{"dtype": self.dtype, "device": DEVICE} | options)

    def __getitem__(self, index: Any) -> Any:
        """Take lists for indices, as a tensor of CUDA does; PyTorch's own makes them unseen by a mode."""
        return super().__getitem__(_without_lists(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        """Take lists for indices."""
        super().__setitem__(_without_lists(index), value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be saved as a tensor of CUDA is, its storage marked for :func:`_place_of`."""
        storage = self.elem.untyped_storage()
        storage.on_device = True
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=self.dtype, _internal=True)
        place = self.storage_offset(), tuple(self.size()), self.stride()
        return torch._utils._rebuild_tensor_v2, (typed, *place, self.requires_grad, {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _without_lists(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_without_lists, index))
    return torch.tensor(index) if isinstance(index, list) else index


class _Device(TorchDispatchMode):
    """Sees what has no tensor of the device among its arguments: copies to it, and tensors that are made there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # in inference mode such operators come whole
                return func.decompose(*args, **kwargs or {})
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    here = [tensor for tensor in given if isinstance(tensor, DeviceTensor)]
    if here and func not in _COPIES:
        _refuse_others(func, args, [tensor for tensor in given if not isinstance(tensor, DeviceTensor)])
    asked = kwargs.get("device")
    on_device = bool(here) if asked is None else torch.device(asked).type == DEVICE.type
    if func is _aten.copy_.default:
        on_device = isinstance(args[0], DeviceTensor)
    if func is _aten._pin_memory.default:
        return args[0].clone()
    if func is _aten._fused_sdp_choice.default:
        return 0  # plain products: the other kernels are those of real devices
    inner_args, inner = tree_map_only(DeviceTensor, lambda tensor: tensor.elem, (args, kwargs))
    if asked is not None:
        inner["device"] = torch.device("cpu")
    if "pin_memory" in inner:
        inner["pin_memory"] = False
    out = _computed(func, inner_args, inner)
    if not on_device:
        return args[0] if func is _aten.copy_.default else out
    out = tree_map_only(torch.Tensor, DeviceTensor, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if here else out


def _refuse_others(func: Any, args: Any, others: Sequence[torch.Tensor]) -> None:
    """Raise as CUDA does for CPU tensors beside those of the device."""
    name = func._overloadpacket.__name__
    takes_numbers = torch.Tag.pointwise in func.tags or func in _TAKE_NUMBERS or name in _TAKE_NUMBERS
    takes_numbers = takes_numbers or name.startswith("_foreach")
    indices = {id(leaf) for leaf in tree_leaves(args[1])} if func in _TAKE_INDICES else set()
    if func in _TAKE_INDICES and not isinstance(args[0], DeviceTensor):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    for tensor in others:
        if id(tensor) not in indices and (tensor.dim() or not takes_numbers):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
                f"(when checking arguments of {func})"
            )


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU, sums of float16 in float32, and what CUDA casts on the way by casts of its own."""
    if func in _SOFTMAX and args[2]:  # float16 to float32, of which the CPU has no kernel
        return func(args[0].float(), args[1], False)
    if func in _SOFTMAX_BACKWARD and args[3] != args[0].dtype:
        return func(*args[:3], args[0].dtype).to(args[3])
    if func._overloadpacket.__name__ not in _SUMS:
        return func(*args, **kwargs)
    halves = {leaf.dtype for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)} & {torch.float16}
    if not halves:
        return func(*args, **kwargs)
    wide = tree_map_only(torch.Tensor, torch.Tensor.float, args)
    return tree_map_only(torch.Tensor, torch.Tensor.half, func(*wide, **kwargs))


@contextmanager
def cuda() -> Iterator[torch.device]:
    """Have this machine have a GPU, ``cuda:0``, until the end; threads of one's own don't see it."""
    found: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "synchronize": lambda device=None: None,
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_device_name": lambda device=None: "a GPU that is none",
        "get_device_capability": lambda device=None: (8, 0),
        "mem_get_info": lambda device=None: (2**33, 2**34),
    }
    accelerator: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "current_accelerator": lambda check_available=False: DEVICE,
        "current_stream": lambda device=None: SimpleNamespace(is_capturing=lambda: False),
    }
    overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, function in found.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        for name, function in accelerator.items():
            stack.enter_context(patch.object(torch.accelerator, name, function))
        for name in ("tensor", "as_tensor"):
            stack.enter_context(patch.object(torch, name, _made_here_first(getattr(torch, name))))
        stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", _run_backward))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # its kernels are those of real devices
        stack.enter_context(_guarded())
        stack.enter_context(_Device())
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # no tensor changes its kind in place
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwritten)
        yield DEVICE


def _made_here_first(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Make tensors of data on the CPU, and then copy them: PyTorch's own does so unseen by a mode."""

    def made(data: Any, *args: Any, device: Any = None, **options: Any) -> torch.Tensor:
        tensor = make(data, *args, **options)
        return tensor if device is None else tensor.to(device)

    return made


class _Guard(torch._C._acc.DeviceGuard):
    """Says that there is a device of CUDA, which takes no switching to."""

    def type_(self) -> Any:
        return torch._C._autograd.DeviceType.CUDA


_GUARD = _Guard()


@contextmanager
def _guarded() -> Iterator[None]:
    """Give CUDA the guard that any kind of device needs; PyTorch for the CPU has none, and takes one for others."""
    c10 = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 21).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
    cuda_, own = 1, 20  # c10::DeviceType
    before = guards[cuda_], guards[own]
    torch._C._acc.register_python_privateuseone_device_guard(_GUARD)
    guards[cuda_] = guards[own]
    try:
        yield
    finally:
        guards[cuda_], guards[own] = before


def _run_backward(tensors: Sequence[torch.Tensor], grads: Sequence[Any], *options: Any, **more: Any) -> None:
    """Gather gradients node by node, each after all that use its output: what autograd's engine does."""
    if not isinstance(tensors[0], DeviceTensor):
        return torch.autograd.graph._engine_run_backward(tensors, grads, *options, **more)
    received: dict[Any, list[Any]] = {}
    waiting: dict[Any, int] = defaultdict(int)
    roots = [torch.autograd.graph.get_gradient_edge(tensor) for tensor in tensors]
    found, stack = set(), [edge.node for edge in roots]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            users = [after for after, _ in node.next_functions if after is not None]
            for after in users:
                waiting[after] += 1
            stack += users

    def receive(node: Any, number: int, grad: torch.Tensor | None) -> None:
        have = received.setdefault(node, [None] * len(node._input_metadata))
        if grad is not None:
            have[number] = grad if have[number] is None else have[number] + grad

    for edge, grad in zip(roots, grads, strict=True):
        receive(edge.node, edge.output_nr, grad)
    ready = [node for node in {edge.node for edge in roots} if not waiting[node]]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            given = [_fitted(*pair) for pair in zip(received.pop(node), node._input_metadata, strict=True)]
            apply = node.apply if isinstance(node, torch.autograd.function.BackwardCFunction) else node
            out = apply(*given) if any(grad is not None for grad in given) else None
            out = out if isinstance(out, tuple) else (out,) * max(len(node.next_functions), 1)
            for (after, number), grad in zip(node.next_functions, out, strict=False):
                if after is not None:
                    receive(after, number, grad)
                    waiting[after] -= 1
                    ready += [] if waiting[after] else [after]
    return None


def _fitted(grad: torch.Tensor | None, of: Any) -> torch.Tensor | None:
    """Bring a gradient to the shape and type of what it is of; one of another device is an error."""
    if grad is None:
        return None
    if grad.device != of.device:
        raise RuntimeError(f"Function returned an invalid gradient: expected device {of.device} but got {grad.device}")
    shape = tuple(of.shape)
    return (grad if grad.shape == shape else grad.sum_to_size(shape)).to(of.dtype)


def _place_of(storage: Any) -> str | None:
    return str(DEVICE) if getattr(storage, "on_device", False) else None


torch.serialization.register_package(0, _place_of, lambda storage, place: None)
