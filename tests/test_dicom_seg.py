"""DICOM SEG: what other readers find in it is the submission, it refers to its source, and keeps the standard."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import highdicom
import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes
from pydicom.uid import SegmentationStorage

import handseg_monai
from handseg_monai.bitplanes import pack, unpack
from handseg_monai.bones import BONES, INDEX, NAMES, NUM_BONES
from handseg_monai.export.export import export
from handseg_monai.rle import encode_planes, write_csv
from tests.bundle_runs import CONFIGS, TINY, run_bundle, save_untrained
from tests.dicoms import write_dicom
from tests.hands import both_hands, hand, without
from tests.programs import handseg

IMAGES = {"a.dcm": "DX", "IM0001": "CR", "1.2.840.7.1": "SC", "empty.dcm": "DX"}
SHAPE = (300, 260)


@pytest.fixture(scope="module")
def planes() -> dict[str, np.ndarray]:
    """A hand whose bones overlap, noise in every bone, one bone alone, and nothing."""
    of = {name: np.zeros(SHAPE, np.int32) for name in IMAGES}
    of["a.dcm"] = hand(0)[150:450, 120:380].copy()
    of["IM0001"] = np.random.default_rng(0).integers(0, 1 << NUM_BONES, SHAPE, dtype=np.int32)
    of["1.2.840.7.1"][5, 7] = 1 << INDEX["Ulna"]
    return of


def write_all(folder: Path, planes: dict[str, np.ndarray], **attributes: Any) -> tuple[Path, Path]:
    pixels = np.random.default_rng(1).integers(0, 4096, SHAPE, dtype=np.uint16)
    for name in planes:
        write_dicom(folder / "images" / name, pixels, IMAGES[name], BitsStored=12, **attributes)
    write_csv(folder / "p.csv", ((name, encode_planes(of_image)) for name, of_image in planes.items()))
    return folder / "p.csv", folder / "images"


@pytest.fixture(scope="module")
def exported(planes: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``images`` and ``seg``."""
    folder = tmp_path_factory.mktemp("seg")
    assert export(*write_all(folder, planes), "dicom-seg", folder / "seg", progress=False) == {}
    return folder


def seg_of(folder: Path, name: str) -> Path:
    return folder / "seg" / f"{name.removesuffix('.dcm')}.dcm"


def from_pydicom(path: Path) -> np.ndarray:
    """Masks, bool (29, H, W), by the frames' own segment numbers."""
    dataset = dcmread(path)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    masks = np.zeros((NUM_BONES, dataset.Rows, dataset.Columns), bool)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        masks[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] |= frame > 0
    return masks


