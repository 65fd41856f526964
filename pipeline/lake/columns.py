"""A feed's columns as its table has them, and which changes of the source's columns the lake accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from pipeline.columns import KSQLDB_NAME, KSQLDB_ROLE, KSQLDB_TYPE, SCALARS, Column, arrow_type, scalars_in
from pipeline.errors import ColumnUnnamed, SchemaChanged
from pipeline.feeds import Feed


def annotated_schema(columns: Sequence[Column]) -> pa.Schema:
    """The lake's columns for those of a source, each with its ksqlDB name, type and role. Raises ColumnUnnamed."""
    return pa.schema([_annotated(column) for column in columns])


def _annotated(column: Column) -> pa.Field:
    name, declared = column.lake_name, str(column.type)
    metadata = {KSQLDB_NAME: column.name, KSQLDB_TYPE: declared, KSQLDB_ROLE: column.role}
    field = pa.field(name, arrow_type(column.type), metadata=metadata)
    if not all(_names(field)):
        unnamed = f"a field of {name} of the source" if name else "a column of the source"
        raise ColumnUnnamed(
            f"{unnamed} has an empty name", "derive a source with SELECT ... AS a name, and export that"
        )
    return field


def compare_columns(feed: Feed, before: pa.Schema, now: pa.Schema) -> tuple[list[str], list[str]]:
    """The columns that are new, and those whose type has become wider.

    Raises SchemaChanged for any other difference.
    """
    old = {column.name: column for column in before}
    new = {column.name: column for column in now}
    both = [name for name in old if name in new]
    wider = [name for name in both if _is_wider(old[name], new[name])]
    problems = [f"{name} is gone" for name in old if name not in new]
    problems += [
        f"{name} was {old[name].type} and is {new[name].type}"
        for name in both
        if old[name].type != new[name].type and name not in wider
    ]
    if problems:
        raise SchemaChanged(
            f"the columns of {feed.source} no longer fit the lake's table {feed.name}: {'; '.join(problems)}",
            f"keep the history under its feed (manage_feeds.py archive {feed.name}) and add a new feed, "
            "or derive a source that keeps the old columns",
        )
    return [name for name in new if name not in old], wider


def _is_wider(old: pa.Field, new: pa.Field) -> bool:
    """Whether the column has a new type that holds every value of the old one."""
    if old.type == new.type:
        return _is_declared_wider(old, new)
    return _holds(new.type, old.type)


def _is_declared_wider(old: pa.Field, new: pa.Field) -> bool:
    """Whether the declared type became wider while the Arrow type stays the same, at any depth: TIME to STRING."""
    pairs = zip(_words(old), _words(new), strict=False)
    changes = {(was, is_) for was, is_ in pairs if was != is_ and was in SCALARS and is_ in SCALARS}
    return bool(changes) and all(is_ in SCALARS[was].widens_to for was, is_ in changes)


def _words(column: pa.Field) -> list[str]:
    """The words and quoted names of the declared type."""
    return re.findall(r"`[^`]*`|\w+", (column.metadata or {}).get(KSQLDB_TYPE, b"").decode())


def _holds(new: pa.DataType, old: pa.DataType) -> bool:
    """Whether `new` can hold every value of `old`, at every depth."""
    if old == new:
        return True
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _holds(new.value_type, old.value_type)
    if pa.types.is_map(old) and pa.types.is_map(new):
        return bool(old.key_type == new.key_type) and _holds(new.item_type, old.item_type)
    if pa.types.is_struct(old) and pa.types.is_struct(new) and [f.name for f in old] == [f.name for f in new]:
        return all(_holds(b.type, a.type) for a, b in zip(old, new, strict=True))
    return any(name in SCALARS[word].widens_to for word in scalars_in(old) for name in scalars_in(new))


def _names(column: pa.Field) -> list[str]:
    """The name of a column, and those of the fields in it, at every depth."""
    names, waiting = [column.name], [column.type]
    while waiting:
        type_ = waiting.pop()
        for number in range(type_.num_fields):
            waiting.append(type_.field(number).type)
            if pa.types.is_struct(type_):
                names.append(type_.field(number).name)
    return names
