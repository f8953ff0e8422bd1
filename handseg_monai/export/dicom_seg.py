"""Masks as DICOM SEG: 29 binary segments a hand that refer to the DICOM radiograph they were drawn on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import handseg_monai
from handseg_monai.bitplanes import unpack
from handseg_monai.bones import BONES, Bone, Side
from handseg_monai.data.reading.dicom import is_dicom, read_header, require_dicom
from handseg_monai.data.reading.dicom_text import UNKNOWN, to_unicode
from handseg_monai.export.form import Form, Masks, MasksNotWrittenError

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import DataElement, Dataset

logger = logging.getLogger(__name__)

_NAME = "handseg-monai"
_SERIES_NUMBER = 29
_REFERENCE = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyDate", "StudyID", "StudyTime"),
)
"""What a SEG must hold of its source, empty where the source, as one without names, has not got it."""
_TEXTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "SH", "ST", "TM", "UI")
_SEXES = ("M", "F", "O")
_SIDES = {"R": "Right", "L": "Left"}


class DicomSeg(Form):
    """``<image>.dcm``: a SEG of type BINARY, segment k + 1 is bone k, in a series of its own in the image's study.

    Of two hands segment k + 1 is of the left one, k + 30 of the right one, and each says so.

    Patient and study are the source's, their texts in UTF-8. It gets no geometry that the source lacks: a radiograph
    has no frame of reference. An absent bone is a segment without a frame.
    """

    @classmethod
    def check(cls, paths: Collection[Path]) -> None:
        """Refuse images that are not DICOM."""
        require_dicom()
        try:
            import highdicom  # noqa: F401
        except ImportError as error:
            raise ValueError("DICOM SEG takes more packages: pip install 'handseg-monai[dicom]'") from error
        # highdicom quotes a name that breaks the standard, or has one part.
        logging.getLogger("highdicom").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module="highdicom")
        for path in paths:
            if not is_dicom(path):
                raise ValueError(
                    f"{path}: not a DICOM file; a DICOM SEG refers to its source image, so --images must hold the "
                    "DICOM files that were segmented"
                )

    def add(self, masks: Masks) -> None:
        """Write the segments of an image; ``MasksNotWrittenError`` where the image's header does not allow that."""
        write_seg(masks, self._path(masks, ".dcm"))


def write_seg(masks: Masks, path: Path, series_uid: str | None = None, instance_uid: str | None = None) -> None:
    """Write the masks of a DICOM image as a SEG.

    Parameters
    ----------
    masks
        The masks, whose ``path`` is the image's.
    path
        File to write.
    series_uid, instance_uid
        UIDs of the SEG and its series; None: new ones.

    Raises
    ------
    MasksNotWrittenError
        The image's header does not allow a SEG.
    """
    source = _source(masks.path)
    try:
        segmentation = _segmentation(source, masks, series_uid, instance_uid)
        texts = [element for element in segmentation.iterall() if element.VR != "SQ"]
        strange = sorted({element.keyword for element in texts if UNKNOWN in str(element.value)})
    except Exception:  # its message may quote a patient
        raise MasksNotWrittenError(
            "the SEG can't copy its header: attributes of patient or study are damaged"
        ) from None
    if strange:
        raise MasksNotWrittenError(
            f"{' and '.join(strange)}, which the SEG copies, can't be decoded by the file's Specific Character "
            "Set; state the right one in the file"
        )
    if left_out := _drop_invalid(segmentation):
        logger.warning(
            "%s: %s break%s the DICOM standard; the SEG leaves %s out",
            masks.path,
            " and ".join(left_out),
            "s" if len(left_out) == 1 else "",
            "it" if len(left_out) == 1 else "them",
        )
    try:
        segmentation.save_as(path)
    except OSError:
        raise
    except Exception:  # its message may quote a patient
        path.unlink(missing_ok=True)
        raise MasksNotWrittenError("the SEG can't hold what its header says of patient or study") from None


