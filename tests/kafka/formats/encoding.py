"""Payloads as producers write them, by no code of the pipeline's."""

from __future__ import annotations

import base64
import copy
import io
import json
import struct
from collections.abc import Mapping
from decimal import Context
from typing import Any

import fastavro

from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.values import java_double

_WIDE = Context(prec=76)


def kafka_key(value: Any) -> bytes:
    """As Kafka's own serializers write a text or a whole number of 64 bits."""
    return value.encode() if isinstance(value, str) else struct.pack(">q", value)


def kafka_json(fields: Mapping[str, tuple[Any, Type]]) -> str:
    """An object of JSON as ksqlDB itself writes it to a topic."""
    return f"{{{','.join(f'{json.dumps(name)}:{json_value(*field)}' for name, field in fields.items())}}}"


def json_value(value: Any, type_: Type) -> str:
    if value is None:
        return "null"
    if type_.base == "DOUBLE":
        return java_double(value)
    if type_.base == "DECIMAL":
        return f"{value:f}"
    if type_.base == "BYTES":
        return f'"{base64.b64encode(value).decode()}"'
    if type_.base == "ARRAY":
        return f"[{','.join(json_value(item, type_.element) for item in value)}]"
    if type_.base == "MAP":
        return kafka_json({key: (item, type_.element) for key, item in value.items()})
    if type_.base == "STRUCT":
        return kafka_json({name: (value.get(name), inner) for name, inner in type_.fields})
    return json.dumps(value)


def as_json_shows(value: Any, type_: Type) -> Any:
    """The value that ksqlDB reads back: a number of JSON has no negative zero."""
    if value is None:
        return None
    if type_.base == "DOUBLE":
        return abs(value) if value == 0 else value
    if type_.base == "ARRAY":
        return [as_json_shows(item, type_.element) for item in value]
    if type_.base == "MAP":
        return {key: as_json_shows(item, type_.element) for key, item in value.items()}
    if type_.base == "STRUCT":
        return {name: as_json_shows(value.get(name), inner) for name, inner in type_.fields}
    return value


_CONNECT = "org.apache.kafka.connect.data."
_AVRO: dict[str, Any] = {
    "BOOLEAN": "boolean", "INTEGER": "int", "BIGINT": "long", "DOUBLE": "double", "STRING": "string", "BYTES": "bytes",
    "DATE": {"type": "int", "logicalType": "date", "connect.version": 1, "connect.name": f"{_CONNECT}Date"},
    "TIME": {"type": "int", "logicalType": "time-millis", "connect.version": 1, "connect.name": f"{_CONNECT}Time"},
    "TIMESTAMP": {
        "type": "long", "logicalType": "timestamp-millis", "connect.version": 1, "connect.name": f"{_CONNECT}Timestamp",
    },
}  # fmt: skip


def avro_schema(type_: Type, name: str) -> Any:
    """A type as ksqlDB registers it, without the union with null around it; `name` is that of its records."""
    if type_.base == "DECIMAL":
        parameters = {"scale": str(type_.scale), "connect.decimal.precision": str(type_.precision)}
        return {
            "type": "bytes", "logicalType": "decimal", "precision": type_.precision, "scale": type_.scale,
            "connect.version": 1, "connect.parameters": parameters, "connect.name": f"{_CONNECT}Decimal",
        }  # fmt: skip
    if type_.base == "ARRAY":
        return {"type": "array", "items": ["null", avro_schema(type_.element, name)]}
    if type_.base == "MAP":
        fields = {"key": type_.key, "value": type_.element}
        return {"type": "array", "items": avro_record(fields, name) | {"connect.internal.type": "MapEntry"}}
    return avro_record(dict(type_.fields), name) if type_.base == "STRUCT" else _AVRO[type_.base]


def avro_record(fields: Mapping[str, Type], name: str) -> dict[str, Any]:
    optional = [
        {"name": field, "type": ["null", avro_schema(type_, f"{name}_{field}")], "default": None}
        for field, type_ in fields.items()
    ]
    return {"type": "record", "name": name, "namespace": "io.confluent.ksql.avro_schemas", "fields": optional}


def avro_value(value: Any, type_: Type) -> Any:
    """What fastavro's writer takes for it."""
    if value is None:
        return None
    if type_.base == "DECIMAL":
        unscaled = int(value.scaleb(type_.scale, _WIDE))
        return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
    if type_.base == "ARRAY":
        return [avro_value(item, type_.element) for item in value]
    if type_.base == "MAP":
        return [
            {"key": avro_value(key, type_.key), "value": avro_value(item, type_.element)} for key, item in value.items()
        ]
    if type_.base == "STRUCT":
        return {name: avro_value(value[name], inner) for name, inner in type_.fields}
    return value


def avro_payload(schema: Any, value: Any, number: int = 1) -> bytes:
    encoded = io.BytesIO()
    fastavro.schemaless_writer(encoded, fastavro.parse_schema(copy.deepcopy(schema)), value)
    return b"\0" + number.to_bytes(4, "big") + encoded.getvalue()
