"""Records that ksqlDB cannot read are left out; those that it may have a row of are refused, so that no row is lost."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from pipeline.columns import Column, SqlType
from pipeline.errors import ValueNotRepresentable
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.payload import Deserialized, FormatName, Payload
from pipeline.kafka.records import SCHEMA, Records
from pipeline.kafka.registry import RegisteredSchema
from pipeline.kafka.rows import NO_VALUE, Rows
from tests.kafka.formats.encoding import avro_payload
from tests.kafka.formats.reading import Schemas, columns_of, reader_of

CASES: list[tuple[FormatName, str, list[bytes], list[bytes]]] = [
    ("JSON", "STRING", [b'{"V":"\xff"}', b'{"V":"\\ud800"}', b'{"V":1e400}'], [b"{", b'{"V":NaN}']),
    (
        "JSON",
        "STRING",
        ['{"V":"a"}'.encode(name) for name in ("utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le")],
        [b"\0\0\0\0\1{}", b"\0\0\1\1\1{}", b"\0{", b"\0\0\0\0"],
    ),
    ("JSON", "INTEGER", ['{"V":"\u0661"}'.encode(), b'{"V":' + b"1" * 1001 + b"}"], [b'{"V":"x"}', b'{"V":true}']),
    ("JSON", "DOUBLE", ['{"V":"\u0661"}'.encode()], [b'{"V":"x"}']),
    ("JSON", "DECIMAL(5, 2)", ['{"V":"\u0661"}'.encode()], [b'{"V":"x"}', b'{"V":1234.5}', b'{"V":1.005}']),
    ("JSON", "TIME", [b'{"V":86400000}'], [b'{"V":86400001}', b'{"V":-1}']),
    ("JSON", "DATE", [b'{"V":2147483648}'], [b'{"V":"x"}']),
    ("JSON", "TIMESTAMP", [b'{"V":9223372036854775}'[:-1] + b"000}"], [b'{"V":"x"}']),
    ("JSON", "STRUCT<`A` ARRAY<MAP<STRING, TIME>>>", [b'{"V":{"A":[{"k":86400000}]}}'], [b'{"V":{"A":[{"k":-1}]}}']),
    ("JSON", "STRING", [b'{"V":' + b"[" * 100_000 + b"]" * 100_000 + b"}"], []),
    ("DELIMITED", "STRING", [b"\xff"], [b"a,b", b'"a']),
    ("DELIMITED", "BYTES", [b"YQ"], [b"Y*"]),
    ("DELIMITED", "BIGINT", ["\u0661".encode()], [b"1.5", b"9223372036854775808"]),
    ("KAFKA", "STRING", [b"\xff"], []),
    ("KAFKA", "BIGINT", [], [b"1"]),
]


DEFAULTED = ["null", {"type": "string", "connect.default": "d"}]
ENTRY = {
    "type": "record",
    "name": "E",
    "connect.internal.type": "MapEntry",
    "fields": [{"name": "key", "type": "string"}, {"name": "value", "type": DEFAULTED}],
}


def read_by(format_: FormatName, type_: str, payloads: list[bytes]) -> Deserialized:
    return reader_of(format_, {"V": type_}).read(pa.array([*payloads, None], pa.binary()))


@pytest.mark.parametrize(("format_", "type_", "uncertain", "certain"), CASES)
def test_what_ksqldb_may_read_is_told_from_what_it_cannot_read(
    format_: FormatName, type_: str, uncertain: list[bytes], certain: list[bytes]
) -> None:
    read = read_by(format_, type_, [*uncertain, *certain])

    assert sorted(read.unreadable) == list(range(len(uncertain) + len(certain)))
    assert sorted(read.uncertain) == list(range(len(uncertain)))


@pytest.mark.parametrize(
    ("type_", "schema", "value", "is_uncertain"),
    [
        ("STRING", ["null", "int", "string"], "a", True),
        ("STRING", "double", 1.5, True),
        ("INTEGER", "string", "1", False),
        ("TIME", {"type": "int", "logicalType": "time-millis"}, 86_400_000, True),
        ("TIMESTAMP", "long", 2**62, True),
        ("MAP<STRING, TIMESTAMP>", {"type": "map", "values": "long"}, {"k": 2**62}, True),
        ("ARRAY<STRING>", {"type": "array", "items": DEFAULTED}, ["a", None], True),
        ("MAP<STRING, STRING>", {"type": "map", "values": DEFAULTED}, {"k": None}, True),
        ("MAP<STRING, STRING>", {"type": "array", "items": ENTRY}, [{"key": "k", "value": None}], True),
    ],
)
def test_of_avro_too(type_: str, schema: Any, value: Any, is_uncertain: bool) -> None:
    record = {"type": "record", "name": "R", "fields": [{"name": "V", "type": schema}]}
    plain = json.loads(json.dumps(record).replace("logicalType", "other"))
    reader = reader_of("AVRO", {"V": type_}, registry=Schemas({1: RegisteredSchema(json.dumps(record))}))

    read = reader.read(pa.array([avro_payload(plain, {"V": value}), b"no magic byte"]))

    assert sorted(read.unreadable) == [0, 1]
    assert read.uncertain == ({0} if is_uncertain else set())


def test_a_text_of_avro_that_is_not_utf8_has_a_row_of_ksqldbs() -> None:
    """Java puts another character in the place of what is none."""
    record = {"type": "record", "name": "R", "fields": [{"name": "V", "type": "string"}]}
    reader = reader_of("AVRO", {"V": "STRING"}, registry=Schemas({1: RegisteredSchema(json.dumps(record))}))

    read = reader.read(pa.array([b"\0\0\0\0\1\2\xff", b"\0\0\0\0\1\4\xff"]))

    assert read.unreadable == {0: "a text that is not UTF-8", 1: "no Avro of its schema"}
    assert read.uncertain == {0}


class Sent(NamedTuple):
    """A record's key and value."""

    key: bytes | None
    value: bytes | None


