"""A stream's answer for the benchmark: rows of 16 nested columns and their positions, as bytes as ksqlDB sends them.

A block of rows is made once; before it is sent again only its offsets and ROWTIMEs, which have fixed places in it, are
replaced, so an answer of any length costs almost nothing. Each row is its own HTTP chunk, as ksqlDB sends it.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_ROWS = 10_000
FIRST_OFFSET = 1_000_000_000
"""The first offset: all offsets have ten digits."""
FIRST_MS = 1_763_596_800_000
"""2025-11-20."""
DAY_MS = 86_400_000
PARTITION = 0
COLUMNS = (
    ("TRANSACTION_ID", "STRING"), ("SEQUENCE", "BIGINT"), ("ACCOUNT", "INTEGER"), ("AMOUNT", "DECIMAL(12, 2)"),
    ("CURRENCY", "STRING"), ("CREATED_AT", "TIMESTAMP"), ("UPDATED_MS", "BIGINT"), ("IS_REFUND", "BOOLEAN"),
    ("CUSTOMER", "STRUCT<`ID` STRING, `NAME` STRING, `CITY` STRING>"),
    ("PRODUCT", "STRUCT<`SKU` STRING, `PRICE` DECIMAL(10, 2), `WEIGHT` DOUBLE>"), ("TAGS", "ARRAY<STRING>"),
    ("ATTRIBUTES", "MAP<STRING, STRING>"), ("NOTE", "STRING"), ("RATE", "DOUBLE"), ("SIGNATURE", "BYTES"),
    ("STATUS", "STRING"),
)  # fmt: skip
SENT = (("ROWTIME", "BIGINT"), ("ROWPARTITION", "INTEGER"), ("ROWOFFSET", "BIGINT"), *COLUMNS)
_OFFSET_DIGITS, _MS_DIGITS = len(str(FIRST_OFFSET)), len(str(FIRST_MS))
_CITIES = ("Århus", "Bruxelles", "Dublin", "Genève", "Köln", "Łódź", "Lyon", "Málaga", "Napoli", "Porto")


@dataclass(frozen=True)
class Shape:
    """The length of the rows, the number of their days, and whether each is its own chunk.

    `extra_bytes` are added to the text of each row. Days follow each other, unless the rows take `turns` among them.
    """

    days: int = 11
    extra_bytes: int = 0
    turns: bool = False


def row(place: int, seed: int, extra_bytes: int = 0) -> list[Any]:
    """One row, of SENT; its ROWTIME and offset are those of the first row."""
    draw = random.Random(seed * 1_000_003 + place)
    spread = draw.randrange(2**32)
    note = None if place % 3 == 0 else 'said "yes" \\ and left' if place % 167 == 1 else "left at the door"
    if extra_bytes:
        note = "x" * extra_bytes
    return [
        FIRST_MS,
        PARTITION,
        FIRST_OFFSET,
        f"tx-{spread:010}-{place % 97}",
        2**62 + place,
        spread % 1_000_003,
        spread % 10_000_000 / 100,
        ("EUR", "USD", "GBP", "CHF")[spread % 4],
        FIRST_MS + spread % DAY_MS,
        FIRST_MS + spread % DAY_MS + 1234,
        spread % 50 == 0,
        {"ID": f"user-{spread % 5000:05}", "NAME": f"Zoé Müller {spread % 5000}", "CITY": _CITIES[spread % 10]},
        {"SKU": f"sku-{spread % 900:04}", "PRICE": spread % 100_000 / 100, "WEIGHT": spread % 7919 / 64},
        ["web", "promo", "night"][: spread % 4],
        {"channel": "app", "device": f"d{spread % 12}"},
        note,
        None if spread % 5 == 0 else spread % 1_000_003 / 1024,
        base64.b64encode(draw.randbytes(12)).decode(),
        ("settled", "pending", "failed")[spread % 3],
    ]


def header(query_id: str) -> bytes:
    """The first element, behind the opening bracket."""
    names = dict(SENT) | {"CREATED_AT": "BIGINT"}  # a TIMESTAMP is asked for as epoch milliseconds, under another name
    place = [name for name, _ in COLUMNS].index("CREATED_AT")
    schema = ", ".join(f"`{f'X{place}_0' if name == 'CREATED_AT' else name}` {type_}" for name, type_ in names.items())
    return b'[{"header":' + json.dumps({"queryId": query_id, "schema": schema}).encode() + b"},\n"


FINAL = b'{"finalMessage":"Query Completed"}]'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Answer:
    """The rows of an answer, in blocks of bytes."""

    def __init__(self, shape: Shape, seed: int, chunked: bool = True) -> None:
        self._shape = shape
        # A block of large rows has only a few.
        self.block_rows = max(1, min(BLOCK_ROWS, 2**25 // (400 + shape.extra_bytes)))
        rows, offsets, times, size = [], [], [], 0
        for place in range(self.block_rows):
            values = json.dumps(row(place, seed, shape.extra_bytes), separators=(",", ":"), ensure_ascii=False)
            text = b'{"row":{"columns":' + values.encode() + b"}},\n"
            text = chunk(text) if chunked else text
            times.append(size + text.index(str(FIRST_MS).encode()))
            offsets.append(size + text.index(str(FIRST_OFFSET).encode()))
            rows.append(text)
            size += len(text)
        self._block = np.frombuffer(bytearray(b"".join(rows)), np.uint8)
        self._ends = np.cumsum([len(text) for text in rows])
        self._times, self._offsets = np.array(times), np.array(offsets)

    def blocks(self, row_count: int) -> Iterator[memoryview]:
        """The bytes of so many rows; each block overwrites the one before."""
        for start in range(0, row_count, self.block_rows):
            places = np.arange(start, start + self.block_rows)
            _write_digits(self._block, self._offsets, places + FIRST_OFFSET, _OFFSET_DIGITS)
            days = self._shape.days
            day = places % days if self._shape.turns else np.minimum(places * days // row_count, days - 1)
            _write_digits(self._block, self._times, FIRST_MS + day * DAY_MS + places % DAY_MS, _MS_DIGITS)
            end = self._ends[min(self.block_rows, row_count - start) - 1]
            yield self._block[:end].data


def _write_digits(
    text: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64], digits: int
) -> None:
    for place in reversed(range(digits)):
        numbers, digit = np.divmod(numbers, 10)
        text[at + place] = digit + ord("0")
