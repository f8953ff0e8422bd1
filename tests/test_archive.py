"""A hospital's archive on a cluster: the rows are those of inference, each image once, whatever is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
import typer
from fsspec.implementations.local import LocalFileSystem as LocalFiles
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem, SubTreeFileSystem

from handseg_monai import bundle_root
from handseg_monai.archive.cluster import (
    ENVIRONMENT,
    DoesNotFitError,
    _ctrl_c_kept_back,
    _require_answer,
    connected,
    layout,
)
from handseg_monai.archive.csv import archive_csv
from handseg_monai.archive.progress import Progress, printed
from handseg_monai.archive.reading import read_images
from handseg_monai.archive.rows import SCHEMA
from handseg_monai.archive.sources import id_of, list_images, listed_path
from handseg_monai.archive.store import Store, StoreError
from handseg_monai.cli import app
from handseg_monai.data.datalists import DatasetError, inference_datalist
from handseg_monai.measure import measure_hand
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.rle import decode_planes
from tests.archive_faults import DEADLY
from tests.bundle_runs import CONFIGS, run_bundle
from tests.conftest import draw_radiograph
from tests.dicoms import write_dicom
from tests.programs import handseg

ROOT = Path(__file__).parents[1]
SHAPE, MANY = (256, 208), 24
PATIENCE = 500.0
"""Seconds that a busy machine may take for anything."""
os.environ.update(ENVIRONMENT)  # of the clusters that tests start
RAY = {"include_dashboard": False, "object_store_memory": 100 << 20}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights as those of a network that looks at few pixels, and so is quick."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    content = torch.load(bundle_root() / "models" / "model.pt", map_location="cpu", weights_only=True)
    torch.save(content | {"window": 128}, path)
    return path


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven radiographs in two folders, one of them DICOM with millimetres, and a file that is none."""
    folder = tmp_path_factory.mktemp("radiographs")
    for number in range(6):
        (folder / f"{number % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number % 2}" / f"hand {number}.png"), draw_radiograph(number, SHAPE)[0])
    write_dicom(folder / "1" / "no suffix", draw_radiograph(6, SHAPE)[0].astype(np.uint16), PixelSpacing=[0.5, 0.5])
    (folder / "0" / "bad.png").write_bytes(b"no image")
    (folder / "1" / "notes.txt").write_text("no image either")
    return folder


