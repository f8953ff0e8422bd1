"""Pixel data of a DICOM file as stored: what a codestream says of itself, compared with the header, and its samples.

The codestream decides how it is decoded; the header decides what its bits mean. Where they contradict each other in
size or number of samples, no picture is read.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from handseg_monai.data.reading.dicom import DicomError, Stated

if TYPE_CHECKING:
    from pydicom.uid import UID

_SOI, _SOC, _END = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\xd9"
_JP2 = b"\0\0\0\x0cjP  "
_JPEG_KINDS = {0xC0: "JPEG", 0xC1: "JPEG", 0xC2: "JPEG", 0xC3: "JPEG lossless", 0xF7: "JPEG-LS"}
"""By start of frame: baseline, extended, progressive; the processes of hierarchical or arithmetic JPEG are not read."""
_SCAN = 0xDA
_STARTS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_RLE = "1.2.840.10008.1.2.5"
_KINDS = {
    "JPEG": {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51)},
    "JPEG lossless": {f"1.2.840.10008.1.2.4.{number}" for number in (57, 70)},
    "JPEG-LS": {f"1.2.840.10008.1.2.4.{number}" for number in (80, 81)},
    "JPEG 2000": {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203)},
}
COMPRESSED = {_RLE}.union(*_KINDS.values())
"""Transfer syntaxes that are decoded here."""
_SMALL, _MOST_PER_BYTE = 2**24, 2000
"""Samples that are decoded in any case, and for one byte of a codestream at most: JPEG 2000 states any number."""
_ITEM = b"\xfe\xff\x00\xe0"


@dataclass(frozen=True)
class Codestream:
    """What the header of a codestream says."""

    kind: str
    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool | None = None
    """None where the kind has no sign."""
    colours: str = ""
    """``RGB`` or ``YBR`` where the codestream itself tells."""


@dataclass(frozen=True)
class Samples:
    """Decoded samples."""

    values: np.ndarray
    """(H, W) or (H, W, 3)."""
    bits: int
    """Of each value."""
    signed: bool | None
    """Whether the codestream says that its values have a sign; None where it does not tell."""
    colours: str
    """``RGB`` or ``YBR`` where the codestream tells."""


def read_codestream(content: bytes) -> Codestream:
    """Parse the header of a JPEG, JPEG-LS or JPEG 2000 codestream; raises :class:`DicomError`."""
    try:
        if content.startswith(_JP2):
            content = content[content.index(b"jp2c") + 4 :]
        if content.startswith(_SOC):
            return _jpeg_2000(content)
        if content.startswith(_SOI[:2]):
            return _jpeg(content)
    except (IndexError, ValueError, struct.error) as error:
        if isinstance(error, DicomError):
            raise
        raise DicomError("the header of the codestream is damaged, or cut short") from None
    raise DicomError("the codestream is neither JPEG, JPEG-LS nor JPEG 2000")


def decode(data: bytes, syntax: UID, stated: Stated) -> tuple[Samples, str]:
    """Decode the pixel data of one frame.

    Parameters
    ----------
    data
        The items of encapsulated pixel data.
    syntax
        One of :data:`COMPRESSED`.
    stated
        What the header says.

    Returns
    -------
    samples, remark
        And what the log should say; often nothing.

    Raises
    ------
    DicomError
        Header and codestream contradict each other, or the codestream is damaged or of a kind that is not read.
    """
    frame = _only_frame(data, str(syntax) == _RLE)
    if str(syntax) == _RLE:
        return Samples(_rle(frame, stated), stated.allocated, None, ""), ""
    stream = read_codestream(frame)
    _compare(stream, stated)
    if stated.rows * stated.columns * stated.samples > max(_SMALL, _MOST_PER_BYTE * len(frame)):
        raise DicomError(f"a codestream of {len(frame)} bytes holds no {stated.rows} x {stated.columns} pixels")
    if _END not in frame.rstrip(b"\0")[-16:]:
        raise DicomError(f"the {stream.kind} codestream is cut short: it has no end marker")
    remarks = []
    if str(syntax) not in _KINDS[stream.kind]:
        remarks.append(f"its codestream is {stream.kind}; its transfer syntax says {syntax.name}")
    if stream.bits < stated.stored:
        remarks.append(f"its codestream holds {stream.bits} bits; its header says {stated.stored}")
    try:
        values = _DECODERS[stream.kind](frame, stream)
        values = values.reshape(stated.shape)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # whatever damaged data make of a decoder; a panic of Rust is no Exception
        raise DicomError(f"the {stream.kind} codestream is damaged, or not of a form that is read") from None
    return Samples(values, stream.bits, stream.signed, stream.colours), "; ".join(remarks)


def _only_frame(data: bytes, rle: bool) -> bytes:
    """Join the fragments of the one frame."""
    from pydicom.encaps import generate_fragments

    if not data.startswith(_ITEM):
        raise DicomError("the transfer syntax is a compressed one, the pixel data are not")
    try:
        _, *fragments = generate_fragments(data)  # the first is a table of offsets
    except Exception:  # whatever damaged items make of the parser
        raise DicomError("the items of the compressed pixel data are damaged or cut short") from None
    starts = [fragment for fragment in fragments if rle or fragment.startswith((_SOI, _SOC))]
    if (frames := len(starts)) > 1:
        raise DicomError(f"the pixel data hold {frames} frames; expected one")
    if not fragments or not any(fragments):
        raise DicomError("the pixel data are empty")
    return b"".join(fragments)


def _compare(stream: Codestream, stated: Stated) -> None:
    if (stream.rows, stream.columns) != (stated.rows, stated.columns):
        raise DicomError(
            f"the {stream.kind} codestream holds {stream.rows} rows x {stream.columns} columns; "
            f"the header says {stated.rows} x {stated.columns}"
        )
    if stream.samples != stated.samples:
        raise DicomError(
            f"the {stream.kind} codestream holds {stream.samples} samples a pixel; the header says {stated.samples}"
        )
    if stream.bits > stated.allocated:
        raise DicomError(
            f"the {stream.kind} codestream holds {stream.bits} bits a sample; the header allocates {stated.allocated}"
        )


def _jpeg(content: bytes) -> Codestream:
    """Walk through all markers before the scan: GDCM ends the process where one of them is not at its place."""
    at, colours, frame = 2, "", None
    while True:
        while content[at] == 0xFF and content[at + 1] == 0xFF:
            at += 1
        marker, (length,) = content[at + 1], struct.unpack_from(">H", content, at + 2)
        if content[at] != 0xFF or marker < 0xC0 or length < 2:
            raise DicomError("the header of the JPEG codestream is damaged")
        body = content[at + 4 : at + 2 + length]
        if marker == 0xE0 and body.startswith(b"JFIF"):
            colours = colours or "YBR"
        if marker == 0xEE and body.startswith(b"Adobe"):
            colours = "YBR" if body[11] else "RGB"
        if marker in _STARTS:
            frame = _frame(marker, body)
            if body[6::3] in (b"RGB", b"rgb"):
                colours = "RGB"
        if marker == _SCAN:
            break
        at += 2 + length
    if frame is None:
        raise DicomError("the header of the JPEG codestream is damaged: a scan comes before the frame")
    return replace(frame, colours=colours if frame.samples == 3 else "")


def _frame(marker: int, body: bytes) -> Codestream:
    if marker not in _JPEG_KINDS:
        raise DicomError("a process of JPEG that is not read, hierarchical or with arithmetic coding")
    bits, rows, columns, samples = struct.unpack_from(">BHHB", body)
    if len(body) != 6 + 3 * samples:
        raise DicomError("the header of the JPEG codestream is damaged")
    return Codestream(_JPEG_KINDS[marker], rows, columns, samples, bits)


def _jpeg_2000(content: bytes) -> Codestream:
    right, bottom, left, top = struct.unpack_from(">4I", content, 8)
    (samples,) = struct.unpack_from(">H", content, 40)
    parts = {content[at : at + 3] for at in range(42, 42 + 3 * samples, 3)}
    if len(parts) != 1 or (part := parts.pop())[1:] != b"\1\1":
        raise DicomError("the JPEG 2000 codestream holds components of different kinds, which are not read")
    at, transformed = 2, False
    while content[at : at + 2] != b"\xff\x90":  # start of tile
        if content[at : at + 2] == b"\xff\x52":  # coding style
            transformed = content[at + 8] == 1
        at += 2 + int(struct.unpack_from(">H", content, at + 2)[0])
        if at >= len(content):
            raise DicomError("the JPEG 2000 codestream is cut short")
    bits, signed = (part[0] & 0x7F) + 1, bool(part[0] & 0x80)
    return Codestream("JPEG 2000", bottom - top, right - left, samples, bits, signed, "RGB" if transformed else "")


def _by_pillow(frame: bytes, stream: Codestream) -> np.ndarray:
    """JPEG of 8 bits; of 12 bits by GDCM."""
    if stream.bits != 8:
        return _by_gdcm(frame, stream)
    from PIL import Image

    with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
        if stream.samples == 3:
            # Raw, where no marker tells; Pillow never turns stored RGB, so marked, into YCbCr.
            image.draft("RGB" if stream.colours == "RGB" else "YCbCr", image.size)
        return np.asarray(image)


def _by_openjpeg(frame: bytes, stream: Codestream) -> np.ndarray:
    import openjpeg

    values: np.ndarray = openjpeg.decode(frame)
    return values


def _by_charls(frame: bytes, stream: Codestream) -> np.ndarray:
    import jpeg_ls

    buffer, said = jpeg_ls.decode_pixel_data(frame)
    values = np.frombuffer(buffer, np.uint8 if stream.bits <= 8 else np.uint16)
    if stream.samples == 3 and said["interleave_mode"] == 0:
        return np.ascontiguousarray(values.reshape(3, -1).T)
    return values


def _plain_jpeg(frame: bytes) -> bytes:
    """Leave out what applications add to a JPEG: GDCM ends the process over a version of JFIF that it does not know."""
    kept, at = frame[:2], 2
    while (marker := frame[at + 1]) != _SCAN:
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == 0xFF:
            end = at + 1
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept += frame[at:end]
        at = end
    return kept + frame[at:]


def _by_gdcm(frame: bytes, stream: Codestream) -> np.ndarray:
    """JPEG without losses, and of 12 bits."""
    import gdcm

    syntax = 51 if stream.kind == "JPEG" else 57
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(_plain_jpeg(frame))
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    allocated = 8 if stream.bits <= 8 else 16
    colours = "RGB" if stream.samples == 3 else "MONOCHROME2"
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stream.columns, stream.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(colours))
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(f"1.2.840.10008.1.2.4.{syntax}")))
    image.SetPixelFormat(gdcm.PixelFormat(stream.samples, allocated, stream.bits, stream.bits - 1, 0))
    pixels = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(pixels, np.uint8 if allocated == 8 else np.uint16)


_DECODERS = {"JPEG": _by_pillow, "JPEG lossless": _by_gdcm, "JPEG-LS": _by_charls, "JPEG 2000": _by_openjpeg}


def _rle(frame: bytes, stated: Stated) -> np.ndarray:
    """Decode the planes of bytes, the highest byte of each sample first."""
    from imagecodecs import packbits_decode

    planes, size, width = stated.samples * stated.allocated // 8, stated.rows * stated.columns, stated.allocated // 8
    if len(frame) < 64:
        raise DicomError("the header of the RLE data is cut short")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != planes:
        raise DicomError(f"the RLE data hold {count} segments; the header's samples and bits ask for {planes}")
    decoded = []
    for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        if not 64 <= start < end <= len(frame):
            raise DicomError("the header of the RLE data is damaged")
        try:
            plane = packbits_decode(frame[start:end])
        except RuntimeError:  # of imagecodecs
            raise DicomError("the RLE data are damaged, or cut short") from None
        # Zeros that pad a segment decode to one zero for two of them.
        is_padded = frame[start:end].endswith(bytes(2 * max(len(plane) - size - 1, 0))) and not any(plane[size:])
        if len(plane) < size or (len(plane) > size + 1 and not is_padded):
            raise DicomError(
                f"the RLE data hold {len(plane)} pixels; the header says {stated.rows} rows x {stated.columns} columns"
            )
        decoded.append(np.frombuffer(plane, np.uint8, size))
    values = np.stack(decoded, axis=-1).view(f">u{width}").astype(f"u{width}")
    return values.reshape(stated.shape)
