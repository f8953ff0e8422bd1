"""Handler that has an evaluator's inferer give probabilities beside its masks."""

from __future__ import annotations

from typing import Any

from monai.engines import IterationEvents, Workflow

KEY = "probabilities"


class Probabilities:
    """Ask :class:`~handseg_monai.inferers.PlanesInferer` for probabilities; each output has them as ``probabilities``.

    They are float32 (29, h, w), the longer side ``long_side``, before a threshold: those of
    :func:`~handseg_monai.inferers.coarse.coarse_probabilities`.
    """

    def __init__(self, long_side: int) -> None:
        self.long_side = long_side
        self.wanted = True  # of images from now on

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches :func:`~handseg_monai.data.dataset.prepare_sized` prepares."""
        prepare = engine.prepare_batch

        def prepare_asking(*args: Any, **kwargs: Any) -> Any:
            image, label, more, named = prepare(*args, **kwargs)
            return image, label, more, named | ({"coarse_side": self.long_side} if self.wanted else {})

        engine.prepare_batch = prepare_asking
        # Before postprocessing, whose steps know tensors alone.
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.take_apart)

    def take_apart(self, engine: Workflow) -> None:
        """Put the inferer's masks and its probabilities in places of their own."""
        output = engine.state.output
        if self.wanted:
            output[KEY], output["pred"] = output["pred"][KEY], output["pred"]["planes"]
