"""Notebooks run from top to bottom, and show what they say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest

from handseg_monai.bones import INDEX
from handseg_monai.data import labelled_items
from handseg_monai.data.layouts import read_truth
from handseg_monai.report import survey

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run(name: str, tmp_path: Path, **environment: str) -> list[Any]:
    """Outputs of all cells, in order; a cell that raises fails."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without their outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env={**os.environ, **environment})
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.filterwarnings("ignore")
def test_explore(tmp_path: Path) -> None:
    outputs = run(
        "01_explore.ipynb",
        tmp_path,
        HANDSEG_NOTEBOOK_SUBJECTS="7",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )
    text = "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "14 labelled radiographs of 7 people" in text
    # The planted faults are found.
    for fault in ("Radius and Ulna are swapped", "Lunate is missing", "multiplied by 2", "same outline"):
        assert fault in text
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 9


class TestSurvey:
    def test_tables_are_what_the_labels_hold(self, phantom_dataset: Path) -> None:
        items, _ = labelled_items(phantom_dataset / "train")
        items = items[:6]
        found = survey(items, progress=False)
        assert len(found.images) == 6
        assert set(found.images["side"]) == {"left", "right"}
        assert (found.images["contrast"].median()) > 0.05
        for item in items[:2]:
            row = found.images.set_index("image").loc[item["image"]]
            planes = read_truth(item["label"], (row["height"], row["width"]))
            masks = {name: (planes >> k & 1) > 0 for name, k in INDEX.items()}
            bones = found.bones[found.bones["image"] == item["image"]].set_index("bone")
            assert row["bones"] == len(bones) == sum(mask.any() for mask in masks.values())
            for name, bone in bones.iterrows():
                y, x = np.nonzero(masks[str(name)])
                assert bone["area"] == y.size
                assert bone["x"] == pytest.approx((x.mean() + 0.5) / row["width"])
                assert bone["y"] == pytest.approx((y.mean() + 0.5) / row["height"])
            assert bones["share"].sum() == pytest.approx(1)

    def test_overlaps_are_shares_of_the_smaller_bone(self, phantom_dataset: Path) -> None:
        items, _ = labelled_items(phantom_dataset / "train")
        found = survey(items[:3], progress=False)
        a, b = INDEX["Pisiform"], INDEX["Triquetrum"]
        shares = []
        for row in found.images.itertuples():
            item = next(item for item in items if item["image"] == row.image)
            planes = read_truth(item["label"], (row.height, row.width))
            pisiform, triquetrum = planes >> a & 1, planes >> b & 1
            shares.append((pisiform & triquetrum).sum() / min(pisiform.sum(), triquetrum.sum()))
        assert found.overlaps[a, b] == found.overlaps[b, a] == pytest.approx(np.mean(shares))
        assert np.isnan(np.diag(found.overlaps)).all()