def rows_of(sent: list[Sent], first: int = 0) -> Rows:
    """After a batch of these records, at the offsets 0, 1, ... of partition 3."""
    names = [("ROWTIME", "BIGINT"), ("ROWPARTITION", "INTEGER"), ("ROWOFFSET", "BIGINT")]
    columns = [Column(name, SqlType(base)) for name, base in names]
    columns += [Column("K", SqlType("STRING"), "KEY"), Column("V", SqlType("TIME"))]
    key, value = Payload("KAFKA", columns_of({"K": "STRING"}), False), Payload("JSON", columns_of({"V": "TIME"}))
    rows = Rows(Declaration(tuple(columns), key, value, (), "", ""), None, {3: first})
    times = [1_790_000_000_000] * len(sent)
    places = [3] * len(sent), list(range(len(sent)))
    columns_sent = [*places, times, [one.key for one in sent], [one.value for one in sent]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns_sent, SCHEMA, strict=True)]
    rows.batch(Records(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)))
    return rows


GOOD = Sent(b"k", b'{"V":1}')


@pytest.mark.parametrize("uncertain", [Sent(b"k", b'{"V":86400000}'), Sent(b"\xff", b'{"V":1}')])
def test_a_record_that_may_have_a_row_ends_the_read(uncertain: Sent) -> None:
    with pytest.raises(ValueNotRepresentable, match="offset 1 of partition 3") as refused:
        rows_of([GOOD, uncertain, GOOD])

    assert "--read-from ksqldb" in refused.value.hint


def test_what_is_left_out_for_certain_is_counted() -> None:
    left_out = [Sent(b"\xff", None), Sent(b"\xff", b"{"), Sent(b"k", b'{"V":-1}'), Sent(b"k", None)]

    (batch,) = rows_of([GOOD, *left_out]).take_left_out()

    assert batch.column("reason").to_pylist().count(NO_VALUE) == 2
    places = [(1_790_000_000_000, 3, offset, *sent) for offset, sent in enumerate(left_out, 1)]
    columns = ("rowtime", "rowpartition", "rowoffset", "key", "value")
    assert list(zip(*(batch.column(name).to_pylist() for name in columns), strict=True)) == places


def test_before_the_bookmark_nothing_is_refused() -> None:
    assert not rows_of([Sent(b"k", b'{"V":86400000}'), GOOD], first=1).take_left_out()
