"""Running an archive: listing, reading, drawing, judging and writing, by Ray Data."""

from __future__ import annotations

import logging
import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from pyarrow.fs import FileSystem
from ray.data import ActorPoolStrategy, DataContext, ExecutionOptions, ExecutionResources
from ray.data.checkpoint import CheckpointConfig, IdColumnCheckpointManager
from ray.exceptions import RayError

import handseg_monai
from handseg_monai.archive.cluster import Layout, NodeLostError, alive, connected, layout, watching
from handseg_monai.archive.errors import Error, in_words, kept_errors
from handseg_monai.archive.network import Network, judge
from handseg_monai.archive.progress import Progress, printed
from handseg_monai.archive.reading import Radiographs
from handseg_monai.archive.rows import SCHEMA, failed
from handseg_monai.archive.sources import Source, list_images, say
from handseg_monai.archive.store import Store
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.run.inference import Inference
from handseg_monai.words import counted

_BLOCK_BYTES = 32 << 20
"""Of a block of images on its way: some eight radiographs of 2048 pixels."""
_BLOCK = 256
"""Images that a task reads, at most."""
_TRIES = 2
"""How often Ray does again what a process has not outlived."""
_RESERVED = 0.25
"""Share of cores and memory that Ray keeps for steps, whether they need them or not: with its own, half, judging would
have no core where another program of the cluster takes one of eight."""
_PLANNING = "RAY_DATA_CLUSTER_AUTOSCALER", "V2"
"""Plans with all cores of a cluster. What Ray has made of it since asks for parts of cores and is given whole ones:
judging would have none until all images are read."""
_START_SECONDS = 600
"""For all actors to start, before any task takes their place."""
_LOST_BLOCKS = 100
"""Blocks that may come to nothing before the run ends; their images are tried once more, one by one."""
_LOST_IMAGES = 20
"""Images that may end their process each time. More of them is no fault of theirs."""


class IncompleteArchiveError(Exception):
    """Images have no row; the text says which, and what to do."""


@dataclass(frozen=True)
class Options:
    """What rows depend on beside the weights; see ``handseg options inference``.

    Attributes
    ----------
    hands, invert, any_body_part, max_pixels
        As those of ``inference.json``.
    """

    hands: str = "one"
    invert: str = "auto"
    any_body_part: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Archived:
    """What was done.

    Attributes
    ----------
    images, earlier
        How many there are, and how many of them earlier runs had done.
    failures
        Reasons by the names of images without masks.
    """

    images: int
    earlier: int
    failures: dict[str, str]


def archive(
    source: str | Path,
    out: str | Path,
    *,
    address: str | None = None,
    checkpoint: str | None = None,
    options: Options | None = None,
    relative_names: bool = False,
    rows_per_file: int = 500,
    retry_failed: bool = False,
    filesystem: FileSystem | None = None,
    out_filesystem: FileSystem | None = None,
    progress: bool = True,
    **start: Any,
) -> Archived:
    """Segment, judge and measure all radiographs of an archive on a cluster, and write a row for each.

    A killed run goes on by the same call. Each image has one row in the end.

    Parameters
    ----------
    source
        See :func:`~handseg_monai.archive.sources.list_images`.
    out
        Folder to write, a path or a URI, see :class:`~handseg_monai.archive.store.Store`; on a cluster all nodes need
        to reach it.
    address
        Of a Ray cluster, ``auto`` or ``HOST:6379``; None: Ray is started on this machine.
    checkpoint
        File of weights; None: those that ``handseg infer`` would take.
    options
        What rows depend on beside the weights.
    relative_names
        Name images by their path in the source rather than by that of the file.
    rows_per_file
        Rows of a file, at least. What a kill leaves of one is done again.
    retry_failed
        Do images again that earlier runs found no masks for, say because their store did not answer.
    filesystem, out_filesystem
        Where source and result lie; None: on this machine, or where a URI says.
    progress
        Show a progress bar on a terminal, or else print a line now and then.
    start
        Further arguments of ``ray.init``, where Ray is started here.

    Returns
    -------
    archived
        Counts, and the failures.

    Raises
    ------
    DatasetError, StoreError, DoesNotFitError, ValueError
        Source, folder, cluster or weights can't be right.
    IncompleteArchiveError
        Images have no row.
    KeyboardInterrupt
        Ctrl-C; the message says how many images have a row.
    """
    options = options or Options()
    store = Store(out, out_filesystem)
    store.require(source, filesystem)
    found = list_images(source, relative_names, filesystem)
    inference = Inference(checkpoint, device="$torch.device('cpu')", **_of_network(options))
    inference.load()
    job = {"version": handseg_monai.__version__, "weights": inference.weights, **asdict(options)}
    if unlisted := store.begin(job, found.images):
        print(f"{say(unlisted)}: no longer in {source}; a submission leaves them out", file=sys.stderr)
    store.settle(retry_failed)
    run = _Run(store, found, options, inference.weights, Path(inference.checkpoint).read_bytes(), rows_per_file)
    del inference
    earlier = len(found.images) - len(run.remaining().images)
    how_far = Progress(store, earlier, len(found.images))
    at_once = min(rows_per_file, len(found.images))
    said = printed(how_far, at_once) if progress and not sys.stderr.isatty() else nullcontext()
    try:
        with said:
            errors: Sequence[Error] = ()
            for block in (_BLOCK, 1):  # what has ended its process once more, one by one
                errors = run.on_what_is_left(block, lambda: _connected(store, progress, address, start))
            run.give_up(errors)
    except KeyboardInterrupt:
        how_far.look_briefly()
        raise KeyboardInterrupt(str(how_far)) from None
    return Archived(len(found.images), earlier, store.failures())


