"""What is given wrongly to a bundle run ends it in one line, before it begins, or is listed at its end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow, create_workflow
from monai.engines.utils import IterationEvents

from handseg_monai.bones import NAMES
from handseg_monai.checkpoints import CheckpointError, first_checkpoint
from handseg_monai.data import Item
from handseg_monai.handlers import OverlayWriter
from handseg_monai.rle import encode_planes, read_csv
from tests.bundle_runs import CONFIGS, TINY, run_bundle, run_here, save_untrained, tiny
from tests.programs import in_fork

TRAIN, INFER = str(CONFIGS / "train.json"), str(CONFIGS / "inference.json")


@pytest.fixture
def dataset(drawn_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the drawn data set to spoil."""
    return Path(shutil.copytree(drawn_dataset, tmp_path / "data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("checkpoint") / "model.pt", "dynunet")


def stopped(capsys: pytest.CaptureFixture[str], *names: str, **options: object) -> list[str]:
    """Run a configuration that must stop with exit code 2; the lines that it printed to standard error."""
    with pytest.raises(SystemExit) as exit_:
        run_here(*names, **options)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "it/s" not in line and "image/s" not in line and line.strip()]


def only(lines: list[str]) -> str:
    """The single line that a run may print when it stops, MONAI's warning about configurations apart."""
    said = [line for line in lines if "UserWarning" not in line and not line.startswith("  ")]
    assert len(said) == 1, said
    return said[0]


def train(capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path, **options: object) -> list[str]:
    settings = tiny() | {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "run"), "epochs": 1} | options
    lines = stopped(capsys, "train.json", run_id="training", **settings)
    assert not (tmp_path / "run").exists(), "training must not have begun"
    return lines


def infer(capsys: pytest.CaptureFixture[str], checkpoint: Path | str, images: Path, **options: object) -> list[str]:
    settings = tiny(inference=True) | {"dataset_dir": str(images), "checkpoint": str(checkpoint)} | options
    return stopped(capsys, "inference.json", **settings)


def test_no_such_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path) -> None:
    assert only(train(capsys, tmp_path / "nowhere", tmp_path)).startswith(f"no such folder: {tmp_path}/nowhere")
    assert only(infer(capsys, checkpoint, tmp_path / "nowhere")).startswith(f"no such folder: {tmp_path}/nowhere")


def test_no_images(capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "empty" / "train" / "DCM").mkdir(parents=True)
    (tmp_path / "empty" / "train" / "outputs_json").mkdir()
    assert "no images in" in only(train(capsys, tmp_path / "empty", tmp_path))
    assert "looked for .png" in only(infer(capsys, checkpoint, tmp_path / "empty"))


