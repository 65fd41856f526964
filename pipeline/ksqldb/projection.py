"""What to ask for so that every value arrives exactly, and how to put the answer back into the lake's columns.

The server's plain text loses milliseconds of TIME, turns early TIMESTAMPs into the Julian calendar and, inside a
STRUCT, decimals into doubles. So TIMESTAMP is asked as epoch milliseconds, TIME (and arrays and maps of both) inside
a STRUCT of one field, and decimals of more than 15 digits inside a STRUCT once more beside it, from where they are
put back. Seen exact on 7.2, 7.6 and 8.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.decode.reference import to_array
from pipeline.errors import AnswerMalformed, ColumnNamesCollide, TypeNotSupported
from pipeline.ksqldb.describe import Description, quote
from pipeline.ksqldb.framing import Header
from pipeline.ksqldb.long_decimals import Put, long_decimals
from pipeline.ksqldb.sqltypes import Column, SqlType

POSITION_COLUMNS = ("rowtime", "rowpartition", "rowoffset")
RESERVED_COLUMNS = ("date", "version", *POSITION_COLUMNS)
_WRAP_FIELD = "V"
_BIGINT = SqlType("BIGINT")


@dataclass(frozen=True)
class LakeColumn:
    """A column of the lake: its name there, and the source's column with its declared type."""

    name: str
    source: Column


@dataclass(frozen=True)
class _Part:
    """One expression of the SELECT list."""

    sql: str
    alias: str


@dataclass(frozen=True)
class _Plan:
    """A column: its expression, those of what is put back into it, and each `put` with the places of its own."""

    column: LakeColumn
    parts: tuple[_Part, ...]
    puts: tuple[tuple[Put, tuple[int, ...]], ...] = ()


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
        """The reader by what DESCRIBE told, for when there is no answer to read."""
        types = [
            _BIGINT if place else plan.column.source.type for plan in self.plans for place in range(len(plan.parts))
        ]
        return RowReader(self.plans, types)


