"""Notebooks run from top to bottom, and show what they say."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import nbclient
import nbformat
import numpy as np
import pytest
import torch

from handseg_monai import bundle_root, notebook
from handseg_monai.bones import INDEX
from handseg_monai.data import labelled_items
from handseg_monai.data.labels import convert
from handseg_monai.data.layouts import read_truth
from handseg_monai.notebook import make_workflow
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.plausibility.bone_sizes import measure_bones
from handseg_monai.report.survey import survey
from handseg_monai.rle import read_csv

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(autouse=True)
def _logging(restore_globals: None) -> Iterator[None]:
    """Put back what a workflow of notebooks keeps quiet in this process."""
    yield
    logging.disable(logging.NOTSET)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.NOTSET)


def run(name: str, tmp_path: Path, **environment: str) -> list[Any]:
    """Outputs of all cells, in order; a cell that raises fails."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without their outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    here = {name: value for name, value in os.environ.items() if not name.startswith("HANDSEG_")}
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    client.execute(env=here | inline | environment)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def run_here(name: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    """Run all cells in this process, without their pictures, for what ends them."""
    matplotlib.use("agg")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    names: dict[str, Any] = {}
    for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)


def said(outputs: list[Any], stream: str = "stdout") -> str:
    """What cells printed, and the tables that they show."""
    parts = [output for output in outputs if output.get("name", "stdout") == stream]
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in parts)


