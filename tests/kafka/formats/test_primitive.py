"""Bare values, no values, and keys with a window behind them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pipeline.errors import TypeNotSupported
from pipeline.kafka.formats.windowed_key import split_windowed
from tests.kafka.formats.reading import lake_row, reader_of, rows_read


@pytest.mark.parametrize(
    ("type_", "payload", "value"),
    [
        ("INTEGER", struct.pack(">i", -(2**31)), -(2**31)), ("BIGINT", struct.pack(">q", 2**63 - 1), 2**63 - 1),
        ("DOUBLE", struct.pack(">d", -0.0), -0.0), ("DOUBLE", struct.pack(">d", float("nan")), float("nan")),
        ("STRING", "Zoë 山 😀\0".encode(), "Zoë 山 😀\0"), ("STRING", b"", ""), ("BYTES", b"\0\xff", b"\0\xff"),
        ("BYTES", b"", b""),
    ],
)  # fmt: skip
def test_a_bare_value_comes_back_bit_by_bit(type_: str, payload: bytes, value: Any) -> None:
    types = {"K": type_}

    assert rows_read(reader_of("KAFKA", types), types, [None, payload]) == [None, lake_row([value], types)]


@pytest.mark.parametrize(
    ("type_", "broken"),
    [
        ("INTEGER", bytes(3)), ("INTEGER", bytes(8)), ("INTEGER", b""), ("BIGINT", bytes(4)), ("DOUBLE", bytes(9)),
        ("STRING", b"\xff"), ("STRING", b"\xed\xa0\x80"), ("STRING", b"\xc0\x80"),
    ],
)  # fmt: skip
def test_other_bytes_are_unreadable_and_their_neighbours_are_read(type_: str, broken: bytes) -> None:
    types = {"K": type_}
    good = {"INTEGER": bytes(4), "STRING": b""}.get(type_, bytes(8))

    before, reason, missing, after = rows_read(reader_of("KAFKA", types), types, [good, broken, None, good])

    assert before == after == lake_row(["" if type_ == "STRING" else 0], types)
    assert missing is None
    assert isinstance(reason, str)


@pytest.mark.parametrize(
    "types", [{"A": "BOOLEAN"}, {"A": "DATE"}, {"A": "ARRAY<INTEGER>"}, {"A": "STRING", "B": "STRING"}]
)
def test_what_the_format_cannot_hold_is_not_supported(types: dict[str, str]) -> None:
    with pytest.raises(TypeNotSupported, match="the KAFKA format cannot hold the columns"):
        reader_of("KAFKA", types)


@pytest.mark.parametrize("format_", ["NONE", "KAFKA", "JSON"])
def test_without_columns_nothing_is_read_and_nothing_is_unreadable(format_: Any) -> None:
    assert rows_read(reader_of(format_, {}), {}, [b"anything", None]) == [None, None]


@pytest.mark.parametrize("window", ["TUMBLING", "HOPPING"])
def test_a_window_of_time_is_its_start_behind_the_key(window: str) -> None:
    key = b"dup" + struct.pack(">q", 1_793_502_000_000)

    split = split_windowed([key, None, b"", b"short", struct.pack(">q", -1)], window)

    assert split.keys == (b"dup", None, None, None, b"")
    assert split.starts == (1_793_502_000_000, None, None, None, -1)
    assert split.ends == ()
    assert split.unreadable == {3: "a key that is too short for a window behind it"}


def test_a_session_is_its_end_and_then_its_start_behind_the_key() -> None:
    key = b"dup" + struct.pack(">qq", 1_793_503_800_000, 1_793_502_000_000)

    split = split_windowed([key, None, key[-15:]], "SESSION")

    assert split.keys == (b"dup", None, None)
    assert split.starts == (1_793_502_000_000, None, None)
    assert split.ends == (1_793_503_800_000, None, None)
    assert set(split.unreadable) == {2}
