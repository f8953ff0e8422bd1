"""Handlers that have an evaluator's inferer give more than its masks."""

from __future__ import annotations

from typing import Any

from monai.engines import IterationEvents, Workflow

KEY = "probabilities"


class Asking:
    """Ask :class:`~handseg_monai.inferers.PlanesInferer` for more than masks, by arguments of its call.

    What it gives lies beside the masks in each output: ``notes``, a text, or ``probabilities``.
    """

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.wanted = True  # of images from now on

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches :func:`~handseg_monai.data.dataset.prepare_sized` prepares."""
        prepare = engine.prepare_batch

        def prepare_asking(*args: Any, **kwargs: Any) -> Any:
            image, label, more, named = prepare(*args, **kwargs)
            return image, label, more, named | (self.arguments if self.wanted else {})

        engine.prepare_batch = prepare_asking
        # Before postprocessing, whose steps know tensors alone.
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.take_apart)

    def take_apart(self, engine: Workflow) -> None:
        """Put the inferer's masks and what else it gave in places of their own."""
        output = engine.state.output
        if isinstance(output["pred"], dict):
            given = output.pop("pred")
            output.update({"pred" if key == "planes" else key: value for key, value in given.items()})


class Probabilities(Asking):
    """Ask for probabilities: float32 (29, h, w), the longer side ``long_side``, before a threshold.

    They are those of :func:`~handseg_monai.inferers.coarse.coarse_probabilities`.
    """

    def __init__(self, long_side: int) -> None:
        super().__init__(coarse_side=long_side)
