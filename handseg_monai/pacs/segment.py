"""The radiographs of a PACS, segmented: each gets one DICOM SEG beside it, however often it is asked for."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from handseg_monai.bones import NUM_BONES, SIDES, Side
from handseg_monai.checkpoints import Checkpoint
from handseg_monai.data.reading.dicom import body_part, names_hand, read_header, value_of
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from handseg_monai.export.dicom_seg import DicomSeg, write_seg
from handseg_monai.export.form import HandMasks, Masks, MasksNotWrittenError
from handseg_monai.files import atomic_path
from handseg_monai.inferers.thresholds import thresholds_of
from handseg_monai.pacs.query import Instance
from handseg_monai.pacs.rows import Row, tally, write_rows
from handseg_monai.pacs.server import Server
from handseg_monai.pacs.session import PacsError, PacsGoneError
from handseg_monai.plausibility.judge import Plausibility, plausibility
from handseg_monai.run.inference import Inference
from handseg_monai.signals import stopped_by_sigterm

_NOT_REACHED = "not reached: the run ended before it"
_OF_THE_IMAGE = MasksNotWrittenError, ValueError, ArithmeticError, LookupError, MemoryError, RuntimeError, cv2.error
"""What segmenting one image fails by; PyTorch's errors of memory and of a GPU are each a RuntimeError."""
_NOT_JUDGED = ValueError, ArithmeticError, LookupError, cv2.error
"""What judging fails by where masks have no shape that can be measured."""
_OUT_OF_MEMORY = re.compile("out of memory|allocate memory|insufficient memory", re.IGNORECASE)


class _WeightsError(ValueError):
    """The network can't be loaded, for this image or another."""


@dataclass
class Segmenter:
    """Draws the masks of radiographs, and knows which SEG it would make of one.

    Parameters
    ----------
    checkpoint
        File of weights; None: those that ``handseg infer`` would take.
    threshold
        See :func:`~handseg_monai.inferers.thresholds.thresholds_of`.
    hands
        Segment ``"one"`` hand of an image, or ``"both"``.
    any_body_part
        Whether to accept headers that name another part of the body.

    Raises
    ------
    ValueError
        There are no such weights or thresholds.
    """

    checkpoint: str | None = None
    threshold: float | str = 0.5
    hands: Literal["one", "both"] = "one"
    any_body_part: bool = False
    _inference: Inference = field(init=False, repr=False)
    _masks_depend_on: list[str] = field(init=False, repr=False)
    _is_loaded: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        thresholds = thresholds_of(self.threshold)
        self._inference = Inference(self.checkpoint, threshold=list(thresholds), hands=self.hands)
        digest = Checkpoint.read(self._inference.checkpoint).digest
        self._masks_depend_on = [digest, *map(repr, thresholds), self.hands]

    def seg_of(self, instance: Instance) -> Instance:
        """Return where the SEG of an instance is, or would be: the same for the same masks."""
        from pydicom.uid import generate_uid

        of = "\n".join([instance.uid, *self._masks_depend_on])
        return Instance(instance.study, *(str(generate_uid(entropy_srcs=[of, what])) for what in ("series", "SEG")))

    def write(self, instance: Instance, image: Path, seg: Path) -> tuple[str, Plausibility | None]:
        """Draw the masks of a DICOM file, and write its SEG.

        Returns
        -------
        note, judgement
            What is unusual about the image, or an empty text; and of the masks, of two hands the worse, None if they
            can't be judged.

        Raises
        ------
        UnreadableImageError
            It is no radiograph of a hand, or damaged.
        MasksNotWrittenError
            It shows no bone, neither its header nor its masks tell that it is a hand, or its header allows no SEG.
        ValueError
            The weights are of another network, damaged, or too large for the memory.
        """
        pixels = read_radiograph(image, any_body_part=self.any_body_part)
        self._load()
        drawn = self._inference.infer(pixels)
        if not drawn.planes.any():
            raise MasksNotWrittenError("no bone was found in it")
        sides: Sequence[Side | None] = SIDES if len(drawn.planes) > 1 else [None]
        given = np.ones(NUM_BONES, bool)
        hands = [HandMasks(side, planes, given) for side, planes in zip(sides, drawn.planes, strict=True)]
        try:
            judgement = min(map(plausibility, drawn.planes), key=lambda j: (j.plausible, j.score))
        except _NOT_JUDGED:  # the masks count all the same
            judgement = None
        if not (judgement is not None and judgement.plausible) and not self.any_body_part:
            _require_hand(image)
        target = self.seg_of(instance)
        write_seg(Masks(image.name, image, hands), seg, target.series, target.uid)
        notes = [drawn.note, "" if judgement is not None else "its masks can't be judged"]
        return "; ".join(filter(None, notes)), judgement

    def _load(self) -> None:
        if self._is_loaded:
            return
        try:
            self._inference.load()
        except ValueError as error:
            raise _WeightsError(str(error)) from error
        except _OF_THE_IMAGE as error:
            raise _WeightsError(f"the weights can't be loaded: {_in_words(error)}") from None
        self._is_loaded = True


