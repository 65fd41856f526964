"""The engine in Python: msgspec decodes the elements of an answer, `reference` their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.columns import SqlType
from pipeline.decode import row_ends
from pipeline.decode.layout import AnswerColumn, Decoded, Decoder, Ends, Layout, NotAsDeclared, Notice, Scan, naming
from pipeline.decode.reference import json_type, to_array

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

    def whole_chunks(self, data: bytes, at: int) -> tuple[bytes, int]:  # noqa: ARG002 # it leaves all to the caller
        return b"", at


class ReferenceDecoder:
    """See `layout.Decoder`."""

    def __init__(self, streamed: bool, layout: Layout) -> None:
        self._streamed, self._layout = streamed, layout
        self._decoder = element_decoder(streamed, layout.sent)

    def decode(self, elements: bytes) -> Decoded:
        try:
            decoded = self._decoder.decode(b"[" + elements + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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

    def _batch(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        places = list(zip(*rows, strict=True)) if rows else [()] * len(self._layout.sent)
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


def element_decoder(streamed: bool, sent: tuple[SqlType, ...]) -> msgspec.json.Decoder[Any]:
    """A decoder for an array of elements; it refuses rows with too few, too many or wrong kinds of values."""
    row: Any = _TUPLE[tuple(json_type(type_) for type_ in sent)]
    if not streamed:
        return msgspec.json.Decoder(_LIST[row | _Notice])
    inner = msgspec.defstruct("Row", [("columns", row), ("tombstone", bool, False)], forbid_unknown_fields=True)
    optional = [
        ("row", inner | None),
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
    if sum(part is not None for part in (element.row, element.finalMessage, token)) != 1:
        return "neither", None
    if element.row is not None:
        return "row", element.row
    return ("token", None) if element.finalMessage is None else ("final", element.finalMessage)


def _plain_kind(element: Any) -> tuple[Any, Any]:
    """The kind and the content of an element of the plain array."""
    if type(element) is tuple:
        return "row", element
    if element.error_code is not None:
        return "error", msgspec.to_builtins(element)
    return ("neither" if element.continuationToken is None and element.consistencyToken is None else "token"), None
