"""Two framings of a query's answer, parsed as the bytes come, and the proof that the answer is complete.

Both are one JSON array: *streamed rows* (`application/vnd.ksql.v1+json`: objects that hold a header, a row, an error
or a final message) and the *plain array* (`application/json`: one metadata object, then bare rows). `finish` accepts
the answer only if the closing bracket came, nothing but white space followed, every element was read, none was an
error, and, for streamed rows of a stream or a push, the final message was the expected one. HTTP status 200 proves
none of this. The verdict, and the rows before it, do not depend on how the network cut the answer into pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa

from pipeline.columns import Column
from pipeline.decode import engine as engines
from pipeline.decode.layout import AnswerColumn, Decoded, Decoder, Engine, Layout, NotAsDeclared
from pipeline.errors import AnswerIncomplete, AnswerMalformed, QueryFailed, TypeNotSupported, ValueNotRepresentable
from pipeline.ksqldb.elements import Elements, each_element
from pipeline.ksqldb.errors import quoted
from pipeline.ksqldb.sqltypes import parse_schema, parse_type

PARSE_BYTES = 2 * 2**20
"""Bytes gathered before rows are decoded: with fewer the fixed cost of a batch counts, more only take memory."""


class Framing(Enum):
    """A wire format; the value is what the Accept header asks for."""

    STREAMED_ROWS = "application/vnd.ksql.v1+json"
    PLAIN_ARRAY = "application/json"


class Ending(Enum):
    """What must come before the closing bracket."""

    BRACKET = "nothing"
    COMPLETED = "Query Completed"
    LIMIT = "Limit Reached"


@dataclass(frozen=True)
class Header:
    """The answer's header, before the first row. Key roles are marked for table pulls only.

    `query_id` is empty where the server gives none.
    """

    query_id: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Rows:
    """Rows in the order they came, in the columns of the answer's layout."""

    batch: pa.RecordBatch
    tombstones: Sequence[int] = ()
    """Which of them are deletes."""


def as_declared(header: Header) -> Layout:
    """The layout by the answer's own columns."""
    return Layout([AnswerColumn.as_declared(column) for column in header.columns])


