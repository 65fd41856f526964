"""Topics of a broker with the rows of the emulator's sources, in the bytes that ksqlDB itself writes."""

from __future__ import annotations

import base64
import functools
import json
import math
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from confluent_kafka import Message, Producer

from demo.private_kafka import create_topic
from ksqldb_emulator.dataset import Record, Source
from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.testing import comes_true
from pipeline.errors import KafkaUnreachable, TopicGone
from pipeline.kafka.connection import Brokers
from pipeline.kafka.topic import look_at
from tests.vectors import load_lines

_KEYS: Mapping[str, Callable[[Any], bytes]] = {
    "STRING": str.encode,
    "INTEGER": struct.Struct(">i").pack,
    "BIGINT": struct.Struct(">q").pack,
    "DOUBLE": struct.Struct(">d").pack,
}


def new_topic(servers: str, partitions: int = 1, **config: str) -> str:
    """An empty topic of a name that no other test has."""
    return made_topic(servers, f"t-{uuid.uuid4().hex[:12]}", partitions, **config)


def made_topic(servers: str, name: str, partitions: int = 1, **config: str) -> str:
    """Times of long ago do not expire there, unless `config` says so."""
    create_topic(servers, name, partitions, **({"retention_ms": "-1"} | config))
    assert comes_true(lambda: has_partitions(servers, name, partitions))
    return name


def has_partitions(servers: str, name: str, count: int) -> bool:
    """Whether each of so many partitions has a leader that answers: a broker takes a moment for it."""
    try:
        return len(look_at(Brokers(servers), name).offsets) == count
    except (KafkaUnreachable, TopicGone):
        return False


def producer(servers: str, **more: Any) -> Producer:
    return Producer({"bootstrap.servers": servers, "linger.ms": 1, "message.max.bytes": 20_000_000} | more)


Payload = tuple[bytes | None, bytes | None]


def write(
    servers: str,
    source: Source,
    records: Iterable[Record],
    client: Producer | None = None,
    raw: Mapping[tuple[int, int], Payload] = {},
) -> None:
    """Appends the records to the source's topic; each gets the offset that it names, if all before it are there.

    `client` is one with a transaction. `raw` has keys and values by place; the others are written as ksqlDB would.
    """
    # Without it a record that is sent again may come twice, or behind the next one.
    client, failed = client or producer(servers, **{"enable.idempotence": True}), list[Any]()

    def check(due: int, error: object, sent: Message) -> None:
        if error is not None or sent.offset() != due:
            failed.append((error, sent.offset(), due))

    for record in records:
        key, value = raw.get((record.partition, record.offset)) or payload(source, record)
        client.produce(
            source.topic,
            value,
            key,
            record.partition,
            timestamp=record.rowtime,
            on_delivery=functools.partial(check, record.offset),
        )
    assert client.flush(60) == 0
    assert not failed, failed[:3]


def recorded_payloads(topic: str) -> dict[tuple[int, int], Payload]:
    """What was produced to a topic of the recorded server, by place; none for topics that ksqlDB itself writes."""
    events = [event for event in load_lines("recorded/events.jsonl") if event["topic"] == topic]
    return {(event["partition"], event["offset"]): (_bytes(event, "key"), _bytes(event, "value")) for event in events}


def _bytes(event: Mapping[str, Any], part: str) -> bytes | None:
    text = event[part]
    if text is None:
        return None
    return bytes.fromhex(text) if event.get(f"{part}_is_hex") else text.encode()


def payload(source: Source, record: Record) -> tuple[bytes | None, bytes | None]:
    """The key in the KAFKA format or in JSON, its window behind it, and the value in JSON; a delete has none."""
    types = {column.name: column.type for column in source.columns}
    given = record.values if record.values is not None else record.key or {}
    key = _key(source, given, types)
    if record.window:
        start, end = record.window
        key = (key or b"") + struct.pack(*((">qq", end, start) if source.window_type == "SESSION" else (">q", start)))
    if record.values is None:
        return key, None
    values = {column.name: record.values[column.name] for column in source.columns if column.role == "VALUE"}
    text = ",".join(f"{json.dumps(name)}:{_json(value, types[name])}" for name, value in values.items())
    return key, f"{{{text}}}".encode()


def _key(source: Source, given: Mapping[str, Any], types: Mapping[str, Type]) -> bytes | None:
    if not source.keys or (len(source.keys) == 1 and given.get(source.keys[0]) is None):
        return None
    if source.key_format == "KAFKA":
        return _KEYS[types[source.keys[0]].base](given[source.keys[0]])
    fields = [f"{json.dumps(name)}:{_json(given.get(name), types[name])}" for name in source.keys]
    return (f"{{{','.join(fields)}}}" if len(fields) > 1 else fields[0].partition(":")[2]).encode()


def _json(value: Any, type_: Type) -> str:
    """Dates and times are numbers, decimals are written out."""
    if value is None:
        return "null"
    if type_.base == "ARRAY":
        assert type_.element_type is not None
        return f"[{','.join(_json(item, type_.element_type) for item in value)}]"
    if type_.base == "MAP":
        assert type_.element_type is not None
        return f"{{{','.join(f'{json.dumps(k)}:{_json(item, type_.element_type)}' for k, item in value.items())}}}"
    if type_.base == "STRUCT":
        return f"{{{','.join(f'{json.dumps(name)}:{_json(value.get(name), inner)}' for name, inner in type_.fields)}}}"
    if type_.base == "BYTES":
        return json.dumps(base64.b64encode(value).decode())
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps({math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN"))
    return json.dumps(value, ensure_ascii=False)