class RowReader:
    """Rows of an answer to a projection, as Arrow batches in the lake's columns."""

    def __init__(self, plans: Sequence[_Plan], types: Sequence[SqlType]) -> None:
        self._plans = plans
        self._types: list[SqlType] = []
        at = 0
        for plan in plans:
            self._types.append(_read_back(plan, types[at]))
            at += len(plan.parts)
        self.columns = tuple(
            LakeColumn(plan.column.name, Column(plan.column.source.name, type_, plan.column.source.role))
            for plan, type_ in zip(plans, self._types, strict=True)
        )
        fields = []
        for column in self.columns:
            with _naming(column.source):
                fields.append((column.name, lake_type(column.source.type)))
        self.schema = pa.schema(fields)

    def batch(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        """One batch of `self.schema`.

        Raises ValueNotRepresentable or TypeNotSupported naming the column.
        """
        values = list(zip(*rows, strict=True))
        arrays, at = [], 0
        for plan, type_, field in zip(self._plans, self._types, self.schema, strict=True):
            main: Sequence[Any] = values[at]
            if _is_wrapped(plan):
                main = [value and value.f0 for value in main]
            with _naming(plan.column.source):
                for put, places in plan.puts:
                    exact = [values[at + place] for place in places]
                    main = [put(*whole) for whole in zip(main, *exact, strict=True)]
                array = to_array(main, type_, plan.column.source.name, _is_wrapped(plan))
            # A cast would match the fields of a STRUCT by name and fill the renamed ones with nulls.
            arrays.append(array if array.type == field.type else array.view(field.type))
            at += len(plan.parts)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


@contextlib.contextmanager
def _naming(column: Column) -> Iterator[None]:
    try:
        yield
    except TypeNotSupported as error:
        raise TypeNotSupported(f"column {column.name}: {error.message}", error.hint) from None


def lake_name(name: str) -> str:
    """All-capital names, which are unquoted in ksqlDB, become lower-case; others keep their spelling."""
    return name.lower() if name == name.upper() else name


def lake_type(type_: SqlType) -> pa.DataType:
    """The Arrow type in the lake: that of the values, with fields inside STRUCTs named as columns are."""
    return _rename(type_.arrow())


def _rename(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(type_):
        fields = [pa.field(lake_name(field.name), _rename(field.type)) for field in type_]
        if len({field.name.lower() for field in fields}) < len(fields):
            raise ColumnNamesCollide(
                f"the fields {[field.name for field in type_]} of a STRUCT differ only in case",
                "rename one in a derived stream",
            )
        return pa.struct(fields)
    if pa.types.is_list(type_):
        return pa.list_(pa.field("element", _rename(type_.value_type)))
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, _rename(type_.item_type))
    return type_


def project(source: Description, positions: bool) -> Projection:
    """The exact projection of every column of a source; with `positions`, of ROWTIME and the offsets before them.

    Raises ColumnNamesCollide or TypeNotSupported.
    """
    columns = [Column(name.upper(), SqlType("INTEGER" if name == "rowpartition" else "BIGINT")) for name in
               (POSITION_COLUMNS if positions else ())]  # fmt: skip
    described = list(source.columns)
    if source.window is not None:
        keys = sum(column.role == "KEY" for column in described)
        described[keys:keys] = [Column("WINDOWSTART", _BIGINT, "KEY"), Column("WINDOWEND", _BIGINT, "KEY")]
    names = {column.name.upper() for column in described}
    check_names(source)
    plans = [_Plan(LakeColumn(lake_name(c.name), c), (_Part(quote(c.name), c.name),)) for c in columns]
    for index, column in enumerate(described):
        plans.append(_plan(column, _alias(index, names)))
    projection = Projection(tuple(plans))
    projection.describe()  # a type that the lake cannot hold is refused before anything is asked
    return projection


def check_names(source: Description) -> None:
    """Raises ColumnNamesCollide when two lake columns would be told apart by case only, or one is reserved."""
    seen: dict[str, str] = dict.fromkeys(RESERVED_COLUMNS, "a column of the lake itself")
    for column in source.columns:
        name = lake_name(column.name)
        if name.lower() in seen:
            raise ColumnNamesCollide(
                f"{source.name}: the column {column.name!r} would be called {name!r} in the lake, like "
                f"{seen[name.lower()]}",
                "rename the column in a derived stream (CREATE STREAM ... AS SELECT ... AS other_name) and export that",
            )
        seen[name.lower()] = f"the column {column.name!r}"


def _alias(index: int, taken: set[str]) -> Callable[[int], str]:
    def alias(part: int) -> str:
        name = f"X{index}_{part}"
        while name in taken:
            name += "_"
        return name

    return alias


def _plan(column: Column, alias: Callable[[int], str]) -> _Plan:
    lake, name = LakeColumn(lake_name(column.name), column), quote(column.name)
    if column.type.base == "TIMESTAMP":
        return _Plan(lake, (_Part(f"UNIX_TIMESTAMP({name})", alias(0)),))
    if _times_outside_structs(column.type):
        return _Plan(lake, (_Part(f"STRUCT({_WRAP_FIELD} := {name})", alias(0)),))
    parts, puts = [_Part(name, column.name)], []
    for expressions, put in long_decimals(name, column.type, 1):
        places = range(len(parts), len(parts) + len(expressions))
        parts += [_Part(sql, alias(place)) for place, sql in zip(places, expressions, strict=True)]
        puts.append((put, tuple(places)))
    return _Plan(lake, tuple(parts), tuple(puts))


def _is_wrapped(plan: _Plan) -> bool:
    return plan.parts[0].sql.startswith("STRUCT(")


def _read_back(plan: _Plan, got: SqlType) -> SqlType:
    """The column's true type, by the answer's header: DESCRIBE does not tell the key type of a MAP."""
    declared = plan.column.source.type
    if declared.base == "TIMESTAMP":
        return declared
    return got.fields[0][1] if _is_wrapped(plan) and got.base == "STRUCT" else got


def _times_outside_structs(type_: SqlType) -> bool:
    if type_.base in ("ARRAY", "MAP"):
        assert type_.element
        return _times_outside_structs(type_.element)
    return type_.base in ("TIME", "TIMESTAMP")
