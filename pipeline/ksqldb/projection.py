"""What to ask for so that every value arrives exactly, and how to put the answer back into the lake's columns.

The server's plain text loses milliseconds of TIME, turns early TIMESTAMPs into the Julian calendar and, inside a
STRUCT, decimals into doubles. So TIMESTAMP is asked as epoch milliseconds, TIME (and arrays and maps of both) inside
a STRUCT of one field, and decimals of more than 15 digits inside a STRUCT once more beside it, from where they are
put back. Seen exact on 7.2, 7.6 and 8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.columns import POSITION_COLUMNS, SCALARS, WRAPPED, Column, SqlType, check_names
from pipeline.decode.layout import AnswerColumn, Layout, Put
from pipeline.errors import AnswerMalformed
from pipeline.ksqldb.describe import Description, quote
from pipeline.ksqldb.framing import Header
from pipeline.ksqldb.long_decimals import long_decimals

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

    def layout(self, header: Header) -> Layout:
        """How this answer's rows are read; checks that the answer has the columns that were asked for."""
        aliases = [part.alias for plan in self.plans for part in plan.parts]
        got = [column.name for column in header.columns]
        if got != aliases:
            raise AnswerMalformed(f"the answer has the columns {got}, but {aliases} were asked for", "report this")
        return self._layout([column.type for column in header.columns])

    def describe(self) -> Layout:
        """The layout by the types of DESCRIBE, which leaves out the key types of MAPs, for when there is no answer."""
        wrapped = [SqlType("STRUCT", fields=(("V", plan.column.type),)) for plan in self.plans]
        return self._layout(
            [
                _BIGINT if place else struct if plan.is_wrapped else plan.column.type
                for plan, struct in zip(self.plans, wrapped, strict=True)
                for place in range(len(plan.parts))
            ]
        )

    def _layout(self, types: Sequence[SqlType]) -> Layout:
        parts, at = list[AnswerColumn](), 0
        for plan in self.plans:
            sent = tuple(types[at : at + len(plan.parts)])
            column = replace(plan.column, type=_type_in_lake(plan, sent[0]))
            parts.append(AnswerColumn(column, sent, plan.is_wrapped, plan.puts))
            at += len(sent)
        return Layout(parts)


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


def _type_in_lake(plan: _Plan, got: SqlType) -> SqlType:
    """What a column is kept as that came as `got`, which knows the key types of MAPs."""
    if not plan.is_wrapped:
        return got if _asked_as(plan.column.type) == "{}" else plan.column.type
    if got.base != "STRUCT" or len(got.fields) != 1:
        name = plan.column.name
        raise AnswerMalformed(f"the column {name} came as {got}, but was asked for inside a STRUCT", "report this")
    return got.fields[0][1]