class AnswerParser:
    """Reads one answer. Feed it bytes as they come, take rows, then call `finish`.

    `layout_of` gets the header and returns how to decode the columns; it may raise to refuse them.
    """

    def __init__(
        self,
        framing: Framing,
        ending: Ending,
        layout_of: Callable[[Header], Layout] = as_declared,
        engine: Engine | None = None,
    ) -> None:
        self.header: Header | None = None
        self.layout: Layout | None = None
        self.row_count = 0
        self._framing, self._ending, self._layout_of = framing, ending, layout_of
        self._engine = engine or engines.engine()
        self._elements = Elements(self._engine)
        self._enough_bytes = PARSE_BYTES
        self._final_message: str | None = None
        self._decoder: Decoder | None = None

    def feed(self, data: bytes) -> Iterator[Rows]:
        """Rows that are complete by now; few at a time are held back until `PARSE_BYTES` have come."""
        self._elements.add(data)
        if self.header is None or self._elements.waiting_bytes >= self._enough_bytes:
            yield from self._take_rows()
            # A row that is still incomplete is scanned again only after its size has doubled.
            self._enough_bytes = max(PARSE_BYTES, 2 * self._elements.waiting_bytes)

    def flush(self) -> Iterator[Rows]:
        """The rows held back so far."""
        yield from self._take_rows()

    def finish(self) -> Iterator[Rows]:
        """The last rows; ends without an error only if the answer is proved complete.

        Raises AnswerIncomplete when the end is missing.
        """
        yield from self._take_rows()
        if not self._elements.closed:
            raise AnswerIncomplete(
                f"the answer broke off after {self.row_count} rows: its closing bracket never came",
                "nothing was kept of it; run the same command again",
            )
        if self.header is None:
            raise AnswerIncomplete("the answer is empty: not even its header came", "run the same command again")
        wanted = self._ending.value if self._ending is not Ending.BRACKET else None
        if wanted is not None and self._final_message != wanted:
            ended = "without a final message" if self._final_message is None else f"with {quoted(self._final_message)}"
            raise AnswerIncomplete(
                f"the answer ended after {self.row_count} rows {ended} where '{wanted}' was due",
                "nothing was kept of it; run the same command again",
            )

    def _take_rows(self) -> Iterator[Rows]:
        if self.header is None and (first := self._elements.take(only_one=True)):
            self._take_header(first)
        if self._decoder is not None and self._final_message is None:
            decoded = self._elements.take_usual(self._decoder)
            yield from self._counted(Rows(decoded.batch, decoded.tombstones)) if decoded else ()
        if self.header is not None and (elements := self._elements.take()):
            yield from self._rows_in(elements)
        if self._elements.problem is not None:
            raise self._elements.problem

    def _take_header(self, element: bytes) -> None:
        try:
            first = json.loads(element.decode())
            self.header = _header(self._framing, first)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise AnswerMalformed("the answer's header cannot be read", "run the command again") from None
        if self.header is None:
            error = first.get("errorMessage", first) if isinstance(first, dict) else None
            if not isinstance(error, dict) or "message" not in error:
                raise AnswerMalformed("the answer does not begin with a header", "run the command again")
            raise self._failed(error)
        self.layout = self._layout_of(self.header)
        self._decoder = self._engine.decoder(self._framing is Framing.STREAMED_ROWS, self.layout)

    def _rows_in(self, elements: bytes) -> Iterator[Rows]:
        """The rows among several elements.

        After an error they are read again one by one, so that the rows before it do not depend on the grouping.
        """
        final_message = self._final_message
        try:
            rows = self._read(elements)
        except (AnswerMalformed, QueryFailed, TypeNotSupported, ValueNotRepresentable):
            self._final_message = final_message
            for element in each_element(elements, self._engine):
                yield from self._counted(self._read(element))
            raise
        yield from self._counted(rows)

    def _counted(self, rows: Rows) -> Iterator[Rows]:
        self.row_count += rows.batch.num_rows
        if rows.batch.num_rows:
            yield rows

    def _read(self, elements: bytes) -> Rows:
        assert self._decoder is not None
        if self._final_message is not None:
            raise _after_final()
        try:
            decoded = self._decoder.decode(elements)
        except NotAsDeclared:
            raise AnswerMalformed(
                f"row {self.row_count + 1} of the answer is not what its header declares",
                "run the command again; if it stays, report it with the server's version",
            ) from None
        self._take_notices(decoded)
        return Rows(decoded.batch, decoded.tombstones)

    def _take_notices(self, decoded: Decoded) -> None:
        """Raises for an error of the server, and for anything after the final message."""
        for notice in decoded.notices:
            if self._final_message is not None:
                raise _after_final()
            if notice.kind == "error":
                raise self._failed(notice.content)
            if notice.kind == "neither":
                raise self._neither()
            if notice.kind == "final":
                self._final_message = notice.content
                if notice.rows_before < decoded.batch.num_rows:
                    raise _after_final()

    def _neither(self) -> AnswerMalformed:
        where = f"after row {self.row_count}" if self.row_count else "after the header"
        return AnswerMalformed(f"the element {where} of the answer is neither row nor notice", "report this")

    def _failed(self, error: dict[str, Any]) -> QueryFailed:
        return QueryFailed(
            f"the server broke off its answer after {self.row_count} rows: {quoted(error.get('message'))} "
            f"(error {quoted(error.get('error_code'))})",
            "nothing was kept of it; look into the server's log, then run the same command again",
        )


def _header(framing: Framing, first: Any) -> Header | None:
    """The header that the first element holds; None when it is something else, or holds more than a header."""
    if not isinstance(first, dict):
        return None
    if framing is Framing.STREAMED_ROWS and {name for name, part in first.items() if part is not None} == {"header"}:
        header = first["header"]
        return Header(_query_id(header), parse_schema(header["schema"]))
    if framing is Framing.PLAIN_ARRAY and "columnNames" in first:
        types = (parse_type(text) for text in first["columnTypes"])
        columns = tuple(Column(name, type_) for name, type_ in zip(first["columnNames"], types, strict=True))
        if not all(isinstance(column.name, str) for column in columns):
            raise TypeError("a column's name is no text")
        return Header(_query_id(first), columns)
    return None


def _query_id(header: dict[str, Any]) -> str:
    query_id = header.get("queryId")
    if query_id is not None and not isinstance(query_id, str):
        raise TypeError("a query's id is no text")
    return query_id or ""


def _after_final() -> AnswerMalformed:
    return AnswerMalformed("rows came after the answer's final message", "run the command again")
