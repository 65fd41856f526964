"""The formats of Kafka's own serializers: KAFKA, one bare value, and NONE, no value at all.

Facts: ksqlDB's KafkaSerdeFactory and KsqlVoidSerde, and Kafka's own deserializers: whole numbers and doubles in exactly
4 or 8 bytes, big-endian; texts in UTF-8. Text that is not UTF-8 is refused: Java replaces wrong bytes by a mark, and it
is not certain which bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.columns import SqlType, arrow_type
from pipeline.errors import TypeNotSupported
from pipeline.kafka.formats.payload import Deserialized, Payload, places_without

_NUMBERS: Mapping[str, str] = {"INTEGER": ">i4", "BIGINT": ">i8", "DOUBLE": ">f8"}


class KafkaDeserializer:
    """See `Deserializer`. Raises TypeNotSupported for what the format cannot hold: several columns, or other types."""

    def __init__(self, payload: Payload) -> None:
        types = [type_ for _, type_ in payload.columns]
        if len(types) != 1 or types[0].base not in (*_NUMBERS, "STRING", "BYTES"):
            raise TypeNotSupported(
                f"the KAFKA format cannot hold the columns {', '.join(map(str, types)) or 'that there are none of'}",
                "report this with the statement that made the stream or table",
            )
        self._type = types[0]

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        no_row = places_without(payloads)
        if self._type.base in _NUMBERS:
            array, unreadable = _numbers(payloads.to_pylist(), self._type)
        else:
            array, unreadable = _texts(payloads) if self._type.base == "STRING" else (payloads, {})
        uncertain = frozenset(unreadable if self._type.base == "STRING" else ())
        return Deserialized((array,), unreadable, no_row, uncertain)


class NoneDeserializer:
    """See `Deserializer`. No payload gives a row, whatever its content (ksqlDB's KsqlVoidSerde)."""

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        return Deserialized((), {}, frozenset(range(len(payloads))))


def _numbers(payloads: Sequence[bytes | None], type_: SqlType) -> tuple[pa.Array, dict[int, str]]:
    form = np.dtype(_NUMBERS[type_.base])
    zero = bytes(form.itemsize)
    good = [payload is not None and len(payload) == form.itemsize for payload in payloads]
    joined = b"".join(payload if fits and payload else zero for payload, fits in zip(payloads, good, strict=True))
    values = np.frombuffer(joined, form).astype(form.newbyteorder("="))
    unreadable = {
        at: f"{type_.base} in other than {form.itemsize} bytes"
        for at, (payload, fits) in enumerate(zip(payloads, good, strict=True))
        if payload is not None and not fits
    }
    return pa.array(values, arrow_type(type_), mask=~np.array(good, np.bool_)), unreadable


def _texts(payloads: pa.BinaryArray) -> tuple[pa.Array, dict[int, str]]:
    try:
        return payloads.cast(pa.string()), {}
    except pa.ArrowInvalid:
        values = payloads.to_pylist()
        unreadable = {
            at: "no UTF-8" for at, payload in enumerate(values) if payload is not None and not _is_utf8(payload)
        }
        kept = [None if at in unreadable else payload for at, payload in enumerate(values)]
        return pa.array(kept, pa.binary()).cast(pa.string()), unreadable


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
