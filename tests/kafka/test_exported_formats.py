"""Whole exports of each format from a real broker, with a registry over HTTP: the rows that REST gives, bit by bit."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.sqltypes import Type, parse_type
from ksqldb_emulator.testing import running
from pipeline.kafka.formats.protobuf_files import message_of_columns
from tests.integration.commands import ran
from tests.kafka.formats.encoding import as_json_shows, avro_payload, avro_record, avro_value, kafka_json
from tests.kafka.formats.reading import columns_of
from tests.kafka.formats.registry_server import served_schemas
from tests.kafka.formats.wire import as_protobuf_shows, message
from tests.kafka.test_handover import rows_of
from tests.kafka.topics import new_topic, producer
from tests.own_recording import START_MS, own_dataset
from tests.support import feed_for, lake_at

AVRO, JSON_SR, PROTOBUF, BARE = 1, 2, 3, 4
"""The numbers of schemas."""
Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Sent:
    """A stream, and the records of its topic in its one partition: key, value, headers."""

    source: Source
    records: Sequence[tuple[bytes | None, bytes, Headers]]


def every_type(name: str, value_format: str, encode: Callable[[dict[str, Any]], bytes], show: Any) -> Sent:
    """The rows with every type, each value as `show` has it read back."""
    source = own_dataset().source("EVERY_TYPE")
    rows = [record.values or {} for record in source.records]
    shown = [{column.name: show(row[column.name], column.type) for column in source.columns} for row in rows]
    records = [Record(0, n, START_MS + n, row) for n, row in enumerate(shown)]
    made = replace(source, name=name, partitions=1, records=records, value_format=value_format, read_queries=())
    return Sent(made, [(row["K"].encode(), encode(row), []) for row in rows])


def value_types() -> dict[str, Type]:
    columns = own_dataset().source("EVERY_TYPE").columns
    return {column.name: column.type for column in columns if column.role == "VALUE"}


def in_json_sr(row: Mapping[str, Any]) -> bytes:
    text = kafka_json({name: (row[name], type_) for name, type_ in value_types().items()})
    return b"\0" + JSON_SR.to_bytes(4, "big") + text.encode()


def in_avro(row: Mapping[str, Any]) -> bytes:
    types = value_types()
    written = {name: avro_value(row[name], type_) for name, type_ in types.items()}
    return avro_payload(avro_record(types, "KsqlDataSourceSchema"), written, AVRO)


def in_protobuf(row: Mapping[str, Any]) -> bytes:
    return b"\0" + PROTOBUF.to_bytes(4, "big") + b"\0" + message(value_types(), without_nulls(row))


def without_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    """Protobuf has no NULL in a list."""
    return {**row, "LIST": [item for item in row["LIST"] or () if item is not None]}


def through_protobuf(value: Any, type_: Type) -> Any:
    if type_.base == "ARRAY":
        value = [item for item in value or () if item is not None]
    return value if type_ == parse_type("STRING") and value else as_protobuf_shows(value, type_)


def schemas() -> dict[int, str]:
    types = value_types()
    file = descriptor_pb2.FileDescriptorProto()
    message_of_columns(columns_of({name: str(type_) for name, type_ in types.items()})).file.CopyToProto(file)
    return {
        AVRO: json.dumps(avro_record(types, "KsqlDataSourceSchema")),
        JSON_SR: json.dumps({"type": "object"}),
        BARE: '"string"',
        PROTOBUF: base64.b64encode(file.SerializeToString()).decode(),
    }


def small(name: str, columns: Sequence[Column], values: Sequence[Any], sent: Sequence[Any], **more: Any) -> Sent:
    names = [column.name for column in columns]
    records = [Record(0, n, START_MS + n, dict(zip(names, row, strict=True))) for n, row in enumerate(values)]
    return Sent(Source(name, "STREAM", tuple(columns), "", 1, records, key_format="NONE", **more), sent)


def bare(name: str, type_: str, value_format: str, rows: Mapping[Any, bytes]) -> Sent:
    statement = f"CREATE STREAM {name} (V {type_}) WITH (KAFKA_TOPIC='t', WRAP_SINGLE_VALUE=false);"
    sent = [(None, payload, []) for payload in rows.values()]
    column, values = Column("V", parse_type(type_)), [(value,) for value in rows]
    return small(name, [column], values, sent, statement=statement, value_format=value_format)


def headed() -> Sent:
    """With all headers, the last one of a key, and names that JSON has in other cases."""
    columns = [
        Column("N", parse_type("INTEGER")),
        Column("FULL", parse_type("STRING")),
        Column("H", parse_type("ARRAY<STRUCT<`KEY` STRING, `VALUE` BYTES>>"), "HEADER"),
        Column("K", parse_type("BYTES"), "HEADER", "k"),
    ]
    headers: Headers = [("k", b"1"), ("other", b""), ("k", b"2")]
    shown = [{"KEY": key, "VALUE": value} for key, value in headers]
    sent = [(None, b'{"n": 1, "FULL": "a"}', headers), (None, b'{"N": 2, "Full": "b"}', [])]
    sent.append((None, b'{"N": 3}', [("other", None)]))  # which no query of ksqlDB's comes past
    return small("HEADED", columns, [(1, "a", shown, b"2"), (2, "b", [], None)], sent)


def test_each_format_is_exported_from_kafka_as_rest_has_it(kafka: str, tmp_path: Path) -> None:
    sent = [
        every_type("OF_JSON_SR", "JSON_SR", in_json_sr, as_json_shows),
        every_type("OF_AVRO", "AVRO", in_avro, lambda value, _: value),
        every_type("OF_PROTOBUF", "PROTOBUF", in_protobuf, through_protobuf),
        headed(),
        bare("BARE_JSON", "BIGINT", "JSON", {1: b"1", -(2**63): b"-9223372036854775808"}),
        bare("BARE_AVRO", "STRING", "AVRO", {"x": avro_payload("string", "x", BARE)}),
    ]
    for each in sent:
        each.source.topic = new_topic(kafka)
        client = producer(kafka)
        for n, (key, value, headers) in enumerate(each.records):
            client.produce(each.source.topic, value, key, 0, timestamp=START_MS + n, headers=headers)
        assert client.flush(60) == 0
    sources = [each.source for each in sent]

    with running(Dataset(sources)) as server, served_schemas(schemas(), "reader", "secret") as url:
        registry = {"SCHEMA_REGISTRY_URL": url, "SCHEMA_REGISTRY_USER": "reader", "SCHEMA_REGISTRY_PASSWORD": "secret"}
        for way, env in (("rest", {"KAFKA_BOOTSTRAP_SERVERS": ""}), ("kafka", {"KAFKA_BOOTSTRAP_SERVERS": kafka})):
            for source in sources:
                lake_at(tmp_path / way).feeds.save(feed_for(source))
            done = ran(tmp_path / way, "export_to_data_lake", "--all", env={"KSQLDB_URL": server.url} | registry | env)
            assert done.stderr.count("left out") == done.stdout.count("left out") == (way == "kafka")
            assert ("; 1 record left out: a header without a value" in done.stderr) == (way == "kafka")
            assert ("end: exact" in done.output) == (way == "kafka")

    for source in sources:
        by_rest = rows_of(tmp_path / "rest", source)
        assert by_rest[0] == len(source.records)
        assert rows_of(tmp_path / "kafka", source) == by_rest, source.name
