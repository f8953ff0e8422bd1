"""Handler that seeds all generators anew in each epoch, so that what is drawn in training survives a resume."""

from __future__ import annotations

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from ignite.utils import manual_seed
from monai.engines import Workflow


class EpochSeed:
    """Seed torch, NumPy and Python with (seed, epoch, rank) as an epoch starts: dropout, the grid of a strided loss."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Workflow) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)

    def begin(self, engine: Workflow) -> None:
        """Seed for the epoch that starts."""
        entropy = np.random.SeedSequence((self.seed, engine.state.epoch, idist.get_rank()))
        manual_seed(int(entropy.generate_state(1)[0]))
