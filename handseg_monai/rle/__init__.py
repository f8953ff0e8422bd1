"""Run lengths: the codec of masks, votes on runs, and the CSV file of a submission."""

from handseg_monai.rle.codec import (
    Runs,
    RunsError,
    decode,
    decode_image,
    decode_planes,
    encode,
    encode_planes,
    parse,
    parse_many,
    vote,
)
from handseg_monai.rle.table import HEADER, read_csv, rows, spellings, write_csv

__all__ = [
    "HEADER",
    "Runs",
    "RunsError",
    "decode",
    "decode_image",
    "decode_planes",
    "encode",
    "encode_planes",
    "parse",
    "parse_many",
    "read_csv",
    "rows",
    "spellings",
    "vote",
    "write_csv",
]
