"""Radiographs written as DICOM, of nobody: DX, CR and SC with the attributes that their modules ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CLASSES = {
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}


def write_dicom(path: Path, pixels: np.ndarray, kind: str = "DX", **attributes: Any) -> Path:
    """Write pixels, unsigned (H, W) or uint8 (H, W, 3), as one of :data:`CLASSES`; an attribute of None is left out."""
    dataset = radiograph(pixels, kind, **attributes)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def radiograph(pixels: np.ndarray, kind: str = "DX", **attributes: Any) -> Dataset:
    """Make a data set of pixels; bits stored and photometric interpretation are attributes like others."""
    bits = 8 * pixels.dtype.itemsize
    colour = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    dataset = Dataset()
    dataset.SOPClassUID = CLASSES.get(kind, kind)
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.update(_patient_and_study())
    dataset.update({"SC": _secondary_capture, "CR": _computed}.get(kind, _digital)())
    set_pixel_data(
        dataset,
        pixels,
        attributes.pop("PhotometricInterpretation", colour),
        attributes.pop("BitsStored", bits),
    )
    if kind == "DX":
        stored = int(dataset.BitsStored)
        dataset.WindowCenter, dataset.WindowWidth = 2 ** (stored - 1), 2**stored
    for keyword, value in attributes.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


def _patient_and_study() -> Dataset:
    part = Dataset()
    part.PatientName, part.PatientID = "Phantom^Anna", "PHANTOM-7"
    part.PatientBirthDate, part.PatientSex, part.PatientAge = "19800131", "O", "044Y"
    part.StudyInstanceUID, part.SeriesInstanceUID = generate_uid(), generate_uid()
    part.StudyDate, part.StudyTime = "20240201", "101500"
    part.ContentDate, part.ContentTime = "20240201", "101501"
    part.AccessionNumber, part.StudyID, part.ReferringPhysicianName = "A1", "S1", ""
    part.SeriesNumber, part.InstanceNumber = 1, 1
    part.Manufacturer = "Phantom works"
    part.PatientOrientation = ["L", "F"]
    part.ImageType = ["ORIGINAL", "PRIMARY"]
    part.LossyImageCompression = "00"
    return part


def _computed() -> Dataset:
    part = Dataset()
    part.Modality, part.BodyPartExamined, part.ViewPosition, part.Laterality = "CR", "HAND", "PA", "R"
    part.PixelSpacing = [0.15, 0.15]
    return part


def _secondary_capture() -> Dataset:
    part = Dataset()
    part.Modality, part.ConversionType, part.Laterality = "OT", "WSD", ""
    return part


def _digital() -> Dataset:
    part = Dataset()
    part.Modality, part.PresentationIntentType = "DX", "FOR PRESENTATION"
    part.BodyPartExamined, part.ImageLaterality = "HAND", "L"
    part.ImagerPixelSpacing = [0.148, 0.148]
    part.PixelIntensityRelationship, part.PixelIntensityRelationshipSign = "LOG", -1
    part.RescaleIntercept, part.RescaleSlope, part.RescaleType = 0, 1, "US"
    part.PresentationLUTShape = "IDENTITY"
    part.BurnedInAnnotation = "NO"
    part.DetectorType, part.PositionerType, part.ViewPosition = "DIRECT", "NONE", "PA"
    part.ViewCodeSequence = Sequence([_coded(codes.cid4010.PosteroAnterior)])
    part.AnatomicRegionSequence = Sequence([_coded(codes.cid4031.Hand)])
    part.AcquisitionContextSequence = Sequence()
    return part


def _coded(code: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
