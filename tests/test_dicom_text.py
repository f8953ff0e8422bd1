"""Names in any character set of DICOM: decoded by PS3.5 6.1.2, and written to a SEG in UTF-8."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from handseg_monai.bones import INDEX
from handseg_monai.data.reading.dicom_text import UNKNOWN, decode_text
from handseg_monai.export.export import export
from handseg_monai.export.form import IncompleteExportError
from handseg_monai.rle import encode_planes, write_csv
from tests.dicoms import radiograph
from tests.programs import handseg
from tests.test_dicom_seg import dciodvfy

SHAPE = (60, 50)
KOREAN, JAPANESE, CHINESE = "ISO 2022 IR 149", "ISO 2022 IR 87", "ISO 2022 IR 58"


def jis(text: str) -> bytes:
    return text.encode("iso2022_jp")


def ks(text: str) -> bytes:
    return b"\x1b$)C" + text.encode("euc_kr")


def gb(text: str) -> bytes:
    return b"\x1b$)A" + text.encode("gb2312")


NAMES: dict[str, tuple[list[str], bytes, str]] = {
    # PS3.5, annexes H, I, J and K
    "H.3-1": (
        ["", JAPANESE],
        b"Yamada^Tarou=" + jis("山田") + b"^" + jis("太郎") + b"=" + jis("やまだ") + b"^" + jis("たろう"),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "H.3-2": (
        ["ISO 2022 IR 13", JAPANESE],
        "ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("shift_jis") + jis("山田") + b"^" + jis("太郎"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
    ),
    "I.2": (
        ["", KOREAN],
        b"Hong^Gildong=" + ks("洪") + b"^" + ks("吉洞") + b"=" + ks("홍") + b"^" + ks("길동"),
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.1": (["ISO_IR 192"], "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    "J.3": (["GB18030"], "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    "K.2": (
        ["", CHINESE],
        b"Zhang^XiaoDong=" + gb("张") + b"^" + gb("小东") + b"=",
        "Zhang^XiaoDong=张^小东=",
    ),
    "GBK": (["GBK"], "王^小東".encode("gbk"), "王^小東"),
    "a kanji with the byte of =": (["", JAPANESE], b"A^B=" + jis("山秀") + b"^" + jis("秀樹"), "A^B=山秀^秀樹"),
    "kanji of the supplement": (["", "ISO 2022 IR 159"], "丂".encode("iso2022_jp_2"), "丂"),
    "Latin 1": (["ISO_IR 100"], "Buc^Jérôme".encode("latin_1"), "Buc^Jérôme"),
    "Latin 2": (["ISO_IR 101"], "Wałęsa".encode("iso8859_2"), "Wałęsa"),
    "Cyrillic": (["ISO_IR 144"], "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    "Greek": (["ISO_IR 126"], "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    "Greek and Latin": (
        ["ISO 2022 IR 100", "ISO 2022 IR 126"],
        "Jérôme".encode("latin_1") + b"=\x1b-F" + "Διον".encode("iso8859_7"),
        "Jérôme=Διον",
    ),
    "Arabic": (["ISO_IR 127"], "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
    "Hebrew": (["ISO_IR 138"], "שרון^דבורה".encode("iso8859_8"), "שרון^דבורה"),
    "Thai": (["ISO_IR 166"], "นาม".encode("iso8859_11"), "นาม"),
    "spelled otherwise": (["ISO-IR-100"], "Jérôme".encode("latin_1"), "Jérôme"),
    "Korean without escape sequences": (["", KOREAN], "홍^길동".encode("euc_kr"), "홍^길동"),
    "Korean as the only set": ([KOREAN], "홍^길동".encode("euc_kr"), "홍^길동"),
    "ASCII": ([], b"Phantom^Anna ", "Phantom^Anna"),
}
LOST: dict[str, tuple[list[str], bytes]] = {
    "Latin, of no set": ([], "Jérôme".encode("latin_1")),
    "Korean, of no set": ([], "홍^길동".encode("euc_kr")),
    "Latin called UTF-8": (["ISO_IR 192"], "Jérôme".encode("latin_1")),
    "a set that is none": (["ISO_IR 999"], "Jérôme".encode("latin_1")),
    "half a character": (["", KOREAN], ks("홍길")[:-1]),
    "an escape to nowhere": (["", JAPANESE], b"A\x1b%GB"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_is_decoded_by_its_set(case: str) -> None:
    sets, stored, name = NAMES[case]
    assert decode_text(stored, sets, "PN") == name


@pytest.mark.parametrize("case", LOST)
def test_bytes_that_no_set_explains_are_not_guessed(case: str) -> None:
    sets, stored = LOST[case]
    assert UNKNOWN in decode_text(stored, sets, "PN")


def write(path: Path, sets: list[str], stored: bytes) -> None:
    """Write a radiograph whose texts, one in a sequence too, are these bytes."""
    made = radiograph(np.random.default_rng(0).integers(0, 4096, SHAPE, dtype=np.uint16), "CR", BitsStored=12)
    marks = [f"@{number}{'x' * (len(stored) + len(stored) % 2 - 2)}" for number in range(3)]
    item = Dataset()
    item.PatientID, item.TypeOfPatientID, item.IssuerOfPatientID = "7", "TEXT", marks[2]
    made.PatientName, made.StudyDescription, made.OtherPatientIDsSequence = marks[0], marks[1], Sequence([item])
    if sets:
        made.SpecificCharacterSet = sets
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    for mark in marks:
        assert content.count(mark.encode()) == 1
        content = content.replace(mark.encode(), stored.ljust(len(mark)))
    path.write_bytes(content)


def submission(folder: Path, names: list[str]) -> Path:
    planes = np.zeros(SHAPE, np.int32)
    planes[10:30, 10:20] = 1 << INDEX["Ulna"]
    write_csv(folder / "p.csv", ((name, encode_planes(planes)) for name in names))
    return folder / "p.csv"


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("case", NAMES)
def test_a_seg_holds_every_copied_text_in_utf_8(case: str, tmp_path: Path) -> None:
    sets, stored, name = NAMES[case]
    write(tmp_path / "images" / "a.dcm", sets, stored)
    export(submission(tmp_path, ["a.dcm"]), tmp_path / "images", "dicom-seg", tmp_path / "seg", progress=False)
    segmentation = dcmread(tmp_path / "seg" / "a.dcm")
    assert segmentation.SpecificCharacterSet == "ISO_IR 192"
    assert str(segmentation.PatientName) == name.rstrip("=")
    assert segmentation.StudyDescription == name
    assert segmentation.OtherPatientIDsSequence[0].IssuerOfPatientID == name
    content = (tmp_path / "seg" / "a.dcm").read_bytes()
    assert content.count(name.rstrip("=").encode()) == 3
    if shutil.which("dciodvfy"):
        assert not [line for line in dciodvfy(tmp_path / "seg" / "a.dcm") if line.startswith("Error")]


def test_one_that_can_not_be_exported_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On the command line: the others are written, it is listed with its reason, exit code 1; no name is printed."""
    caplog.set_level(logging.DEBUG)
    images = tmp_path / "images"
    write(images / "good.dcm", *NAMES["I.2"][:2])
    write(images / "lost.dcm", *LOST["Korean, of no set"])
    write(images / "one_part.dcm", [], b"Secretive")
    write(images / "sexless.dcm", *NAMES["ASCII"][:2])
    write(images / "frames.dcm", *NAMES["ASCII"][:2])
    for name, keyword, value in (("sexless", "PatientSex", "MANN"), ("frames", "NumberOfFrames", 2)):
        made = dcmread(images / f"{name}.dcm")
        setattr(made, keyword, value)
        made.save_as(images / f"{name}.dcm")
    names = sorted(path.name for path in images.iterdir())
    prediction = submission(tmp_path, names)
    done = handseg("export", prediction, "--images", images, "--to", "dicom-seg", "--out", tmp_path / "seg")
    assert done.returncode == 1
    assert sorted(path.name for path in (tmp_path / "seg").iterdir()) == ["good.dcm", "one_part.dcm"]
    assert done.stderr.splitlines() == [
        "handseg: 3 of 5 images not exported:",
        "  frames.dcm: holds 2 frames; expected one",
        "  lost.dcm: IssuerOfPatientID and PatientName and StudyDescription, which the SEG copies, can't be decoded by "
        "the file's Specific Character Set; state the right one in the file",
        "  sexless.dcm: PatientSex, which the SEG copies, breaks the DICOM standard",
        f"the others are in {tmp_path / 'seg'}",
    ]
    with pytest.raises(IncompleteExportError) as raised:
        export(prediction, images, "dicom-seg", tmp_path / "again", progress=False)
    assert list(raised.value.failures) == ["frames.dcm", "lost.dcm", "sexless.dcm"]
    said = str(raised.value) + caplog.text + done.stderr + done.stdout
    assert not [
        secret for secret in ("Anna", "Hong", "홍", "Secret", "MANN", "19800131", "PHANTOM-7") if secret in said
    ]
