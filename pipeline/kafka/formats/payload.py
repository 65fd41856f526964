"""What is to be read out of a record, and what was read: plain values that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pyarrow as pa

from pipeline.columns import SqlType

FormatName = Literal["JSON", "JSON_SR", "AVRO", "PROTOBUF", "PROTOBUF_NOSR", "DELIMITED", "KAFKA", "NONE"]


@dataclass(frozen=True)
class Payload:
    """The key or the value of a source's records.

    `columns` are those that ksqlDB reads from it, in their order: names as on the server, and types. `wrapped` says
    whether a single column is a field of a record, as WRAP_SINGLE_VALUE has it; a key of one column is not, in each
    format that can do without (all but PROTOBUF and PROTOBUF_NOSR). `delimiter` is VALUE_DELIMITER as it was declared:
    one character, SPACE or TAB.
    """

    format: FormatName
    columns: tuple[tuple[str, SqlType], ...]
    wrapped: bool = True
    delimiter: str = ","


@dataclass(frozen=True)
class Deserialized:
    """Payloads as columns: one array for each column of the `Payload`, as long as there were payloads.

    `unreadable` has the reason for each place where ksqlDB has no row because it cannot read the payload, or where
    what it reads is not known or cannot be held; the latter are also `uncertain`. Reasons hold no data, so they can be
    counted. `no_row` has the places
    where there is no payload, and with the format NONE all. A stream has no row of these, for a table they are
    deletes; a key there is NULL. At both the arrays are null.
    """

    arrays: tuple[pa.Array, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    no_row: AbstractSet[int] = frozenset()
    uncertain: AbstractSet[int] = frozenset()


class Deserializer(Protocol):
    """Reads payloads of one kind, batch by batch. What it learns from one batch only makes the next one faster."""

    def read(self, payloads: Sequence[bytes | None]) -> Deserialized:
        """Never raises for what is in a payload. Raises what the Schema Registry's client raises."""


class Unreadable(ValueError):
    """Why a payload cannot be read, in our words and without its data."""

    def inside(self, step: str) -> Unreadable:
        """The same with one more step of the way to the value before it."""
        path, _, reason = str(self).rpartition(": ")
        separator = "" if not path or path.startswith(("[", "{", ".")) else "."
        return type(self)(f"{step}{separator}{path}: {reason}")


class Uncertain(Unreadable):
    """The same of one that ksqlDB may have a row of: what it reads there is not known, or the lake cannot hold it."""
