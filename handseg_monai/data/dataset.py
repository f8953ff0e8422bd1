"""A MONAI dataset whose random draws depend on (seed, epoch, index) alone, and the sampler that feeds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait
from torch.utils.data import DistributedSampler

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.disk_cache import DiskCache
from handseg_monai.data.items import LabelError
from handseg_monai.data.reading.images import UnreadableImageError


class RadiographDataset(CacheDataset):
    """Apply transforms to a datalist, cached up to the first random one.

    An index counts on through the epochs: ``epoch * len(dataset) + i``, as :class:`EpochSampler` yields it. Before
    an item is transformed all random transforms are seeded with (seed, epoch, i), so that neither the number of
    workers, nor that of ranks, nor resuming changes a draw, and no draw comes twice.

    Parameters
    ----------
    data
        Datalist of :class:`~handseg_monai.data.items.Item`.
    transform
        A MONAI ``Compose``.
    seed
        Of all random draws.
    cache_rate
        Share of the items to keep in memory, 0 to 1.
    cache_workers
        Threads that fill the cache.
    cache_dir
        Folder that keeps prepared items from run to run (:class:`~handseg_monai.data.disk_cache.DiskCache`); None
        keeps none.
    progress
        Show a progress bar while the cache is filled.
    keep_failures
        What to do with an image that can't be read or prepared: False raises; True gives an item whose ``image`` is
        empty, (1, 0, 0), and whose ``failure`` says why. Inferers and writers pass it over, and the run reports it.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Compose,
        seed: int = 0,
        cache_rate: float = 0.0,
        cache_workers: int = 2,
        cache_dir: str | Path | None = None,
        progress: bool = True,
        keep_failures: bool = False,
    ) -> None:
        self.seed = seed
        self.keep_failures = keep_failures
        self._first_random = transform.get_index_of_first(
            lambda step: isinstance(step, RandomizableTrait) or not isinstance(step, Transform)
        )
        steps = transform.flatten().transforms[: self._first_random]
        self._disk = None if cache_dir is None else DiskCache(cache_dir, steps)
        super().__init__(
            data, transform, cache_rate=cache_rate, num_workers=cache_workers, progress=progress and cache_rate > 0
        )

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int | np.integer):
            return super().__getitem__(index)
        if index < 0:
            index += len(self)
        epoch, i = divmod(int(index), len(self))
        entropy = np.random.SeedSequence((self.seed, epoch, i))
        self.transform.set_random_state(seed=int(entropy.generate_state(1)[0]))
        if not self.keep_failures:
            return super().__getitem__(i)
        if i < self.cache_num and "failure" in self._cache[i]:
            return dict(self._cache[i])
        try:
            return super().__getitem__(i)
        except (OSError, ValueError, RuntimeError) as error:
            return self._failed(i, error)

    def _transform(self, index: int) -> Any:
        if self._disk is None or index < self.cache_num:
            return super()._transform(index)
        item = self._load_cache_item(index)
        return item if self._first_random is None else self.transform(item, start=self._first_random)

    def _load_cache_item(self, idx: int) -> Any:
        load = partial(super()._load_cache_item, idx)
        try:
            return load() if self._disk is None else self._disk.get(self.data[idx], load)
        except (OSError, ValueError, RuntimeError) as error:
            if not self.keep_failures:
                raise
            return self._failed(idx, error)

    def _failed(self, i: int, error: BaseException) -> dict[str, Any]:
        return {**self.data[i], "image": torch.empty(1, 0, 0), "failure": _root_cause(error)}


def _root_cause(error: BaseException) -> str:
    # MONAI wraps what a transform raises. The error that names its file is the one to tell, else the first of all.
    while error.__cause__ is not None and not isinstance(error, UnreadableImageError | LabelError):
        error = error.__cause__
    return str(error) or type(error).__name__


class EpochSampler(DistributedSampler):
    """Yield the indices of one epoch for this rank, without padding: ``epoch * len(dataset) + i``.

    MONAI's engines call ``set_epoch`` on it as an epoch starts, after a resume too.

    Parameters
    ----------
    dataset
        Anything with a length.
    shuffle
        Draw the order anew in each epoch from (seed, epoch), or keep that of the datalist.
    seed
        Of the order.
    even
        For training: give every rank the same number of images, leaving out the last few of the epoch's order,
        because ranks that wait for one another must take the same number of steps. For inference: False, and every
        image comes exactly once.
    fixed
        Yield the indices of epoch 0 in every epoch, so that random transforms draw the same again: for a validation
        whose images are drawn.
    """

    def __init__(
        self, dataset: Any, shuffle: bool = False, seed: int = 0, even: bool = False, fixed: bool = False
    ) -> None:
        super().__init__(
            dataset, num_replicas=idist.get_world_size(), rank=idist.get_rank(), shuffle=shuffle, seed=seed
        )
        self.length = len(dataset)
        self.even = even
        self.fixed = fixed

    def _of_rank(self, order: Sequence[int] | np.ndarray) -> list[int]:
        if self.even:
            order = order[: self.length - self.length % self.num_replicas]
        return [int(i) for i in order[self.rank :: self.num_replicas]]

    def __len__(self) -> int:
        return len(self._of_rank(range(self.length)))

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.length)
        epoch = 0 if self.fixed else self.epoch
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
        return iter([epoch * self.length + i for i in self._of_rank(order)])


def prepare_planes(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Bring a batch to the device, its labels as bit planes: MONAI's ``prepare_batch`` for training.

    Parameters
    ----------
    batch
        ``image`` float32 (B, 1, H, W), ``label`` bit planes, int32 (B, 1, H, W), and ``known``, int32 (B,), bit k set
        where bone k is labelled in that image; without it all 29 are.
    device, non_blocking, kwargs
        As for ``Tensor.to``.

    Returns
    -------
    image, target
        float32 (B, 1, H, W); bit planes, int32 (B, 1, H, W), and what is known of each image, int32 (B,), as
        :class:`~handseg_monai.losses.PerBoneLoss` takes them.
    """
    image = batch["image"].to(device, non_blocking=non_blocking, **kwargs)
    planes = batch["label"].to(device, non_blocking=non_blocking)
    known = batch.get("known", torch.full((len(planes),), ALL_KNOWN, dtype=torch.int32))
    return image, (planes, known.to(device, torch.int32))


def prepare_sized(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None, tuple[()], dict[str, torch.Tensor]]:
    """Bring a batch to the device for :class:`~handseg_monai.inferers.PlanesInferer`, whose ``image_size`` comes last.

    ``image`` is float32 (1, 1, h, w); ``image_size``, of images that could be read, height and width of the radiograph,
    int64 (1, 2); ``label``, where there is a truth, bit planes int32 (1, 1, H, W). The rest is as for ``Tensor.to``.
    """
    image = batch["image"].to(device, non_blocking=non_blocking, **kwargs)
    label = batch["label"].to(device, non_blocking=non_blocking) if "label" in batch else None
    size = batch.get("image_size", torch.tensor([image.shape[-2:]]))
    return image, label, (), {"image_size": size}
