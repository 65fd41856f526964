"""The contract between an answer and the engines that decode it: what its rows hold, and what is made of them.

A row is one JSON array, by itself (the plain array) or inside an object (streamed rows). A column of the lake is made
of one place of it, or of several: where the server sends a part of a value inexactly, that part is asked for besides.
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
    """The types of its places: the value itself comes first."""
    is_wrapped: bool = False
    """Whether the value comes inside a STRUCT of one field."""
    puts: tuple[tuple[Put, tuple[int, ...]], ...] = ()
    """How exact parts are put back, each with which of the places they are."""

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
    """Says which column it is that has a type that is not supported."""
    try:
        yield
    except TypeNotSupported as error:
        raise TypeNotSupported(f"column {column.name}: {error.message}", error.hint) from None


@dataclass(frozen=True)
class Notice:
    """An element that is no row. An error's `content` is what the server says of it, a final message's its text."""

    rows_before: int
    kind: Literal["error", "final", "token", "neither"]
    content: Any = None


@dataclass(frozen=True)
class Decoded:
    """Elements that came together: one batch of all rows in their order, of the layout's schema."""

    batch: pa.RecordBatch
    tombstones: Sequence[int] = ()
    """Which of the rows are deletes."""
    notices: Sequence[Notice] = ()


class NotAsDeclared(ValueError):
    """Elements that are not what the answer's header declares; which of them it is, one finds by reading one."""


class Decoder(Protocol):
    """Reads the elements of one answer."""

    def decode(self, elements: bytes) -> Decoded:
        """Whole elements, with commas between them.

        Raises NotAsDeclared, or ValueNotRepresentable or TypeNotSupported naming the column.
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
    """Behind the last byte of each element that ends, up to the end of the answer."""
    closed_at: int
    """Where the bracket stands that closes the whole array; -1 where it is not there."""
    state: Scan


@dataclass(frozen=True)
class UsualPayloads:
    """What a fast way has read of records' payloads: one value each, null for those that are `left` or `missing`."""

    values: pa.Array
    left: Sequence[int]
    """The places of those that are not of the usual form; nothing is said of them."""
    missing: Sequence[int]
    """The places of those that are None."""


class PayloadDecoder(Protocol):
    """Reads JSON payloads of the usual form as ksqlDB does; what others mean, `kafka.formats.json_payloads` says."""

    def read(self, payloads: Sequence[bytes | None]) -> UsualPayloads | None:
        """None where all of them are left."""


class Engine(Protocol):
    """One way to do both."""

    name: str

    def decoder(self, streamed: bool, layout: Layout) -> Decoder: ...

    def payload_decoder(self, type_: SqlType, has_prefix: bool) -> PayloadDecoder | None:
        """For payloads of one value of the type, behind a zero and a schema's number where that is their form.

        None where there is no faster way than the complete one.
        """

    def scan(self, data: bytes, state: Scan) -> Ends:
        """Goes on behind the bytes that led to `state`. Only brackets are distinguished here, and strings skipped."""
