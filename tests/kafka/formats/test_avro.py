"""AVRO as ksqlDB reads it through Kafka Connect: its own records bit by bit, those of others by the same rules."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.sqltypes import Type
from pipeline.errors import KafkaSettingsInvalid
from pipeline.kafka.registry import Reference, RegisteredSchema
from tests.examples import examples
from tests.kafka.formats.encoding import avro_payload, avro_record, avro_value
from tests.kafka.formats.reading import Schemas, lake_row, reader_of, rows_read
from tests.torture.generated import nested, or_null, scalars, values

DATA = "org.apache.kafka.connect.data."


def record(*fields: tuple[str, Any], called: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": called, "fields": [{"name": name, "type": type_} for name, type_ in fields]}


def rows(types: dict[str, str], schema: Any, *written: Any, wrapped: bool = True) -> list[Any]:
    registry = Schemas({1: RegisteredSchema(json.dumps(schema))})
    reader = reader_of("AVRO", types, wrapped, registry=registry)
    return rows_read(
        reader, types, [each if isinstance(each, bytes) else avro_payload(schema, each) for each in written]
    )


def named_fields(type_: Type) -> Type:
    """The type with names that Avro can have."""
    if type_.base == "STRUCT":
        fields = tuple((f"F_{n}", named_fields(inner)) for n, (_, inner) in enumerate(type_.fields))
        return Type("STRUCT", fields=fields)
    if type_.base in ("ARRAY", "MAP"):
        return Type(type_.base, key_type=type_.key_type, element_type=named_fields(type_.element))
    return type_


TYPES = (scalars() | nested(2) | nested(3)).map(named_fields)


@examples(25)
@given(st.data())
def test_what_ksqldb_itself_writes_comes_back_bit_by_bit(data: st.DataObject) -> None:
    generated = data.draw(st.lists(TYPES, min_size=1, max_size=4))
    fields = {f"C{n}": type_ for n, type_ in enumerate(generated)}
    types = {name: str(type_) for name, type_ in fields.items()}
    made = data.draw(st.lists(st.tuples(*[or_null(values(type_)) for type_ in generated]), max_size=6))
    schema = avro_record(fields, "KsqlDataSourceSchema")
    written = [
        {name: avro_value(value, type_) for (name, type_), value in zip(fields.items(), row, strict=True)}
        for row in made
    ]

    seen = rows(types, schema, *written)

    assert repr(seen) == repr([lake_row(row, types) for row in made])


@pytest.mark.parametrize(
    ("type_", "schema", "value", "read"),
    [
        ("BIGINT", "int", -(2**31), -(2**31)), ("DOUBLE", "float", 0.5, 0.5), ("DOUBLE", "double", -0.0, -0.0),
        ("STRING", "int", 7, "7"), ("STRING", "long", -(2**63), str(-(2**63))), ("STRING", "boolean", True, "true"),
        ("STRING", {"type": "enum", "name": "E", "symbols": ["X", "Y"]}, "Y", "Y"),
        ("STRING", {"type": "int", "logicalType": "date"}, 5, "5"),
        ("INTEGER", {"type": "int", "logicalType": "date"}, 5, 5), ("DATE", "int", -1, -1), ("TIME", "int", 1, 1),
        ("DATE", {"type": "int", "connect.name": f"{DATA}Date"}, 3, 3),
        ("TIMESTAMP", "long", 1, 1), ("TIMESTAMP", "int", 1, 1),
        ("TIMESTAMP", {"type": "long", "logicalType": "timestamp-micros"}, 1000, 1000),
        ("BIGINT", {"type": "long", "logicalType": "timestamp-millis"}, 5, 5),
        ("INTEGER", {"type": "int", "connect.type": "int8"}, 257, 1),
        ("DECIMAL(5, 2)", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 4}, b"\x2e\xe0",
         Decimal("1.20")),
        ("DECIMAL(5, 0)", {"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 4},
         b"\xff\xfe", Decimal(-2)),
        ("BYTES", "bytes", b"\0\xff", b"\0\xff"),
        ("BYTES", {"type": "fixed", "name": "F", "size": 2}, b"\0\1", b"\0\1"),
        ("ARRAY<BIGINT>", {"type": "array", "items": "int"}, [1, 2], [1, 2]),
        ("ARRAY<STRING>", {"type": "array", "items": "double"}, [], []),
        ("MAP<STRING, DOUBLE>", {"type": "map", "values": "float"}, {"a": 0.5}, {"a": 0.5}),
        ("STRUCT<`X` INTEGER, `Y` STRING>", record(("x", "int"), ("other", "string"), called="I"),
         {"x": 1, "other": "o"}, {"X": 1, "Y": None}),
        ("STRUCT<`X` INTEGER>", record(("X", "int"), ("x", ["null", "int"]), called="I"), {"X": 1, "x": None},
         {"X": None}),
        ("STRUCT<`X` INTEGER>", record(("x", "int"), ("X", "int"), called="I"), {"X": 1, "x": 2}, {"X": 1}),
        ("STRING", ["null", {"type": "string", "connect.default": "d"}], None, "d"),
        ("BIGINT", ["null", {"type": "long", "connect.default": 5}], None, 5),
        ("BOOLEAN", ["boolean", "null"], None, None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_taken_as_ksqldb_takes_it(type_: str, schema: Any, value: Any, read: Any) -> None:
    types = {"A": type_}

    assert rows(types, record(("a", schema)), {"a": value}) == [lake_row([read], types)]


@pytest.mark.parametrize(
    ("type_", "schema", "value"),
    [
        ("BOOLEAN", "int", 1), ("INTEGER", "long", 1), ("INTEGER", "string", "1"), ("BIGINT", "double", 1.0),
        ("DOUBLE", "int", 1), ("STRING", "double", 1.5), ("STRING", "bytes", b"x"), ("BYTES", "string", "x"),
        ("DECIMAL(5, 2)", "bytes", b"\1"), ("DECIMAL(5, 2)", "double", 1.0),
        ("BYTES", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\1"),
        ("DECIMAL(5, 2)", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}, b"\1"),
        ("DECIMAL(5, 2)", {"type": "bytes", "logicalType": "decimal", "precision": 9}, b"\x27\x10"),
        ("DECIMAL(5, 2)", {"type": "bytes", "logicalType": "decimal", "precision": 9}, b""),
        ("DATE", "string", "2020-01-01"), ("TIME", "int", 86_400_000), ("TIME", "long", 1),
        ("TIMESTAMP", "long", 2**62), ("INTEGER", {"type": "int", "logicalType": "time-millis"}, -1),
        ("ARRAY<INTEGER>", {"type": "array", "items": "string"}, ["x"]), ("ARRAY<INTEGER>", "string", "x"),
        ("MAP<STRING, INTEGER>", {"type": "array", "items": "int"}, [1]), ("STRUCT<`X` INTEGER>", "string", "x"),
        ("STRING", ["null", "string", "int"], "x"), ("STRING", ["string", "int"], "x"),
        ("DATE", ["null", {"type": "int", "logicalType": "date", "connect.default": 5}], None),
        ("INTEGER", ["null", "string"], None),
    ],
)  # fmt: skip
def test_a_type_or_value_that_does_not_fit_is_unreadable(type_: str, schema: Any, value: Any) -> None:
    (reason,) = rows({"A": type_}, record(("a", schema)), {"a": value})

    assert isinstance(reason, str)
    assert reason.startswith("A")


@pytest.mark.parametrize(
    "schema",
    [
        record(("x", "null")), record(("x", {"type": "int", "connect.type": "int99"})), {"type": "nonsense"}, "[",
        record(("x", {"type": "int", "logicalType": "date", "connect.name": f"{DATA}Time"})),
        record(("x", {"type": "bytes", "connect.name": f"{DATA}Decimal"})),
    ],
)  # fmt: skip
def test_a_schema_that_connect_does_not_know_is_unreadable(schema: Any) -> None:
    assert rows({"A": "STRING"}, schema, b"\0\0\0\0\1\0") == ["a schema that is none of Avro that ksqlDB reads"]


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"\0", b"\0\0\0\0\1", b"\1\0\0\0\1\2\2a", b"\0\0\0\0\1\2\x0aab", b"\0\0\0\0\1\2\2\xff",
        b"\0\0\0\0\1\x08\2a",
        b"\0\0\0\0\1\2\1a", b"\0\0\0\0\1\xff",
    ],
)  # fmt: skip
def test_what_is_not_encoded_so_is_unreadable_and_its_neighbours_are_read(broken: bytes) -> None:
    schema = record(("A", ["null", "string"]))

    before, reason, after = rows({"A": "STRING"}, schema, {"A": "x"}, broken, {"A": None})

    assert (before, after) == (("x",), (None,))
    assert isinstance(reason, str)


def test_bytes_behind_a_record_are_passed_over() -> None:
    schema = record(("A", "int"))

    assert rows({"A": "INTEGER"}, schema, avro_payload(schema, {"A": 1}) + b"rest") == [(1,)]


@pytest.mark.parametrize(
    ("type_", "schema", "encoded", "value"),
    [
        ("STRING", "string", b"\2x", "x"), ("BYTES", "bytes", b"\2x", b"\2x"), ("BIGINT", "long", b"\2", 1),
        ("STRING", ["null", "string"], b"\0", None), ("STRUCT<`A` INTEGER>", record(("a", "int")), b"\2", {"A": 1}),
    ],
)  # fmt: skip
def test_an_unwrapped_value_is_read_by_its_own_schema(type_: str, schema: Any, encoded: bytes, value: Any) -> None:
    types = {"K": type_}

    assert rows(types, schema, b"\0\0\0\0\1" + encoded, wrapped=False) == [lake_row([value], types)]


def test_each_record_is_read_by_the_schema_that_it_names_and_each_schema_is_asked_for_once() -> None:
    first, second = record(("A", "int")), record(("B", "string"), ("a", "int"))
    registry = Schemas({1: RegisteredSchema(json.dumps(first)), 2: RegisteredSchema(json.dumps(second))})
    reader = reader_of("AVRO", {"A": "BIGINT"}, registry=registry)
    payloads = [avro_payload(first, {"A": 1}), avro_payload(second, {"B": "b", "a": 2}, 2)] * 3

    assert rows_read(reader, {"A": "BIGINT"}, [*payloads, None]) == [(1,), (2,)] * 3 + [None]
    assert registry.asked == [1, 2]


def test_a_schema_may_refer_to_another_and_to_itself() -> None:
    inner = {"type": "record", "name": "Inner", "namespace": "n", "fields": [{"name": "X", "type": "int"}]}
    outer = record(("A", "n.Inner"), ("NEXT", ["null", "R"]))
    both = record(("A", inner), ("NEXT", ["null", "R"]))
    referring = RegisteredSchema(json.dumps(outer), (Reference("n.Inner", RegisteredSchema(json.dumps(inner))),))
    types = {"A": "STRUCT<`X` INTEGER>", "NEXT": "STRUCT<`A` STRUCT<`X` INTEGER>>"}
    payload = avro_payload(both, {"A": {"X": 1}, "NEXT": {"A": {"X": 2}, "NEXT": None}})

    assert rows_read(reader_of("AVRO", types, registry=Schemas({1: referring})), types, [payload]) == [
        ({"x": 1}, {"a": {"x": 2}})
    ]


def test_a_name_with_a_dot_is_looked_for_with_an_underscore() -> None:
    assert rows({"dotted.name": "INTEGER"}, record(("dotted_name", "int")), {"dotted_name": 1}) == [(1,)]


def test_without_a_registry_the_setting_is_named() -> None:
    with pytest.raises(KafkaSettingsInvalid) as error:
        reader_of("AVRO", {"A": "STRING"})
    assert error.value.hint == "set SCHEMA_REGISTRY_URL"