def _of_network(options: Options) -> dict[str, Any]:
    return {"hands": options.hands, "invert": options.invert}


class _Known(IdColumnCheckpointManager):
    """Ray's manager where the images that are done were left out before: it adds no step that takes a core for that."""

    def load_checkpoint(self, *args: object, **kwargs: object) -> tuple[None, int]:
        return None, 0


@contextmanager
def _connected(store: Store, progress: bool, address: str | None, start: Mapping[str, Any]) -> Iterator[None]:
    """Connect to a cluster, or start one, with the settings of this archive."""
    with connected(address, **start), _settings(store, progress):
        yield


@contextmanager
def _settings(store: Store, progress: bool) -> Iterator[None]:
    """Set what Ray Data takes from the process, for as long as it runs."""
    context = DataContext.get_current()
    checkpoints = CheckpointConfig(
        id_column="id",
        checkpoint_path=store.done,
        override_filesystem=store.filesystem,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=_Known,
    )
    settings = {
        "checkpoint_config": checkpoints,
        "target_max_block_size": _BLOCK_BYTES,
        "max_errored_blocks": _LOST_BLOCKS,
        "max_consecutive_actor_init_deaths": layout(alive()).actors + _TRIES,
        "wait_for_min_actors_s": _START_SECONDS,
        "enable_progress_bars": progress and sys.stderr.isatty(),
        "print_on_execution_start": False,
        "memory_usage_poll_interval_s": None,  # it takes a fifth of the time of judging
        "op_resource_reservation_ratio": _RESERVED,
        "execution_options": ExecutionOptions(),
    }
    before = {name: getattr(context, name) for name in settings}
    # What it says with a stack is kept in its file of logs alone.
    terminal = [h for h in logging.getLogger("ray.data").handlers if isinstance(h, logging.StreamHandler)]
    levels = [handler.level for handler in terminal]
    with warnings.catch_warnings(), _environment(*_PLANNING):
        # Ray has no other argument yet for how often tasks and actors try; of its own accord they try for ever.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        try:
            for name, value in settings.items():
                setattr(context, name, value)
            for handler in terminal:
                handler.setLevel(logging.CRITICAL)
            yield
        finally:
            for name, value in before.items():
                setattr(context, name, value)
            for handler, level in zip(terminal, levels, strict=True):
                handler.setLevel(level)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment for a while, unless it is set."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