def _source(path: Path) -> Dataset:
    try:
        source = read_header(path)
    except ValueError as error:
        raise MasksNotWrittenError(str(error)) from error
    try:
        to_unicode(source)
    except Exception:  # whatever damaged bytes make of the parser
        raise MasksNotWrittenError("the texts of its header are damaged") from None
    source.SpecificCharacterSet = "ISO_IR 192"
    if lacks := [keyword for keyword in _REFERENCE if not source.get(keyword)]:
        raise MasksNotWrittenError(f"no {' and '.join(lacks)}; a SEG needs this to refer to the image")
    if wrong := [keyword for keyword in _REFERENCE if not source[keyword].value.is_valid]:
        raise MasksNotWrittenError(
            f"{' and '.join(wrong)}: not a UID by the DICOM standard (numbers without leading zeros, parted by dots); "
            "a SEG can't refer to the image"
        )
    for keyword in _MAY_BE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, None)
    # It becomes a geometry of slices without their thickness, which highdicom itself refuses to read.
    source.pop("PixelSpacing", None)
    if bad := [keyword for keyword in _MAY_BE_EMPTY if not _is_valid(source[keyword])]:
        raise MasksNotWrittenError(f"{' and '.join(bad)}, which the SEG copies, breaks the DICOM standard")
    return source


def _is_valid(element: DataElement) -> bool:
    from pydicom.valuerep import DA, TM

    if element.keyword == "PatientSex":
        return not element.value or element.value in _SEXES
    reader = {"DA": DA, "TM": TM}.get(element.VR)
    try:
        return reader is None or not element.value or reader(element.value) is not None
    except ValueError:
        return False


def _drop_invalid(segmentation: Dataset) -> list[str]:
    """Take texts out that the SEG may lack and that break the standard, and return their keywords."""
    from pydicom.config import RAISE
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    dropped = []
    for element in list(segmentation):
        if element.VR not in _TEXTS or not element.value:
            continue
        try:
            for value in element.value if isinstance(element.value, MultiValue) else [element.value]:
                validate_value(element.VR, str(value), RAISE)
        except ValueError:
            dropped.append(element.keyword)
            if element.keyword in _MAY_BE_EMPTY:
                element.value = None
            else:
                del segmentation[element.tag]
    return dropped


def _segmentation(source: Dataset, masks: Masks, series_uid: str | None, instance_uid: str | None) -> Any:
    from highdicom import UID
    from highdicom.seg import Segmentation

    segmentation = Segmentation(
        source_images=[source],
        pixel_array=np.concatenate([unpack(hand.planes) for hand in masks.hands]).transpose(1, 2, 0)[None],
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(number, bone, hand.side, source)
            for number, (hand, bone) in enumerate(product(masks.hands, BONES), 1)
        ],
        series_instance_uid=UID(series_uid),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=UID(instance_uid),
        instance_number=1,
        manufacturer=_NAME,
        manufacturer_model_name=_NAME,
        software_versions=handseg_monai.__version__,
        device_serial_number="0",
        content_label="HAND_BONES",
        content_description="Bones of the hand and wrist",
        series_description="Bones of the hand and wrist",
        omit_empty_frames=any(hand.planes.any() for hand in masks.hands),
    )
    segmentation.PatientOrientation = source.get("PatientOrientation")
    return segmentation


def _segment(number: int, bone: Bone, side: Side | None, source: Dataset) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    segment = SegmentDescription(
        segment_number=number,
        segment_label=f"{side} {bone.english}" if side else bone.english,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=CodedConcept(bone.concept.code, "SCT", bone.concept.meaning),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=_NAME, version=handseg_monai.__version__, family=codes.DCM.ArtificialIntelligence
        ),
        display_color=CIELabColor.from_rgb(*bone.colour),
    )
    stated = str(source.get("ImageLaterality") or source.get("Laterality") or "")
    if word := side.capitalize() if side else _SIDES.get(stated):
        concept = segment.SegmentedPropertyTypeCodeSequence[0]
        concept.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(getattr(codes.SCT, word))]
    return segment
