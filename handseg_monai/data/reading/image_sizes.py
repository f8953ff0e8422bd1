"""Places and sizes of the images of a submission, which itself holds none."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from handseg_monai.data.reading.images import find_images, image_size
from handseg_monai.files import nfc
from handseg_monai.rle import read_csv


def read_with_images(prediction: str | Path, folder: str | Path) -> tuple[dict[str, list[str | None]], dict[str, Path]]:
    """Read a submission of one image or more, and find them; raises as its two parts do.

    Returns
    -------
    texts, paths
        By image name: 29 run-length texts, see :func:`~handseg_monai.rle.read_csv`, and the image.
    """
    texts = read_csv(prediction, empty=False)
    return texts, image_paths(texts, folder)


def image_sizes(names: Collection[str], folder: str | Path) -> dict[str, tuple[int, int]]:
    """(height, width) of images by their names in a submission; raises as :func:`image_paths`."""
    return {name: image_size(path) for name, path in image_paths(names, folder).items()}


def image_paths(names: Collection[str], folder: str | Path) -> dict[str, Path]:
    """Paths of images by their names in a submission: base names, or paths below the folder, at any depth.

    Raises
    ------
    ValueError
        The folder lacks some of the images, or holds two of one name. The message names the first few.
    OSError
        The folder can't be read.
    """
    wanted = {nfc(name): name for name in names}
    found: dict[str, Path] = {}
    for path in find_images(folder):
        relative = path.relative_to(folder).as_posix() if path != Path(folder) else path.name
        name = wanted.get(nfc(relative)) or wanted.get(nfc(path.name))
        if name is None:
            continue
        if name in found:
            raise ValueError(f"two images of the name {name}: {found[name]} and {path}")
        found[name] = path
    if lacks := sorted(set(wanted.values()) - found.keys()):
        shown = ", ".join(lacks[:3]) + (", …" if len(lacks) > 3 else "")
        raise ValueError(f"{folder}: lacks {len(lacks)} of the images ({shown})")
    return found
