"""An archive in an object store: S3 over real HTTP, of moto's server on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import quote

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from handseg_monai.archive.reading import radiograph_of, read_images
from handseg_monai.archive.rows import SCHEMA, failed
from handseg_monai.archive.sources import Source, list_images
from handseg_monai.archive.store import Store, StoreError
from handseg_monai.data.reading import MAX_PIXELS
from tests.services import free_port

IMAGES = {"p1/b.png": 10, "p1/a c.png": 20, "p2/#손.png": 30}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while not answers(port):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def query(endpoint: str) -> Iterator[str]:
    """What a URI says of the server, of which the environment has the credentials and a bucket the images."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "ACCESS_KEY_ID": "key",
            "SECRET_ACCESS_KEY": "secret",
            "DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(f"AWS_{name}", value)
        store = S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True)
        for bucket in ("radiology", "results"):
            store.create_dir(bucket)
        for name, grey in IMAGES.items():
            write(
                store, f"radiology/hands/{name}", cv2.imencode(".png", np.full((40, 30), grey, np.uint8))[1].tobytes()
            )
        write(store, "radiology/hands/notes.txt", b"no image")
        yield f"?endpoint_override={quote(endpoint, safe='')}"


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write(store: S3FileSystem, path: str, content: bytes) -> None:
    with store.open_output_stream(path) as file:
        file.write(content)


def greys(source: Source) -> dict[str, int]:
    """Grey values of the images as they are read, by name."""
    images = source.images
    columns = (images[name].to_pylist() for name in ("id", "name", "path"))
    tables = read_images(*columns, filesystem=source.filesystem, any_body_part=False, max_pixels=MAX_PIXELS)
    found = {}
    for table in tables:
        assert table["failure"].to_pylist() == [None]
        image = radiograph_of(table).image
        assert image.shape == (40, 30)
        assert image.min() == image.max()
        found[table["name"][0].as_py()] = int(image[0, 0])
    return found


def test_a_bucket_is_read_as_a_folder_is(query: str) -> None:
    assert greys(list_images(f"s3://radiology/hands{query}")) == {name.split("/")[1]: IMAGES[name] for name in IMAGES}
    assert greys(list_images(f"s3://radiology/hands{query}", relative_names=True)) == IMAGES
    assert greys(list_images(f"s3://radiology/hands/p1/b.png{query}")) == {"b.png": 10}


def test_a_list_in_a_bucket_names_images_of_it(query: str, endpoint: str) -> None:
    store = S3FileSystem(endpoint_override=endpoint)
    names = [f"{number}.png" for number in range(len(IMAGES))]
    table = pa.table({"path": [f"s3://radiology/hands/{name}" for name in IMAGES], "name": names})
    pq.write_table(table, "radiology/list.parquet", filesystem=store)
    assert greys(list_images(f"s3://radiology/list.parquet{query}")) == dict(zip(names, IMAGES.values(), strict=True))


def test_rows_in_a_bucket_are_kept_and_counted(query: str) -> None:
    images = list_images(f"s3://radiology/hands{query}").images
    place = f"s3://results/archive{query}"
    store = Store(place)
    assert store.begin({"weights": "w"}, images) == []
    rows = [failed(row["id"], row["name"], row["path"], "w", f"{row['name']}: no image") for row in images.to_pylist()]
    store.add(pa.Table.from_pylist(rows[:2], schema=SCHEMA), "first")

    again = Store(place)
    assert again.begin({"weights": "w"}, images) == []
    again.settle()
    assert sorted(again.ids()) == sorted(images["id"].to_pylist()[:2])
    assert again.failures() == {row["name"]: row["failure"] for row in rows[:2]}
    assert again.images().equals(images)
    files, ids, numbers, places = again.index()
    assert (len(files), sorted(ids), numbers.tolist(), places.tolist()) == (1, sorted(again.ids()), [0, 0], [0, 1])
    again.settle(failed=True)
    assert len(again.ids()) == 0
    with pytest.raises(StoreError, match="weights 'w' instead of 'v'"):
        Store(place).begin({"weights": "v"}, images)
