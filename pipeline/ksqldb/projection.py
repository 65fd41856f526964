"""The SELECT list with which every value arrives exactly, and how to turn its answer into the lake's columns.

The server's plain text loses milliseconds of TIME, turns early TIMESTAMPs into the Julian calendar and, inside a
STRUCT, decimals into doubles. So TIMESTAMP is selected as epoch milliseconds, TIME (and arrays and maps of both) inside
a STRUCT of one field, and decimals of more than 15 digits inside a STRUCT a second time as columns of their own, from
which they are put back. Seen to be exact on 7.2, 7.6 and 8.3.
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
    """A column: its expression, then those of its exact parts; `puts` puts these back, each with their places."""

    column: Column
    parts: tuple[_Part, ...]
    puts: tuple[tuple[Put, tuple[int, ...]], ...] = ()
    is_wrapped: bool = False


@dataclass(frozen=True)
class Projection:
    """The SELECT list for one source, and the layout to decode its answer. Made by `project`."""

    plans: tuple[_Plan, ...]

    @property
    def select_list(self) -> str:
        return ", ".join(
            part.sql if part.sql == quote(part.alias) else f"{part.sql} AS {quote(part.alias)}"
            for plan in self.plans
            for part in plan.parts
        )

    def layout(self, header: Header) -> Layout:
        """The layout of this answer's rows; raises AnswerMalformed unless it has the selected columns."""
        aliases = [part.alias for plan in self.plans for part in plan.parts]
        got = [column.name for column in header.columns]
        if got != aliases:
            raise AnswerMalformed(f"the answer has the columns {got}, but {aliases} were asked for", "report this")
        return self._layout([column.type for column in header.columns])

    def describe(self) -> Layout:
        """The layout by DESCRIBE, before there is an answer; the key types of MAPs are missing from DESCRIBE."""
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
    """The exact projection of every column of a source; with `positions`, ROWTIME, partition and offset come first.

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
    projection.describe()  # raises for a type that the lake cannot hold, before any query
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
    """The type of a column in the lake when the answer has the type `got`, which includes the key types of MAPs."""
    if not plan.is_wrapped:
        return got if _asked_as(plan.column.type) == "{}" else plan.column.type
    if got.base != "STRUCT" or len(got.fields) != 1:
        name = plan.column.name
        raise AnswerMalformed(f"the column {name} came as {got}, but was asked for inside a STRUCT", "report this")
    return got.fields[0][1]