def test_a_folder_without_labels_for_training(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    images = dataset / "train" / "DCM" / "ID001"
    assert f"looked for {images}/train/DCM" in only(train(capsys, images, tmp_path))
    shutil.rmtree(dataset / "train" / "outputs_json")
    assert f"looked for {dataset}/train/outputs_json" in only(train(capsys, dataset, tmp_path))


def test_a_misspelt_option_names_the_right_one(drawn_dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    """On the command line, once in a process of its own: one line, no traceback, exit code 2."""
    for run, arguments in (
        (run_bundle, ["training", "--config_file", TRAIN]),
        (partial(in_fork, "monai.bundle", "run"), ["--config_file", INFER]),
    ):
        result = run(*arguments, "--datset_dir", str(drawn_dataset), cwd=tmp_path)
        assert result.returncode == 2
        assert "option --datset_dir is unknown" in result.stderr
        assert "did you mean --dataset_dir?" in result.stderr
        assert "Traceback" not in result.stderr + result.stdout


def _json_missing(label: Path) -> None:
    label.unlink()


def _not_json(label: Path) -> None:
    label.write_text("{")


def _edit(change: Callable[[list[dict]], None]) -> Callable[[Path], None]:
    def spoil(label: Path) -> None:
        content = json.loads(label.read_text())
        change(content["annotations"])
        label.write_text(json.dumps(content))

    return spoil


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "JSON missing": (_json_missing, "no label; looked for"),
    "not JSON": (_not_json, "not JSON"),
    "unknown bone": (_edit(lambda a: a[0].update(label="finger-99")), "unknown bone 'finger-99'"),
    "two points": (_edit(lambda a: a[0].update(points=[[1, 1], [2, 2]])), "a polygon of 2 points"),
    "far outside": (_edit(lambda a: a[0]["points"].append([500, 5])), "outside the image of 72 x 96 pixels"),
    "not finite": (_edit(lambda a: a[0]["points"].append([float("nan"), 5])), "NaN or infinite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_label_stops_training(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path, fault: str
) -> None:
    spoil, message = FAULTS[fault]
    label = sorted((dataset / "train" / "outputs_json").rglob("*.json"))[3]
    spoil(label)
    lines = [line for line in train(capsys, dataset, tmp_path) if "UserWarning" not in line]
    assert any(label.stem in line and message in line for line in lines), lines


def test_all_faults_of_all_files_are_listed(capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path) -> None:
    labels = sorted((dataset / "train" / "outputs_json").rglob("*.json"))
    for label, (spoil, _) in zip(labels, FAULTS.values(), strict=False):
        spoil(label)
    image = sorted((dataset / "train" / "DCM").rglob("*.png"))[-1]
    image.write_bytes(image.read_bytes()[:-200])
    text = "\n".join(train(capsys, dataset, tmp_path))
    assert "7 faults, training does not begin" in text
    for label in labels[: len(FAULTS)]:
        assert label.stem in text
    assert f"{image}: not an image, or cut short or damaged" in text


def test_points_two_pixels_outside_are_clipped(dataset: Path, tmp_path: Path) -> None:
    label = sorted((dataset / "train" / "outputs_json").rglob("*.json"))[0]
    _edit(lambda a: a[0]["points"].append([73, 50]))(label)
    run_here(
        "train.json", run_id="training", dataset_dir=str(dataset), output_dir=str(tmp_path / "run"), epochs=1, **tiny()
    )
    assert (tmp_path / "run" / "last.pt").exists()


def test_a_checkpoint_that_is_missing_or_of_another_network(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path, checkpoint: Path
) -> None:
    images = drawn_dataset / "train" / "DCM"
    gone = tmp_path / "gone.pt"
    assert only(infer(capsys, gone, images)) == f"checkpoint {gone}: no such file"
    with pytest.raises(CheckpointError, match=r"looked for a\.pt, b\.pt"):
        first_checkpoint("a.pt", "b.pt")
    other = save_untrained(tmp_path / "segresnet.pt", "segresnet")
    assert only(infer(capsys, other, images)) == (
        f"checkpoint {other} holds network segresnet, but the configuration declares dynunet"
    )
    wider = only(infer(capsys, checkpoint, images, **{"network_def#network#filters": [16, 16, 16, 16, 16, 16]}))
    assert "holds another dynunet than the configuration declares" in wider
    torch.save({"something": 1}, tmp_path / "no.pt")
    assert "no entry 'network'" in only(infer(capsys, tmp_path / "no.pt", images))


def test_a_window_that_the_network_can_not_take(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path
) -> None:
    assert "multiple of 64, at least 128" in only(train(capsys, drawn_dataset, tmp_path, window=160))
    assert "multiple of 64, at least 128" in only(train(capsys, drawn_dataset, tmp_path, window=64))


def test_training_on_parts_of_hands_that_would_be_shown_whole(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path
) -> None:
    said = only(train(capsys, drawn_dataset, tmp_path, size=256, window=128, views="hand"))
    assert said.startswith("--window 128 is below --size 256: ")


@pytest.mark.parametrize(("option", "value"), [("fold", "abc"), ("least_piece", 1.5), ("threshold", 1.5)])
def test_a_value_that_can_not_be_is_named(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path, option: str, value: object
) -> None:
    """All the others are in test_options.py."""
    line = only(train(capsys, drawn_dataset, tmp_path, **{option: value}))
    assert line.startswith(f"--{option} {value!r}")


def test_options_that_an_ensemble_s_checkpoints_decide(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, checkpoint: Path
) -> None:
    lines = stopped(
        capsys,
        "inference.json",
        "ensemble.json",
        dataset_dir=str(drawn_dataset),
        checkpoints=[str(checkpoint)],
        size=128,
    )
    assert (
        only(lines) == "--size: each network of an ensemble takes this from its own checkpoint; leave this option out"
    )


def test_nothing_in_the_network_of_an_ensemble_can_be_chosen(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, checkpoint: Path
) -> None:
    given: dict[str, Any] = {"dataset_dir": str(drawn_dataset), "checkpoints": [str(checkpoint)]}
    for option in ("network_def#network#filters", "hand_inferer#window"):
        lines = stopped(capsys, "inference.json", "ensemble.json", **given | {option: 128})
        assert (
            only(lines)
            == f"--{option}: each network of an ensemble takes this from its own checkpoint; leave this option out"
        )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        (
            "hand_inferer#scales",
            [0.5],
            "--hand_inferer, or an option in it: scales: expected a list of one or more numbers",
        ),
        ("hand_inferer#scales", "1.2", "--hand_inferer, or an option in it: scales: expected a list of one or more"),
        ("hand_inferer#turns", 7, "--hand_inferer, or an option in it: turns: expected a whole number, 1 to 4, got 7"),
        ("hand_inferer#window", 100, "window 100: network dynunet needs a multiple of"),
        ("window_inferer#roi_size", [100, 100], "roi_size 100: network dynunet needs a multiple of"),
        ("hand_inferer#sclaes", [1.0], "--hand_inferer#sclaes is unknown: did you mean --hand_inferer#scales?"),
        ("window_inferer#where", "here", "--window_inferer, or an option in it: where: expected everywhere, content"),
        ("amp_dtype", "foo", "--amp_dtype 'foo': expected float16 or bfloat16"),
        ("device", "nonsense", "--device 'nonsense': expected an expression"),
        ("intensity#lower", "x", "--intensity, or an option in it: "),
        ("postprocessing#transforms#0#least_piece", 2, "--postprocessing, or an option in it: "),
        ("device", "$torch.device('nonsense')", "--device, or an option in it: "),
    ],
)
def test_an_option_of_which_nothing_can_be_made(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, checkpoint: Path, option: str, value: object, said: str
) -> None:
    assert said in only(infer(capsys, checkpoint, drawn_dataset, **{option: value}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"checkpoints": [1, 2]}, "--checkpoints [1, 2]: expected a list of files"),
        ({"network_files": "mine.json"}, "--network_files 'mine.json': expected a list of files"),
        ({"network_files": ["nowhere.json"]}, "--network_files nowhere.json: "),
    ],
)
def test_members_that_are_no_list_of_files(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, checkpoint: Path, options: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"dataset_dir": str(drawn_dataset), "checkpoints": [str(checkpoint)]} | options
    assert said in only(stopped(capsys, "inference.json", "ensemble.json", **given))


