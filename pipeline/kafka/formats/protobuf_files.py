"""Protobuf file descriptors: of a registered schema with its imports, and of the one that ksqlDB makes of columns."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

from confluent_kafka.schema_registry.confluent import meta_pb2
from confluent_kafka.schema_registry.confluent.type import decimal_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.type import date_pb2, timeofday_pb2

from pipeline.columns import SqlType
from pipeline.errors import TypeNotSupported
from pipeline.kafka.registry import RegisteredSchema

_WELL_KNOWN: tuple[Any, ...] = (
    descriptor_pb2, any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2, date_pb2,
    timeofday_pb2, meta_pb2, decimal_pb2,
)  # fmt: skip
"""Files that a schema may import and that no registry has; each comes after the files that it imports."""
_ROOT, _FILE = "Columns", "columns.proto"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_F: Any = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "BOOLEAN": _F.TYPE_BOOL, "INTEGER": _F.TYPE_INT32, "BIGINT": _F.TYPE_INT64, "DOUBLE": _F.TYPE_DOUBLE,
    "STRING": _F.TYPE_STRING, "BYTES": _F.TYPE_BYTES,
}  # fmt: skip
_MESSAGES = {
    "DECIMAL": ".confluent.type.Decimal", "DATE": ".google.type.Date", "TIME": ".google.type.TimeOfDay",
    "TIMESTAMP": ".google.protobuf.Timestamp",
}  # fmt: skip


def registered_file(schema: RegisteredSchema) -> Any:
    """The file of a schema, in a pool with its imports. Raises ValueError or TypeError for an invalid schema."""
    pool, name = _pool(), "registered.proto"
    _add(pool, name, schema, set())
    return pool.FindFileByName(name)


def message_of_columns(columns: Iterable[tuple[str, SqlType]]) -> Any:
    """The message type that ksqlDB makes of columns. Raises TypeNotSupported for columns that it cannot convert."""
    root = descriptor_pb2.DescriptorProto(name=_ROOT)
    _add_fields(root, tuple(columns), f".{_ROOT}")
    imported = [each.DESCRIPTOR.name for each in (timestamp_pb2, date_pb2, timeofday_pb2, decimal_pb2)]
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, syntax="proto3", dependency=imported, message_type=[root])
    pool = _pool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindMessageTypeByName(_ROOT)


def _pool() -> Any:
    pool: Any = descriptor_pool.DescriptorPool()
    for each in _WELL_KNOWN:
        pool.AddSerializedFile(each.DESCRIPTOR.serialized_pb)
    return pool


def _add(pool: Any, name: str, schema: RegisteredSchema, added: set[str]) -> None:
    for reference in schema.references:
        if reference.name not in added:
            added.add(reference.name)
            _add(pool, reference.name, reference.schema, added)
    file = descriptor_pb2.FileDescriptorProto()
    file.ParseFromString(base64.b64decode(schema.text, validate=True))
    file.name = name
    pool.AddSerializedFile(file.SerializeToString())


def _add_fields(message: Any, fields: tuple[tuple[str, SqlType], ...], path: str) -> None:
    """Adds fields; a nested message type is named after its field's number."""
    for number, (name, type_) in enumerate(fields, 1):
        if not _NAME.fullmatch(name):
            raise TypeNotSupported(f"PROTOBUF_NOSR cannot have a field {name!r}", _HINT)
        field = message.field.add(name=name, number=number, label=_F.LABEL_OPTIONAL)
        if type_.base == "ARRAY" and type_.element:
            field.label, type_ = _F.LABEL_REPEATED, type_.element
            if type_.base in ("ARRAY", "MAP"):
                raise TypeNotSupported(f"PROTOBUF_NOSR cannot hold an array of {type_}", _HINT)
        if type_.base in _SCALARS:
            field.type = _SCALARS[type_.base]
        elif type_.base in _MESSAGES:
            field.type, field.type_name = _F.TYPE_MESSAGE, _MESSAGES[type_.base]
        else:
            inner = type_.fields
            if type_.base == "MAP" and type_.element and type_.key:
                field.label, inner = _F.LABEL_REPEATED, (("key", type_.key), ("value", type_.element))
                if type_.element.base in ("ARRAY", "MAP"):
                    raise TypeNotSupported(f"PROTOBUF_NOSR cannot hold {type_}", _HINT)
            nested = message.nested_type.add(name=f"Type{number}")
            nested.options.map_entry = type_.base == "MAP"
            field.type, field.type_name = _F.TYPE_MESSAGE, f"{path}.{nested.name}"
            _add_fields(nested, inner, field.type_name)


_HINT = "report this with the statement that made the stream or table"