def segment_pacs(
    server: Server,
    found: Sequence[Instance],
    segmenter: Segmenter,
    out: Path | None = None,
    dry_run: bool = False,
    progress: bool = True,
) -> list[Row]:
    """Segment radiographs of a PACS, and store a SEG of each in its study.

    Each SEG has a UID of its own that depends on the radiograph and on all that the masks depend on. What the PACS
    holds is left out, so that the same call again, after any end, adds what lacks and nothing twice.

    Parameters
    ----------
    server
        The PACS.
    found
        The radiographs, as :meth:`~handseg_monai.pacs.server.Server.search` lists them.
    segmenter
        What draws the masks.
    out
        Folder for copies, ``images/<study>/<instance>.dcm`` and ``seg/<study>/<instance>.dcm``, and ``pacs.csv``, a row
        for each radiograph; written when the run ends, by Ctrl-C and SIGTERM too. None: nothing is kept.
    dry_run
        Only say what there would be to do.
    progress
        Whether to show a progress bar on a terminal.

    Returns
    -------
    rows
        What became of each radiograph; whatever goes wrong with one is in its row.

    Raises
    ------
    ValueError
        The network can't be loaded.
    """
    DicomSeg.check(())
    rows: list[Row] = []
    try:
        with stopped_by_sigterm(), tempfile.TemporaryDirectory(prefix="handseg-pacs-") as folder:
            for instance in tqdm(found, "pacs", unit="image", disable=None if progress else True):
                try:
                    rows.append(_segment(server, instance, segmenter, Path(folder), out, dry_run))
                except PacsGoneError as error:
                    rows.append(Row(instance, "refused", str(error)))
                    rows += [Row(other, "refused", _NOT_REACHED) for other in found[len(rows) :]]
                    break
    except KeyboardInterrupt:
        print(f"interrupted: {tally(rows)}; the same command again continues", file=sys.stderr)
        raise
    finally:
        if out is not None:
            write_rows(rows, out / "pacs.csv")
    return rows


def _segment(
    server: Server, instance: Instance, segmenter: Segmenter, folder: Path, out: Path | None, dry_run: bool
) -> Row:
    from pydicom import dcmread

    if not instance.is_whole:
        return Row(instance, "refused", "the server states a UID for it that is none by the DICOM standard")
    image, seg = folder / f"{instance.uid}.dcm", folder / "seg.dcm"
    try:
        if server.holds(segmenter.seg_of(instance)):
            return Row(instance, "there already")
        if dry_run:
            return Row(instance, "to do")
        image.write_bytes(server.fetch(instance))
        _require_same(image, instance)
        note, judgement = segmenter.write(instance, image, seg)
        if out is not None:  # before storing: what is there already gets no copy
            for kind, path in (("images", image), ("seg", seg)):
                with atomic_path(out / kind / instance.study / image.name) as part:
                    shutil.copyfile(path, part)
        server.store(dcmread(seg))
        return Row(instance, "stored", note, judgement)
    except (PacsGoneError, _WeightsError):
        raise
    except _OF_THE_IMAGE as error:
        return Row(instance, "refused", _in_words(error).removeprefix(f"{image}: "))
    finally:
        for path in (image, seg):
            path.unlink(missing_ok=True)


def _require_hand(image: Path) -> None:
    """Refuse a radiograph whose masks look like no hand, unless its header names the hand."""
    part = body_part(read_header(image))
    if not names_hand(part):
        says = f"says {part[:40]!r}" if part else "names no body part"
        raise MasksNotWrittenError(f"its header {says}, and its masks do not look like a hand; see --any-body-part")


def _in_words(error: BaseException) -> str:
    """Return why an image is refused; of an error of another package the kind alone, as it may quote a patient."""
    if isinstance(error, PacsError | UnreadableImageError):
        return str(error)
    if _is_of_memory(error):
        return "there is too little memory for it (out of memory); end other programs, or use a machine with more"
    if isinstance(error, MasksNotWrittenError):
        return str(error)
    kind = f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
    return f"segmenting it failed ({kind}); if others fail too, look at the machine and its GPU"


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory was lacking, also where an error stands for one of memory."""
    while error is not None:
        is_foreign = isinstance(error, RuntimeError | cv2.error)
        if isinstance(error, MemoryError) or (is_foreign and _OUT_OF_MEMORY.search(str(error))):
            return True
        error = error.__cause__ or error.__context__
    return False


def _require_same(image: Path, instance: Instance) -> None:
    try:
        header = read_header(image)
        stated = [value_of(header, name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    except ValueError as error:
        raise UnreadableImageError(str(error)) from error
    if stated != [instance.study, instance.series, instance.uid]:
        raise PacsError("the server sent another instance than the one asked for; tell who runs it")
