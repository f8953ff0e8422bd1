"""Run lengths: the codec of masks, votes on runs, the CSV file of a submission, and what its rows are of."""

from handseg_monai.rle.codec import (
    Runs,
    RunsError,
    decode,
    decode_fitting,
    decode_image,
    decode_planes,
    encode,
    encode_planes,
    parse,
    parse_many,
    vote,
)
from handseg_monai.rle.hands import Hand, by_image, count_images, hand_of, row_name
from handseg_monai.rle.table import HEADER, read_csv, rows, spellings, write_csv

__all__ = [
    "HEADER",
    "Hand",
    "Runs",
    "RunsError",
    "by_image",
    "count_images",
    "decode",
    "decode_fitting",
    "decode_image",
    "decode_planes",
    "encode",
    "encode_planes",
    "hand_of",
    "parse",
    "parse_many",
    "read_csv",
    "row_name",
    "rows",
    "spellings",
    "vote",
    "write_csv",
]
