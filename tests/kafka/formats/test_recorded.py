"""The records that a real server read, against what it answered when it was asked for them; and the same on our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ksqldb_emulator.dataset import Source
from ksqldb_emulator.values import encode
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.formats.payload import Payload
from pipeline.ksqldb import sqltypes
from tests.kafka.formats.encoding import kafka_json, kafka_key
from tests.kafka.formats.reading import server_values, whole
from tests.own_recording import own_dataset
from tests.recorded_dataset import recorded_dataset
from tests.vectors import exchanges, load_lines, needs_vectors, own_exchanges

_RECORDED = {
    "TRANSACTION_STREAM": "push TRANSACTION_STREAM from earliest",
    "ALL_TYPES": "push ALL_TYPES from earliest",
    "mixed-Case": "push mixed-Case from earliest",
    "SOURCE_TABLE": "push table SOURCE_TABLE with offsets",
}
Rows = dict[tuple[int, int], list[Any]]


def answered(exchange: Mapping[str, Any]) -> Rows:
    """The rows of an answer by partition and offset; numbers with a fraction as they are written."""
    header, *lines = exchange["response"]["body"].split("\n")
    place = 1 if "`ROWTIME`" in header else 0
    rows = {}
    for line in lines:
        if line.startswith('{"row"'):
            partition, offset, *values = json.loads(line.rstrip(","), parse_float=Decimal)["row"]["columns"][place:]
            rows[partition, offset] = values
    return rows


def as_sent(source: Source, events: list[dict[str, Any]]) -> Rows:
    """The rows that the records of a source give, in the form in which the server sends them."""
    keys = _read(source, "KEY", [_bytes(event["key"], event.get("key_is_hex")) for event in events])
    values = _read(source, "VALUE", [_bytes(event["value"]) for event in events])
    return {
        (event["partition"], event["offset"]): key + value
        for event, key, value in zip(events, keys, values, strict=True)
        if key is not None and value is not None
    }


def _read(source: Source, role: str, payloads: list[bytes | None]) -> list[list[Any] | None]:
    columns = [column for column in source.columns if column.role == role]
    ours = tuple((column.name, sqltypes.parse_type(str(column.type))) for column in columns)
    format_: Any = source.key_format if role == "KEY" else source.value_format
    binary = pa.array(payloads, pa.binary())
    read = whole(deserializer(Payload(format_, ours), None).read(binary), [type_ for _, type_ in ours], len(payloads))
    texts = [
        [encode(value, column.type) for value in server_values(array, column.type)]
        for array, column in zip(read.arrays, columns, strict=True)
    ]
    left_out = read.unreadable if role == "KEY" else {*read.unreadable, *read.no_row}
    return [
        None if at in left_out else [json.loads(text[at], parse_float=Decimal) for text in texts]
        for at in range(len(payloads))
    ]


def _bytes(text: str | None, is_hex: bool | None = False) -> bytes | None:
    if text is None:
        return None
    return bytes.fromhex(text) if is_hex else text.encode()


@needs_vectors
@pytest.mark.parametrize("name", _RECORDED)
def test_the_records_of_a_real_server_are_read_as_it_read_them(name: str) -> None:
    source = recorded_dataset().source(name)
    events = [event for event in load_lines("recorded/events.jsonl") if event["topic"] == source.topic]
    assert events

    sent, wanted = as_sent(source, events), answered(exchanges()[_RECORDED[name]])

    # Of a table the server had sent only what was newest of a key when it looked.
    assert (sent if source.kind == "STREAM" else {at: sent[at] for at in wanted}) == wanted


@pytest.mark.parametrize("name", ["CLICKS", "EVERY_TYPE", "Mixed-Name"])
def test_our_own_records_are_read_as_the_emulator_has_them(name: str) -> None:
    source = own_dataset().source(name)
    key = source.keys[0]
    events = [
        {
            "partition": record.partition,
            "offset": record.offset,
            "key": record.values and kafka_key(record.values[key]).hex(),
            "key_is_hex": True,
            "value": record.values
            and kafka_json({c.name: (record.values[c.name], c.type) for c in source.columns[1:]}),
        }
        for record in source.records
    ]

    assert as_sent(source, events) == answered(own_exchanges()[f"own: push {name} from earliest"])
