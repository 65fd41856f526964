"""The columns to read from a record's key or value, and the result: plain values that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa

from pipeline.columns import SqlType

FormatName = Literal["JSON", "JSON_SR", "AVRO", "PROTOBUF", "PROTOBUF_NOSR", "DELIMITED", "KAFKA", "NONE"]


@dataclass(frozen=True)
class Payload:
    """The key or the value of a source's records.

    `columns` are those that ksqlDB reads from it, in order: names as on the server, and types. `wrapped` says whether a
    single column is a field of a record, as WRAP_SINGLE_VALUE says; a key of one column is not, except in PROTOBUF and
    PROTOBUF_NOSR. `delimiter` is VALUE_DELIMITER as it was declared: one character, SPACE or TAB.
    """

    format: FormatName
    columns: tuple[tuple[str, SqlType], ...]
    wrapped: bool = True
    delimiter: str = ","


@dataclass(frozen=True)
class Deserialized:
    """Payloads as columns: one array for each column of the `Payload`, with one value for each payload.

    `unreadable` has the reason for each place where ksqlDB has no row because it cannot read the payload, or where
    its reading is not known or does not fit into the lake; the latter places are also `uncertain`. Reasons have no data
    in them, so they can be counted. `no_row` has the places without a payload, and all places with the format NONE: no
    row of a stream, a delete in a table, and a NULL as a key. In both kinds of places the arrays are null.
    """

    arrays: tuple[pa.Array, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    no_row: AbstractSet[int] = frozenset()
    uncertain: AbstractSet[int] = frozenset()


class Deserializer(Protocol):
    """Reads payloads of one kind, batch by batch. What it learns from one batch only makes the next one faster."""

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        """Never raises for what is in a payload. Raises what the Schema Registry's client raises."""


def places_without(values: pa.Array) -> frozenset[int]:
    """The places of nulls."""
    return frozenset(np.flatnonzero(values.is_null()).tolist()) if values.null_count else frozenset()


class Unreadable(ValueError):
    """Why a payload cannot be read; the reason has no data in it."""

    def inside(self, step: str) -> Unreadable:
        """The same error with `step` put before its path."""
        path, _, reason = str(self).rpartition(": ")
        separator = "" if not path or path.startswith(("[", "{", ".")) else "."
        return type(self)(f"{step}{separator}{path}: {reason}")


class Uncertain(Unreadable):
    """A payload that ksqlDB may have as a row: its reading is not known, or the lake cannot hold it."""