@pytest.mark.parametrize("name", IMAGES)
def test_pydicom_and_highdicom_read_the_planes_of_the_submission(exported: Path, planes, name: str) -> None:
    np.testing.assert_array_equal(from_pydicom(seg_of(exported, name)), unpack(planes[name]))
    segmentation = highdicom.seg.segread(seg_of(exported, name))
    source = dcmread(exported / "images" / name)
    read = segmentation.get_pixels_by_source_instance([source.SOPInstanceUID], assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(pack(read[0].transpose(2, 0, 1) > 0), planes[name])


@pytest.mark.parametrize("name", IMAGES)
def test_it_refers_to_its_source_and_invents_no_geometry(exported: Path, name: str) -> None:
    segmentation, source = dcmread(seg_of(exported, name)), dcmread(exported / "images" / name)
    assert segmentation.SOPClassUID == SegmentationStorage
    assert segmentation.SegmentationType == "BINARY"
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"):
        assert segmentation[keyword].value == source[keyword].value
    assert segmentation.SeriesInstanceUID != source.SeriesInstanceUID
    (series,) = segmentation.ReferencedSeriesSequence
    (instance,) = series.ReferencedInstanceSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID) == (
        source.SOPClassUID,
        source.SOPInstanceUID,
    )
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        (derivation,) = groups.DerivationImageSequence
        assert derivation.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    stated = {element.keyword for element in segmentation.iterall()}
    assert not stated & {
        *("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    }


def test_a_frame_of_reference_is_that_of_the_source(planes, tmp_path: Path) -> None:
    one = {"a.dcm": planes["a.dcm"]}
    export(*write_all(tmp_path, one, FrameOfReferenceUID="1.2.3"), "dicom-seg", tmp_path / "seg", progress=False)
    segmentation = dcmread(tmp_path / "seg" / "a.dcm")
    assert segmentation.FrameOfReferenceUID == "1.2.3"
    assert not {element.keyword for element in segmentation.iterall()} & {"ImagePositionPatient", "PixelSpacing"}


def test_29_segments_say_which_bone_by_what_and_which_side(exported: Path) -> None:
    sides = {"a.dcm": ["Left"], "IM0001": ["Right"], "1.2.840.7.1": [], "empty.dcm": ["Left"]}
    for name, side in sides.items():
        segments = dcmread(seg_of(exported, name)).SegmentSequence
        assert [segment.SegmentNumber for segment in segments] == list(range(1, 30))
        assert [segment.SegmentLabel for segment in segments] == [bone.english for bone in BONES]
        for segment, bone in zip(segments, BONES, strict=True):
            (kind,) = segment.SegmentedPropertyTypeCodeSequence
            assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", bone.concept.code)
            found = [item.CodeMeaning for item in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
            assert found == side
            (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
            assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("handseg-monai", handseg_monai.__version__)
            assert segment.SegmentAlgorithmType == "AUTOMATIC"


@pytest.mark.parametrize("bone", BONES, ids=NAMES)
def test_codes_are_those_of_the_dictionary(bone) -> None:
    """By the name of the concept; and it is a structure of the body, as the axis T of SNOMED RT says: there is a
    radius of a circle too."""
    entry = getattr(codes.SCT, bone.concept.keyword)
    assert (entry.value, entry.meaning) == (bone.concept.code, bone.concept.meaning)
    assert mapping["SCT"][bone.concept.code].startswith("T-")


def test_bones_with_a_concept_of_their_own_have_it() -> None:
    """A name that the dictionary has, alone or as 'bone structure of', is no group's."""
    for bone in BONES:
        own = [name for name in codes.SCT.dir(bone.name) if name == f"BoneStructureOf{bone.name}"]
        assert (bone.concept.meaning == bone.name) == bool(own or bone.name == "Radius")
    assert {bone.name for bone in BONES if bone.concept.meaning == bone.name} == {"Scaphoid", "Radius", "Ulna"}
    assert {bone.concept.keyword for bone in BONES if "metacarpal" in bone.english} == {"Metacarpal"}


def dciodvfy(path: Path) -> list[str]:
    """Errors and warnings of David Clunie's checker."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == bool([line for line in said if line.startswith("Error")]), said
    return [line for line in said if line.startswith(("Error", "Warning"))]


needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of Debian's dicom3tools")


@needs_dciodvfy
@pytest.mark.parametrize("name", IMAGES)
def test_the_checker_finds_no_error(exported: Path, name: str) -> None:
    assert not [line for line in dciodvfy(exported / "images" / name) if line.startswith("Error")]
    assert dciodvfy(seg_of(exported, name)) == []


@pytest.fixture(scope="module", params=["L", "B", None])
def two_hands(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A SEG of both hands of a radiograph, whatever side its header states, and their masks, bool (58, H, W)."""
    folder = tmp_path_factory.mktemp("two")
    image, planes = both_hands(0, 1)
    write_dicom(folder / "images" / "a.dcm", image.astype(np.uint16) * 16, BitsStored=12, ImageLaterality=request.param)
    planes["left"] = without(planes["left"], "Pisiform")
    write_csv(folder / "p.csv", [(f"a.dcm#{side}", encode_planes(of)) for side, of in planes.items()])
    export(folder / "p.csv", folder / "images", "dicom-seg", folder / "seg", progress=False)
    return folder / "seg" / "a.dcm", np.concatenate([unpack(planes[side]) for side in ("left", "right")])


class TestTwoHands:
    def test_pydicom_and_highdicom_read_both_hands(self, two_hands: tuple[Path, np.ndarray]) -> None:
        path, expected = two_hands
        dataset = dcmread(path)
        found = np.zeros(expected.shape, bool)
        for frame, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            found[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] |= frame > 0
        np.testing.assert_array_equal(found, expected)
        read = highdicom.seg.segread(path)
        source = dcmread(path.parent.parent / "images" / "a.dcm")
        pixels = read.get_pixels_by_source_instance([source.SOPInstanceUID], assert_missing_frames_are_empty=True)
        np.testing.assert_array_equal(pixels[0].transpose(2, 0, 1) > 0, expected)

    def test_each_segment_says_its_side(self, two_hands: tuple[Path, np.ndarray]) -> None:
        segments = dcmread(two_hands[0]).SegmentSequence
        assert [segment.SegmentNumber for segment in segments] == list(range(1, 2 * NUM_BONES + 1))
        sides = [side for side in ("left", "right") for _ in BONES]
        for segment, side, bone in zip(segments, sides, [*BONES, *BONES], strict=True):
            assert segment.SegmentLabel == f"{side} {bone.english}"
            (kind,) = segment.SegmentedPropertyTypeCodeSequence
            assert kind.CodeValue == bone.concept.code
            (item,) = kind.SegmentedPropertyTypeModifierCodeSequence
            code = {"left": codes.SCT.Left, "right": codes.SCT.Right}[side]
            assert (item.CodingSchemeDesignator, item.CodeValue) == ("SCT", code.value)

    @pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of Debian's dicom3tools")
    def test_the_checker_finds_no_error(self, two_hands: tuple[Path, np.ndarray]) -> None:
        assert dciodvfy(two_hands[0]) == []


NAMELESS = dict.fromkeys(
    (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyID", "StudyDate"),
        *("StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer", "PatientOrientation"),
    )
)


@needs_dciodvfy
@pytest.mark.parametrize(
    "attributes",
    [NAMELESS, {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "홍^길동"}, {"PatientBirthDate": ""}],
    ids=["without names", "Korean", "empty"],
)
def test_sources_that_lack_names_or_have_them_in_korean(attributes: dict[str, Any], planes, tmp_path: Path) -> None:
    one = {"a.dcm": planes["a.dcm"]}
    export(*write_all(tmp_path, one, **attributes), "dicom-seg", tmp_path / "seg", progress=False)
    assert not [line for line in dciodvfy(tmp_path / "seg" / "a.dcm") if line.startswith("Error")]
    assert str(dcmread(tmp_path / "seg" / "a.dcm").PatientName) == str(
        attributes.get("PatientName", "Phantom^Anna") or ""
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"SOPInstanceUID": None}, r"a\.dcm: no SOPInstanceUID; a SEG needs this to refer to the image"),
        ({"NumberOfFrames": 2}, r"a\.dcm: holds 2 frames"),
        ({"Rows": 40}, r"p\.csv: image a\.dcm: .*past the end"),
    ],
)
def test_sources_that_can_not_be_referred_to(attributes: dict[str, Any], message: str, planes, tmp_path: Path) -> None:
    prediction, images = write_all(tmp_path, {"a.dcm": planes["a.dcm"]})
    dataset = dcmread(images / "a.dcm")
    _change(dataset, attributes)
    dataset.save_as(images / "a.dcm")
    with pytest.raises(ValueError, match=message):
        export(prediction, images, "dicom-seg", tmp_path / "seg", progress=False)
    assert not (tmp_path / "seg").exists()


def test_a_date_that_breaks_the_standard_is_named_not_quoted(planes, tmp_path: Path) -> None:
    prediction, images = write_all(tmp_path, {"a.dcm": planes["a.dcm"]})
    content = (images / "a.dcm").read_bytes()
    (images / "a.dcm").write_bytes(content.replace(b"19800131", b"80-01-31"))
    with pytest.raises(ValueError, match=r"a\.dcm: PatientBirthDate, which the SEG copies") as raised:
        export(prediction, images, "dicom-seg", tmp_path / "seg", progress=False)
    assert "80-01" not in str(raised.value)


@pytest.mark.parametrize("uid", ["1.2.3.abc", "1.2.03.4", "1..2", "1" * 65])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_uid_that_is_none_is_that_images_failure(keyword: str, uid: str, planes, tmp_path: Path) -> None:
    prediction, images = write_all(tmp_path, {"a.dcm": planes["a.dcm"]})
    dataset = dcmread(images / "a.dcm")
    dataset[keyword] = DataElement(keyword, "UI", uid, validation_mode=IGNORE)
    dataset.save_as(images / "a.dcm")
    with pytest.raises(ValueError, match=rf"a\.dcm: {keyword}: not a UID by the DICOM standard") as raised:
        export(prediction, images, "dicom-seg", tmp_path / "seg", progress=False)
    assert uid not in str(raised.value)


def test_texts_that_break_the_standard_are_left_out_and_said(
    planes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prediction, images = write_all(tmp_path, {"a.dcm": planes["a.dcm"]}, PatientComments="kept")
    dataset = dcmread(images / "a.dcm")
    for keyword, kind, value in (
        ("PatientAge", "AS", "45"),
        ("AccessionNumber", "SH", "A" * 30),
        ("PatientWeight", "DS", "70"),
    ):
        dataset[keyword] = DataElement(keyword, kind, value, validation_mode=IGNORE)
    dataset.save_as(images / "a.dcm")
    export(prediction, images, "dicom-seg", tmp_path / "seg", progress=False)
    seg = dcmread(tmp_path / "seg" / "a.dcm")
    assert (seg.AccessionNumber, "PatientAge" in seg, seg.PatientWeight) == ("", False, 70)
    (record,) = [record for record in caplog.records if "break" in record.getMessage()]
    said = record.getMessage()
    assert said.endswith("AccessionNumber and PatientAge break the DICOM standard; the SEG leaves them out")


def _change(dataset: Dataset, attributes: dict[str, Any]) -> None:
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)


def test_images_that_are_not_dicom_are_refused_before_anything_is_written(planes, tmp_path: Path) -> None:
    """On the command line: one line, exit code 2."""
    prediction, images = write_all(tmp_path, {"a.dcm": planes["a.dcm"]})
    cv2.imwrite(str(images / "b.png"), np.zeros(SHAPE, np.uint8))
    write_csv(prediction, ((name, encode_planes(planes["a.dcm"])) for name in ("a.dcm", "b.png")))
    done = handseg("export", prediction, "--images", images, "--to", "dicom-seg", "--out", tmp_path / "seg")
    assert done.returncode == 2
    assert done.stderr.startswith(f"handseg: {images}/b.png: not a DICOM file; a DICOM SEG refers to")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "seg").exists()


