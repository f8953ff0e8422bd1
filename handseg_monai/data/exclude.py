"""``exclude.txt``: images to leave out of training, one a line with the reason; take a line out to bring one back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from handseg_monai.data.labels.converted import DATALIST, converted_items
from handseg_monai.data.reading.images import find_images
from handseg_monai.files import atomic_open, find_files, nfc


class ExcludeError(ValueError):
    """A list of images to leave out that does not fit the dataset. One line, which names the file."""


def write_exclude(path: str | Path, reasons: Iterable[tuple[str, str]]) -> None:
    """Write a list of images to leave out: a line ``path,reason`` for each, paths relative to the dataset."""
    with atomic_open(path) as file:
        file.write("# Images that training leaves out. Remove a line, or put # before it, to keep its image.\n")
        for image, reason in reasons:
            file.write(f"{image},{' '.join(reason.split())}\n")


def read_exclude(path: str | Path, dataset_dir: str | Path) -> dict[Path, str]:
    """Read a list of images to leave out: the reason of each path, which begins with ``dataset_dir``.

    Parameters
    ----------
    path
        Text file in UTF-8: on each line a path relative to ``dataset_dir``, then, if wanted, a comma and the reason.
        Empty lines and those that begin with ``#`` are passed over. A label without an image may stand there too.
    dataset_dir
        The dataset, or one split of it.

    Raises
    ------
    ExcludeError
        The file is missing or no text, or names a path that the dataset does not hold.
    """
    root = Path(str(dataset_dir))
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # names may hold further breaks of lines
    except OSError as error:
        raise ExcludeError(f"{path}: {error.strerror} (--exclude)") from error
    except UnicodeDecodeError as error:
        raise ExcludeError(f"{path}: not a text file in UTF-8 (--exclude)") from error
    known = {nfc(name): path for name, path in _members(root).items()}
    reasons: dict[Path, str] = {}
    unknown = []
    for line in map(nfc, lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        image = next((text for text in _prefixes(line) if text in known), None)
        if image is None:
            unknown.append(line.split(",")[0].strip())
        else:
            reasons.setdefault(known[image], line.strip()[len(image) + 1 :].strip())
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise ExcludeError(
            f"{path}: {root} holds no {', '.join(unknown[:3])}{more}; "
            "expected paths relative to --dataset_dir, such as train/DCM/ID001/image.png"
        )
    return reasons


def excluding(path: str | Path | None, dataset_dir: str | Path) -> frozenset[Path]:
    """Paths that :func:`read_exclude` returns; empty without a list."""
    return frozenset(read_exclude(path, dataset_dir)) if path else frozenset()


def converted_name(image: Path, root: Path) -> str:
    """How a list names an image of a converted dataset: its path relative to the folder of the datalist."""
    return Path(os.path.relpath(image, root)).as_posix()


def _members(root: Path) -> dict[str, Path]:
    """Images and labels of a dataset by their path relative to it."""
    members: dict[str, Path] = {}
    if (root / DATALIST).is_file():
        images = [Path(item["image"]) for item in converted_items(root)[0]]
        return {converted_name(image, root): image for image in images}
    for split in (root, root / "train", root / "test"):
        if (split / "DCM").is_dir():
            members.update({path.relative_to(root).as_posix(): path for path in find_images(split / "DCM")})
            labels = find_files(split / "outputs_json", ".json") if (split / "outputs_json").is_dir() else []
            members.update({path.relative_to(root).as_posix(): path for path in labels})
    return members


def _prefixes(line: str) -> list[str]:
    # A path may hold commas of its own.
    fields = line.strip().split(",")
    return [",".join(fields[:n]).strip() for n in range(1, len(fields) + 1)]