def test_pictures_of_images_that_are_gone_are_removed_and_no_others(
    drawn_dataset: Path, tmp_path: Path, checkpoint: Path
) -> None:
    images, pictures = tmp_path / "images", tmp_path / "out" / "overlays"
    images.mkdir()
    paths = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:3]
    for path in paths:
        shutil.copy(path, images)
    options = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out"), "checkpoint": str(checkpoint)}
    run_here("inference.json", **options, **(tiny(inference=True) | {"overlays": True}))
    assert sorted(p.stem for p in pictures.iterdir()) == [path.name for path in paths]
    assert cv2.imread(str(pictures / f"{paths[0].name}.jpg")) is not None
    cv2.imwrite(str(pictures / "mine.jpg"), cv2.imread(str(paths[0])))
    (images / paths[1].name).unlink()
    run_here("inference.json", **options, **(tiny(inference=True) | {"overlays": True}))
    assert sorted(p.stem for p in pictures.iterdir()) == [paths[0].name, paths[2].name, "mine"]


def test_a_run_goes_on_where_a_killed_one_of_the_same_options_was(
    drawn_dataset: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.json").write_text(json.dumps(dict.fromkeys(NAMES, 0.4)))
    options: dict[str, Any] = {
        "dataset_dir": str(drawn_dataset / "train" / "DCM"),
        "output_dir": str(tmp_path / "out"),
        "checkpoint": str(checkpoint),
        "threshold": str(tmp_path / "t.json"),
    } | tiny(inference=True)

    def begun_and_left(**changed: Any) -> str:
        """Begin a run, and leave it after two images."""
        bundle = create_workflow(config_file=INFER, workflow_type="infer", **(options | changed))
        said = capsys.readouterr().out
        bundle.evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate())
        bundle.run()
        writer = bundle.parser.get_parsed_content("submission_writer")
        assert "images are done and kept" in writer.kept()
        return said

    assert "done already" not in begun_and_left()
    assert "2 of 10 images are done already" in begun_and_left(num_workers=1)
    assert "4 of 10 images are done already" in begun_and_left()
    assert "done already" not in begun_and_left(**{"intensity#lower": 3.0})
    assert "2 of 10 images are done already" in begun_and_left(**{"intensity#lower": 3.0})
    (tmp_path / "t.json").write_text(json.dumps(dict.fromkeys(NAMES, 0.6)))
    assert "done already" not in begun_and_left(**{"intensity#lower": 3.0})


