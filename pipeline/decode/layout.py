"""The contract between an answer and the engines that decode it: the places of a row, and the columns made of them.

A row is one JSON array, by itself (the plain array) or inside an object (streamed rows). A column of the lake is made
of one place of the row, or of several: a part that the server sends inexactly inside a value is selected separately.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.columns import Column, SqlType, arrow_type
from pipeline.errors import TypeNotSupported

Put = Callable[..., Any]
"""Takes a value and the exact form of a part of it; returns a new value that has the exact part in its place."""


@dataclass(frozen=True)
class AnswerColumn:
    """A column of the lake, and the places of a row that it is made of."""

    column: Column
    sent: tuple[SqlType, ...]
    """The types of its places; the first is the value itself."""
    is_wrapped: bool = False
    """Whether the value comes inside a STRUCT of one field."""
    puts: tuple[tuple[Put, tuple[int, ...]], ...] = ()
    """Functions that put exact parts back, each with the places of its parts."""

    @classmethod
    def as_declared(cls, column: Column) -> AnswerColumn:
        return cls(column, (column.type,))


class Layout:
    """All columns of an answer, in the order in which their places come.

    Raises TypeNotSupported naming a column that the lake cannot hold.
    """

    def __init__(self, parts: Sequence[AnswerColumn]) -> None:
        fields = list[pa.Field]()
        for part in parts:
            with naming(part.column):
                fields.append(pa.field(part.column.lake_name, arrow_type(part.column.type)))
        self.parts = tuple(parts)
        self.columns = tuple(part.column for part in parts)
        self.schema = pa.schema(fields)
        self.sent = tuple(type_ for part in parts for type_ in part.sent)


@contextlib.contextmanager
def naming(column: Column) -> Iterator[None]:
    """Adds the column's name to a TypeNotSupported."""
    try:
        yield
    except TypeNotSupported as error:
        raise TypeNotSupported(f"column {column.name}: {error.message}", error.hint) from None


@dataclass(frozen=True)
class Notice:
    """An element that is no row. `content` is the server's description of an error, or the text of a final message."""

    rows_before: int
    kind: Literal["error", "final", "token", "neither"]
    content: Any = None


@dataclass(frozen=True)
class Decoded:
    """Several decoded elements: one batch of all rows in order, with the layout's schema."""

    batch: pa.RecordBatch
    tombstones: Sequence[int] = ()
    """Which of the rows are deletes."""
    notices: Sequence[Notice] = ()


class NotAsDeclared(ValueError):
    """Some element is not what the answer's header declares; decoding them one by one shows which."""


class Decoder(Protocol):
    """Reads the elements of one answer."""

    def decode(self, elements: bytes) -> Decoded:
        """Whole elements, with commas between them.

        Raises NotAsDeclared, or ValueNotRepresentable or TypeNotSupported naming the column.
        """

    def usual_rows(self, text: bytes, follow: bool) -> tuple[Decoded, int] | None:
        """The rows at the beginning of `text` that are whole and of the usual form, and the place behind them; where
        they `follow` others, a comma comes first. It may find none: `decode` reads all.
        """


class Scan(NamedTuple):
    """Where a scan of an answer stands: how deep in brackets, inside a string, and behind a backslash."""

    depth: int
    quoted: bool = False
    escaped: bool = False


BETWEEN = Scan(1)
"""Between two elements."""


class Ends(NamedTuple):
    """What a scan has found in its bytes."""

    ends: npt.NDArray[np.int64]
    """The places after the last byte of each complete element, up to the end of the answer."""
    closed_at: int
    """The place of the bracket that closes the whole array; -1 if it has not come."""
    state: Scan


@dataclass(frozen=True)
class UsualPayloads:
    """Payloads that an engine has decoded: one value each, null for those that are `left` or `missing`."""

    values: pa.Array
    left: Sequence[int]
    """The places of payloads that are not of the usual form, which are not decoded."""
    missing: Sequence[int]
    """The places without a payload."""


class PayloadDecoder(Protocol):
    """Decodes JSON payloads of the usual form as ksqlDB does; `kafka.formats.json_payloads` reads the others."""

    def read(self, payloads: pa.BinaryArray) -> UsualPayloads | None:
        """The decoded payloads; None if none of them is of the usual form."""


class Engine(Protocol):
    """An implementation of scan and decoders."""

    name: str

    def decoder(self, streamed: bool, layout: Layout) -> Decoder: ...

    def payload_decoder(self, type_: SqlType, has_prefix: bool) -> PayloadDecoder | None:
        """A decoder for payloads with one value of the type; with `has_prefix` after a zero and a schema's number.

        None if the engine has no fast decoder for the type.
        """

    def scan(self, data: bytes, state: Scan) -> Ends:
        """Continues a scan that has reached `state`. It only tells brackets from strings."""

    def usual_chunks(self, data: bytes, left: int) -> tuple[bytes, int]:
        """The content of the chunk of which so many bytes are left, and of the HTTP chunks of the usual form behind it;
        and the place behind the last one, outside of `data` where it is not whole. Each begins with the line end of the
        chunk before it. It may find no chunk: `ksqldb.chunks` judges them.
        """
