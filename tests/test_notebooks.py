"""Notebooks run from top to bottom, and show what they say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import nbclient
import nbformat
import numpy as np
import pytest

from handseg_monai.bones import INDEX
from handseg_monai.data import labelled_items
from handseg_monai.data.adapters import convert
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


def first_cells(folder: Path, monkeypatch: pytest.MonkeyPatch, data: str, number: int = 3) -> dict[str, Any]:
    """What the first cells define, run in a folder with a name of data."""
    monkeypatch.setenv("HANDSEG_DATA", data)
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    for cell in nbformat.read(NOTEBOOKS / "01_explore.ipynb", as_version=4).cells[:number]:
        if cell.cell_type == "code":
            exec(cell.source, found)
    return found


class TestData:
    def test_a_relative_path_is_that_of_the_shell(
        self, drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "notebooks").mkdir()
        (tmp_path / "data").symlink_to(drawn_dataset)
        monkeypatch.setenv("PWD", str(tmp_path))
        assert len(first_cells(tmp_path / "notebooks", monkeypatch, "data")["items"]) == 10
        with pytest.raises(FileNotFoundError, match=r"in .*notebooks/gone or .*/gone; set HANDSEG"):
            first_cells(tmp_path / "notebooks", monkeypatch, "gone")

    def test_converted_labels_are_read(
        self, drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = drawn_dataset / "train" / "DCM"
        for item in labelled_items(drawn_dataset / "train")[0]:
            folder = tmp_path / "masks" / Path(item["image"]).stem
            folder.mkdir(parents=True)
            planes = read_truth(item["label"], (96, 72))
            cv2.imwrite(str(folder / "Radius.png"), (255 * (planes >> INDEX["Radius"] & 1)).astype(np.uint8))
        convert("masks", tmp_path / "masks", images, tmp_path / "labels", progress=False)
        found = first_cells(tmp_path, monkeypatch, "labels")
        assert len(found["items"]) == 10
        assert set(found["found"].bones["bone"]) == {"Radius"}

    def test_damaged_files_are_told_and_left_out(
        self, drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(drawn_dataset, tmp_path / "data")
        items, _ = labelled_items(tmp_path / "data" / "train")
        Path(items[0]["image"]).write_bytes(Path(items[0]["image"]).read_bytes()[:200])
        Path(items[3]["label"]).write_text("{")
        found = first_cells(tmp_path, monkeypatch, "data")
        assert [item["image"] for item in found["items"]] == [
            item["image"] for n, item in enumerate(items) if n not in (0, 3)
        ]
        said = capsys.readouterr().out
        assert items[0]["image"] in said
        assert items[3]["label"] in said


class TestSurvey:
    def test_nothing_to_read_is_an_error(self, tmp_path: Path) -> None:
        item: Any = {"image": str(tmp_path / "gone.png"), "label": str(tmp_path / "gone.json"), "subject": "a"}
        with pytest.raises(ValueError, match=r"no labelled radiograph that can be read: .*gone\.png: no such file"):
            survey([item], progress=False)
        with pytest.raises(ValueError, match="nothing was given"):
            survey([], progress=False)

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