def test_folders_that_can_not_be_meant(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file is a file" in only(
        infer(capsys, checkpoint, drawn_dataset, output_dir=f"{tmp_path}/file/out")
    )
    assert "without commas" in only(infer(capsys, checkpoint, drawn_dataset, output_dir=("res", "v2")))
    inside = infer(capsys, checkpoint, drawn_dataset, output_dir=str(drawn_dataset / "out"))
    assert "is inside --dataset_dir" in only(inside)


@pytest.mark.parametrize("option", ["dataset_dir", "output_dir", "exclude", "cache_dir", "weights", "folds_file"])
def test_a_path_that_the_command_line_reads_as_a_number(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path, checkpoint: Path, option: str
) -> None:
    expected = f"--{option} 20241125: the command line reads this path as a number; write ./ before it"
    assert only(train(capsys, drawn_dataset, tmp_path, **{option: 20241125})).startswith(expected)
    if option in ("dataset_dir", "output_dir"):
        assert only(infer(capsys, checkpoint, drawn_dataset, **{option: 20241125})).startswith(expected)


def test_a_checkpoint_that_the_command_line_reads_as_a_number(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path
) -> None:
    settings = tiny(inference=True) | {"dataset_dir": str(drawn_dataset), "checkpoint": 0.5}
    line = only(stopped(capsys, "inference.json", **settings))
    assert line.startswith("--checkpoint 0.5: the command line reads this path as a number; write ./ before it")


