"""What to ask for so that every value arrives exactly, and how to put the answer back into the lake's columns.

The server's plain text loses milliseconds of TIME, turns early TIMESTAMPs into the Julian calendar and, inside a
STRUCT, decimals into doubles. So TIMESTAMP is asked as epoch milliseconds, TIME (and arrays and maps of both) inside
a STRUCT of one field, and decimals of more than 15 digits inside a STRUCT once more beside it, from where they are
put back. Seen exact on 7.2, 7.6 and 8.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.columns import POSITION_COLUMNS, SCALARS, WRAPPED, Column, SqlType, arrow_type, check_names
from pipeline.decode.reference import to_array
from pipeline.errors import AnswerMalformed, TypeNotSupported
from pipeline.ksqldb.describe import Description, quote
from pipeline.ksqldb.framing import Header
from pipeline.ksqldb.long_decimals import Put, long_decimals

_BIGINT = SqlType("BIGINT")


@dataclass(frozen=True)
class _Part:
    """One expression of the SELECT list."""

    sql: str
    alias: str


@dataclass(frozen=True)
class _Plan:
    """A column: its expression, those of what is put back into it, and each `put` with the places of its own."""

    column: Column
    parts: tuple[_Part, ...]
    puts: tuple[tuple[Put, tuple[int, ...]], ...] = ()
    is_wrapped: bool = False


@dataclass(frozen=True)
class Projection:
    """The SELECT list for one source and the way back. Build with `project`."""

    plans: tuple[_Plan, ...]

    @property
    def select_list(self) -> str:
        return ", ".join(
            part.sql if part.sql == quote(part.alias) else f"{part.sql} AS {quote(part.alias)}"
            for plan in self.plans
            for part in plan.parts
        )

    def reader(self, header: Header) -> RowReader:
        """What turns this answer's rows into batches; checks that the answer has the columns that were asked for."""
        aliases = [part.alias for plan in self.plans for part in plan.parts]
        got = [column.name for column in header.columns]
        if got != aliases:
            raise AnswerMalformed(f"the answer has the columns {got}, but {aliases} were asked for", "report this")
        return RowReader(self.plans, [column.type for column in header.columns])

    def describe(self) -> RowReader:
        """The reader by the types of DESCRIBE, for when there is no answer to read."""
        types = [_BIGINT if place else plan.column.type for plan in self.plans for place in range(len(plan.parts))]
        return RowReader(self.plans, types)


class RowReader:
    """Rows of an answer to a projection, as Arrow batches in the lake's columns.

    `types` are those of the answer: DESCRIBE leaves out the key type of a MAP.
    """

    def __init__(self, plans: Sequence[_Plan], types: Sequence[SqlType]) -> None:
        self._plans = plans
        columns, fields, at = list[Column](), list[pa.Field](), 0
        for plan in plans:
            column = replace(plan.column, type=_type_in_answer(plan, types[at]))
            with _naming(column):
                fields.append(pa.field(column.lake_name, arrow_type(column.type)))
            columns.append(column)
            at += len(plan.parts)
        self.columns = tuple(columns)
        self.schema = pa.schema(fields)

    def batch(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        """One batch of `self.schema`.

        Raises ValueNotRepresentable or TypeNotSupported naming the column.
        """
        values = list(zip(*rows, strict=True))
        arrays, at = [], 0
        for plan, column in zip(self._plans, self.columns, strict=True):
            main: Sequence[Any] = values[at]
            if plan.is_wrapped:
                main = [value and value.f0 for value in main]
            with _naming(column):
                for put, places in plan.puts:
                    exact = [values[at + place] for place in places]
                    main = [put(*whole) for whole in zip(main, *exact, strict=True)]
                arrays.append(to_array(main, column.type, column.name, plan.is_wrapped))
            at += len(plan.parts)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


@contextlib.contextmanager
def _naming(column: Column) -> Iterator[None]:
    try:
        yield
    except TypeNotSupported as error:
        raise TypeNotSupported(f"column {column.name}: {error.message}", error.hint) from None


def project(source: Description, positions: bool) -> Projection:
    """The exact projection of every column of a source; with `positions`, of ROWTIME and the offsets before them.

    Raises ColumnNamesCollide or TypeNotSupported.
    """
    check_names(source.name, source.columns)
    described = list(source.columns)
    if source.window is not None:
        keys = sum(column.role == "KEY" for column in described)
        described[keys:keys] = [Column("WINDOWSTART", _BIGINT, "KEY"), Column("WINDOWEND", _BIGINT, "KEY")]
    names = {column.name.upper() for column in described}
    plans = [_position(name) for name in POSITION_COLUMNS if positions]
    plans += [_plan(column, _alias(index, names)) for index, column in enumerate(described)]
    projection = Projection(tuple(plans))
    projection.describe()  # a type that the lake cannot hold is refused before anything is asked
    return projection


def _position(name: str) -> _Plan:
    column = Column(name.upper(), SqlType("INTEGER") if name == "rowpartition" else _BIGINT)
    return _Plan(column, (_Part(quote(column.name), column.name),))


def _alias(index: int, taken: set[str]) -> Callable[[int], str]:
    def alias(part: int) -> str:
        name = f"X{index}_{part}"
        while name in taken:
            name += "_"
        return name

    return alias


def _plan(column: Column, alias: Callable[[int], str]) -> _Plan:
    name, asked_as = quote(column.name), _asked_as(column.type)
    if asked_as != "{}":
        return _Plan(column, (_Part(asked_as.format(name), alias(0)),), is_wrapped=asked_as == WRAPPED)
    parts, puts = [_Part(name, column.name)], []
    for expressions, put in long_decimals(name, column.type, 1):
        places = range(len(parts), len(parts) + len(expressions))
        parts += [_Part(sql, alias(place)) for place, sql in zip(places, expressions, strict=True)]
        puts.append((put, tuple(places)))
    return _Plan(column, tuple(parts), tuple(puts))


def _asked_as(type_: SqlType) -> str:
    if type_.base in SCALARS:
        return SCALARS[type_.base].asked_as
    while type_.element:
        type_ = type_.element
    return SCALARS[type_.base].asked_as_in_lists if type_.base in SCALARS else "{}"


def _type_in_answer(plan: _Plan, got: SqlType) -> SqlType:
    if plan.is_wrapped:
        return got.fields[0][1] if got.base == "STRUCT" else got
    return got if _asked_as(plan.column.type) == "{}" else plan.column.type
