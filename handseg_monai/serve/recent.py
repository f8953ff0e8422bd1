"""Bit planes that are kept in memory: those that were used last."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

MOST = 512 << 20
"""Bytes that are kept; the last ones stay, however large."""


class Recent(OrderedDict[str, np.ndarray]):
    """Bit planes by the id of their image, the one that was used last at the end."""

    def keep(self, id: str, planes: np.ndarray) -> None:
        """Keep bit planes, which nobody may write to any more, and let go of those that were not used for longest."""
        planes.flags.writeable = False
        self[id] = planes
        self.move_to_end(id)
        while len(self) > 1 and sum(kept.nbytes for kept in self.values()) > MOST:
            self.popitem(last=False)
