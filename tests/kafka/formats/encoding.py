"""Payloads as producers write them, by no code of the pipeline's."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.values import java_double


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