def test_without_highdicom_the_extra_is_named(planes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, images = write_all(tmp_path, {"a.dcm": planes["a.dcm"]})
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ValueError, match=r"pip install 'handseg-monai\[dicom\]'"):
        export(prediction, images, "dicom-seg", tmp_path / "seg", progress=False)


@pytest.mark.parametrize("form", ["png", "labelme", "coco", "nifti"])
def test_other_forms_take_dicom_too(form: str, planes, tmp_path: Path) -> None:
    """Files are named after images, of a UID the last number included."""
    write_all(tmp_path, {name: planes[name] for name in ("a.dcm", "1.2.840.7.1")})
    export(tmp_path / "p.csv", tmp_path / "images", form, tmp_path / "out", progress=False)
    stems = {path.name.split(".json")[0].split(".nii")[0] for path in (tmp_path / "out").iterdir()}
    assert form == "coco" or stems >= {"a", "1.2.840.7.1"}


def test_from_dicom_to_inference_to_seg(drawn_dataset: Path, tmp_path: Path) -> None:
    """The two commands that a user types, on a drawn radiograph of 16 bits."""
    source = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[0]
    pixels = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * np.uint16(256)
    write_dicom(tmp_path / "dicoms" / "IM1", pixels)
    checkpoint = save_untrained(tmp_path / "model.pt", "dynunet")
    inference = ["--config_file", str(CONFIGS / "inference.json"), "--checkpoint", str(checkpoint), *TINY]
    run = run_bundle(*inference, "--dataset_dir", f"{tmp_path}/dicoms", "--output_dir", f"{tmp_path}/out")
    assert run.returncode == 0, run.stderr
    options = ["--images", tmp_path / "dicoms", "--to", "dicom-seg", "--out", tmp_path / "seg"]
    done = handseg("export", tmp_path / "out" / "submission.csv", *options)
    assert done.returncode == 0, done.stderr
    masks = from_pydicom(tmp_path / "seg" / "IM1.dcm")
    assert masks.shape == (NUM_BONES, *pixels.shape)
    assert masks.any()
