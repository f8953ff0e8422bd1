"""The command line: what it prints, its exit codes, and that it answers at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import NAMES
from handseg_monai.data.labels.competition import labelled_items, read_polygons
from handseg_monai.rle import encode_planes, write_csv
from tests.programs import handseg, in_own_process


@pytest.fixture
def perfect(drawn_dataset: Path, tmp_path: Path) -> Path:
    """A submission that repeats the truth of the drawn data set."""
    items, _ = labelled_items(drawn_dataset / "train")
    planes = [rasterise(read_polygons(item["label"], (96, 72)), (96, 72)) for item in items]
    write_csv(tmp_path / "perfect.csv", [(i["name"], encode_planes(p)) for i, p in zip(items, planes, strict=True)])
    return tmp_path / "perfect.csv"


def test_help_lists_the_commands_and_imports_no_torch() -> None:
    result = in_own_process("handseg_monai", "--help")
    assert result.returncode == 0
    for command in (
        "infer",
        "train",
        "publish",
        "demo",
        "phantom",
        "convert",
        "folds",
        "audit",
        "cross-validate",
        "evaluate",
        "joints",
        "plausibility",
        "measure",
        "report",
        "track",
        "vote",
        "export",
        "serve",
        "archive",
        "archive-csv",
    ):
        assert command in result.stdout
        assert handseg(command, "--help").returncode == 0
    script = "import sys, handseg_monai.cli; sys.exit(bool({'torch', 'monai', 'cv2', 'numba'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_evaluate_prints_each_bone_and_writes_csv_and_json(perfect: Path, drawn_dataset: Path, tmp_path: Path) -> None:
    result = handseg("evaluate", str(perfect), "--truth", str(drawn_dataset), "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    for name in NAMES:
        assert name in result.stdout
    assert "mean Dice 1.000000 of 10 images" in result.stdout
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["mean_dice"] == 1.0
    assert len((tmp_path / "out" / "evaluation.csv").read_text().splitlines()) == 1 + 290


def test_evaluate_refuses_missing_images_unless_told_what_to_do(perfect: Path, drawn_dataset: Path) -> None:
    lines = perfect.read_text().splitlines()
    perfect.write_text("\n".join(lines[:-29]) + "\n")
    result = handseg("evaluate", str(perfect), "--truth", str(drawn_dataset))
    assert result.returncode == 2
    assert "lacks 1 image (image1661392000041.png)" in result.stderr
    assert "Traceback" not in result.stderr
    zero = handseg("evaluate", str(perfect), "--truth", str(drawn_dataset), "--missing", "zero")
    assert "mean Dice 0.900000 of 10 images" in zero.stdout
    assert "1 image that the CSV lacks: counted as empty" in zero.stdout
    skip = handseg("evaluate", str(perfect), "--truth", str(drawn_dataset), "--missing", "skip")
    assert "mean Dice 1.000000 of 9 images" in skip.stdout


def test_folds_writes_a_datalist(drawn_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds.json"
    result = handseg("folds", str(drawn_dataset), "--k", "5", "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert "5 subjects, by fold [1, 1, 1, 1, 1]" in result.stdout
    assert "not balanced by sex and height" in result.stdout
    entries = json.loads(out.read_text())["training"]
    assert {(e["image"].split("/")[2], e["fold"]) for e in entries}.__len__() == 5
    assert all((drawn_dataset / e["image"]).is_file() and (drawn_dataset / e["label"]).is_file() for e in entries)


def test_audit_lists_findings_with_code_0_and_refuses_bad_input_with_code_2(
    drawn_dataset: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(drawn_dataset, root)
    image = min((root / "train" / "DCM").rglob("*.png"))
    image.write_bytes(b"")
    result = handseg("audit", str(root), "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert f"{image.relative_to(root)}: the file is empty" in result.stdout
    assert "of 10 images with findings" in result.stdout
    assert f"{image.relative_to(root)},the file is empty" in (tmp_path / "out" / "exclude.txt").read_text()
    for arguments in (
        (str(tmp_path / "nowhere"),),
        (str(root), "--images", str(root)),
        (str(root), "--out", str(root / "train" / "DCM" / "out")),
    ):
        refused = handseg("audit", *arguments)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "nowhere.csv", "--truth", "."],
        ["folds", "nowhere"],
        ["joints", "nowhere.csv", "--points", "nowhere.csv"],
        ["plausibility", "nowhere.csv", "--images", "."],
        ["phantom", "out", "--subjects", "0"],
        ["phantom", "out", "--subjects", "1", "--preset", "impossible"],
        ["thresholds", "nowhere"],
        ["thresholds", ".", "--out", "."],
        ["demo", "--nonsense"],
        ["no-such-command"],
    ],
    ids=lambda a: " ".join(a[:2]),
)
def test_wrong_input_exits_with_2_and_no_traceback(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = handseg(*arguments)
    assert result.returncode == 2
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr


def test_a_process_ends_with_that_code_too(tmp_path: Path) -> None:
    result = in_own_process("handseg_monai", "evaluate", "nowhere.csv", "--truth", ".", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("handseg: ")
    assert "nowhere.csv" in line


def test_evaluate_passes_over_blank_lines(perfect: Path, drawn_dataset: Path) -> None:
    perfect.write_text(perfect.read_text() + "\n\n")
    assert "mean Dice 1.000000" in handseg("evaluate", str(perfect), "--truth", str(drawn_dataset)).stdout


def test_evaluate_refuses_a_label_without_its_image(perfect: Path, drawn_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(drawn_dataset, tmp_path / "copy"))
    gone = sorted((root / "train" / "DCM").rglob("*.png"))[0]
    gone.unlink()
    perfect.write_text("".join(line for line in perfect.open() if gone.name not in line))
    result = handseg("evaluate", str(perfect), "--truth", str(root))
    assert result.returncode == 2
    assert f"{gone.stem}.json: no image" in result.stderr


def test_folds_of_a_split_lists_no_image_twice(drawn_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_dataset / "train", tmp_path / "test")
    result = handseg("folds", str(tmp_path / "test"), "--out", str(tmp_path / "folds.json"))
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / "folds.json").read_text())
    assert (len(written["training"]), written["testing"]) == (10, [])


def test_joints_counts_hits_and_says_why_others_are_missed(perfect: Path, drawn_dataset: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("image,joint,x,y,distal_bone,proximal_bone\nimage1661392000000.png,IP,12,10,finger-1,finger-2\n")
    result = handseg("joints", str(perfect), "--points", str(points))
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (2, 1)
    assert "--images" in result.stderr
    arguments = ["joints", str(perfect), "--points", str(points), "--images", str(drawn_dataset)]
    result = handseg(*arguments, "--out", str(tmp_path / "table.csv"))
    assert result.returncode == 0, result.stderr
    # The drawn ellipses are no hand.
    assert "0 / 1 joints hit" in result.stdout
    assert "1 missed joint near enough, but on images with implausible masks" in result.stdout
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 2


def test_plausibility_prints_a_table_and_exits_with_0(perfect: Path, drawn_dataset: Path, tmp_path: Path) -> None:
    arguments = ["plausibility", str(perfect), "--images", str(drawn_dataset)]
    result = handseg(*arguments, "--out", str(tmp_path / "table.csv"))
    assert result.returncode == 0, result.stderr
    assert "0 of 10 images plausible" in result.stdout
    assert {len(line) for line in result.stdout.splitlines() if line[0] in "┏┡│└"} == {80}
    header, *rows = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "image_name,score,plausible,severity,part,bones,finding"
    assert len({row.split(",")[0] for row in rows}) == 10


@pytest.mark.parametrize(
    ("command", "out", "expected"),
    [
        ("audit", "file", "file is a file; expected a folder to write to"),
        ("audit", "file/below", "file is a file; expected a folder to write to"),
        ("folds", "folder", "folder is a folder; expected a file to write"),
        ("folds", "file/folds.json", "file is a file; expected a folder to write to"),
    ],
)
def test_a_result_that_can_not_be_written_is_refused_before_the_work(
    tmp_path: Path, command: str, out: str, expected: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    result = handseg(command, str(tmp_path / "data that nobody has read"), "--out", str(tmp_path / out))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "a.csv", "--truth", "data"],
        ["joints", "a.csv", "--points", "points.csv"],
        ["plausibility", "a.csv", "--images", "data"],
        ["report", "a.csv", "--images", "data"],
        ["vote", "a.csv", "b.csv"],
        ["export", "a.csv", "--images", "data", "--to", "png"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_where_nothing_can_be_written_the_work_does_not_begin(arguments: list[str]) -> None:
    result = handseg(*arguments, "--out", "/proc/nowhere/out")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("handseg: /proc can't be written to")


@pytest.mark.parametrize("size", ["0x0", "0x100", "100x0", "00x10"])
def test_a_size_without_pixels_is_refused(size: str, tmp_path: Path) -> None:
    result = handseg("vote", "a.csv", "b.csv", "--size", size, "--out", str(tmp_path / "out.csv"))
    assert result.returncode == 2
    assert f"--size: expected HxW in pixels, such as 2048x2048, got '{size}'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate {own} --truth {data} --out {folder}",
        "joints {own} --points {points} --images {data} --out {points}",
        "joints {own} --points {points} --images {data} --out {own}",
        "plausibility {own} --images {data} --out {link}",
        "report {own} --images {data} --out {own}",
        "report {own} --images {data} --out {image}",
        "vote {own} {other} --out {folder}/../{folder.name}/other.csv",
        "audit {own} --images {data} --out {folder}",
        "folds {data} --out {data}/meta_data.xlsx",
        "folds {data} --out {label}",
        "folds {data} --out {other}",
        "publish {other} --out {other}",
        "thresholds {data} --checkpoint {other} --out {other}",
    ],
    ids=lambda arguments: arguments.partition(" ")[0],
)
def test_no_result_replaces_what_its_command_reads(
    arguments: str, perfect: Path, drawn_dataset: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn_dataset, data)
    (data / "meta_data.xlsx").write_bytes(b"a workbook")
    named = {"evaluate": "evaluation.csv", "audit": "audit.csv"}.get(arguments.partition(" ")[0])
    own = perfect.rename(perfect.with_name(named)) if named else perfect
    shutil.copy(own, tmp_path / "other.csv")
    (tmp_path / "points.csv").write_text("image,joint,x,y,distal_bone,proximal_bone\n")
    (tmp_path / "link.csv").hardlink_to(own)
    places = {
        **{"own": own, "other": tmp_path / "other.csv", "points": tmp_path / "points.csv", "data": data},
        **{"link": tmp_path / "link.csv", "folder": tmp_path, "image": next(data.rglob("*.png"))},
        "label": next(data.rglob("*.json")),
    }
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = handseg(*arguments.format(**places).split())
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("choose another one (--out)")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_folds_replaces_its_own_file(drawn_dataset: Path, tmp_path: Path) -> None:
    for k in (5, 2):
        result = handseg("folds", str(drawn_dataset), "--k", str(k), "--out", str(tmp_path / "folds.json"))
        assert result.returncode == 0, result.stderr
    assert {entry["fold"] for entry in json.loads((tmp_path / "folds.json").read_text())["training"]} == {0, 1}


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate {gone} --truth {data}",
        "evaluate {own} --truth {data} --against {gone}",
        "joints {own} --points {gone} --images {data}",
        "plausibility {gone} --images {data}",
        "vote {own} {gone} --out {out}",
        "convert coco {gone} --images {data} --out {out}",
        "convert submission {gone} --images {data} --out {out}",
        "audit {gone} --images {data} --out {out}",
        "folds {data} --exclude {gone} --out {out}",
        "publish {gone} --out {out}",
    ],
)
@pytest.mark.parametrize("folder", [True, False])
def test_a_folder_or_nothing_where_a_file_is_wanted_is_said_in_words(
    arguments: str, folder: bool, perfect: Path, drawn_dataset: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    if folder:
        gone.mkdir()
    result = handseg(
        *arguments.format(gone=gone, own=perfect, data=drawn_dataset, out=tmp_path / "out").split(),
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert str(gone) in line
    assert "Errno" not in line


def test_one_thing_is_no_plural(perfect: Path, drawn_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(next(drawn_dataset.rglob("*.png")), tmp_path / "one" / "a.png")
    lines = perfect.read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([lines[0], *(f"a.png,{line.split(',', 1)[1]}" for line in lines[1:30])]))
    arguments = ["submission", tmp_path / "a.csv", "--images", tmp_path / "one", "--out", tmp_path / "out"]
    assert "1 image of 1 subject\n" in handseg("convert", *arguments, "--small-bones").stdout
    judged = handseg("plausibility", tmp_path / "a.csv", "--images", tmp_path / "one")
    assert "0 of 1 image plausible\n" in judged.stdout
