"""Published weights of encoders: from a file or from the hub of their library, to begin training from."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import nn

logger = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds after which a hub that doesn't answer counts as out of reach."""
_FILES = (".pt", ".pth", ".bin", ".safetensors")


def begin_encoder(network: nn.Module, weights: str | None, make: Callable[[str], nn.Module] | None) -> None:
    """Load published weights into the encoder of a network, which begins from random ones where they can't be had.

    What happened is said in one line. A first convolution of three channels is summed over them, so that a grey image
    gives what it gave as RGB.

    Parameters
    ----------
    network
        The network; its encoder is the module named ``encoder`` or ``backbone``.
    weights
        A name that the library has, such as ``imagenet``; a file of weights as the library publishes them; or None or
        ``none`` to begin from random ones.
    make
        Called with ``weights``, gives the encoder of the library with them; None where there is none.

    Raises
    ------
    ValueError
        A file that is missing or does not fit, a name that the library doesn't have, or ``weights`` without ``make``.
    """
    if weights is None or str(weights).lower() == "none":
        return
    if make is None:
        raise ValueError(f"--encoder_weights {weights}: this network has no encoder with published weights")
    encoder = _encoder_of(network)
    file = is_file(weights)
    if file and not Path(weights).is_file():
        raise ValueError(f"--encoder_weights {weights}: no such file")
    try:
        with _quickly():
            published = make(weights).state_dict()
    except KeyError as error:
        raise ValueError(f"--encoder_weights {weights}: {error.args[0]}") from error
    except Exception as error:
        if file:
            raise ValueError(f"--encoder_weights {weights}: does not fit ({_first_line(error)})") from error
        if idist.get_rank() == 0:
            logger.warning(
                "encoder: can't get the weights %s (%s); it starts from random ones; --encoder_weights takes files too",
                weights,
                _first_line(error),
            )
        return
    _copy(encoder, published, weights)
    if idist.get_rank() == 0:
        logger.info("encoder: starts from the weights %s", weights)


def is_file(weights: str) -> bool:
    """Tell a file of weights from the name of some."""
    return Path(weights).suffix in _FILES


def smp_encoder(weights: str, name: str, depth: int = 5) -> nn.Module:
    """Encoder of segmentation_models_pytorch, of so many levels, with published weights.

    ``weights`` is a name that the encoder has (``imagenet``), or a file; of encoders ``tu-…`` as :func:`timm_encoder`
    has it.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    if name.startswith("tu-"):
        return get_encoder(name, depth=depth, weights=True, **_of_file(weights))
    if not is_file(weights):
        return get_encoder(name, depth=depth, weights=weights)
    encoder = get_encoder(name, depth=depth)
    encoder.load_state_dict(_read(weights))
    return encoder


def timm_encoder(weights: str, name: str, features_only: bool = True) -> nn.Module:
    """Encoder of timm with published weights.

    ``weights`` is a file, or any name: which of the published ones are meant is part of the model's ``name``
    (``convnext_tiny.fb_in22k_ft_in1k``).
    """
    import timm

    return timm.create_model(name, pretrained=True, features_only=features_only, **_of_file(weights))


def efficientnet_encoder(weights: str, name: str) -> nn.Module:
    """EfficientNet of MONAI's FlexibleUNet, ``efficientnet-b0`` to ``-b8``.

    ``weights`` is a file, or any name, for those that MONAI downloads.
    """
    from monai.networks.nets import EfficientNetBN

    encoder = EfficientNetBN(name, pretrained=not is_file(weights), spatial_dims=2, in_channels=3)
    if is_file(weights):
        published = _read(weights)
        # Their authors number the blocks of all stages through; MONAI writes the stage before.
        names = {key: re.sub(r"(.+)\.\d+(\.\d+\..+)", r"\1\2", key) for key in encoder.state_dict()}
        encoder.load_state_dict({key: published[key if key in published else name] for key, name in names.items()})
    return encoder


def _of_file(weights: str) -> dict[str, dict[str, str]]:
    return {"pretrained_cfg_overlay": {"file": weights}} if is_file(weights) else {}


def _read(file: str) -> dict[str, torch.Tensor]:
    if Path(file).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _encoder_of(network: nn.Module) -> nn.Module:
    for name, module in network.named_modules():
        if name.rpartition(".")[2] in ("encoder", "backbone"):
            return module
    raise ValueError(f"{type(network).__name__} has no module named encoder or backbone")


def _copy(encoder: nn.Module, published: dict[str, torch.Tensor], weights: str) -> None:
    state = encoder.state_dict()
    for name, value in state.items():
        found = published.get(name)
        if found is not None and found.ndim == 4 and (found.shape[1], value.shape[1]) == (3, 1):
            found = found.sum(1, keepdim=True)
        if found is not None and found.shape == value.shape:
            state[name] = found
        elif name in dict(encoder.named_parameters()):
            raise ValueError(
                f"--encoder_weights {weights}: do not fit this encoder; it expects {name} of shape "
                f"{tuple(value.shape)}, got {'none' if found is None else tuple(found.shape)}"
            )
    nn.Module.load_state_dict(encoder, state)  # some encoders have one of their own, for files


@contextlib.contextmanager
def _quickly() -> Iterator[None]:
    """Give up on a hub that can't be reached in seconds, and look for its files in the cache only."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # torch.hub has none of its own
    try:
        from huggingface_hub import constants
    except ImportError:
        constants = None
    offline = constants and constants.HF_HUB_OFFLINE
    try:
        if constants and not offline:
            constants.HF_HUB_OFFLINE = not _reachable(constants.ENDPOINT)
        yield
    except OSError as error:
        if constants and constants.HF_HUB_OFFLINE:
            away = "HF_HUB_OFFLINE is set" if offline else f"{constants.ENDPOINT} can't be reached"
            raise ConnectionError(f"{away}, and they are not in its cache") from error
        raise
    finally:
        socket.setdefaulttimeout(timeout)
        if constants:
            constants.HF_HUB_OFFLINE = offline


def _reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
