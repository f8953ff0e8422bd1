"""DICOM files whose pixel data other encoders wrote, or that contradict themselves."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jpeg_ls import encode_array as encode_jpeg_ls
from openjpeg.utils import encode_pixel_data
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import compress
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from tests.dicoms import radiograph
from tests.test_dicom import NO_WINDOW, SHAPE, by_gdcm, picture

JPEG, EXTENDED, LOSSLESS, JPEG_LS, J2K = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 90))
GREY, FINE, WIDE = picture(8), picture(12), picture(16)
COLOURS = np.dstack([GREY, GREY // 2, 255 - GREY])
LUMINANCE = COLOURS @ np.array([0.299, 0.587, 0.114])


def dataset(pixels: np.ndarray = FINE, stored: int = 12, kind: str = "CR", **attributes: Any) -> Dataset:
    return radiograph(pixels, kind, BitsStored=stored, **attributes)


def save(made: Dataset, path: Path, data: bytes | None = None, uid: str | None = None) -> None:
    """Write a data set, with another codestream, or other native bytes, for pixel data."""
    if data is not None:
        made.PixelData = data if uid is None else encapsulate([data])
    if uid is not None:
        made.file_meta.TransferSyntaxUID = uid
        if uid.startswith("1.2.840.10008.1.2.4"):
            made["PixelData"].VR = "OB"
    made.save_as(path, enforce_file_format=True)


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=98, **options)
    return out.getvalue()


def without_jfif(stream: bytes) -> bytes:
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def j2k(pixels: np.ndarray, bits: int, photometric: str = "MONOCHROME2") -> bytes:
    """Code without losses; signed where the pixels are."""
    return bytes(
        encode_pixel_data(
            pixels.tobytes(),
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            samples_per_pixel=1 if pixels.ndim == 2 else 3,
            bits_stored=bits,
            photometric_interpretation=photometric,
            pixel_representation=int(pixels.dtype.kind == "i"),
        )
    )


def as_signed(pixels: np.ndarray, bits: int) -> np.ndarray:
    return (pixels.astype(np.int32) - (1 << bits - 1)).astype(np.int16)


def signed(bits: int = 12, **attributes: Any) -> Dataset:
    """The picture, from the least value that so many bits hold."""
    made = dataset(picture(bits), bits, **attributes)
    made.PixelRepresentation, made.PixelData = 1, as_signed(picture(bits), bits).tobytes()
    return made


def in_implicit_vr(path: Path) -> None:
    read = dcmread(path)
    read.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    read.save_as(path, implicit_vr=True, enforce_file_format=True)


OVERLAY = np.where(np.indices(SHAPE).sum(0) % 9 < 2, 0x8000, 0).astype(np.uint16)
RAMP = np.arange(4096)


def raw_table(first: int, count: int = 4096, bits: int = 16, vr: str = "US", data: bytes | None = None) -> Sequence:
    """A rising table; the first value mapped as 16 bits, whatever the type says of them."""
    item = Dataset()
    if vr == "SS":
        first = first - 2**16 if first >= 2**15 else first
    item.add_new("LUTDescriptor", vr, [count % 2**16, first, bits])
    item.add_new("LUTData", "OW", (np.arange(count) * 16).astype("<u2").tobytes() if data is None else data)
    return Sequence([item])


def overlaid(uid: str, encode: Callable[[np.ndarray], bytes]) -> Callable[[Path], None]:
    return lambda path: save(dataset(), path, encode(FINE | OVERLAY), uid)


def rle_overlaid(path: Path) -> None:
    made = dataset()
    made.PixelData = (FINE | OVERLAY).tobytes()
    compress(made, RLELossless)
    save(made, path)


def rle_padded(zeros: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = dataset()
        compress(made, RLELossless)
        (frame,) = generate_frames(made.PixelData, number_of_frames=1)
        made.PixelData = encapsulate([frame + bytes(zeros)])
        save(made, path)

    return write


def overlay_above_signed(path: Path) -> None:
    made = signed()
    made.PixelData = ((as_signed(FINE, 12).astype(np.uint16) & 0xFFF) | OVERLAY).tobytes()
    save(made, path)


def jls(pixels: np.ndarray) -> bytes:
    return bytes(encode_jpeg_ls(pixels))


def ybr(photometric: str, planar: int = 0) -> Callable[[Path], None]:
    """Native pixels in luminance and two differences."""

    def write(path: Path) -> None:
        made = radiograph(COLOURS, "SC", PlanarConfiguration=planar)
        made.PhotometricInterpretation = photometric
        three = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
        if photometric == "YBR_FULL_422":
            pairs = three.reshape(-1, 2, 3)
            data = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=-1)
        else:
            data = np.moveaxis(three, -1, 0) if planar else three
        save(made, path, np.ascontiguousarray(data).tobytes())

    return write


def planar_rgb(path: Path) -> None:
    made = radiograph(COLOURS, "SC", PlanarConfiguration=1)
    save(made, path, np.ascontiguousarray(np.moveaxis(COLOURS, -1, 0)).tobytes())


def coloured(uid: str, stream: bytes, photometric: str, planar: int = 0) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = radiograph(COLOURS, "SC", PlanarConfiguration=planar)
        made.PhotometricInterpretation = photometric
        save(made, path, stream, uid)

    return write


def big_endian(pixels: np.ndarray, stored: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = dataset(pixels, stored)
        data = pixels.astype(">u2") if stored > 8 else pixels.reshape(-1, 2)[:, ::-1]
        made.PixelData = np.ascontiguousarray(data).tobytes()
        made["PixelData"].VR = "OW"
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
        made.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)

    return write


def palette(bits: int, count: int, first: int = 0) -> Callable[[Path], None]:
    """Falling stored values whose table turns them round; entries of a byte or a word."""

    def write(path: Path) -> None:
        made = dataset(FINE if count > 256 else GREY, 13 if count > 256 else 8, "SC")
        made.PhotometricInterpretation = "PALETTE COLOR"
        pixels = (count - 1 - (FINE if count > 256 else GREY).astype(np.int64)) + first
        made.PixelData = pixels.astype(np.uint16 if count > 256 else np.uint8).tobytes()
        entries = np.arange(count - 1, -1, -1).astype("<u2" if bits > 8 else np.uint8)
        for colour in ("Red", "Green", "Blue"):
            made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [count % 2**16, first, bits])
            made.add_new(f"{colour}PaletteColorLookupTableData", "OW", entries.tobytes())
        save(made, path)

    return write


def padded_above_the_bits(path: Path) -> None:
    made = dataset()
    pixels = FINE.copy()
    pixels[FINE == 0] = 0xF830
    made.add_new("PixelPaddingValue", "US", 0xF830)
    save(made, path, pixels.tobytes())


def padded_signed_in_us(path: Path) -> None:
    made = signed()
    pixels = as_signed(FINE, 12)
    pixels[FINE < 600] = -2000
    made.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    save(made, path, pixels.tobytes())


def with_table(item: Sequence, implicit: bool = False, made: Dataset | None = None, **attributes: Any) -> Any:
    def write(path: Path) -> None:
        part = made or dataset(**NO_WINDOW)
        for keyword, value in attributes.items():
            setattr(part, keyword, value)
        part.VOILUTSequence = item
        save(part, path)
        if implicit:
            in_implicit_vr(path)

    return write


def text_of(keyword: str, text: str, path: Path, **attributes: Any) -> None:
    """Write a decimal string that is none."""
    made = dataset(**attributes)
    # Random identifiers hold every row of digits now and then, and never this sign.
    stands_in = "+7777777"[: len(text)]
    setattr(made, keyword, stands_in)
    save(made, path)
    content = path.read_bytes()
    assert content.count(stands_in.encode()) == 1
    path.write_bytes(content.replace(stands_in.encode(), text.encode()))


def in_fragments(path: Path, stream: bytes) -> None:
    made = dataset(GREY, 8, "SC")
    made.PixelData = encapsulate([stream], fragments_per_frame=4)
    save(made, path, uid=JPEG)


def sized(stream: bytes, rows: int, columns: int) -> bytes:
    """Let the header of a JPEG 2000 codestream state another size, of image and tile."""
    return (
        stream[:8] + struct.pack(">2I", columns, rows) + stream[16:24] + struct.pack(">2I", columns, rows) + stream[32:]
    )


def with_shape(made: Dataset, rows: int, columns: int) -> Dataset:
    made.Rows, made.Columns = rows, columns
    return made


def two_frames(path: Path) -> None:
    made = dataset()
    made.PixelData = encapsulate([j2k(FINE, 12)] * 2)
    save(made, path, uid=J2K)


def empty_items(path: Path) -> None:
    made = dataset()
    made.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0"
    save(made, path, uid=J2K)


def rle_of(pixels: np.ndarray, stored: int, **attributes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = dataset(pixels, stored)
        compress(made, RLELossless)
        for keyword, value in attributes.items():
            setattr(made, keyword, value)
        save(made, path)

    return write


def deflated_and_cut(path: Path) -> None:
    made = dataset()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(made, path)
    path.write_bytes(path.read_bytes()[:-2000])


def without(keyword: str, item: Sequence) -> Sequence:
    del item[0][keyword]
    return item


def lossless(path: Path) -> None:
    save(dataset(FINE[:30, :30]), path)
    by_gdcm(path)


def changed(made: Dataset, **attributes: Any) -> Dataset:
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def native_called(path: Path, uid: str) -> None:
    save(dataset(), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", uid.encode().ljust(20, b"\0"), 1))


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
