"""JSON payloads of Kafka's records, decoded by the engine in Rust by declared type, if they are of the usual form.

Each payload is decoded or left by itself, so an unusual one among many costs only its own slow reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ksqldb_lake_native
import pyarrow as pa

from pipeline.columns import SqlType, arrow_type
from pipeline.decode.layout import UsualPayloads

_WORDS: Mapping[str, str] = {
    "BOOLEAN": "boolean",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "DOUBLE": "loose_double",
    "STRING": "loose_text",
    "BYTES": "base64",
    "DATE": "epoch_days",
    "TIME": "day_ms",
    "TIMESTAMP": "epoch_ms",
}


class NativePayloads:
    """See `layout.PayloadDecoder`."""

    def __init__(self, type_: SqlType, has_prefix: bool) -> None:
        self._decoder = ksqldb_lake_native.PayloadDecoder(has_prefix, _kind(type_))
        self._type = arrow_type(type_)

    def read(self, payloads: pa.BinaryArray) -> UsualPayloads | None:
        found = self._decoder.decode(*payloads.__arrow_c_array__())
        if found is None:
            return None
        capsule, left, missing = found
        return UsualPayloads(pa.array(Handed(self._type, capsule)), left, missing)


class Handed:
    """An array passed to pyarrow by the Arrow PyCapsule protocol."""

    def __init__(self, schema: pa.Schema | pa.DataType, array: Any) -> None:
        self._schema, self._array = schema, array

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:  # the protocol's
        return self._schema.__arrow_c_schema__(), self._array


def _kind(type_: SqlType) -> tuple[Any, ...]:
    """A type in the module's notation, with the types inside it."""
    if type_.base == "DECIMAL":
        return ("loose_decimal", type_.precision, type_.scale)
    if type_.base == "STRUCT":
        return ("loose_struct", [name for name, _ in type_.fields], *(_kind(field) for _, field in type_.fields))
    if type_.base in _WORDS:
        return (_WORDS[type_.base],)
    assert type_.element
    return ("list", _kind(type_.element)) if type_.base == "ARRAY" else ("map", ("text",), _kind(type_.element))
