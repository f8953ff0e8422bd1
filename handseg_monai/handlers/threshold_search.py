"""Handler that finds the threshold of each bone on a validation fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Events
from monai.engines import Workflow
from rich.console import Console
from rich.table import Table

from handseg_monai.bones import ALL_KNOWN, BONES, NAMES
from handseg_monai.data.labels.flat import visible
from handseg_monai.files import write_json
from handseg_monai.score.dice import dice, known_bones
from handseg_monai.score.thresholds import USUAL, best_thresholds
from handseg_monai.words import counted


class ThresholdSearch:
    """Compare the masks of :class:`~handseg_monai.inferers.SweepInferer` with the truth, and write the best thresholds.

    The JSON file holds the threshold of each bone by name, as ``--threshold`` takes it.
    """

    def __init__(self, sweep: Sequence[float], path: str | Path) -> None:
        self.sweep = list(sweep)
        self.path = Path(path)
        self._dice: list[np.ndarray] = []
        self._subjects: list[str] = []

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose output holds ``pred``, int32 (T, H, W), and ``label``, int32 (1, H, W)."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.compare)

    def compare(self, engine: Workflow) -> None:
        """Compare the images of one iteration."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            truth = output["label"][0].cpu().numpy()
            known = int(batch.get("known", ALL_KNOWN))
            predicted = visible(output["pred"].cpu().numpy(), truth, known)
            of_image = np.stack([dice(planes, truth) for planes in predicted])
            of_image[:, ~known_bones(known)] = np.nan
            self._dice.append(of_image)
            self._subjects.append(batch.get("subject", f"image {len(self._subjects)}"))

    def finish(self) -> None:
        """Choose, write, and print what each bone gains."""
        values = np.stack(self._dice)
        index = best_thresholds(values, self.sweep, self._subjects)
        write_json(self.path, {name: self.sweep[i] for name, i in zip(NAMES, index, strict=True)})
        usual = int(np.argmin(np.abs(np.asarray(self.sweep) - USUAL)))
        table = Table("bone", "threshold", f"Dice at {self.sweep[usual]:g}", "Dice", "gain")
        for column in table.columns[1:]:
            column.justify = "right"
        before, after = [], []
        for bone, chosen in zip(BONES, index, strict=True):
            of_bone = values[:, :, bone.index]
            of_bone = of_bone[~np.isnan(of_bone[:, usual])]
            if not len(of_bone):
                table.add_row(bone.english, f"{self.sweep[chosen]:g}", "-", "-", "not labelled")
                continue
            old, new = of_bone[:, usual].mean(), of_bone[:, chosen].mean()
            before.append(old)
            after.append(new)
            table.add_row(bone.english, f"{self.sweep[chosen]:g}", f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}")
        Console().print(table)
        images = f"{counted(len(values), 'image')} of {counted(len(set(self._subjects)), 'subject')}"
        print(
            f"{images}; mean over bones {np.mean(before):.4f} at {self.sweep[usual]:g} and "
            f"{np.mean(after):.4f} at the chosen thresholds; expect less gain on other images"
        )
        print(f"{self.path}: infer with --threshold {self.path}")