def test_a_folder_for_prepared_images_that_can_not_be_written(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for folder, reason in ((f"{tmp_path}/file", "is a file"), ("/proc/nope", "/proc can't be written to")):
        line = only(train(capsys, drawn_dataset, tmp_path, cache_dir=folder))
        assert line.startswith(f"--cache_dir {folder}: ")
        assert reason in line


def test_a_nested_option_that_does_nothing(drawn_dataset: Path, tmp_path: Path) -> None:
    arguments = ["training", "--config_file", TRAIN, "--dataset_dir", str(drawn_dataset), "--train#epochs", "5"]
    result = run_bundle(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "option --train#epochs is unknown" in result.stderr


def test_a_name_that_can_not_stand_in_a_csv(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path, checkpoint: Path
) -> None:
    source = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[0]
    for number, name in enumerate(["carriage\rreturn.png", "escape\x1b[1m.png", "latin\udce9.png"]):
        (tmp_path / str(number)).mkdir()
        shutil.copy(source, tmp_path / str(number) / name)
        assert "a CSV can't hold this name" in only(infer(capsys, checkpoint, tmp_path / str(number)))


def test_an_image_without_the_folder_of_a_subject(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    image = sorted((dataset / "train" / "DCM").rglob("*.png"))[0]
    label = sorted((dataset / "train" / "outputs_json").rglob("*.json"))[0]
    image.rename(dataset / "train" / "DCM" / image.name)
    label.rename(dataset / "train" / "outputs_json" / label.name)
    assert any(
        f"expected {dataset}/train/DCM/<subject>/{image.name}" in line for line in train(capsys, dataset, tmp_path)
    )


def test_labels_that_are_all_empty(capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path) -> None:
    for label in (dataset / "train" / "outputs_json").rglob("*.json"):
        _edit(lambda a: a.clear())(label)
    assert "no label holds any annotation" in "\n".join(train(capsys, dataset, tmp_path))


def test_more_folds_than_subjects(capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path) -> None:
    assert "5 subjects can't fill 9 folds" in only(train(capsys, drawn_dataset, tmp_path, num_folds=9))
    assert "fold 5 is out of range; expected 0 to 4" in only(train(capsys, drawn_dataset, tmp_path, fold=5))


def test_two_images_of_one_name(
    capsys: pytest.CaptureFixture[str], drawn_dataset: Path, tmp_path: Path, checkpoint: Path
) -> None:
    source = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[0]
    for folder in ("a", "b"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        shutil.copy(source, tmp_path / "images" / folder / "same.png")
    line = only(infer(capsys, checkpoint, tmp_path / "images"))
    assert f"{tmp_path}/images/a/same.png and {tmp_path}/images/b/same.png" in line
    run_here(
        "inference.json",
        dataset_dir=str(tmp_path / "images"),
        output_dir=str(tmp_path / "out"),
        checkpoint=str(checkpoint),
        relative_names="true",
        **tiny(inference=True),
    )
    assert list(read_csv(tmp_path / "out" / "submission.csv")) == ["a/same.png", "b/same.png"]


def test_bad_images_among_good_ones(drawn_dataset: Path, tmp_path: Path, checkpoint: Path) -> None:
    """On the real command line: the good ones are finished, the bad ones listed, exit code 1."""
    images = tmp_path / "images"
    images.mkdir()
    good = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:3]
    for path in good:
        shutil.copy(path, images)
    (images / "a_text.png").write_text("no image")
    (images / "b_cut.png").write_bytes(good[0].read_bytes()[:1500])
    (images / "c_empty.jpg").touch()
    cv2.imwrite(str(images / "d_cut.jpg"), cv2.imread(str(good[0])))
    (images / "d_cut.jpg").write_bytes((images / "d_cut.jpg").read_bytes()[:-300])
    result = in_fork(
        *("monai.bundle", "run", "--config_file", INFER),
        *("--dataset_dir", str(images), "--output_dir", str(tmp_path / "out")),
        *("--checkpoint", str(checkpoint), "--num_workers", "2", *TINY),
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "4 of 7 images failed" in result.stderr
    assert list(read_csv(tmp_path / "out" / "submission.csv")) == [path.name for path in good]
    failures = (tmp_path / "out" / "failures.csv").read_text()
    for name, reason in (
        ("a_text.png", "not an image"),
        ("b_cut.png", "cut short"),
        ("c_empty.jpg", "empty"),
        ("d_cut.jpg", "truncated"),
    ):
        assert any(name in line and reason in line for line in failures.splitlines())
        assert name in result.stderr
    assert len(list((tmp_path / "out" / "overlays").glob("*.jpg"))) == 3


def test_images_of_more_pixels_than_allowed(
    drawn_dataset: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    first, second = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:2]
    shutil.copy(first, images)
    picture = cv2.imread(str(second))
    cv2.imwrite(str(images / "large.png"), cv2.resize(picture, None, fx=2, fy=2))
    pixels = picture.shape[0] * picture.shape[1]
    options = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out"), "checkpoint": str(checkpoint)}
    with pytest.raises(SystemExit) as exit_:
        run_here("inference.json", **options, **(tiny(inference=True) | {"max_pixels": pixels}))
    assert exit_.value.code == 1
    assert list(read_csv(tmp_path / "out" / "submission.csv")) == [first.name]
    assert f"large.png: 144 x 192 pixels are more than {pixels}" in (tmp_path / "out" / "failures.csv").read_text()
    capsys.readouterr()
    said = "\n".join(train(capsys, drawn_dataset, tmp_path, max_pixels=pixels - 1))
    assert f"72 x 96 pixels are more than {pixels - 1}" in said
    assert "training does not begin" in said


def test_pictures_need_no_second_reading(
    drawn_dataset: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image vanishes once the network has seen it."""
    images = tmp_path / "images"
    images.mkdir()
    paths = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:2]
    for path in paths:
        shutil.copy(path, images)
    options = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out"), "checkpoint": str(checkpoint)}
    bundle = ConfigWorkflow(INFER, workflow_type="infer", **options, **(tiny(inference=True) | {"overlays": True}))
    bundle.initialize()
    bundle.evaluator.add_event_handler(
        IterationEvents.FORWARD_COMPLETED, lambda engine: (images / engine.state.batch["name"][0]).unlink()
    )
    bundle.run()
    bundle.finalize()
    assert list(read_csv(tmp_path / "out" / "submission.csv")) == [path.name for path in paths]
    assert sorted(p.stem for p in (tmp_path / "out" / "overlays").iterdir()) == [path.name for path in paths]
    assert "no overlay" not in "".join(capsys.readouterr())


def test_an_image_that_has_changed_since_an_earlier_run_has_no_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = encode_planes(np.ones((40, 30), np.int32))
    items = [Item(image=str(tmp_path / name), name=name) for name in ("same.png", "changed.png", "gone.png")]
    for item, shape in zip(items[:2], ((40, 30), (20, 30)), strict=True):
        cv2.imwrite(item["image"], np.zeros(shape, np.uint8))
    OverlayWriter(tmp_path / "out", items).begin((item["name"], [texts]) for item in items)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["same.png.jpg"]
    assert all(f"no overlay: {name}" in caplog.text for name in ("changed.png", "gone.png"))


@pytest.mark.parametrize(("most", "drawn"), [(1200, ["a.png.jpg"]), (1199, [])])
def test_pictures_of_an_earlier_runs_images_go_by_the_runs_own_limit_of_pixels(
    tmp_path: Path, most: int, drawn: list[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 30), np.uint8))
    texts = encode_planes(np.ones((40, 30), np.int32))
    writer = OverlayWriter(tmp_path / "out", [Item(image=str(tmp_path / "a.png"), name="a.png")], max_pixels=most)
    writer.begin([("a.png", [texts])])
    assert [path.name for path in (tmp_path / "out").glob("*")] == drawn


def test_an_image_that_vanishes_while_it_runs_is_listed(
    drawn_dataset: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    paths = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:3]
    for path in paths:
        shutil.copy(path, images)
    options = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out"), "checkpoint": str(checkpoint)}
    bundle = ConfigWorkflow(INFER, workflow_type="infer", **options, **tiny(inference=True))
    bundle.initialize()
    (images / paths[1].name).unlink()
    bundle.run()
    with pytest.raises(SystemExit) as exit_:
        bundle.finalize()
    assert exit_.value.code == 1
    assert list(read_csv(tmp_path / "out" / "submission.csv")) == [paths[0].name, paths[2].name]
    assert "no such file" in (tmp_path / "out" / "failures.csv").read_text()
    assert "1 of 3 images failed" in capsys.readouterr().err
