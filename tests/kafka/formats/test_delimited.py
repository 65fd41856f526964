"""DELIMITED as ksqlDB and its CSV library read it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TypeNotSupported
from tests.examples import examples
from tests.kafka.formats.reading import lake_row, reader_of, rows_read

TYPES = {
    "B": "BOOLEAN", "I": "INTEGER", "L": "BIGINT", "D": "DOUBLE", "DEC": "DECIMAL(5, 2)", "S": "STRING",
    "Y": "BYTES", "DT": "DATE", "TM": "TIME", "TS": "TIMESTAMP",
}  # fmt: skip
TWO = {"A": "STRING", "B": "STRING"}


def test_each_type_is_read_as_java_parses_it() -> None:
    payloads = [
        b"true,1,-9223372036854775808,-0.0,1.1,text,AAEC/w==,-1,86399999,-62135596800000\r\n",
        b"TRUE,+1,1,NaN,-.5,  text  ,,0,0,0",
        b"yes,,,,,,,,,",
    ]

    assert rows_read(reader_of("DELIMITED", TYPES), TYPES, payloads) == [
        lake_row(
            [True, 1, -(2**63), -0.0, Decimal("1.10"), "text", b"\0\1\2\xff", -1, 86399999, -62135596800000], TYPES
        ),
        lake_row([True, 1, 1, float("nan"), Decimal("-0.50"), "  text  ", None, 0, 0, 0], TYPES),
        lake_row([False, *[None] * 9], TYPES),
    ]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("a,b", ("a", "b")), ("a,", ("a", None)), (",b", (None, "b")), (",", (None, None)), ('"",b', (None, "b")),
        ('"a,1","b\r\n2"', ("a,1", "b\r\n2")), ('"a ""q""",b', ('a "q"', "b")), ('a"b,c"d', ('a"b', 'c"d')),
        ('"a"  \t,b', ("a", "b")), (' "a",b', (' "a"', "b")), ("\r\n\n\ra,b", ("a", "b")), ("a,b\nc,d,e", ("a", "b")),
        ("a,b\r\n\r\n", ("a", "b")), ('"a",b\n"c"', ("a", "b")), ("a,b\n\n,", ("a", "b")), ("'a',b", ("'a'", "b")),
        ("#a,b", ("#a", "b")), ("a\\,b", ("a\\", "b")), ('"a",', ("a", None)), ("\0,é", ("\0", "é")),
    ],
)  # fmt: skip
def test_the_first_line_is_taken_apart(text: str, row: tuple[Any, ...]) -> None:
    assert rows_read(reader_of("DELIMITED", TWO), TWO, [text.encode()]) == [row]


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"\r\n", b"a", b"a,b,c", b'"a,b', b'"a"x,b', b'a,b\n"c', b'a,b\n"c"d', b"\xff,b", b'"a"\xc2\xa0,b',
    ],
)  # fmt: skip
def test_a_line_that_is_not_well_formed_is_unreadable_and_its_neighbours_are_read(broken: bytes) -> None:
    before, reason, missing, after = rows_read(reader_of("DELIMITED", TWO), TWO, [b"a,b", broken, None, b"c,d"])

    assert (before, missing, after) == (("a", "b"), None, ("c", "d"))
    assert isinstance(reason, str)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("I", "1.0"), ("I", " 1"), ("I", "2147483648"), ("L", "x"), ("D", "1,5"), ("DEC", "1.001"), ("DEC", "1000"),
        ("Y", "AA"), ("Y", "A A="), ("DT", "2020-01-01"), ("DT", "2147483648"), ("TM", "86400000"), ("TS", "1.0"),
    ],
)  # fmt: skip
def test_a_value_that_java_does_not_parse_is_unreadable(column: str, text: str) -> None:
    types = {column: TYPES[column]}

    (reason,) = rows_read(reader_of("DELIMITED", types, delimiter="|"), types, [text.encode()])

    assert isinstance(reason, str)
    assert reason.startswith(f"{column}: ")


@pytest.mark.parametrize(("declared", "used"), [("|", "|"), ("TAB", "\t"), ("SPACE", " "), ("]", "]"), ("^", "^")])
def test_another_delimiter_is_used_as_it_was_declared(declared: str, used: str) -> None:
    reader = reader_of("DELIMITED", TWO, delimiter=declared)

    assert rows_read(reader, TWO, [f'"a"{used}b'.encode(), f"a{used}b".encode()]) == [("a", "b")] * 2


@pytest.mark.parametrize("type_", ["ARRAY<INTEGER>", "MAP<STRING, STRING>", "STRUCT<`X` INTEGER>"])
def test_a_nested_type_is_not_supported(type_: str) -> None:
    with pytest.raises(TypeNotSupported, match="DELIMITED cannot hold"):
        reader_of("DELIMITED", {"A": type_})


@examples(40)
@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5))
def test_texts_in_quotes_come_back_as_they_were(rows: list[tuple[str, str]]) -> None:
    payloads = [",".join(f'"{text.replace(chr(34), chr(34) * 2)}"' for text in row).encode() for row in rows]

    seen = rows_read(reader_of("DELIMITED", TWO), TWO, payloads)

    assert seen == [tuple(text or None for text in row) for row in rows]
