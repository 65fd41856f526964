"""What is asked for, so that every value arrives exactly, and how the answer becomes the lake's columns."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from pipeline.columns import Column, SqlType, lake_name
from pipeline.decode import engine as engines
from pipeline.errors import AnswerMalformed, ColumnNamesCollide, SourceNotReadable, TypeNotSupported
from pipeline.ksqldb.describe import Description
from pipeline.ksqldb.framing import Header
from pipeline.ksqldb.projection import Projection, project
from pipeline.ksqldb.sqltypes import described_type, parse_schema, parse_type
from tests.decode.engines import engine
from tests.vectors import exchanges, needs_vectors

pytestmark = pytest.mark.usefixtures(engine.__name__)

LONG = Decimal("12345678901234567890.1234567891")
ROUGH = Decimal("1.2345678901234567E19")  # what the server makes of it inside a STRUCT


def source(*columns: tuple[str, str] | tuple[str, str, str], window: str | None = None) -> Description:
    typed = tuple(Column(name, parse_type(type_), *role) for name, type_, *role in columns)
    return Description("S", "stream", "s", 1, typed, window, False, ())


class Reading:
    """Reads rows that are given as plain values, as the server would send them."""

    def __init__(self, projection: Projection, types: list[SqlType]) -> None:
        names = [part.alias for plan in projection.plans for part in plan.parts]
        self.layout = projection.layout(Header("q", tuple(map(Column, names, types))))
        self._decoder = engines.engine().decoder(False, self.layout)

    def batch(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        return self._decoder.decode(msgspec.json.Encoder(decimal_format="number").encode(rows)[1:-1]).batch


def reader_of(of: Description, *types: str) -> Reading:
    """The reader for an answer whose columns have these types."""
    return Reading(project(of, positions=False), [parse_type(type_) for type_ in types])


@pytest.mark.parametrize(
    ("type_", "asked"),
    [
        ("BIGINT", "`C`"),
        ("DATE", "`C`"),
        ("DECIMAL(38, 10)", "`C`"),
        ("ARRAY<DECIMAL(38, 10)>", "`C`"),
        ("TIMESTAMP", "UNIX_TIMESTAMP(`C`) AS `X0_0`"),
        ("TIME", "STRUCT(V := `C`) AS `X0_0`"),
        ("ARRAY<TIMESTAMP>", "STRUCT(V := `C`) AS `X0_0`"),
        ("MAP<STRING, ARRAY<TIME>>", "STRUCT(V := `C`) AS `X0_0`"),
        ("STRUCT<`T` TIME, `TS` TIMESTAMP>", "`C`"),
        ("STRUCT<`D` DECIMAL(15, 2)>", "`C`"),
        ("STRUCT<`D` DECIMAL(16, 2)>", "`C`, `C`->`D` AS `X0_1`"),
        ("STRUCT<`a b` ARRAY<DECIMAL(16, 2)>>", "`C`, `C`->`a b` AS `X0_1`"),
        ("STRUCT<`N` STRUCT<`E` DECIMAL(20, 5), `F` DECIMAL(21, 5)>, `D` DECIMAL(30, 1)>",
         "`C`, `C`->`N`->`E` AS `X0_1`, `C`->`N`->`F` AS `X0_2`, `C`->`D` AS `X0_3`"),
        ("ARRAY<STRUCT<`D` DECIMAL(30, 10)>>", "`C`, TRANSFORM(`C`, x1 => x1->`D`) AS `X0_1`"),
        ("MAP<STRING, STRUCT<`D` DECIMAL(30, 10)>>",
         "`C`, MAP_KEYS(`C`) AS `X0_1`, TRANSFORM(MAP_VALUES(`C`), x1 => x1->`D`) AS `X0_2`"),
        ("STRUCT<`A` ARRAY<MAP<STRING, STRUCT<`D` DECIMAL(30, 10)>>>>",
         "`C`, TRANSFORM(`C`->`A`, x1 => MAP_KEYS(x1)) AS `X0_1`, "
         "TRANSFORM(`C`->`A`, x1 => TRANSFORM(MAP_VALUES(x1), x2 => x2->`D`)) AS `X0_2`"),
    ],
)  # fmt: skip
def test_each_type_is_asked_for_in_the_form_that_loses_nothing(type_: str, asked: str) -> None:
    assert project(source(("C", type_)), positions=False).select_list == asked


@pytest.mark.parametrize("type_", ["STRUCT< >", "ARRAY<STRUCT< >>", "STRUCT<`A` MAP<STRING, STRUCT< >>>"])
def test_a_type_that_the_lake_cannot_hold_is_refused_by_its_column_before_anything_is_asked(type_: str) -> None:
    with pytest.raises(TypeNotSupported, match=r"column EMPTY: columns of type STRUCT< > are not supported"):
        project(source(("K", "STRING"), ("EMPTY", type_)), positions=False)


def test_an_alias_never_takes_the_name_of_a_column() -> None:
    of = source(("X0_0", "STRING"), ("X1_0", "STRING"), ("x2_0", "STRING"), ("T", "TIME"), ("X3_0", "TIME"))

    sql = project(of, positions=False).select_list

    assert sql == "`X0_0`, `X1_0`, `x2_0`, STRUCT(V := `T`) AS `X3_0_`, STRUCT(V := `X3_0`) AS `X4_0`"


def test_positions_come_first_and_a_windows_bounds_after_the_keys() -> None:
    of = source(("K", "STRING", "KEY"), ("N", "BIGINT"), window="TUMBLING")

    assert project(of, positions=True).select_list == (
        "`ROWTIME`, `ROWPARTITION`, `ROWOFFSET`, `K`, `WINDOWSTART`, `WINDOWEND`, `N`"
    )
    columns = project(of, positions=False).describe().columns
    assert [(column.lake_name, column.role) for column in columns] == [
        ("k", "KEY"), ("windowstart", "KEY"), ("windowend", "KEY"), ("n", "VALUE"),
    ]  # fmt: skip


@needs_vectors
def test_long_decimals_out_of_structs_arrays_and_maps_are_put_back() -> None:
    description = json.loads(exchanges()["DESCRIBE DEEP"]["response"]["body"])[0]["sourceDescription"]
    columns = tuple(Column(entry["name"], described_type(entry["schema"])) for entry in description["fields"])
    projection = project(Description("DEEP", "stream", "deep", 1, columns, None, False, ()), positions=False)
    recorded = exchanges()["exact decimals and times out of nested values"]["response"]["body"]
    header, *rest = json.loads(recorded, parse_float=Decimal)
    # The recorded question is ours under other aliases, with one column more: the fifth, TS; and it asks for the map
    # by its own TRANSFORM, which fails for a NULL value, where we ask for its keys and its values.
    types = [column.type for column in parse_schema(header["header"]["schema"]) if column.name != "TS"]
    rows = [tuple(row[:4] + row[5:]) for row in (element["row"]["columns"] for element in rest[:-1])]
    types[7:8] = [parse_type("ARRAY<STRING>"), SqlType("ARRAY", element=types[7].element)]
    parts = [(None, None) if row[7] is None else (list(row[7]), list(row[7].values())) for row in rows]
    rows = [(*row[:7], *part, *row[8:]) for row, part in zip(rows, parts, strict=True)]

    batch = Reading(projection, types).batch(rows)

    batch.validate(full=True)
    assert batch.to_pylist() == [
        {
            "k": 1,
            "st": {"d": LONG, "n": {"e": Decimal("123456789012345.12345"), "ts": julian_start()}},
            "a": [{"d": LONG}, None, {"d": None}],
            "m": [("x", {"d": LONG})],
            "mm": [("y", LONG)],
        },
        {"k": 2, "st": None, "a": None, "m": None, "mm": None},
    ]


def julian_start() -> dt.datetime:
    return dt.datetime(1582, 10, 14, 23, 59, 59, 999000, tzinfo=dt.UTC)


def test_nulls_at_every_level_stay_where_they_are() -> None:
    of = source(("C", "STRUCT<`A` ARRAY<MAP<STRING, STRUCT<`D` DECIMAL(30, 10), `I` INTEGER>>>>"))
    reader = reader_of(of, str(of.columns[0].type), "ARRAY<ARRAY<STRING>>", "ARRAY<ARRAY<DECIMAL(30, 10)>>")
    rows: list[tuple[Any, Any, Any]] = [
        (None, None, None),
        ({"A": None}, None, None),
        ({"A": []}, [], []),
        ({"A": [None, {}]}, [None, []], [None, []]),
        ({"A": [{"x": None, "y": {"D": None, "I": 1}}]}, [["y", "x"]], [[None, None]]),
        ({"A": [{"x": {"D": ROUGH, "I": None}}, {"x": {"D": -ROUGH, "I": 2}}]}, [["x"], ["x"]], [[LONG], [-LONG]]),
    ]

    values = reader.batch(rows).column("c").to_pylist()

    assert values == [
        None,
        {"a": None},
        {"a": []},
        {"a": [None, []]},
        {"a": [[("y", {"d": None, "i": 1}), ("x", None)]]},
        {"a": [[("x", {"d": LONG, "i": None})], [("x", {"d": -LONG, "i": 2})]]},
    ]


@pytest.mark.parametrize(
    ("type_", "exact_type", "value", "exact"),
    [
        ("STRUCT<`D` DECIMAL(38, 10)>", "DECIMAL(38, 10)", {"D": ROUGH}, None),
        ("STRUCT<`D` ARRAY<DECIMAL(38, 10)>>", "ARRAY<DECIMAL(38, 10)>", {"D": [ROUGH]}, None),
        ("ARRAY<STRUCT<`D` DECIMAL(38, 10)>>", "ARRAY<DECIMAL(38, 10)>", [{"D": ROUGH}], None),
        ("ARRAY<STRUCT<`D` DECIMAL(38, 10)>>", "ARRAY<DECIMAL(38, 10)>", [None, {"D": ROUGH}], [None, None]),
    ],
)
def test_a_long_decimal_whose_digits_did_not_come_is_never_taken_from_the_double(
    type_: str, exact_type: str, value: Any, exact: Any
) -> None:
    reader = reader_of(source(("C", type_)), type_, exact_type)

    with pytest.raises(TypeNotSupported, match=r"column C: .* as a double only"):
        reader.batch([(value, exact)])


@pytest.mark.parametrize(
    ("keys", "exact", "said"),
    [
        (None, None, "as a double only"),
        (["x"], None, "as a double only"),
        (["x"], [None], "as a double only"),
        (["y"], [LONG], "other items"),
        (["x"], [LONG, LONG], "other items"),
        ([], [], "other items"),
    ],
)
def test_a_map_whose_parts_did_not_come_as_asked_for_is_refused(keys: Any, exact: Any, said: str) -> None:
    type_ = "MAP<STRING, STRUCT<`D` DECIMAL(38, 10)>>"
    reader = reader_of(source(("C", type_)), type_, "ARRAY<STRING>", "ARRAY<DECIMAL(38, 10)>")

    with pytest.raises(TypeNotSupported, match=f"column C: .*{said}"):
        reader.batch([({"x": {"D": ROUGH}}, keys, exact)])


def test_wrapped_times_are_taken_out_again() -> None:
    of = source(("T", "TIME"), ("TS", "TIMESTAMP"), ("A", "ARRAY<TIMESTAMP>"))
    reader = reader_of(of, "STRUCT<`V` TIME>", "BIGINT", "STRUCT<`V` ARRAY<TIMESTAMP>>")

    batch = reader.batch([({"V": 36930123}, -12219292800001, {"V": [0, None]}), ({"V": None}, None, None)])

    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert batch.schema.types == [pa.string(), pa.timestamp("us", "UTC"), pa.list_(pa.timestamp("us", "UTC"))]
    assert batch.to_pylist() == [
        {"t": "10:15:30.123", "ts": julian_start(), "a": [epoch, None]},
        {"t": None, "ts": None, "a": None},
    ]


def test_long_decimal_keys_are_refused_where_a_map_of_times_is_wrapped() -> None:
    of = source(("M", "MAP<STRING, TIME>"))
    short = reader_of(of, "STRUCT<`V` MAP<DECIMAL(15, 2), TIME>>")
    long = reader_of(of, "STRUCT<`V` MAP<DECIMAL(30, 10), TIME>>")

    assert short.batch([({"V": [(Decimal("1.5"), 0)]},)]).to_pylist() == [{"m": [(Decimal("1.50"), "00:00:00.000")]}]
    with pytest.raises(TypeNotSupported, match=r"column M: .* cannot be read exactly"):
        long.batch([({"V": [(ROUGH, 0)]},)])


def test_the_key_type_of_a_map_is_the_headers() -> None:
    reader = reader_of(source(("M", "MAP<STRING, INTEGER>")), "MAP<INTEGER, INTEGER>")

    assert reader.batch([({"7": 1},)]).to_pylist() == [{"m": [(7, 1)]}]
    assert str(reader.layout.columns[0].type) == "MAP<INTEGER, INTEGER>"


def test_a_map_whose_keys_arrive_shortened_is_refused_by_the_columns_name() -> None:
    with pytest.raises(TypeNotSupported, match=r"column M: .* DATE keys"):
        reader_of(source(("M", "MAP<STRING, INTEGER>")), "MAP<DATE, INTEGER>")


def test_long_decimals_behind_map_keys_that_are_no_text_are_refused() -> None:
    """By the server, which takes no such map apart, or else by us."""
    of = source(("C", "STRUCT<`M` MAP<STRING, STRUCT<`D` DECIMAL(30, 10)>>>"))
    type_ = "STRUCT<`M` MAP<INTEGER, STRUCT<`D` DECIMAL(30, 10)>>>"
    reader = reader_of(of, type_, "ARRAY<STRING>", "ARRAY<DECIMAL(30, 10)>")

    with pytest.raises(TypeNotSupported, match=r"column C: .* keys are not STRING"):
        reader.batch([({"M": [(1, {"D": ROUGH})]}, ["1"], [LONG])])


@pytest.mark.parametrize("names", [["A"], ["A", "B", "C"], ["B", "A"], ["a", "B"]])
def test_an_answer_with_other_columns_than_asked_for_is_refused(names: list[str]) -> None:
    projection = project(source(("A", "STRING"), ("B", "STRING")), positions=False)

    with pytest.raises(AnswerMalformed, match="were asked for"):
        projection.layout(Header("q", tuple(Column(name, parse_type("STRING")) for name in names)))


@pytest.mark.parametrize(
    ("name", "wanted"), [("AMOUNT_2", "amount_2"), ("Amount", "Amount"), ("größe", "größe"), ("ÄRA", "ära"), ("1", "1")]
)
def test_names_in_capitals_become_small_and_others_keep_their_spelling(name: str, wanted: str) -> None:
    assert lake_name(name) == wanted


@pytest.mark.parametrize(
    "names",
    [["A", "a"], ["Ab", "AB"], ["DATE"], ["Date"], ["version"], ["ROWTIME"], ["RowOffset"], ["rowpartition"]],
)
def test_names_that_differ_in_case_only_or_are_the_lakes_own_are_refused(names: list[str]) -> None:
    with pytest.raises(ColumnNamesCollide) as raised:
        project(source(*((name, "STRING") for name in names)), positions=False)

    assert repr(names[-1]) in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    "type_", ["STRUCT<`A` INTEGER, `a` INTEGER>", "ARRAY<MAP<STRING, STRUCT<`Ab` DATE, `AB` DATE>>>"]
)
def test_fields_that_differ_in_case_only_are_refused(type_: str) -> None:
    with pytest.raises(ColumnNamesCollide, match="differ only in case"):
        project(source(("C", type_)), positions=False).describe()


def test_a_column_whose_name_cannot_be_quoted_is_refused() -> None:
    with pytest.raises(SourceNotReadable):
        project(source(("a`b", "STRING")), positions=False)


def test_what_describe_tells_is_enough_when_there_is_no_answer_to_read() -> None:
    of = source(("T", "TIME"), ("TS", "TIMESTAMP"), ("S", "STRUCT<`D` DECIMAL(30, 10)>"), ("aB", "ARRAY<TIME>"))
    answered = reader_of(
        of, "STRUCT<`V` TIME>", "BIGINT", "STRUCT<`D` DECIMAL(30, 10)>", "DECIMAL(30, 10)", "STRUCT<`V` ARRAY<TIME>>"
    )

    assert project(of, positions=False).describe().schema == answered.layout.schema
    assert answered.layout.schema.names == ["t", "ts", "s", "aB"]