@dataclass(frozen=True)
class _Run:
    """Passes over the images until each of them has a row."""

    store: Store
    source: Source
    options: Options
    weights: str
    content: bytes
    """Of the file of weights."""
    rows_per_file: int

    def remaining(self) -> Source:
        """Images without a row; what a kill has left of others is taken away."""
        self.store.settle()
        images = self.source.images
        done = np.isin(np.asarray(images["id"]), self.store.ids())
        return Source(images.filter(pa.array(~done)), self.source.filesystem)

    def on_what_is_left(self, block: int, connect: Callable[[], AbstractContextManager[None]]) -> Sequence[Error]:
        """Do what remains, anew where a node ends; return what went wrong in the last pass."""
        while len(self.remaining().images):
            # Each in a connection of its own, with which the actors of the one before end: they keep their cores while
            # anything in this process refers to them, and would wait for a node that is lost.
            try:
                with connect():
                    return self.once(block)
            except NodeLostError:
                print("a node has ended; going on with what is left of the cluster", file=sys.stderr)
        return ()

    def once(self, block: int) -> Sequence[Error]:
        """Do what remains, at most so many images at a time, and return what went wrong."""
        left, plan = self.remaining(), layout(alive())
        print(f"{counted(len(left.images), 'image')}: {plan}", file=sys.stderr)
        with watching(plan), kept_errors() as errors:
            self._pass(left, plan, block, ray.put(self.content))
        return errors

    def _pass(self, left: Source, plan: Layout, block: int, content: object) -> None:
        # No more nodes are asked for than the work is laid out on.
        limits = ExecutionResources.for_limits(plan.cores, plan.actors * plan.gpus)
        DataContext.get_current().execution_options.resource_limits = limits
        # Where images are tried alone none waits at an actor: its end would count as a try of that one, too.
        waiting = 1 if block == 1 else None
        # Few images are spread over all cores too.
        block = max(1, min(block, len(left.images) // (4 * plan.cores)))
        task: dict[str, Any] = {"num_cpus": plan.task_cores}
        one: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "zero_copy_batch": True}
        rows = (
            ray.data.read_datasource(
                Radiographs(left, block, self.options.any_body_part, self.options.max_pixels),
                override_num_blocks=-(-len(left.images) // block),
                concurrency=plan.readers,
                ray_remote_args={"max_retries": _TRIES},
                **task,
            )
            .map_batches(
                Network,
                fn_constructor_args=(content, _of_network(self.options)),
                compute=ActorPoolStrategy(size=plan.actors, max_tasks_in_flight_per_actor=waiting),
                num_cpus=plan.actor_cores,
                num_gpus=plan.gpus,
                max_task_retries=_TRIES,
                **one,
            )
            .map_batches(
                partial(judge, weights=self.weights), concurrency=plan.judges, max_retries=_TRIES, **task, **one
            )
        )
        try:
            rows.write_parquet(
                self.store.rows,
                filesystem=self.store.filesystem,
                min_rows_per_file=self.rows_per_file,
                compression="zstd",
                # It waits for the rows of a file, and Ray would keep cores for it meanwhile that judging needs.
                ray_remote_args={"num_cpus": 0, "max_retries": _TRIES},
                concurrency=plan.writers,
            )
        except RayError as error:
            raise IncompleteArchiveError(
                f"{self.store.place}: stopped ({in_words(error)}); the same command goes on"
            ) from error

    def give_up(self, errors: Sequence[Error]) -> None:
        """Write failures for images that have ended the process of each try, if there are some, and few.

        ``errors`` are those of the last try. Steps before writing raise none, and a process that writes where the
        others don't look raises none either.
        """
        images = self.remaining().images.to_pylist()
        if not images:
            return
        raised = [error.words for error in errors if error.is_raised]
        if raised or not errors:
            why = f" ({raised[0]})" if raised else ""
            raise IncompleteArchiveError(
                f"{self.store.place}: {counted(len(images), 'image')} of {len(self.source.images)} have no row there"
                f"{why}; can all nodes of the cluster write to that folder? The same command goes on"
            )
        if len(images) > _LOST_IMAGES:
            raise IncompleteArchiveError(
                f"{self.store.place}: {say(row['name'] for row in images)}: the processes that had them ended, each "
                "time (does the memory suffice? Ray's logs say more); the same command "
                "goes on"
            )
        said = f"the process that had it ended, {2 * (_TRIES + 1)} times; does it take more memory than there is?"
        rows = [failed(row["id"], row["name"], row["path"], self.weights, f"{row['path']}: {said}") for row in images]
        self.store.add(pa.Table.from_pylist(rows, schema=SCHEMA), f"ended_{uuid.uuid4().hex}")
