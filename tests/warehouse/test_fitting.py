"""Which values fit which column, at every edge: the same verdict on whole columns and value by value."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.fitting import MappedColumn, Reject, split_rejects, texts_to_send
from pipeline.warehouse.target import TargetColumn
from pipeline.warehouse.value_rules import RULES

MAPPING = WarehouseMapping(fact="fact_own", keys=("id",), columns={"id": "id", "c": "v"})
LENGTHS = {
    "tinytext": 255,
    "text": 65_535,
    "mediumtext": 2**24 - 1,
    "longtext": 2**32 - 1,
    "tinyblob": 255,
    "blob": 65_535,
}
UTC = dt.UTC
WORDS = pa.list_(pa.string())
NEST = pa.struct([("d", pa.decimal128(30, 20)), ("more", pa.list_(pa.decimal128(30, 20)))])


def target(column_type: str, nullable: bool = True) -> TargetColumn:
    """A column as information_schema has it."""
    kind, numbers = re.match(r"\w+", column_type), [int(number) for number in re.findall(r"\d+", column_type)]
    assert kind
    data_type, first, second = kind[0], *[*numbers, 0, 0][:2]
    if data_type in ("datetime", "timestamp", "time"):
        return TargetColumn("c", data_type, column_type, nullable, 0, 0, first)
    if data_type == "decimal":
        return TargetColumn("c", data_type, column_type, nullable, 0, first, second)
    return TargetColumn("c", data_type, column_type, nullable, first or LENGTHS.get(data_type, 0), 0, 0)


def split(
    column_type: str, values: pa.Array, is_key: bool = False, nullable: bool = True
) -> tuple[list[Any], list[Reject]]:
    """The numbers of the rows that fit, and the rejects."""
    batch = pa.RecordBatch.from_arrays([pa.array(range(len(values)), pa.int64()), values], ["id", "v"])
    key = MappedColumn("k0", "id", TargetColumn("id", "bigint", "bigint", False, 0, 0, 0), True)
    column = MappedColumn("c0", "v", target(column_type, nullable), is_key)
    fitting, rejects = split_rejects(batch, [key, column], MAPPING)
    return fitting.column("id").to_pylist(), rejects


LONGEST = Decimal("9" * 28 + "." + "9" * 10)
# The column's type, the lake's type, values that fit, and values that do not, with the reason.
CASES: list[tuple[str, pa.DataType, list[Any], dict[Any, str]]] = [
    ("tinyint", pa.int32(), [-128, 127, 0], {-129: "-129 is out of the range of tinyint", 128: "out of the range"}),
    ("tinyint unsigned", pa.int32(), [0, 255], {-1: "out of the range", 256: "out of the range"}),
    ("smallint", pa.int32(), [-32_768, 32_767], {-32_769: "out of the range", 32_768: "out of the range"}),
    ("mediumint", pa.int32(), [-(2**23), 2**23 - 1], {-(2**23) - 1: "out of the range", 2**23: "out of the range"}),
    ("int", pa.int64(), [-(2**31), 2**31 - 1], {-(2**31) - 1: "out of the range", 2**31: "out of the range"}),
    ("int unsigned", pa.int64(), [0, 2**32 - 1], {-1: "out of the range", 2**32: "out of the range"}),
    ("bigint", pa.int64(), [-(2**63), 2**63 - 1], {}),
    ("bigint", pa.bool_(), [True, False], {}),
    ("tinyint", pa.float64(), [], {1.0: "is not a whole number"}),
    ("decimal(5,2)", pa.int32(), [-999, 999, 0], {-1000: "-1000 is out of the range of", 1000: "out of the range"}),
    ("decimal(5,2)", pa.decimal128(10, 4), [Decimal("999.99"), Decimal("-999.99"), Decimal("1.1000"), Decimal(0)],
     {Decimal("1.0050"): "would be rounded to 2 places", Decimal("1.001"): "would be rounded",
      Decimal("1000"): "out of the range", Decimal("-1000.00"): "out of the range", Decimal("0.0001"): "rounded"}),
    ("decimal(5,0)", pa.decimal128(10, 1), [Decimal("99999"), Decimal("10")],
     {Decimal("0.5"): "would be rounded to 0 places", Decimal("100000"): "out of the range"}),
    ("decimal(3,3)", pa.decimal128(10, 4), [Decimal("0.999"), Decimal("0.0010"), Decimal(0)],
     {Decimal("1"): "out of the range", Decimal("1.0005"): "would be rounded", Decimal("0.0005"): "would be rounded"}),
    ("decimal(5,2)", pa.float64(), [1.5, -0.0, 999.99, 1e2],
     {1.005: "rounded", float("nan"): "nan is not a number that DECIMAL can hold", float("inf"): "inf is not a number",
      1e3: "out of the range", 1e-3: "rounded"}),
    ("decimal(65,30)", pa.decimal128(38, 10), [LONGEST, Decimal("0.0000000001")], {}),
    ("decimal(50,10)", pa.decimal128(38, 12), [Decimal("1.5")], {Decimal("0.000000000001"): "would be rounded"}),
    ("decimal(5,2)", pa.string(), [], {"1": "is not a number"}),
    ("double", pa.float64(), [0.1, -1.7976931348623157e308, 5e-324],
     {float("inf"): "inf is not a number that MySQL", float("nan"): "nan is not a number that MySQL can hold"}),
    ("double", pa.int64(), [2**53, -(2**53), 2**53 + 2],
     {2**53 + 1: f"{2**53 + 1} would be rounded by DOUBLE", -(2**53) - 1: "would be rounded by DOUBLE"}),
    ("double", pa.bool_(), [], {True: "is not a number"}),
    ("double", pa.string(), [], {"1": "is not a number"}),
    ("float", pa.float64(), [0.5, 16_777_216.0, -3.3895313892515355e38],
     {0.1: "0.1 would be rounded by FLOAT", 16_777_217.0: "rounded by FLOAT", 3.5e38: "rounded by FLOAT",
      -1e300: "rounded by FLOAT", float("inf"): "is not a number"}),
    ("varchar(3)", pa.string(), ["abc", "日本語", "", "a "], {"abcd": "has 4 characters, varchar(3) holds 3"}),
    ("char(3)", pa.string(), ["abc", " ab"],
     {"ab ": "ends with a space, which MySQL does not keep in a CHAR", "abcd": "has 4 characters"}),
    ("tinytext", pa.string(), ["x" * 255, "日" * 85], {"x" * 256: "has 256 char", "日" * 86: "has 258 char"}),
    ("varchar(3)", pa.binary(), [], {b"a": "is binary"}),
    ("varchar(3)", pa.int32(), [123, -12], {1234: "has 4 characters"}),
    ("varbinary(2)", pa.binary(), [b"", b"\0\0"], {b"\0\0\0": "has 3 bytes, varbinary(2) holds 2"}),
    ("binary(2)", pa.binary(), [b"ab"], {b"a": "has 1 bytes, binary(2) would add zeros", b"abc": "binary(2) holds 2"}),
    ("tinyblob", pa.binary(), [b"x" * 255], {b"x" * 256: "has 256 bytes"}),
    ("blob", pa.string(), [], {"x": "is not binary"}),
    ("date", pa.date32(), [dt.date(1000, 1, 1), dt.date(9999, 12, 31)],
     {dt.date(999, 12, 31): "0999-12-31 is outside of the years 1000 to 9999"}),
    ("date", pa.string(), [], {"2026-01-01": "is not a date"}),
    ("date", pa.timestamp("us", tz="UTC"), [], {dt.datetime(2026, 1, 1, tzinfo=UTC): "is not a date"}),
    ("datetime(3)", pa.timestamp("us", tz="UTC"),
     [dt.datetime(1000, 1, 1, tzinfo=UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)],
     {dt.datetime(2026, 1, 1, 0, 0, 0, 1, UTC): "would be rounded to 3 places of a second",
      dt.datetime(999, 12, 31, 23, 59, 59, tzinfo=UTC): "outside of the years"}),
    ("datetime", pa.timestamp("us", tz="UTC"), [dt.datetime(2026, 1, 1, tzinfo=UTC)],
     {dt.datetime(2026, 1, 1, 0, 0, 0, 600_000, UTC): "would be rounded to 0 places"}),
    ("datetime(6)", pa.timestamp("us", tz="UTC"), [dt.datetime(2026, 1, 1, 0, 0, 0, 1, UTC)], {}),
    ("datetime", pa.date32(), [], {dt.date(2026, 1, 1): "is not a point in time"}),
    ("timestamp(3)", pa.timestamp("us", tz="UTC"),
     [dt.datetime(1970, 1, 1, 0, 0, 0, 1000, UTC), dt.datetime(2038, 1, 18, 23, 59, 59, tzinfo=UTC)],
     {dt.datetime(1970, 1, 1, tzinfo=UTC): "is outside of what TIMESTAMP holds",
      dt.datetime(2038, 1, 19, tzinfo=UTC): "is outside of what TIMESTAMP holds",
      dt.datetime(2026, 1, 1, 0, 0, 0, 1, UTC): "would be rounded"}),
    ("time(3)", pa.string(), ["00:00:00", "23:59:59.999", "10:00:00.100000"],
     {"24:00:00": "is not a time of day, HH:MM:SS", "10:00": "is not a time", "10:00:00.0001": "would be rounded to 3",
      "1:00:00": "is not a time", "10:60:00": "is not a time", "10:00:60": "is not a time", "10:00:00.": "not a time"}),
    ("json", pa.string(), ["x", ""], {}),
    ("json", NEST, [{"d": Decimal("0.5"), "more": [Decimal("0.25"), None]}, {"d": None, "more": None}],
     {'{"d": "0.12345678901234567890", "more": []}': "0.12345678901234567890 would be rounded in MySQL's JSON",
      '{"d": "0.5", "more": ["1", "0.12345678901234567890"]}': "would be rounded in MySQL's JSON"}),
]  # fmt: skip


def lake_value(value: Any, kind: pa.DataType) -> Any:
    """A value of the table above; a struct, which no dict can have as a key, is its JSON."""
    if not (pa.types.is_struct(kind) and isinstance(value, str)):
        return value
    raw = json.loads(value)
    return {"d": Decimal(raw["d"]), "more": [Decimal(item) for item in raw["more"]]}


@pytest.mark.parametrize(("column_type", "kind", "fitting", "misfits"), CASES, ids=lambda value: str(value)[:30])
def test_a_value_fits_or_is_rejected_alone_and_among_others(
    column_type: str, kind: pa.DataType, fitting: list[Any], misfits: dict[Any, str]
) -> None:
    rest = [lake_value(value, kind) for value in misfits]
    together = [*fitting, None, *rest]
    kept, rejects = split(column_type, pa.array(together, kind))

    assert kept == list(range(len(fitting) + 1))
    assert [json.loads(reject.row_key)["id"] for reject in rejects] == list(range(len(fitting) + 1, len(together)))
    assert split(column_type, pa.array([*fitting, None], kind)) == (list(range(len(fitting) + 1)), [])
    for value in fitting:
        assert split(column_type, pa.array([value], kind)) == ([0], []), value
    for value, reject, reason in zip(rest, rejects, misfits.values(), strict=True):
        assert reason in reject.reason
        assert reject.column == "c"
        assert split(column_type, pa.array([value], kind))[1][0].reason == reject.reason


@pytest.mark.parametrize("kind", [pa.int32(), pa.decimal128(5, 2), pa.string(), pa.timestamp("us", tz="UTC"), NEST])
def test_null_fits_where_the_column_takes_it_and_never_a_key(kind: pa.DataType) -> None:
    values = pa.array([None], kind)

    for column_type in ("int", "decimal(5,2)", "varchar(3)", "datetime", "json", "float"):
        assert split(column_type, values) == ([0], [])
        for refused in (split(column_type, values, nullable=False), split(column_type, values, is_key=True)):
            assert [(reject.column, reject.reason) for reject in refused[1]] == [("c", "is NULL")]


def test_a_key_that_ends_with_a_space_is_rejected() -> None:
    kept, rejects = split("varchar(9)", pa.array(["a", "a ", " a"]), is_key=True)

    assert kept == [0, 2]
    assert rejects[0].reason == "ends with a space, which MySQL does not see when it compares keys"


def test_dates_beyond_pythons_years_are_rejected() -> None:
    days = pa.array([0, 3_000_000, -1_000_000], pa.int32()).view(pa.date32())
    moments = pa.array([0, 300_000_000_000_000_000, -100_000_000_000_000_000]).view(pa.timestamp("us", "UTC"))

    for column_type, values in (("date", days), ("datetime", moments), ("timestamp", moments)):
        kept, rejects = split(column_type, values)
        assert kept == ([0] if column_type != "timestamp" else [])
        assert all("is outside of" in reject.reason for reject in rejects)


def test_a_reject_tells_its_key_its_first_misfit_and_the_whole_row() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"id": [1, 2, 3], "v": [5, 500, None], "w": ["x", "too long", "y"], "z": [True] * 3}
    )
    columns = [
        MappedColumn("c0", "v", TargetColumn("c", "tinyint", "tinyint", False, 0, 0, 0), False),
        MappedColumn("c1", "w", TargetColumn("d", "varchar", "varchar(3)", True, 3, 0, 0), False),
    ]

    fitting, rejects = split_rejects(batch, columns, MAPPING)

    assert fitting.to_pylist() == [{"id": 1, "v": 5, "w": "x", "z": True}]
    assert rejects == [
        Reject(
            '{"id": 2}', "c", "500 is out of the range of tinyint", '{"id": 2, "v": 500, "w": "too long", "z": true}'
        ),
        Reject('{"id": 3}', "c", "is NULL", '{"id": 3, "v": null, "w": "y", "z": true}'),
    ]


def test_staged_text_is_what_the_server_takes() -> None:
    batch = pa.RecordBatch.from_pydict({
        "n": pa.array([1, None]), "s": pa.array(['a"b', None]), "j": pa.array(['a"b', None]),
        "a": pa.array([["x", None], None], WORDS), "f": pa.array([0.5, None]), "b": pa.array([True, None]),
    })  # fmt: skip
    kinds = {"n": "bigint", "s": "varchar(9)", "j": "json", "a": "json", "f": "json", "b": "json"}
    columns = [MappedColumn(name, name, target(kind), False) for name, kind in kinds.items()]

    texts = {name: array.to_pylist() for name, array in zip(kinds, texts_to_send(batch, columns), strict=True)}

    assert texts == {"n": ["1", None], "s": ['a"b', None], "j": ['"a\\"b"', None], "a": ['["x", null]', None],
                     "f": ["0.5", None], "b": ["true", None]}  # fmt: skip


def test_every_type_that_can_be_filled_is_tried_here() -> None:
    tried = {target(column_type).data_type for column_type, *_ in CASES}

    assert {*tried, "text", "mediumtext", "longtext", "mediumblob", "longblob"} == set(RULES)


@pytest.mark.parametrize("kind", ["json", "varchar(9)", "bigint"])
def test_a_column_of_nothing_but_null_is_staged_as_text(kind: str) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([None, None], pa.string())], ["v"])

    (texts,) = texts_to_send(batch, [MappedColumn("c0", "v", target(kind), False)])

    assert (texts.type, texts.to_pylist()) == (pa.string(), [None, None])
