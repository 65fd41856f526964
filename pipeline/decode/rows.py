"""The engine in Python: msgspec decodes the elements of an answer, `reference` their columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.columns import SqlType
from pipeline.cycles import without_collections
from pipeline.decode import row_ends
from pipeline.decode.arrays import columns_of
from pipeline.decode.layout import AnswerColumn, Decoded, Decoder, Ends, Layout, NotAsDeclared, Notice, Scan, naming
from pipeline.decode.reference import json_type, to_array
from pipeline.errors import TypeNotSupported, ValueNotRepresentable

_BETWEEN_ROWS = b",\n"
_PART_BYTES = 256 * 1024
"""So many bytes of rows are decoded together: the Python objects of their values stay in the processor's cache."""
_COMMA, _NOTHING = re.compile(rb"[ \t\r\n]*+,"), re.compile(rb"")
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_LIST: Any = list  # for types that are built at run time, which a type checker cannot follow
_TUPLE: Any = tuple


class Reference:
    """See `layout.Engine`."""

    name = "reference"

    def decoder(self, streamed: bool, layout: Layout) -> Decoder:
        return ReferenceDecoder(streamed, layout)

    def payload_decoder(self, *_: object) -> None:
        return None

    def scan(self, data: bytes, state: Scan) -> Ends:
        return row_ends.scan(data, state)

    def usual_chunks(self, data: bytes, left: int) -> tuple[bytes, int]:
        return data[:left], left


class ReferenceDecoder:
    """See `layout.Decoder`."""

    def __init__(self, streamed: bool, layout: Layout) -> None:
        self._streamed, self._layout = streamed, layout
        self._decoder = element_decoder(streamed, layout.sent)
        self._usual = usual_decoder(streamed, layout.sent)

    def decode(self, elements: bytes) -> Decoded:
        with without_collections():
            return self._decoded(elements)

    def _decoded(self, elements: bytes) -> Decoded:
        try:
            decoded = self._decoder.decode(b"[" + elements + b"]")
        except _NOT_READ:
            raise NotAsDeclared from None
        rows, tombstones, notices = list[Any](), list[int](), list[Notice]()
        for element in decoded:
            kind, content = _streamed_kind(element) if self._streamed else _plain_kind(element)
            if kind != "row":
                notices.append(Notice(len(rows), kind, content))
                continue
            if self._streamed:
                if content.tombstone:
                    tombstones.append(len(rows))
                content = content.columns
            rows.append(content)
        return Decoded(self._batch(rows), tombstones, notices)

    def usual_rows(self, text: bytes, follow: bool) -> tuple[Decoded, int] | None:
        """They end at the last comma before a line end, if all that comes before it can be read as rows: so the ends of
        single rows need not be searched.
        """
        before, end = (_COMMA if follow else _NOTHING).match(text), text.rfind(_BETWEEN_ROWS)
        if before is None or end <= before.end():
            return None
        try:
            with without_collections():
                parts = list(self._usual_parts(text, before.end(), end))
        except (*_NOT_READ, ValueNotRepresentable, TypeNotSupported):
            return None
        tombstones, count = list[int](), 0
        for batch, deleted in parts:
            if not batch.num_rows:  # nothing between two commas
                return None
            tombstones += [count + at for at in deleted]
            count += batch.num_rows
        return Decoded(pa.concat_batches([batch for batch, _ in parts]), tombstones), end

    def _usual_parts(self, text: bytes, start: int, end: int) -> Iterator[tuple[pa.RecordBatch, list[int]]]:
        """The rows between two places, and which of them are deletes, part by part."""
        while start < end:
            stop = text.find(_BETWEEN_ROWS, start + _PART_BYTES, end)
            stop = end if stop < 0 else stop
            yield self._usual_part(memoryview(text)[start:stop])
            start = stop + 1

    def _usual_part(self, text: memoryview) -> tuple[pa.RecordBatch, list[int]]:
        elements = self._usual.decode(b"".join((b"[", text, b"]")))
        if not self._streamed:
            return self._batch(elements), []
        tombstones = [at for at, element in enumerate(elements) if element.row.tombstone]
        return self._batch([element.row.columns for element in elements]), tombstones

    def _batch(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        places = columns_of(rows, len(self._layout.sent))
        arrays, at = [], 0
        for part in self._layout.parts:
            arrays.append(column_array(part, places[at : at + len(part.sent)]))
            at += len(part.sent)
        return pa.RecordBatch.from_arrays(arrays, schema=self._layout.schema)


def column_array(part: AnswerColumn, places: Sequence[Sequence[Any]]) -> pa.Array:
    """One column of the lake from the decoded values of its places.

    Raises ValueNotRepresentable or TypeNotSupported naming the column.
    """
    values = places[0]
    if part.is_wrapped:
        values = [value and value.f0 for value in values]
    with naming(part.column):
        for put, exact in part.puts:
            values = [put(*whole) for whole in zip(values, *(places[place] for place in exact), strict=True)]
        return to_array(values, part.column.type, part.column.name, part.is_wrapped)


class _Notice(msgspec.Struct):
    """An element of the plain array that is no row."""

    error_code: int | None = None
    message: str | None = None
    continuationToken: Any = None  # the server's spelling
    consistencyToken: Any = None  # the server's spelling


def usual_decoder(streamed: bool, sent: tuple[SqlType, ...]) -> msgspec.json.Decoder[Any]:
    """A decoder for an array of elements that are rows and nothing else."""
    row: Any = _TUPLE[tuple(json_type(type_) for type_ in sent)]
    if not streamed:
        return msgspec.json.Decoder(_LIST[row])
    nothing = [(name, None, None) for name in ("errorMessage", "finalMessage", "continuationToken", "consistencyToken")]
    fields: Any = [("row", _row_type(row)), *nothing]
    return msgspec.json.Decoder(_LIST[msgspec.defstruct("Usual", fields, forbid_unknown_fields=True, gc=False)])


def _row_type(row: Any) -> Any:
    fields: Any = [("columns", row), ("tombstone", bool, False)]
    return msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)