def pictures(outputs: list[Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_explore(tmp_path: Path) -> None:
    outputs = run("01_explore.ipynb", tmp_path, HANDSEG_NOTEBOOK_SUBJECTS="7")
    text = said(outputs)
    assert "14 labelled radiographs of 7 people" in text
    # The planted faults are found.
    for fault in ("Radius and Ulna are swapped", "Lunate is missing", "multiplied by 2", "same outline"):
        assert fault in text
    assert pictures(outputs) == 9


@pytest.mark.filterwarnings("ignore")
class TestTrain:
    @pytest.mark.slow
    def test_phantoms(self, tmp_path: Path) -> None:
        outputs = run("02_train.ipynb", tmp_path)
        text = said(outputs)
        assert said(outputs, "stderr") == ""
        assert "training: 12 radiographs of 6 people\nvalidation: 4 radiographs of 2 people" in text
        # Three people, two images each, have no labels of the 19 bones of the fingers.
        unknown, masks = map(int, re.search(r"(\d+) of (\d+) masks unknown", text).groups())  # type: ignore[union-attr]
        assert unknown == 19 * 6
        assert masks == 12 * 29
        epochs = [float(dice) for dice in re.findall(r"epoch \d: loss [\d.]+, Dice ([\d.]+)", text)]
        before, after = map(float, re.search(r"mean Dice ([\d.]+) -> ([\d.]+), of", text).groups())  # type: ignore[union-attr]
        assert len(epochs) == 3
        # What the weights can do already, three epochs on twelve radiographs keep.
        assert after == max(epochs) > before - 0.005
        assert before > 0.9
        assert len(re.search("weakest: (.*)", text)[1].split(", ")) == 5  # type: ignore[index]
        assert pictures(outputs) == 6
        checkpoint = torch.load(tmp_path / "runs" / "02_train" / "model.pt", weights_only=True)
        assert checkpoint["score"] == pytest.approx(after, abs=5e-5)

    @pytest.mark.slow
    def test_labels_of_ones_own(self, drawn_dataset: Path, tmp_path: Path) -> None:
        shutil.copytree(drawn_dataset, tmp_path / "my labels")
        for path in sorted(tmp_path.rglob("*.json"))[::2]:
            content = json.loads(path.read_text())
            content["annotations"] = [a for a in content["annotations"] if a["label"] != "Pisiform"]
            path.write_text(json.dumps(content))
        options = {"size": 128, "window": 128, "epochs": 1, "batch_size": 4}
        outputs = run(
            "02_train.ipynb",
            tmp_path,
            PWD=str(tmp_path),
            HANDSEG_DATA="my labels",
            HANDSEG_OUT="run",
            HANDSEG_OPTIONS=json.dumps(options),
        )
        assert said(outputs, "stderr") == ""
        text = said(outputs)
        assert f"{tmp_path / 'my labels'}\n" in text
        assert re.search(r"\b0 of \d+ masks", text)
        assert len(re.findall("epoch 1: loss", text)) == 1
        assert pictures(outputs) == 6
        assert (tmp_path / "run" / "model.pt").is_file()

    def test_a_damaged_image_stops_it_and_is_named(
        self,
        drawn_dataset: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        shutil.copytree(drawn_dataset, tmp_path / "data")
        image = sorted((tmp_path / "data").rglob("*.png"))[2]
        image.write_bytes(image.read_bytes()[:200])
        with pytest.raises(SystemExit) as exit_:
            run_here(
                "02_train.ipynb", monkeypatch, HANDSEG_DATA=str(tmp_path / "data"), HANDSEG_OUT=str(tmp_path / "run")
            )
        assert exit_.value.code == 2
        assert image.name in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
class TestInference:
    @pytest.mark.slow
    def test_phantoms(self, tmp_path: Path) -> None:
        outputs = run("03_inference.ipynb", tmp_path)
        text = said(outputs)
        assert said(outputs, "stderr") == ""
        assert "174 rows = 6 images x 29 bones" in text
        assert "5 of 6 images are plausible" in text  # one shows no hand
        assert pictures(outputs) == 7
        phantom = render_phantom(33, 0, "left", PRESETS["standard"], 640)
        truth = measure_bones(phantom.planes).set_index("bone")["length"] * phantom.spacing
        for bone in ("finger-3", "finger-7", "finger-11", "finger-10", "finger-14"):
            measured = float(re.search(rf"^{bone} .*?[\d.]+ +([\d.]+)", text, re.MULTILINE)[1])  # type: ignore[index]
            # Two standard deviations of lengths of the weights' masks (bundle/docs/measures.md).
            assert measured == pytest.approx(truth[bone], rel=0.035)
        out = tmp_path / "runs" / "03_inference"
        assert len(list(out.glob("export-*/labelme/*.json"))) == 6
        assert len(list(out.glob("export-*/coco/annotations.json"))) == 1
        assert (out / "report.html").stat().st_size > 100_000

    @pytest.mark.slow
    def test_a_folder_of_ones_own(self, drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "my images"
        (folder / "deep er").mkdir(parents=True)
        drawn = cv2.imread(str(sorted(drawn_dataset.rglob("*.png"))[0]))
        cv2.imwrite(str(folder / "deep er" / "a, b.png"), drawn)
        cv2.imwrite(str(folder / "even.tif"), np.full((40, 90), 7, np.uint16))
        (folder / "cut.png").write_bytes((folder / "deep er" / "a, b.png").read_bytes()[:300])
        (folder / "notes.txt").write_text("no image")
        out = tmp_path / "out"
        options = {"HANDSEG_IMAGES": "my images", "HANDSEG_OUT": str(out), "PWD": str(tmp_path)}
        outputs = run("03_inference.ipynb", tmp_path, **options)
        assert "1 of 3 images failed" in said(outputs, "stderr")
        assert "cut.png" in said(outputs, "stderr")
        assert set(read_csv(out / "submission.csv")) == {"a, b.png", "even.tif"}
        assert "58 rows = 2 images x 29 bones" in said(outputs)
        assert "0 of 2 images are plausible" in said(outputs)
        assert "no plausible hand to measure" in said(outputs)

        for path in folder.rglob("*.*"):
            path.unlink()
        (folder / "cut.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match=r"none of the images in .*my images could be"):
            run_here("03_inference.ipynb", monkeypatch, **options)


class TestWorkflow:
    def test_components_that_draw_bars_are_those_of_the_configurations(self) -> None:
        texts = "".join(path.read_text() for path in (bundle_root() / "configs").glob("*.json"))
        for target in notebook._BARS:
            assert f'"_target_": "{target}"' in texts

    def test_a_misspelt_option_is_refused(
        self, drawn_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            make_workflow("train.json", dataset_dir=str(drawn_dataset), output_dir=str(tmp_path), epochz=1)
        assert "did you mean --epochs?" in capsys.readouterr().err


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
