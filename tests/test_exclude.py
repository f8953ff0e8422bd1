"""The list of images that training leaves out: read, checked, logged, and written as it is read."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from handseg_monai.data import (
    DatasetError,
    ExcludeError,
    read_exclude,
    training_datalist,
    write_exclude,
    write_folds,
)
from tests.conftest import write_drawn_dataset
from tests.faults import images_of, label_of


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_drawn_dataset(tmp_path / "data", subjects=4)


def relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def test_what_is_written_is_read(dataset: Path, tmp_path: Path) -> None:
    images = images_of(dataset)
    reasons = {relative(dataset, images[0]): "Radius, Ulna\nswapped", relative(dataset, images[3]): "ring"}
    write_exclude(tmp_path / "exclude.txt", reasons.items())
    assert read_exclude(tmp_path / "exclude.txt", dataset) == {images[0]: "Radius, Ulna swapped", images[3]: "ring"}


def test_comments_empty_lines_spaces_and_commas_in_names(dataset: Path, tmp_path: Path) -> None:
    first, second, third = (relative(dataset, image) for image in images_of(dataset)[:3])
    odd = (dataset / second).rename((dataset / second).with_name("a, b.png"))
    text = f"# why\n\n  {first}  \n{relative(dataset, odd)},c, d\n#{third}\n"
    (tmp_path / "exclude.txt").write_text(text)
    assert read_exclude(tmp_path / "exclude.txt", dataset) == {dataset / first: "", odd: "c, d"}


def test_unknown_paths_are_named_in_one_line(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "exclude.txt").write_text("train/DCM/ID001/none.png,lost\nREADME\n/etc/passwd,x\na\nb\n")
    with pytest.raises(ExcludeError, match=r"none\.png, README, /etc/passwd and 2 more; expected") as error:
        read_exclude(tmp_path / "exclude.txt", dataset)
    assert "\n" not in str(error.value)
    for call in (training_datalist, partial(training_datalist, verify=True)):
        with pytest.raises(DatasetError, match=r"none\.png"):
            call(dataset, exclude=tmp_path / "exclude.txt")


def test_a_missing_list_and_one_that_is_no_text_are_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"exclude\.txt: No such file"):
        training_datalist(dataset, exclude=tmp_path / "exclude.txt")
    (tmp_path / "exclude.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ExcludeError, match="not a text file"):
        read_exclude(tmp_path / "exclude.txt", dataset)


def test_training_by_its_configuration_leaves_images_out_and_logs_their_number(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = images_of(dataset)
    write_exclude(tmp_path / "exclude.txt", [(relative(dataset, image), "why") for image in images[:3]])
    parser = ConfigParser()
    parser.read_config("bundle/configs/train.json")
    assert parser["exclude"] is None
    parser["dataset_dir"], parser["num_folds"] = str(dataset), 2
    parser["exclude"] = str(tmp_path / "exclude.txt")
    with caplog.at_level(logging.INFO):
        lists = parser.get_parsed_content("datalist")
    assert sorted(item["image"] for items in lists.values() for item in items) == sorted(map(str, images[3:]))
    assert "3 images left out, 5 of training and validation remain" in caplog.text


def test_excluded_faults_do_not_stop_training_and_others_do(dataset: Path, tmp_path: Path) -> None:
    images = images_of(dataset)
    label_of(images[0]).unlink()
    images[1].write_bytes(b"")
    images[2].unlink()
    listed = [relative(dataset, path) for path in (images[0], images[1], label_of(images[2]))]
    for missing in listed:
        write_exclude(tmp_path / "exclude.txt", [(path, "bad") for path in listed if path != missing])
        with pytest.raises(DatasetError, match=re.escape(Path(missing).name)):
            training_datalist(dataset, num_folds=2, exclude=tmp_path / "exclude.txt", verify=True)
    write_exclude(tmp_path / "exclude.txt", [(path, "bad") for path in listed])
    training_datalist(dataset, num_folds=2, exclude=tmp_path / "exclude.txt", verify=True)
    fold_of = write_folds(tmp_path / "folds.json", dataset, 2, exclude=tmp_path / "exclude.txt")
    assert set(fold_of) == {path.parent.name for path in images[3:]}


def test_leaving_out_everything_is_refused(dataset: Path, tmp_path: Path) -> None:
    write_exclude(tmp_path / "exclude.txt", [(relative(dataset, image), "") for image in images_of(dataset)])
    with pytest.raises(DatasetError, match="leaves out all of them"):
        training_datalist(dataset, exclude=tmp_path / "exclude.txt")


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x85"])
def test_names_with_marks_that_some_take_for_line_breaks_come_back(dataset: Path, tmp_path: Path, mark: str) -> None:
    odd = (image := images_of(dataset)[0]).rename(image.with_name(f"a{mark}b.png"))
    write_exclude(tmp_path / "exclude.txt", [(relative(dataset, odd), "why")])
    assert read_exclude(tmp_path / "exclude.txt", dataset) == {odd: "why"}
    content = (tmp_path / "exclude.txt").read_bytes()
    (tmp_path / "exclude.txt").write_bytes(content.replace(b"\n", b"\r\n"))
    assert read_exclude(tmp_path / "exclude.txt", dataset) == {odd: "why"}
