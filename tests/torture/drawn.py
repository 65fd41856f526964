"""A set of generated columns and rows, as a stream and a table of a server, and their feeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ksqldb_emulator.dataset import Column, Query, Record, Source
from ksqldb_emulator.sqltypes import Type
from pipeline.feeds import Feed, parse_feed
from tests.expected import (
    lake_name,
)
from tests.torture.victim import DAY_MS

_NOW_MS = 1_790_000_000_000


@dataclass(frozen=True)
class Generated:
    """A set of typed columns with its rows; the column N before them numbers the rows."""

    number: int
    types: tuple[Type, ...]
    rows: list[tuple[Any, ...]]

    @property
    def columns(self) -> list[tuple[str, Type, list[Any]]]:
        """The lake's name, the type and the values of each column."""
        cells = list(zip(*self.rows, strict=True))
        return [(lake_name(_name(place)), type_, list(cells[place - 1])) for place, type_ in enumerate(self.types, 1)]

    def is_key(self, type_: Type) -> bool:
        """Whether a column is part of its fact's key: texts of every other set."""
        return type_.base == "STRING" and self.number % 2 == 1

    def sources(self) -> Iterator[Source]:
        """The rows as a stream over three partitions, and as the table that a query makes of it."""
        names = [_name(place) for place in range(1, len(self.types) + 1)]
        columns = (Column("N", Type("BIGINT"), "KEY"), *map(Column, names, self.types))
        records = [
            Record(n % 3, n // 3, _NOW_MS + n * DAY_MS // 40, {"N": n, **dict(zip(names, row, strict=True))})
            for n, row in enumerate(self.rows)
        ]
        stream, table = f"S{self.number}", f"T{self.number}"
        query = Query(f"CTAS_{table}", "CREATE TABLE ...", (table,), (table.lower(),), (stream.lower(),))
        yield Source(stream, "STREAM", columns, stream.lower(), 3, records, read_queries=(query,), value_format="AVRO")
        yield Source(table, "TABLE", columns, table.lower(), 1, list(records), write_query=query, value_format="AVRO")

    def feeds(self) -> Iterator[Feed]:
        for kind in ("stream", "table"):
            name = f"{kind[0]}{self.number}"
            yield parse_feed({"name": name, "type": kind, "source": name.upper()}, name)


def _name(place: int) -> str:
    return f"Größe {place}" if place % 4 == 0 else f"C{place}"
