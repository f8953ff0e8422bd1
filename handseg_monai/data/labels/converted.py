"""The form that every kind of label is converted to: a datalist beside label files that hold bit planes.

::

    DATA/datalist.json       images, subjects, and what is known in each image
    DATA/labels/<image>.npz  bit planes as runs of equal pixels

A label file of a 2048 x 2048 radiograph holds 15 kB and is read in about a millisecond; a PNG of four channels holds
53 kB and takes a hundred times as long, filling the polygons of the competition's JSON ten times
(``python -m tests.benchmarks.label_files``).
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from handseg_monai.bones import ALL_KNOWN, FLAT
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.labels.json_file import kind_of, read_json
from handseg_monai.files import atomic_path, nfc, write_json

DATALIST = "datalist.json"
FORM = "handseg bit planes, 1"
"""What a datalist says of itself, so that no other file is taken for one."""


def write_planes(path: str | Path, planes: np.ndarray) -> None:
    """Write bit planes, int32 (H, W), without loss and atomically."""
    flat = planes.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file, shape=np.array(planes.shape, np.int32), values=flat[starts], lengths=lengths.astype(np.int32)
        )


def read_planes(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """Read what :func:`write_planes` wrote for an image of ``shape`` (height, width): int32, ``shape``.

    Raises
    ------
    LabelError
        No such file, one that was not written by :func:`write_planes`, or one of another size.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = tuple(int(n) for n in file["shape"])
            values, lengths = file["values"], file["lengths"]
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror or 'not a label file of handseg convert'}") from error
    except (
        EOFError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
        TokenError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise LabelError(
            f"{path}: not a label file of handseg convert, or damaged ({error}); run handseg convert again"
        ) from error
    if stored != tuple(shape):
        raise LabelError(
            f"{path}: a label of {' x '.join(map(str, stored[::-1]))} pixels for an image of {shape[1]} x {shape[0]}; "
            "run handseg convert again"
        )
    whole = values.dtype == np.int32 and values.ndim == 1 and values.shape == lengths.shape
    if not whole or (lengths < 1).any() or lengths.sum(dtype=np.int64) != shape[0] * shape[1]:
        raise LabelError(f"{path}: the runs do not add up to {shape[1]} x {shape[0]} pixels; run handseg convert again")
    if len(values) and not (values.min() >= 0 and values.max() <= ALL_KNOWN):
        raise LabelError(f"{path}: bits beyond those of the 29 bones; run handseg convert again")
    return np.repeat(values, lengths).reshape(shape)


def write_datalist(path: str | Path, items: Sequence[Item], source: str) -> None:
    """Write the datalist of converted labels, from items with absolute paths; its own are relative to its folder.

    ``source`` says in words what was converted.
    """
    folder = os.path.realpath(Path(path).parent)
    training = [
        {
            **item,
            "image": Path(os.path.relpath(item["image"], folder)).as_posix(),
            "label": Path(os.path.relpath(os.path.realpath(item["label"]), folder)).as_posix(),
        }
        for item in items
    ]
    write_json(path, {"form": FORM, "source": source, "training": training})


def converted_items(folder: str | Path) -> tuple[list[Item], list[str]]:
    """List the labelled images of a folder that holds :data:`DATALIST`, in its order.

    Beside the items comes a sentence for each image or label that is gone.

    Raises
    ------
    LabelError
        The datalist is not one of ``handseg convert``, or an entry of it is not whole.
    """
    path = Path(folder, DATALIST)
    content = read_json(path)
    entries = content.get("training") if isinstance(content, dict) and content.get("form") == FORM else None
    if not isinstance(entries, list):
        raise LabelError(f"{path}: not a datalist of handseg convert; expected 'form': {FORM!r} and a list 'training'")
    items: list[Item] = []
    faults = []
    for number, entry in enumerate(entries, 1):
        items.append(_item(path, number, entry))
        for kind, file in (("image", items[-1]["image"]), ("label", items[-1]["label"])):
            if not Path(file).is_file():
                faults.append(f"{path}, entry {number}: no {kind} {file}; run handseg convert again")
    return items, faults


def _item(path: Path, number: int, entry: object) -> Item:
    if not isinstance(entry, dict):
        raise LabelError(f"{path}, entry {number}: expected an object, got {kind_of(entry)}")
    texts = {key: entry.get(key) for key in ("image", "label", "name", "subject")}
    for key, value in texts.items():
        if not isinstance(value, str) or not value:
            raise LabelError(f"{path}, entry {number}: '{key}' is {value!r}; expected a text")
    known = entry.get("known")
    if not isinstance(known, int) or isinstance(known, bool) or not 0 < known & ~FLAT <= ALL_KNOWN:
        raise LabelError(
            f"{path}, entry {number}: 'known' is {known!r}; expected a number from 1 to {ALL_KNOWN}, bit k for bone k, "
            f"and {FLAT} more where the label holds no overlaps"
        )
    folder = Path(os.path.realpath(path.parent))
    image, label = (os.path.normpath(folder / str(texts[key])) for key in ("image", "label"))
    return Item(image=image, label=label, name=nfc(str(texts["name"])), subject=nfc(str(texts["subject"])), known=known)
