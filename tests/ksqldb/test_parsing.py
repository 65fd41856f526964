"""Framings, types and values, each tried where it could break."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.values import to_json
from pipeline.errors import PipelineError
from pipeline.ksqldb.decode import ValueNotRepresentable, to_array
from pipeline.ksqldb.framing import AnswerIncomplete, AnswerMalformed, AnswerParser, Ending, Framing, QueryFailed
from pipeline.ksqldb.sqltypes import SqlType, TypeNotSupported, described_type, parse_schema, parse_type

W4 = b'[{"queryId":"q","columnNames":["A","B"],"columnTypes":["INTEGER","STRING"]},[1,"x],["],[2,"\xc3\xa9\\"]"]]'
W2 = (
    b'[{"header":{"queryId":"q","schema":"`A` INTEGER, `B` STRING"}},\n{"row":{"columns":[1,"x],["]}},\n'
    b'{"row":{"columns":[2,"\xc3\xa9\\"]"]}},\n{"finalMessage":"Query Completed"}]'
)
ROWS = [(1, "x],["), (2, 'é"]')]
BOTH = [(Framing.PLAIN_ARRAY, Ending.BRACKET, W4), (Framing.STREAMED_ROWS, Ending.COMPLETED, W2)]


def parse(framing: Framing, ending: Ending, *pieces: bytes) -> list[tuple[Any, ...]]:
    parser = AnswerParser(framing, ending)
    rows: list[tuple[Any, ...]] = []
    for piece in pieces:
        for part in parser.feed(piece):
            rows += part.values
    for part in parser.finish():
        rows += part.values
    return rows


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_an_answer_may_come_in_any_pieces(framing: Framing, ending: Ending, body: bytes) -> None:
    assert parse(framing, ending, body) == ROWS
    assert parse(framing, ending, *(body[i : i + 1] for i in range(len(body)))) == ROWS


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_an_answer_cut_at_any_byte_is_refused(framing: Framing, ending: Ending, body: bytes) -> None:
    for end in range(len(body)):
        with pytest.raises(AnswerIncomplete):
            parse(framing, ending, body[:end])


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_bare_newlines_and_a_trailing_comma_are_tolerated(framing: Framing, ending: Ending, body: bytes) -> None:
    assert parse(framing, ending, b"\n" + body[:-1] + b",\n]\n\n") == ROWS
    assert parse(framing, ending, body.replace(b"},", b"},\n\n\n", 1)) == ROWS


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
@pytest.mark.parametrize("junk", [b"[", b"x", b"{}", b"]", b'"'])
def test_anything_after_the_end_is_refused(framing: Framing, ending: Ending, body: bytes, junk: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        parse(framing, ending, body + junk)


@pytest.mark.parametrize(
    "middle",
    [b",5", b",null", b',"x"', b",[1]", b',[1,"x",3]', b',["a","b"]', b",[1.5,null]", b",,[3,null]", b',{"x":1}'],
)
def test_an_element_that_is_no_row_is_refused(middle: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, W4[:-1] + middle + b"]")


def test_an_error_element_is_an_error_wherever_it_stands() -> None:
    error = b'{"@type":"generic_error","error_code":50000,"message":"boom"}'
    for body in (W4[:-1] + b"," + error + b"]", b"[" + error + b"]"):
        with pytest.raises(QueryFailed, match="boom"):
            parse(Framing.PLAIN_ARRAY, Ending.BRACKET, body)
    streamed = W2.split(b"\n")
    for place in range(1, len(streamed)):
        lines = [*streamed[:place], b'{"errorMessage":' + error + b"},", b"]"]
        with pytest.raises(QueryFailed, match="boom"):
            parse(Framing.STREAMED_ROWS, Ending.COMPLETED, b"\n".join(lines))


def test_a_stream_needs_the_final_message_that_was_due() -> None:
    without = W2.replace(b',\n{"finalMessage":"Query Completed"}', b"")
    with pytest.raises(AnswerIncomplete, match="Query Completed"):
        parse(Framing.STREAMED_ROWS, Ending.COMPLETED, without)
    with pytest.raises(AnswerIncomplete, match="Limit Reached"):
        parse(Framing.STREAMED_ROWS, Ending.LIMIT, W2)
    with pytest.raises(AnswerMalformed, match="after the answer's final message"):
        parse(Framing.STREAMED_ROWS, Ending.COMPLETED, W2[:-1] + b',\n{"row":{"columns":[3,null]}}]')


def test_what_is_not_json_at_all_is_named() -> None:
    with pytest.raises(AnswerMalformed, match="not an array"):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, b"<html>proxy</html>")


@pytest.mark.parametrize(
    "text",
    ["BOOLEAN", "DECIMAL(38, 10)", "ARRAY<ARRAY<STRING>>", "MAP<STRING, STRUCT<`a, b` TIME, `C` MAP<INTEGER, BYTES>>>"],
)
def test_type_text_is_read_and_written(text: str) -> None:
    assert str(parse_type(text)) == text


@pytest.mark.parametrize("text", ["", "STRUCT", "ARRAY<", "DECIMAL(5)", "INTEGER x", "NOPE", "STRUCT<A INTEGER>"])
def test_type_text_that_is_not_understood_is_shown(text: str) -> None:
    with pytest.raises(TypeNotSupported):
        parse_type(text).arrow()


def test_header_schema_tells_names_and_roles() -> None:
    columns = parse_schema(
        "`K` INTEGER KEY, `a b,` ARRAY<STRUCT<`X` DATE>>, `H` BYTES HEADER('abc'), `HS` BYTES HEADERS"
    )
    assert [(column.name, column.role) for column in columns] == [
        ("K", "KEY"), ("a b,", "VALUE"), ("H", "HEADER"), ("HS", "HEADER"),
    ]  # fmt: skip


def test_described_type_takes_string_keys_for_maps() -> None:
    told = {
        "type": "MAP",
        "fields": None,
        "memberSchema": {"type": "DECIMAL", "parameters": {"precision": 9, "scale": 2}},
    }
    assert str(described_type(told)) == "MAP<STRING, DECIMAL(9, 2)>"


@pytest.mark.parametrize(
    ("type_", "value", "wanted"),
    [
        ("DOUBLE", "-Infinity", float("-inf")),
        ("DECIMAL(5, 2)", Decimal("1.1"), Decimal("1.10")),
        ("DATE", "2024-10-04", dt.date(2024, 10, 4)),
        ("DATE", -719162, dt.date(1, 1, 1)),
        ("TIME", "10:15", "10:15:00.000"),
        ("TIME", 36930123, "10:15:30.123"),
        ("TIMESTAMP", "2026-11-01T00:00:00.123", dt.datetime(2026, 11, 1, 0, 0, 0, 123000, tzinfo=dt.UTC)),
        ("TIMESTAMP", -12219292800001, dt.datetime(1582, 10, 14, 23, 59, 59, 999000, tzinfo=dt.UTC)),
        ("MAP<INTEGER, DECIMAL(3, 1)>", {"1": Decimal("2.0")}, [(1, Decimal("2.0"))]),
        ("STRUCT<`D` DECIMAL(4, 2)>", {"D": Decimal("9.9E0")}, {"D": Decimal("9.90")}),
        ("STRUCT<`T` TIME>", {"T": 0}, {"T": "00:00:00.000"}),
    ],
)  # fmt: skip
def test_values_are_told_by_their_declared_type(type_: str, value: Any, wanted: Any) -> None:
    assert to_array([value, None], parse_type(type_), "C").to_pylist() == [wanted, None]


def test_dates_beyond_the_year_9999_are_kept() -> None:
    array = to_array(["+12000-01-01"], SqlType("DATE"), "C")
    assert array.cast(pa.int32()).to_pylist() == [3663382]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("INTEGER", 2**31),
        ("BIGINT", 2**63),
        ("DECIMAL(3, 2)", Decimal("10.00")),
        ("DECIMAL(3, 2)", Decimal("1.001")),
        ("TIMESTAMP", "1500-01-01T00:00:00.000"),
        ("TIMESTAMP", 2**60),
        ("TIME", 86_400_000),
        ("DATE", "yesterday"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_that_names_the_column(type_: str, value: Any) -> None:
    with pytest.raises(ValueNotRepresentable, match="column SOME"):
        to_array([value], parse_type(type_), "SOME")


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_do_anything_but_refuse(data: bytes) -> None:
    with pytest.raises(PipelineError):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, data)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.text(max_size=20)), max_size=30), st.integers(1, 50))
def test_any_rows_in_any_pieces_come_back(rows: list[tuple[int, str]], size: int) -> None:
    body = W4[: W4.index(b"}") + 1].decode() + "".join(f",[{number},{to_json(text)}]" for number, text in rows) + "]"
    data = body.encode("utf-8", "surrogatepass")
    assert parse(Framing.PLAIN_ARRAY, Ending.BRACKET, *(data[i : i + size] for i in range(0, len(data), size))) == rows
