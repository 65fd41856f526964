"""Two framings of a query's answer, parsed as the bytes come, and the proof that the answer is complete.

Both are one JSON array: *streamed rows* (`application/vnd.ksql.v1+json`: objects that hold a header, a row, an error
or a final message) and the *plain array* (`application/json`: one metadata object, then bare rows). Rows are cut out
only where an element ends; half an element is kept until the rest comes. `finish` accepts the answer only if the
closing bracket came, nothing but white space followed, every element was read, none was an error, and, for streamed
rows of a stream or a push, the final message was the expected one. HTTP status 200 proves none of this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from pipeline.errors import ActionNeeded, TryLater
from pipeline.ksqldb.decode import json_type
from pipeline.ksqldb.sqltypes import Column, parse_schema, parse_type

PARSE_BYTES = 256 * 1024
"""Bytes gathered before rows are decoded: fewer make the decoder slow, more only cost memory."""

_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)
_BETWEEN = re.compile(rb"[\s,]*+")
_SPACE = re.compile(rb"\s*+")
_LIST: Any = list  # types that are put together at run time, out of a type checker's reach
_TUPLE: Any = tuple


class Framing(Enum):
    """A wire format; the value is what the Accept header asks for."""

    STREAMED_ROWS = "application/vnd.ksql.v1+json"
    PLAIN_ARRAY = "application/json"


class Ending(Enum):
    """What must close the answer besides the bracket."""

    BRACKET = "nothing"
    COMPLETED = "Query Completed"
    LIMIT = "Limit Reached"


class AnswerIncomplete(TryLater):
    """The answer ended without proof that it is whole; none of it is used."""


class AnswerMalformed(ActionNeeded):
    """The answer is not what the protocol says; none of it is used."""


class QueryFailed(TryLater):
    """The server reported an error in the middle of its answer; none of it is used."""


@dataclass(frozen=True)
class Header:
    """What the answer says of itself before the first row. Key roles are marked for table pulls only."""

    query_id: str | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Rows:
    """Decoded rows in the order they came; `tombstones` are the positions of deletes among them."""

    values: list[tuple[Any, ...]]
    tombstones: Sequence[int] = ()


class AnswerParser:
    """Reads one answer. Feed it bytes as they come, take rows, then call `finish`."""

    def __init__(self, framing: Framing, ending: Ending) -> None:
        self.header: Header | None = None
        self.row_count = 0
        self._framing, self._ending = framing, ending
        self._buffer = bytearray()
        self._scanned = 0  # up to here brackets are counted
        self._depth = 0
        self._closed = False
        self._final_message: str | None = None
        self._decoder: msgspec.json.Decoder[Any] | None = None

    def feed(self, data: bytes) -> Iterator[Rows]:
        """Rows that are complete by now; few at a time are held back until `PARSE_BYTES` have come."""
        self._buffer += data
        if self.header is None or len(self._buffer) >= PARSE_BYTES:
            yield from self._take_rows()

    def flush(self) -> Iterator[Rows]:
        """The rows held back so far."""
        yield from self._take_rows()

    def finish(self) -> Iterator[Rows]:
        """The last rows, then the proof.

        Raises AnswerIncomplete when the end is missing.
        """
        yield from self._take_rows()
        if not self._closed:
            raise AnswerIncomplete(
                f"the answer broke off after {self.row_count} rows: its closing bracket never came",
                "nothing was kept of it; run the same command again",
            )
        if self.header is None:
            raise AnswerIncomplete("the answer is empty: not even its header came", "run the same command again")
        wanted = self._ending.value if self._ending is not Ending.BRACKET else None
        if wanted is not None and self._final_message != wanted:
            raise AnswerIncomplete(
                f"the answer ended after {self.row_count} rows with {self._final_message!r} where {wanted!r} was due",
                "nothing was kept of it; run the same command again",
            )

    def _take_rows(self) -> Iterator[Rows]:
        elements = self._complete_elements()
        if self.header is None and elements:
            elements = self._take_header(elements)
        if elements:
            rows = self._decode(elements)
            self.row_count += len(rows.values)
            if rows.values:
                yield rows

    def _complete_elements(self) -> bytes:
        """Cuts all complete elements off the buffer; moves on to the closing bracket where it has come."""
        buffer = self._buffer
        if self._depth == 0 and not self._closed and not self._open_array():
            return b""
        end = 0
        at = self._scanned
        while not self._closed and (match := _TO_BRACKET.match(buffer, at)):
            at = match.end()
            if buffer[at - 1] in b"[{":
                self._depth += 1
                continue
            self._depth -= 1
            if self._depth == 1:
                end = at
            elif self._depth == 0:
                self._close_array(bytes(buffer[end : at - 1]), buffer[at - 1])
        start = _BETWEEN.match(buffer).end()  # type: ignore[union-attr] # matches empty too
        elements = bytes(buffer[start:end]) if start < end else b""
        consumed = at if self._closed else end
        self._scanned = at - consumed
        del buffer[:consumed]
        if self._closed and _SPACE.fullmatch(buffer) is None:
            raise AnswerMalformed(
                f"the answer goes on after its end: {bytes(buffer[:60])!r}", "check proxies between here and ksqlDB"
            )
        return elements

    def _open_array(self) -> bool:
        start = _SPACE.match(self._buffer).end()  # type: ignore[union-attr] # matches empty too
        if start == len(self._buffer):
            return False
        if self._buffer[start : start + 1] != b"[":
            raise AnswerMalformed(
                f"the answer is not an array of rows; it starts with {bytes(self._buffer[start : start + 60])!r}",
                "check that the address is that of a ksqlDB server and not of something before it",
            )
        del self._buffer[: start + 1]
        self._depth = 1
        return True

    def _close_array(self, last: bytes, bracket: int) -> None:
        if bracket != ord("]") or _BETWEEN.fullmatch(last) is None:
            shown = (last + bytes([bracket]))[-60:]
            raise AnswerMalformed(f"the answer ends with {shown!r}, which is no end", "run the command again")
        self._closed = True

    def _take_header(self, elements: bytes) -> bytes:
        """Reads the first element; returns the rest."""
        try:
            text = elements.decode()
            first, length = json.JSONDecoder().raw_decode(text)
            self.header = _header(self._framing, first)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AnswerMalformed(f"the answer's header cannot be read: {error!r}", "run the command again") from None
        if self.header is None:
            told = first.get("errorMessage", first) if isinstance(first, dict) else None
            if not isinstance(told, dict) or "message" not in told:
                raise AnswerMalformed(f"the answer begins with {text[:60]!r}, which is no header", "report this")
            self._raise_error(told)
        self._decoder = _decoder(self._framing, self.header.columns)  # type: ignore[union-attr] # raised else
        return text[length:].lstrip(", \t\r\n").encode()

    def _decode(self, elements: bytes) -> Rows:
        assert self._decoder is not None
        if self._final_message is not None:
            raise AnswerMalformed("rows came after the answer's final message", "run the command again")
        try:
            decoded = self._decoder.decode(b"[" + elements + b"]")
        except (msgspec.DecodeError, RecursionError) as error:
            raise AnswerMalformed(
                f"a row after the first {self.row_count} cannot be read: {error}",
                "run the command again; if it stays, report it with the server's version",
            ) from None
        if self._framing is Framing.STREAMED_ROWS:
            return self._streamed_rows(decoded)
        return Rows([element for element in decoded if not self._is_notice(element)])

    def _streamed_rows(self, decoded: list[Any]) -> Rows:
        values: list[tuple[Any, ...]] = []
        tombstones: list[int] = []
        for element in decoded:
            if self._final_message is not None:
                raise AnswerMalformed("rows came after the answer's final message", "run the command again")
            if element.errorMessage is not None:
                self._raise_error(element.errorMessage)
            if element.row is not None:
                if element.row.tombstone:
                    tombstones.append(len(values))
                values.append(element.row.columns)
            elif element.finalMessage is not None:
                self._final_message = element.finalMessage
            else:
                self._raise_unless_token(element, None)
        return Rows(values, tombstones)

    def _is_notice(self, element: Any) -> bool:
        if type(element) is tuple:
            return False
        self._raise_unless_token(element, None if element.error_code is None else msgspec.to_builtins(element))
        return True

    def _raise_unless_token(self, element: Any, error: dict[str, Any] | None) -> None:
        if error is not None:
            self._raise_error(error)
        if element.continuationToken is None and element.consistencyToken is None:
            raise AnswerMalformed("the answer holds an element that is neither row nor notice", "report this")

    def _raise_error(self, error: dict[str, Any]) -> None:
        code, message = error.get("error_code"), str(error.get("message", error))
        raise QueryFailed(
            f"the server broke off its answer after {self.row_count} rows: {message} (error {code})",
            "nothing was kept of it; look into the server's log, then run the same command again",
        )


def _header(framing: Framing, first: Any) -> Header | None:
    """The header that the first element holds; None when it is something else."""
    if not isinstance(first, dict):
        return None
    if framing is Framing.STREAMED_ROWS and "header" in first:
        header = first["header"]
        return Header(header.get("queryId"), parse_schema(header["schema"]))
    if framing is Framing.PLAIN_ARRAY and "columnNames" in first:
        types = (parse_type(text) for text in first["columnTypes"])
        columns = tuple(Column(name, type_) for name, type_ in zip(first["columnNames"], types, strict=True))
        return Header(first.get("queryId"), columns)
    return None


class _Notice(msgspec.Struct):
    """An element of the plain array that is no row."""

    error_code: int | None = None
    message: str | None = None
    continuationToken: Any = None  # the server's spelling
    consistencyToken: Any = None  # the server's spelling


def _decoder(framing: Framing, columns: Sequence[Column]) -> msgspec.json.Decoder[Any]:
    """Decodes an array of elements; a row of another width or with a value of another kind is refused."""
    row: Any = _TUPLE[tuple(json_type(column.type) for column in columns)]
    if framing is Framing.PLAIN_ARRAY:
        return msgspec.json.Decoder(_LIST[row | _Notice])
    inner = msgspec.defstruct("Row", [("columns", row), ("tombstone", bool, False)])
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
