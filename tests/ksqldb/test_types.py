"""Types as the server writes them, and values by their declared type, each tried where it could break."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import SCALARS, SqlType, arrow_type, lake_name
from pipeline.decode.reference import json_type, to_array
from pipeline.errors import TypeNotSupported, ValueNotRepresentable
from pipeline.ksqldb.sqltypes import described_type, parse_schema, parse_type

NAMES = st.text(st.characters(exclude_characters="`", exclude_categories=["Cs"]), min_size=1, max_size=8)
SIMPLE = st.sampled_from([SqlType(base) for base in SCALARS if base != "DECIMAL"]) | st.builds(
    lambda precision, scale: SqlType("DECIMAL", precision, min(scale, precision)),
    st.integers(1, 38),
    st.integers(0, 38),
)
TYPES = st.recursive(
    SIMPLE,
    lambda inner: (
        inner.map(lambda element: SqlType("ARRAY", element=element))
        | inner.map(lambda element: SqlType("MAP", key=SqlType("STRING"), element=element))
        | st.lists(st.tuples(NAMES, inner), max_size=4).map(lambda fields: SqlType("STRUCT", fields=tuple(fields)))
    ),
    max_leaves=8,
)


@given(TYPES)
def test_any_type_is_read_back_from_its_text_and_from_what_describe_shows(type_: SqlType) -> None:
    assert parse_type(str(type_)) == type_
    assert described_type(described(type_)) == type_
    (column,) = parse_schema(f"`A` {type_} KEY")
    assert (column.name, column.type, column.role) == ("A", type_, "KEY")


def described(type_: SqlType) -> dict[str, Any]:
    """A type as DESCRIBE shows it: keys of a MAP are not in there."""
    schema: dict[str, Any] = {"type": type_.base, "fields": None, "memberSchema": None}
    if type_.base == "DECIMAL":
        schema["parameters"] = {"precision": type_.precision, "scale": type_.scale}
    if type_.base == "STRUCT":
        schema["fields"] = [{"name": name, "schema": described(field)} for name, field in type_.fields]
    if type_.element is not None:
        schema["memberSchema"] = described(type_.element)
    return schema


@pytest.mark.parametrize(
    "text",
    ["BOOLEAN", "DECIMAL(38, 10)", "ARRAY<ARRAY<STRING>>", "MAP<STRING, STRUCT<`a, b` TIME, `C` MAP<INTEGER, BYTES>>>"],
)
def test_type_text_is_read_and_written(text: str) -> None:
    assert str(parse_type(text)) == text


@pytest.mark.parametrize("text", ["", "STRUCT", "ARRAY<", "DECIMAL(5)", "INTEGER x", "NOPE", "STRUCT<A INTEGER>"])
def test_type_text_that_is_not_understood_is_shown(text: str) -> None:
    with pytest.raises(TypeNotSupported):
        arrow_type(parse_type(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A INTEGER",
        "`A INTEGER",
        "`A` ",
        "`A` INTEGER KEY KEY",
        "`A` INTEGER,`B` INTEGER",
        "`A` INTEGER, ",
        "`A` BYTES HEADER",
    ],
)
def test_a_header_schema_that_is_not_understood_is_shown(text: str) -> None:
    with pytest.raises(TypeNotSupported, match="not understood at character"):
        parse_schema(text)


@pytest.mark.parametrize("text", ["DECIMAL(a, b)", "DECIMAL(39, 2)", "DECIMAL(0, 0)"])
def test_a_decimal_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(TypeNotSupported):
        arrow_type(parse_type(text))


def test_a_header_column_that_breaks_off_is_refused() -> None:
    with pytest.raises(TypeNotSupported):
        parse_schema("`A` BYTES HEADER('abc'")


@pytest.mark.parametrize("key", ["DATE", "TIME", "TIMESTAMP", "BYTES", "ARRAY<STRING>", "STRUCT<`A` INTEGER>"])
def test_a_map_whose_keys_arrive_shortened_is_refused(key: str) -> None:
    with pytest.raises(TypeNotSupported, match="cannot be read exactly"):
        arrow_type(parse_type(f"ARRAY<MAP<{key}, INTEGER>>"))


def test_header_schema_tells_names_and_roles() -> None:
    columns = parse_schema(
        "`K` INTEGER KEY, `a b,` ARRAY<STRUCT<`X` DATE>>, `H` BYTES HEADER('abc'), `HS` BYTES HEADERS"
    )
    assert [(column.name, column.role) for column in columns] == [
        ("K", "KEY"), ("a b,", "VALUE"), ("H", "HEADER"), ("HS", "HEADER"),
    ]  # fmt: skip


def test_described_type_takes_string_keys_for_maps() -> None:
    schema = {
        "type": "MAP",
        "fields": None,
        "memberSchema": {"type": "DECIMAL", "parameters": {"precision": 9, "scale": 2}},
    }
    assert str(described_type(schema)) == "MAP<STRING, DECIMAL(9, 2)>"


@pytest.mark.parametrize(
    ("type_", "value", "wanted"),
    [
        ("BOOLEAN", False, False),
        ("INTEGER", -(2**31), -(2**31)),
        ("BIGINT", 2**63 - 1, 2**63 - 1),
        ("DOUBLE", 5e-324, 5e-324),
        ("DOUBLE", "Infinity", float("inf")),
        ("DOUBLE", "-Infinity", float("-inf")),
        ("DECIMAL(5, 2)", Decimal("1.1"), Decimal("1.10")),
        ("DECIMAL(38, 10)", Decimal("-9999999999999999999999999999.9999999999"),
         Decimal("-9999999999999999999999999999.9999999999")),
        ("DECIMAL(9, 0)", Decimal("1E+3"), Decimal(1000)),
        ("STRING", "a\x00\u2028😀", "a\x00\u2028😀"),
        ("BYTES", b"\x00\xff", b"\x00\xff"),
        ("DATE", "2024-10-04", dt.date(2024, 10, 4)),
        ("DATE", "2000-02-29", dt.date(2000, 2, 29)),
        ("DATE", -719162, dt.date(1, 1, 1)),
        ("TIME", "10:15", "10:15:00.000"),
        ("TIME", 36930123, "10:15:30.123"),
        ("TIME", 86_399_999, "23:59:59.999"),
        ("TIME", "10:15:30.5", "10:15:30.500"),
        ("TIMESTAMP", "2026-11-01T00:00:00.123", dt.datetime(2026, 11, 1, 0, 0, 0, 123000, tzinfo=dt.UTC)),
        ("TIMESTAMP", -12219292800001, dt.datetime(1582, 10, 14, 23, 59, 59, 999000, tzinfo=dt.UTC)),
        ("TIMESTAMP", 0, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("ARRAY<DATE>", ["1970-01-02", None], [dt.date(1970, 1, 2), None]),
        ("ARRAY<ARRAY<TIME>>", [["00:00"], None, []], [["00:00:00.000"], None, []]),
        ("MAP<STRING, DOUBLE>", {"": None, "x": "Infinity"}, [("", None), ("x", float("inf"))]),
        ("MAP<INTEGER, DECIMAL(3, 1)>", {"1": Decimal("2.0")}, [(1, Decimal("2.0"))]),
        ("MAP<BOOLEAN, INTEGER>", {"true": 1, "false": None}, [(True, 1), (False, None)]),
        ("MAP<DOUBLE, INTEGER>", {"1.0E10": 1, "-Infinity": 2}, [(1e10, 1), (float("-inf"), 2)]),
        ("MAP<DECIMAL(3, 2), STRING>", {"1.10": "x"}, [(Decimal("1.10"), "x")]),
        ("STRUCT<`M` MAP<BIGINT, DATE>>", {"M": [(2**62, 1), (1, None)]},
         {"m": [(2**62, dt.date(1970, 1, 2)), (1, None)]}),
        ("STRUCT<`M` MAP<BOOLEAN, STRING>>", {"M": [(True, "x")]}, {"m": [(True, "x")]}),
        ("STRUCT<`S` STRUCT<`D` DECIMAL(6, 3)>>", {"S": None}, {"s": None}),
        ("STRUCT<`A` ARRAY<DECIMAL(6, 3)>>", {"A": [Decimal("0.1"), None]}, {"a": [Decimal("0.100"), None]}),
        ("STRUCT<`D` DECIMAL(15, 15)>", {"D": Decimal("1.0E-15")}, {"d": Decimal("1E-15")}),
        ("STRUCT<`D` DECIMAL(4, 2)>", {"D": Decimal("9.9E0")}, {"d": Decimal("9.90")}),
        ("STRUCT<`T` TIME>", {"T": 0}, {"t": "00:00:00.000"}),
    ],
)  # fmt: skip
def test_values_are_read_by_their_declared_type(type_: str, value: Any, wanted: Any) -> None:
    assert to_array([sent(value, type_), None], parse_type(type_), "C").to_pylist() == [wanted, None]


def sent(value: Any, type_: str) -> Any:
    """A value in the form in which it is decoded from what the server sends."""
    return msgspec.convert(value, json_type(parse_type(type_)))


@pytest.mark.parametrize("name", ["größe", "A", "名 前", "😀"])
def test_a_field_of_a_struct_is_found_by_any_name(name: str) -> None:
    type_, text = parse_type(f"STRUCT<`{name}` INTEGER>"), json.dumps({name: 1}, ensure_ascii=False)
    array = to_array([msgspec.json.decode(text, type=json_type(type_))], type_, "C")

    assert array.to_pylist() == [{lake_name(name): 1}]


@pytest.mark.parametrize("text", ['{"A":1,"B":2}', "{}", '{"a":1}', '{"B":1}', '{"A":"x"}', "[1]"])
def test_a_struct_with_other_fields_than_declared_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=json_type(parse_type("STRUCT<`A` INTEGER>")))


def test_not_a_number_is_a_value_of_its_own() -> None:
    assert repr(to_array(["NaN", None, -0.0], SqlType("DOUBLE"), "C").to_pylist()) == "[nan, None, -0.0]"


def test_dates_beyond_the_year_9999_are_kept() -> None:
    array = to_array(["+12000-01-01", "+10000-01-01", "9999-12-31"], SqlType("DATE"), "C")
    assert array.cast(pa.int32()).to_pylist() == [3663382, 2932897, 2932896]


def test_timestamps_beyond_the_year_9999_are_kept() -> None:
    array = to_array(["10000-01-01T00:00:00.001", 253402300800001], SqlType("TIMESTAMP"), "C")
    assert array.cast(pa.int64()).to_pylist() == [253402300800001000] * 2


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


@pytest.mark.parametrize(
    ("type_", "value"),
    [("DOUBLE", "many"), ("MAP<BOOLEAN, INTEGER>", {"yes": 1}), ("ARRAY<DOUBLE>", ["infinity"])],
)
def test_a_word_that_means_nothing_is_an_error_that_names_the_column(type_: str, value: Any) -> None:
    with pytest.raises(ValueNotRepresentable, match="column SOME"):
        to_array([value], parse_type(type_), "SOME")


@pytest.mark.parametrize(
    ("type_", "value"), [("TIME", "24:00"), ("TIME", "10:60"), ("TIMESTAMP", "2026-01-01T25:00:00")]
)
def test_a_time_that_no_clock_shows_is_refused(type_: str, value: str) -> None:
    with pytest.raises(ValueNotRepresentable, match="column SOME"):
        to_array([value], parse_type(type_), "SOME")


def test_long_decimal_keys_of_a_map_inside_a_struct_are_refused() -> None:
    type_ = "STRUCT<`M` MAP<DECIMAL(38, 10), INTEGER>>"
    with pytest.raises((TypeNotSupported, ValueNotRepresentable)):
        to_array([sent({"M": [(Decimal("1.2345678901234567E19"), 1)]}, type_)], parse_type(type_), "SOME")