@pytest.fixture(scope="module")
def submission(radiographs: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What inference writes of them."""
    return inferred(radiographs, checkpoint, tmp_path_factory.mktemp("inferred"))


def inferred(images: Path, checkpoint: Path, out: Path) -> bytes:
    given = ("--checkpoint", checkpoint, "--overlays", "false", "--num_workers", 0)
    done = run_bundle(
        "--config_file",
        CONFIGS / "inference.json",
        "--bundle_root",
        bundle_root(),
        *given,
        "--dataset_dir",
        images,
        "--output_dir",
        out,
    )
    assert (out / "submission.csv").exists(), done
    return (out / "submission.csv").read_bytes()


@contextmanager
def cluster(*cores: int) -> Iterator[Any]:
    """A cluster of nodes with so many cores; nothing of it lives on."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": cores[0], **RAY})
    try:
        for number in cores[1:]:
            nodes.add_node(num_cpus=number, object_store_memory=RAY["object_store_memory"])
        yield nodes
    finally:
        nodes.shutdown()


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``handseg archive`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "handseg_monai", "archive", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def start_alone(*arguments: object) -> subprocess.Popen[str]:
    """Start ``handseg archive`` without a cluster, and without what this file sets for those of tests."""
    own = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    command = [sys.executable, "-m", "handseg_monai", "archive", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=own)


def called(
    source: Path, out: Path, arguments: str, before: str = "", cores: int = 1
) -> subprocess.CompletedProcess[str]:
    """Call the function in a process of its own, on a Ray of this machine alone, and print what it returns."""
    script = (
        "from pyarrow.fs import FSSpecHandler, PyFileSystem\nfrom handseg_monai.archive import run\n"
        "from handseg_monai.archive.run import Options, archive\nfrom tests.archive_faults import Full, Slow\n"
        f"{before}\n"
        f"print(archive({str(source)!r}, {str(out)!r}, progress=False, num_cpus={cores}, **{RAY!r}, {arguments}))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)


def until(is_so: object, process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        if process is not None and process.poll() is not None:
            raise AssertionError(process.communicate()[0])
        time.sleep(0.1)


def rows_of(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out / "rows").to_pylist()


def written(out: Path) -> int:
    return len([path for path in (out / "done").glob("*.parquet") if ".pending" not in path.name])


@pytest.mark.slow
def test_rows_on_two_nodes_are_those_of_inference(
    radiographs: Path, checkpoint: Path, submission: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out #1 100%"
    with cluster(1, 1) as nodes:
        process = start(radiographs, "--out", out, "--checkpoint", checkpoint, "--address", nodes.address)
        said = process.communicate(timeout=PATIENCE)[0]
        # Once all is done the same command has nothing to do.
        again = handseg("archive", radiographs, "--out", out, "--checkpoint", checkpoint, "--address", nodes.address)
        both = handseg("archive", radiographs, "--out", out, "--checkpoint", checkpoint, "--hands", "both")
    assert process.returncode == 1, said
    assert f"{out}: 7 of 8 images have masks, 1 failed\n" in said
    assert said.endswith("\n  --retry_failed tries them again\n")
    assert "2 networks" in said
    assert f"{radiographs / '0' / 'bad.png'}: not an image, or cut short or damaged" in said
    assert again.returncode == 1
    assert again.stdout == f"{out}: 7 of 8 images have masks, 1 failed; 8 rows of earlier runs\n"
    assert (both.returncode, "hands 'one' instead of 'both'" in both.stderr) == (2, True)
    made = handseg("archive-csv", out, "--out", tmp_path / "own.csv")
    assert (made.returncode, made.stdout) == (
        0,
        f"{tmp_path / 'own.csv'}: 7 of 8 images have masks, 1 failed and have no rows\n",
    )
    assert (tmp_path / "own.csv").read_bytes() == submission

    rows = {row["name"]: row for row in rows_of(out)}
    assert sorted(rows) == sorted([*(f"hand {number}.png" for number in range(6)), "no suffix", "bad.png"])
    assert rows["bad.png"]["hands"] == []
    for name, row in rows.items():
        assert row["id"] == id_of(name)
        if name == "bad.png":
            continue
        assert (row["height"], row["width"], row["failure"]) == (*SHAPE, None)
        (hand,) = row["hands"]
        planes = decode_planes(hand["rle"], SHAPE)
        assert hand["score"] == plausibility(planes).score
        assert hand["findings"] == [finding.text for finding in plausibility(planes).findings]
        assert [m["name"] for m in hand["measures"]] == [m.name for m in measure_hand(planes)]
        assert len(hand["confidence"]) == len(hand["rle"]) == 29


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(scheme: str, tmp_path: Path) -> None:
    address = f"{scheme}://KEY:hush@bucket/radiographs"
    (tmp_path / "list.txt").write_text(f"{address}/a.png\n")
    for call in (list_images, Store, lambda _: list_images(tmp_path / "list.txt"), lambda a: archive_csv(a, "x.csv")):
        with pytest.raises(ValueError, match=r"holds a key and a secret; .* in the environment") as found:
            call(address)
        assert "hush" not in str(found.value)


@pytest.mark.parametrize("query", ["sv=1&sig=hush", "client_id=me&client_secret=hush", "account_key=hush"])
def test_a_secret_in_the_query_of_an_address_is_refused_too(query: str, tmp_path: Path) -> None:
    for call in (list_images, Store):
        with pytest.raises(ValueError, match="holds a key and a secret") as found:
            call(f"abfs://container@account.dfs.core.windows.net/x?{query}")
        assert "hush" not in str(found.value)


def test_images_of_the_bucket_of_a_list_are_read_as_the_list_is() -> None:
    there = partial(listed_path, "s3://radiographs/list.txt?endpoint_override=localhost:9000&scheme=http")
    assert there("s3://radiographs/a b/#1.png") == "radiographs/a b/#1.png"
    for path in ("s3://others/a.png", "gs://radiographs/a.png", "radiographs/a.png", "/a.png"):
        assert there(path) == path


def listed(source: object, **options: object) -> list[tuple[str, str]]:
    images = list_images(source, **options).images
    return list(zip(images["name"].to_pylist(), images["path"].to_pylist(), strict=True))


def test_a_store_is_listed_as_a_folder_is(radiographs: Path, tmp_path: Path) -> None:
    expected = [(item["name"], item["image"]) for item in inference_datalist(radiographs)]
    assert listed(radiographs) == expected
    assert listed(radiographs.as_uri()) == expected
    (radiographs / ".hidden").mkdir(exist_ok=True)
    (radiographs / ".hidden" / "x.png").touch()
    store = SubTreeFileSystem(str(radiographs.parent), LocalFileSystem())
    inner = listed(radiographs.name, filesystem=store)
    assert inner == [(name, str(Path(path).relative_to(radiographs.parent))) for name, path in expected]
    relative = [item["name"] for item in inference_datalist(radiographs, True)]
    assert [name for name, _ in listed(radiographs.name, filesystem=store, relative_names=True)] == relative

    names = ("a/y.png", "a-b/x.png", "hand/1.png", "hand 2/2.png", "hand 2.png", "z")
    for name in names:
        (tmp_path / "odd" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "odd" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    at_once = [name for name, _ in listed("odd", filesystem=SubTreeFileSystem(str(tmp_path), LocalFileSystem()))]
    assert at_once == [item["name"] for item in inference_datalist(tmp_path / "odd")]
    assert len(at_once) == len(names)

    lines = "".join(f"{path}\n" for _, path in expected)
    (tmp_path / "list.txt").write_text(f"{lines}\n")
    assert listed(tmp_path / "list.txt") == expected
    names = [f"{number}.png" for number in range(len(expected))]
    pq.write_table(pa.table({"path": [path for _, path in expected], "name": names}), tmp_path / "list.parquet")
    assert listed(tmp_path / "list.parquet") == list(zip(names, (path for _, path in expected), strict=True))
    for name in ("list.txt", "list.parquet"):
        with pytest.raises(DatasetError, match=r"--relative_names is for folders, and .* is a list"):
            list_images(tmp_path / name, relative_names=True)


class Busy(LocalFiles):
    """A store that does not answer when some files are opened."""

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        if path.endswith("busy"):
            raise OSError("SLOW_DOWN")
        return super()._open(path, mode, **options)


def test_a_store_that_is_busy_while_it_is_listed_costs_no_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading it says why, and can be repeated; a picture of a kind that is not read is named."""
    (tmp_path / "in").mkdir()
    for name in ("1.2.840.busy", "1.2.840.other"):
        write_dicom(tmp_path / "in" / name, draw_radiograph(6, SHAPE)[0].astype(np.uint16))
    (tmp_path / "in" / "picture").write_bytes(b"GIF89a" + bytes(100))
    store = PyFileSystem(FSSpecHandler(Busy()))
    assert [name for name, _ in listed(tmp_path / "in", filesystem=store)] == ["1.2.840.busy", "1.2.840.other"]
    assert "picture (a GIF)" in caplog.text


def test_a_list_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("radiografía.png\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"list.txt: not a text in UTF-8 \(byte 10\); .* save the list as UTF-8"):
        list_images(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"file": ["a.png"]}, "has the columns file; expected path"),
        ({"path": [1]}, "column path is int64"),
        ({"path": ["a.png", None]}, "1 empty"),
        ({"path": ["x/a.png", "y/a.png"]}, "two images of the name a.png: .*x/a.png and .*y/a.png"),
        ({"path": ["x/"]}, "is a folder"),
        ({"path": ["a\n.png"]}, "a CSV can't hold this name"),
        ({"path": pa.array([], pa.string())}, "no images"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(content: dict[str, list[object]], message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(content), tmp_path / "list.parquet")
    with pytest.raises(DatasetError, match=message):
        list_images(tmp_path / "list.parquet")


def test_a_cluster_holds_actors_and_leaves_room_for_tasks() -> None:
    for nodes in ([1], [1, 1], [2], [12, 2], [64] * 8):
        plan = layout([{"CPU": cores} for cores in nodes])
        assert plan.actors == sum(nodes)
        # Wherever Ray puts actors and the tasks that read, some node has room for a task that judges.
        taken = plan.actors * plan.actor_cores + plan.readers * plan.task_cores
        assert sum(nodes) - taken >= plan.task_cores
        assert plan.actor_cores % plan.task_cores == 0
        assert plan.judges >= 1
        assert plan.actors * plan.actor_cores + (plan.readers + plan.judges) * plan.task_cores <= sum(nodes)
    gpus = layout([{"CPU": 16, "GPU": 8}, {"CPU": 4}])
    assert (gpus.actors, gpus.gpus, gpus.readers, gpus.judges) == (8, 1, 6, 6)
    assert layout([{"CPU": 4, "GPU": 8}]).actors == 2
    for nodes in ([], [{"CPU": 0.5}], [{"CPU": 1, "GPU": 1}], [{"GPU": 1}, {"CPU": 1}]):
        with pytest.raises(DoesNotFitError, match="the network and the tasks that feed it need"):
            layout(nodes)


def _row(name: str, rle: str) -> dict[str, object]:
    hand = {"side": None, "rle": [rle] * 29}
    return {"id": id_of(name), "name": name, "path": name, "hands": [hand], "weights": "w"}


def test_what_a_kill_leaves_counts_for_nothing(tmp_path: Path) -> None:
    names = ["c.png", "a.png", "b.png"]
    images = pa.table({"id": [id_of(n) for n in names], "name": names, "path": names})
    store = Store(tmp_path / "out")
    store.begin({"weights": "w"}, images)
    tables = [pa.Table.from_pylist([_row(n, "1 2")], schema=SCHEMA) for n in names]
    for name, table in zip(("one", "two", "three"), tables, strict=True):
        store.add(table, name)
    # Killed between a file and its mark; a process that outlived its job has written an image once more.
    (tmp_path / "out" / "done" / "three.parquet").rename(tmp_path / "out" / "done" / "three.pending.parquet")
    store.add(pa.concat_tables(tables[:2]), "late")
    store.settle()
    assert sorted(store.ids()) == sorted(id_of(n) for n in names[:2])
    assert not list((tmp_path / "out" / "done").glob("*pending*"))
    with pytest.raises(StoreError, match="1 image of 3 not done"):
        archive_csv(tmp_path / "out", tmp_path / "x.csv")
    store.add(tables[2], "again")
    store.settle()
    assert archive_csv(tmp_path / "out", tmp_path / "x.csv") == (3, 0)
    # The order of the list, not that of the rows.
    assert [line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()[1::29]] == names


def test_failures_and_rows_that_came_twice_are_taken_away_and_no_others(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(60)]
    store = Store(tmp_path)
    store.begin({}, pa.table({"id": [id_of(n) for n in names], "name": names, "path": names}))
    for start in range(0, 60, 20):
        rows = [
            _row(n, "1 2") if k % 7 else {**_row(n, ""), "hands": [], "failure": "damaged"}
            for k, n in enumerate(names[start : start + 20])
        ]
        store.add(pa.Table.from_pylist(rows, schema=SCHEMA), f"{start}")
    store.add(pa.Table.from_pylist([_row(n, "3 4") for n in names[15:25]], schema=SCHEMA), "late")
    store.settle()
    assert sorted(store.ids()) == sorted(map(id_of, names))
    failed = set(store.failures())
    store.settle(failed=True)
    assert sorted(row["name"] for row in rows_of(tmp_path)) == sorted(set(names) - failed)
    assert len(failed) >= 6


def test_rows_whose_marks_are_lost_are_not_taken_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin({}, pa.table({"id": [id_of("a.png")], "name": ["a.png"], "path": ["a.png"]}))
    store.add(pa.Table.from_pylist([_row("a.png", "1 2")], schema=SCHEMA), "one")
    (tmp_path / "done" / "one.parquet").unlink()
    with pytest.raises(StoreError, match=r"holds 1 file of rows, and in done nothing says that they are whole"):
        store.settle()
    assert list((tmp_path / "rows").iterdir())


def test_rows_are_of_the_images_that_are_listed(tmp_path: Path) -> None:
    def images(**paths: str) -> pa.Table:
        names = [f"{name}.png" for name in paths]
        return pa.table({"id": [id_of(n) for n in names], "name": names, "path": list(paths.values())})

    store = Store(tmp_path / "out")
    assert store.begin({}, images(a="/one/a.png", b="/one/b.png")) == []
    rows = [
        {**_row("a.png", "1 2"), "path": "/one/a.png"},
        {**_row("b.png", ""), "path": "/one/b.png", "hands": [], "failure": "not an image"},
    ]
    store.add(pa.Table.from_pylist(rows, schema=SCHEMA), "first")
    assert store.failures() == {"b.png": "not an image"}
    with pytest.raises(
        StoreError, match=r"another a.png: it lay at /one/a.png, now at /two/a.png; choose another fold"
    ):
        store.begin({}, images(c="/two/c.png", a="/two/a.png"))
    # What is listed no longer counts neither for the submission nor as a failure, and is told.
    assert store.begin({}, images(a="/one/a.png")) == ["b.png"]
    assert store.failures() == {}
    assert archive_csv(tmp_path / "out", tmp_path / "x.csv") == (1, 0)
    assert store.begin({}, images(b="/one/b.png", c="/one/c.png")) == ["a.png"]
    assert store.failures() == {"b.png": "not an image"}


def test_a_damaged_file_of_rows_is_done_again(tmp_path: Path) -> None:
    names = ["a.png", "b.png"]
    images = pa.table({"id": [id_of(n) for n in names], "name": names, "path": names})
    store = Store(tmp_path / "out")
    store.begin({}, images)
    for name in names:
        store.add(pa.Table.from_pylist([_row(name, "1 2")], schema=SCHEMA), name)
    path = tmp_path / "out" / "rows" / "b.png-0.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StoreError, match=r"a file of rows is damaged .*; the same handseg archive command does"):
        archive_csv(tmp_path / "out", tmp_path / "x.csv")
    store.begin({}, images)
    assert store.ids().tolist() == [id_of("a.png")]
    store.settle()
    with pytest.raises(StoreError, match="1 image of 2 not done"):
        archive_csv(tmp_path / "out", tmp_path / "x.csv")


def test_a_file_of_rows_that_was_deleted_is_done_again(tmp_path: Path) -> None:
    """Which is how images whose files have changed are done anew."""
    names = ["a.png", "b.png", "c.png"]
    images = pa.table({"id": [id_of(n) for n in names], "name": names, "path": names})
    store = Store(tmp_path)
    store.begin({}, images)
    for name in names:
        store.add(pa.Table.from_pylist([_row(name, "1 2")], schema=SCHEMA), name)
    (holding,) = ds.dataset(tmp_path / "rows").filter(ds.field("name") == "b.png").to_table(["__filename"])[0]
    Path(holding.as_py()).unlink()
    store.begin({}, images)
    store.settle()
    assert sorted(store.ids()) == sorted(map(id_of, ("a.png", "c.png")))
    store.add(pa.Table.from_pylist([_row("b.png", "3 4")], schema=SCHEMA), "again")
    assert archive_csv(tmp_path, tmp_path / "x.csv") == (3, 0)
    assert (tmp_path / "x.csv").read_text().count("b.png") == (tmp_path / "x.csv").read_text().count("3 4") == 29


def test_a_submission_opens_few_files_for_images_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:03d}.png" for number in range(200)]
    images = pa.table({"id": [id_of(n) for n in names], "name": names, "path": names})
    store = Store(tmp_path / "out")
    store.begin({}, images)
    for start in range(0, 200, 20):
        rows = [_row(name, f"{number + 1} 1") for number, name in enumerate(names[start : start + 20], start)]
        store.add(pa.Table.from_pylist(rows[::-1], schema=SCHEMA), f"{start}")
    opened: list[str] = []
    read = pq.read_table
    monkeypatch.setattr(pq, "read_table", lambda path, **more: opened.append(str(path)) or read(path, **more))
    assert archive_csv(tmp_path / "out", tmp_path / "x.csv") == (200, 0)
    lines = [line.split(",") for line in (tmp_path / "x.csv").read_text().splitlines()[1::29]]
    assert [(line[0], line[2]) for line in lines] == [(name, f"{n + 1} 1") for n, name in enumerate(names)]
    assert len(opened) <= 1 + 2 * 10  # the list; each file for its ids, and for its rows
    # Of many processes neighbours lie in many files; no more rows than fit are in memory at once.
    for mark in (*(tmp_path / "out" / "rows").iterdir(), *(tmp_path / "out" / "done").iterdir()):
        mark.unlink()
    for start in range(10):
        rows = [_row(name, f"{number + 1} 1") for number, name in list(enumerate(names))[start::10]]
        store.add(pa.Table.from_pylist(rows, schema=SCHEMA), f"{start}")
    monkeypatch.setattr("handseg_monai.archive.csv._AT_ONCE", 50)
    opened.clear()
    before = (tmp_path / "x.csv").read_bytes()
    assert archive_csv(tmp_path / "out", tmp_path / "x.csv") == (200, 0)
    assert (tmp_path / "x.csv").read_bytes() == before
    assert len(opened) <= 1 + 10 + 4 * 10


def test_a_spacing_that_cannot_be_read_leaves_the_masks(radiographs: Path, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", draw_radiograph(6, SHAPE)[0].astype(np.uint16), PixelSpacing=[0.5, 0.5])
    spacing = b"\x28\x00\x30\x00"
    assert spacing + b"DS" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(spacing + b"DS", spacing + b"XX"))
    (table,) = read_images(
        [1], ["a.dcm"], [str(path)], filesystem=LocalFileSystem(), any_body_part=False, max_pixels=10**6
    )
    (row,) = table.to_pylist()
    assert row["failure"] is None
    assert row["spacing"]["unit"] == "px"
    assert row["spacing"]["says"].startswith("in pixels: ")
    assert str(tmp_path) not in row["spacing"]["says"]
    # Whatever else goes wrong is of this image alone too.
    (table,) = read_images([1], ["a"], ["x/a.png"], filesystem=None, any_body_part=False, max_pixels=10**6)
    assert table.to_pylist()[0]["failure"].startswith("x/a.png: AttributeError: ")


def test_a_submission_of_the_rows_needs_neither_ray_nor_torch() -> None:
    script = "import sys, handseg_monai.archive.csv; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("where", ["file", "in a file", "/proc/archive", "among the images", "the images"])
def test_a_place_that_cannot_be_written_to_is_said_in_one_line(where: str, radiographs: Path, tmp_path: Path) -> None:
    """Before the images are listed."""
    (tmp_path / "file").touch()
    out, words = {
        "file": (tmp_path / "file", "file is a file; expected a folder to write to (--out "),
        "in a file": (tmp_path / "file" / "x", "file is a file; expected a folder to write to (--out "),
        "/proc/archive": ("/proc/archive", "/proc can't be written to ("),
        "among the images": (radiographs / "0" / "rows", f" lies in {radiographs}, where archive reads;"),
        "the images": (radiographs / "0" / "..", f" lies in {radiographs}, where archive reads;"),
    }[where]
    done = handseg("archive", radiographs, "--out", out)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "--out" in done.stderr


def test_a_store_that_takes_no_folder_is_named() -> None:
    store = Store("archive", SubTreeFileSystem("/proc", LocalFileSystem()))
    store.require("images")
    with pytest.raises(StoreError, match=r"^archive can't be written to \(.*\); expected a folder on a store that"):
        store.begin({}, pa.table({"id": [1], "name": ["a"], "path": ["a"]}))


def test_an_address_at_which_nothing_answers_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            _require_answer(f"{host}:{port}")
    if socket.has_ipv6:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            _require_answer(f"[::1]:{server.getsockname()[1]}")
    for address in (f"127.0.0.1:{port}", f"[::1]:{port}", f"no-such-host.invalid:{port}", "127.0.0.1:99999"):
        with pytest.raises(DoesNotFitError, match=r"no cluster answers there .*; start one with: ray start"):
            connected(address).__enter__()
    for address in ("cluster", ":6379", "10.0.0.1:"):
        with pytest.raises(DoesNotFitError, match="expected auto, HOST:PORT such as"):
            connected(address).__enter__()
    for address in ("auto", "ray://127.0.0.1:1"):  # which Ray finds by itself
        _require_answer(address)


def test_ctrl_c_waits_until_ray_has_started() -> None:
    """Which crashes where it is interrupted at that; a second one is not kept back."""
    before, done = signal.getsignal(signal.SIGINT), []

    def interrupt(times: int) -> None:
        with _ctrl_c_kept_back():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            done.append(times)

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            interrupt(times)
    interrupt(0)
    assert done == [1, 0]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    images = pa.table({"id": [1], "name": ["a"], "path": ["a"]})
    (tmp_path / "letter.txt").touch()
    with pytest.raises(StoreError, match=r"holds other files \(letter.txt\)"):
        Store(tmp_path).begin({"weights": "w"}, images)
    with pytest.raises(StoreError, match="is no archive"):
        archive_csv(tmp_path, tmp_path / "x.csv")
    Store(tmp_path / "out").begin({"weights": "w"}, images)
    with pytest.raises(StoreError, match="weights 'w' instead of 'v'"):
        Store(tmp_path / "out").begin({"weights": "v"}, images)


@pytest.mark.parametrize("command", ["archive", "pacs"])
def test_options_of_two_words_take_both_hyphen_and_underscore(command: str) -> None:
    """Errors of what reads an image name them one way, whatever command it is read for."""
    options = [option.opts for option in typer.main.get_command(app).commands[command].params]
    for names in (names for names in options if re.search(r"\w[-_]\w", names[0])):
        assert {re.sub(r"(?<=\w)[-_]", sign, names[0]) for sign in "-_"} == set(names)
    assert any("--any_body_part" in names for names in options)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some more of them."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(MANY):
        cv2.imwrite(str(folder / f"{number:02d}.png"), draw_radiograph(number, SHAPE)[0])
    return folder


@pytest.fixture(scope="module")
def submission_of_many(many: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return inferred(many, checkpoint, tmp_path_factory.mktemp("inferred"))


def check(out: Path, expected: bytes) -> None:
    """Each image is there once, and as inference has it."""
    names = [row["name"] for row in rows_of(out)]
    assert len(names) == len(set(names)) == MANY
    archive_csv(out, out / "own.csv")
    assert (out / "own.csv").read_bytes() == expected


def networks() -> list[psutil.Process]:
    """Processes of this machine that hold the weights, as Ray names them."""
    lines = {process: " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    return [process for process, line in lines.items() if "MapWorker" in line and "Network" in line]


def networks_of(nodes: Any) -> list[psutil.Process]:
    """Those of a cluster."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()}
    return [process for process in networks() if process.ppid() in raylets]


@pytest.mark.slow
def test_an_interrupt_says_how_far_it_is(many: Path, checkpoint: Path, tmp_path: Path) -> None:
    """By SIGTERM, which is taken as Ctrl-C is."""
    out, earlier = tmp_path / "out", networks()
    process = start_alone(many, "--out", out, "--checkpoint", checkpoint, "--rows_per_file", 2)
    until(lambda: written(out) > 0, process)
    # The processes of a Ray that is started here don't give way to all others.
    assert {actor.nice() for actor in networks() if actor not in earlier} == {os.nice(0)}
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130, said
    now_and_then = r"(\d+ of 24 images have a row \(.*\)\n)*"
    line = r"interrupted: (?P<done>\d+) of 24 images have a row; the same command goes on"
    last = re.search(rf"^24 images: .*\n{now_and_then}{line}\s*\Z", said, re.MULTILINE)
    assert last is not None, said
    store = Store(out)
    store.settle()
    assert 2 <= int(last["done"]) == len(store.ids())


def test_without_a_terminal_lines_say_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{number}.png" for number in range(5)]
    rows = [pa.Table.from_pylist([_row(name, "1 2")], schema=SCHEMA) for name in names]
    store = Store(tmp_path)
    store.begin({}, pa.table({"id": [id_of(n) for n in names], "name": names, "path": names}))
    store.add(rows[0], "earlier")
    progress, said = Progress(store, 1, 5), ""
    with printed(progress, 2, seconds=0.01):
        for number, add in ((1, []), (3, rows[1:3]), (4, rows[3:4])):
            if add:
                store.add(pa.concat_tables(add), f"{number}")
            end = time.monotonic() + PATIENCE
            while f"{number} of 5 images have a row (at least 2 are written at a time)\n" not in said:
                assert time.monotonic() < end, said
                said += capsys.readouterr().err
    (tmp_path / "done" / "x.pending.parquet").touch()
    store.add(rows[0], "once more")
    store.add(rows[4], "last")
    progress.look_briefly()
    assert str(progress) == "5 of 5 images have a row"


@pytest.mark.slow
def test_the_driver_is_killed_then_actors_and_a_node_die(
    many: Path, checkpoint: Path, submission_of_many: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with cluster(1, 1) as nodes:
        given = (many, "--out", out, "--checkpoint", checkpoint, "--rows_per_file", 2, "--address", nodes.address)
        process = start(*given)
        until(lambda: written(out) > 2, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not networks_of(nodes))  # a little later Ray ends the actors of a driver that is gone
        before = written(out)
        assert before < MANY // 3
        process = start(*given)
        until(lambda: written(out) > before + 1, process)
        killed = networks_of(nodes)
        for actor in killed:  # as the system does where memory is short
            actor.kill()
        nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)
        said = process.communicate(timeout=PATIENCE)[0]
    assert killed
    # Ray repeats the node's work by itself, or the command connects anew: whichever comes first.
    assert process.returncode == 0, said
    assert " of earlier runs" in said
    check(out, submission_of_many)


@pytest.mark.slow
def test_an_image_that_ends_its_process_each_time_becomes_a_failure(checkpoint: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), draw_radiograph(number, SHAPE)[0])
    cv2.imwrite(str(images / "deadly.png"), draw_radiograph(3, DEADLY)[0])
    options = "Options(invert=\"$__import__('tests.archive_faults').archive_faults.plant()\")"
    once = "assert run._TRIES == 2\nrun._TRIES = 1"
    done = called(images, out, f"checkpoint={str(checkpoint)!r}, options={options}", once)
    assert done.stdout.count(" ended, 4 times") == 1
    assert f"{{'deadly.png': '{images / 'deadly.png'}: the process that had it ended, 4 times" in done.stdout
    assert archive_csv(out, tmp_path / "own.csv") == (3, 1)


@pytest.mark.slow
def test_rows_are_written_while_images_are_drawn(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judging always has a core to begin on: Ray once kept it for reading, until all images were read.

    The network waits for the first rows once it has drawn 160 of 400 images: without them nothing goes on.
    """
    images, out, seen = tmp_path / "images", tmp_path / "out", tmp_path / "seen"
    images.mkdir()
    content = cv2.imencode(".png", draw_radiograph(0, (512, 416))[0])[1].tobytes()
    for number in range(400):
        (images / f"{number:03d}.png").write_bytes(content)
    monkeypatch.setenv("SEEN", str(seen))
    monkeypatch.setenv("DONE", str(out / "done"))
    small = "run.Network, run._BLOCK, run._BLOCK_BYTES = Slow, 16, 1 << 22"
    done = called(images, out, f"rows_per_file=40, checkpoint={str(checkpoint)!r}", small, cores=2)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(out)) == seen.stat().st_size == 400


@pytest.mark.slow
def test_rows_that_cannot_be_written_are_no_fault_of_the_images(
    radiographs: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out, given = tmp_path / "out", f"checkpoint={str(checkpoint)!r}"
    once = "run._TRIES = 1"  # an actor takes 8 s to start
    failed = called(radiographs, out, f"{given}, out_filesystem=PyFileSystem(FSSpecHandler(Full()))", once)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert "IncompleteArchiveError" in last
    assert "8 images of 8 have no row there (" in last
    assert "No space left" in last
    assert last.endswith("can all nodes of the cluster write to that folder? The same command goes on")
    # No image counts as done or as failed: the same call begins with what a new folder has.
    store = Store(out)
    assert (list(store.ids()), store.failures()) == ([], {})
    assert not [*(out / "rows").iterdir(), *(out / "done").iterdir()]
