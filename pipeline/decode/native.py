"""The engine in Rust, built from `native/`; it leaves values in unusual forms to the reference.

So both give the same values, and each error is decided and worded in one place. For a column with long decimals inside
STRUCTs it only cuts out the text, which Python decodes.
"""

from __future__ import annotations

from typing import Any

import ksqldb_lake_native
import msgspec
import numpy as np
import pyarrow as pa

from pipeline.columns import EXACT_DOUBLE_DIGITS, SCALARS, SqlType, arrow_type
from pipeline.decode.layout import AnswerColumn, Decoded, Decoder, Ends, Layout, PayloadDecoder, Scan
from pipeline.decode.native_payloads import Handed, NativePayloads
from pipeline.decode.reference import json_type
from pipeline.decode.rows import ReferenceDecoder, column_array

VERSION = "0.7.0"
"""The version of the native module that this code needs."""

_WORDS = {pa.int32(): "int32", pa.int64(): "int64"}
_JSON = ("json",)
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def built_version() -> str:
    """The version of the installed module."""
    return str(ksqldb_lake_native.__version__)


class Native:
    """See `layout.Engine`."""

    name = "native"

    def decoder(self, streamed: bool, layout: Layout) -> Decoder:
        return NativeDecoder(streamed, layout)

    def payload_decoder(self, type_: SqlType, has_prefix: bool) -> PayloadDecoder:
        return NativePayloads(type_, has_prefix)

    def scan(self, data: bytes, state: Scan) -> Ends:
        ends, closed_at, after = ksqldb_lake_native.scan(data, *state)
        return Ends(np.frombuffer(ends, np.dtype("<i8")), closed_at, Scan(*after))

    def usual_chunks(self, data: bytes, left: int) -> tuple[bytes, int]:
        content, end = ksqldb_lake_native.usual_chunks(data, left)
        return content, end


class NativeDecoder:
    """See `layout.Decoder`. `left` counts how often the reference was used instead."""

    def __init__(self, streamed: bool, layout: Layout) -> None:
        self._layout = layout
        self._reference = ReferenceDecoder(streamed, layout)
        kinds = [kind for part in layout.parts for kind in _kinds_of(part)]
        self._decoder = ksqldb_lake_native.Decoder(streamed, kinds)
        types = [_in_batch(kind, part) for part in layout.parts for kind in _kinds_of(part)]
        self._are_columns = all(_is_usual(part) and not part.is_wrapped for part in layout.parts)
        places = pa.schema([(str(place), type_) for place, type_ in enumerate(types)])
        self._schema = layout.schema if self._are_columns else places
        self._json_decoders = [msgspec.json.Decoder(json_type(type_)) for type_ in layout.sent]
        self.left = 0

    def decode(self, elements: bytes) -> Decoded:
        found = self.usual(elements)
        if found is None:
            self.left += 1
            return self._reference.decode(elements)
        return found

    def usual(self, elements: bytes) -> Decoded | None:
        """As `decode`, but None if an element is not of the usual form. Raises for columns that Python decodes."""
        found = self._decoder.decode(elements, False)
        if found is None or found[2] != len(elements):
            return None
        capsule, tombstones, _ = found
        places = pa.record_batch(Handed(self._schema, capsule))
        batch = places if self._are_columns else self._in_columns(places)
        return None if batch is None else Decoded(batch, tombstones)

    def usual_rows(self, text: bytes, follow: bool) -> tuple[Decoded, int] | None:
        found = self._decoder.decode(text, follow) if self._are_columns else None
        if found is None:
            return None
        capsule, tombstones, end = found
        return Decoded(pa.record_batch(Handed(self._schema, capsule)), tombstones), end

    def _in_columns(self, places: pa.RecordBatch) -> pa.RecordBatch | None:
        """The columns of the lake; None if a text that was cut out is not of the usual form."""
        columns, at = list[pa.Array | list[list[Any]]](), 0
        for part in self._layout.parts:
            end = at + len(part.sent)
            if not _is_usual(part):
                try:
                    columns.append([self._read(places.column(place), place) for place in range(at, end)])
                except _DECODE_ERRORS:
                    return None
            else:
                columns.append(places.column(at).flatten()[0] if part.is_wrapped else places.column(at))
            at = end
        # Only now, when all texts were read: what is malformed is not refused for a value before it.
        arrays = [
            column_array(part, column) if isinstance(column, list) else column
            for part, column in zip(self._layout.parts, columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._layout.schema)

    def _read(self, texts: pa.Array, place: int) -> list[Any]:
        return [self._json_decoders[place].decode(text) for text in texts.to_pylist()]


def _is_usual(part: AnswerColumn) -> bool:
    """Whether the module decodes the column; else it cuts out the text of each value."""
    kept, sent = part.column.type, part.sent[0]
    is_moment = kept.base == "TIMESTAMP" and sent.base == "BIGINT"
    return not part.puts and (part.is_wrapped or sent == kept or is_moment) and _is_known(kept, part.is_wrapped)


def _is_known(type_: SqlType, inside_struct: bool) -> bool:
    """Whether the module supports the type; the reference refuses MAP keys that the server sends as doubles."""
    if type_.base in SCALARS:
        return SCALARS[type_.base].sent_as != "integer" or SCALARS[type_.base].arrow in _WORDS
    if type_.base == "STRUCT":
        return all(_is_known(field, True) for _, field in type_.fields)
    key = type_.key
    if key and inside_struct and key.base == "DECIMAL" and key.precision > EXACT_DOUBLE_DIGITS:
        return False
    return all(_is_known(part, inside_struct) for part in (key, type_.element) if part)


def _kinds_of(part: AnswerColumn) -> list[tuple[Any, ...]]:
    """The module's kind for each place of a column."""
    if not _is_usual(part):
        return [_JSON] * len(part.sent)
    (sent,) = part.sent
    if part.is_wrapped:
        return [("struct", [sent.fields[0][0]], _kind(part.column.type, True))]
    if part.column.type.base == "TIMESTAMP" and sent.base == "BIGINT":
        return [("epoch_ms",)]
    return [_kind(sent, False)]


def _in_batch(kind: tuple[Any, ...], part: AnswerColumn) -> pa.DataType:
    if kind == _JSON:
        return pa.binary()
    kept = arrow_type(part.column.type)
    return pa.struct([("", kept)]) if part.is_wrapped else kept


def _kind(type_: SqlType, inside_struct: bool) -> tuple[Any, ...]:
    """A type in the module's notation, with the types inside it."""
    if type_.base == "DECIMAL":
        return ("decimal", type_.precision, type_.scale, inside_struct)
    if type_.base in SCALARS:
        row = SCALARS[type_.base]
        return (row.sent_as if row.sent_as != "integer" else _WORDS[row.arrow],)
    if type_.base == "STRUCT":
        return ("struct", [name for name, _ in type_.fields], *(_kind(field, True) for _, field in type_.fields))
    assert type_.element
    if type_.base == "MAP":
        assert type_.key
        return ("map", _kind(type_.key, False), _kind(type_.element, inside_struct))
    return ("list", _kind(type_.element, inside_struct))