def element_decoder(streamed: bool, sent: tuple[SqlType, ...]) -> msgspec.json.Decoder[Any]:
    """A decoder for an array of elements; it refuses rows with too few, too many or wrong kinds of values."""
    row: Any = _TUPLE[tuple(json_type(type_) for type_ in sent)]
    if not streamed:
        return msgspec.json.Decoder(_LIST[row | _Notice])
    optional = [
        ("row", _row_type(row) | None),
        ("errorMessage", dict[str, Any] | None),
        ("finalMessage", str | None),
        ("continuationToken", Any),
        ("consistencyToken", Any),
        ("sourceHost", Any),
    ]
    element = msgspec.defstruct("Element", [(name, kind, None) for name, kind in optional], forbid_unknown_fields=True)
    return msgspec.json.Decoder(_LIST[element])


def _streamed_kind(element: Any) -> tuple[Any, Any]:
    """The kind and the content of an element of streamed rows."""
    if element.errorMessage is not None:
        return "error", element.errorMessage
    token = element.continuationToken if element.consistencyToken is None else element.consistencyToken
    if element.row is not None and element.finalMessage is None and token is None:
        return "row", element.row
    if sum(part is not None for part in (element.row, element.finalMessage, token)) != 1:
        return "neither", None
    return ("token", None) if element.finalMessage is None else ("final", element.finalMessage)


def _plain_kind(element: Any) -> tuple[Any, Any]:
    """The kind and the content of an element of the plain array."""
    if type(element) is tuple:
        return "row", element
    if element.error_code is not None:
        return "error", msgspec.to_builtins(element)
    return ("neither" if element.continuationToken is None and element.consistencyToken is None else "token"), None
