"""A feed's columns as its table tells of them, and which changes of them at the source the lake takes over."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from pipeline.errors import ColumnUnnamed, SchemaChanged
from pipeline.feeds import Feed
from pipeline.ksqldb.projection import LakeColumn

KSQLDB_NAME = b"ksqldb.name"
KSQLDB_TYPE = b"ksqldb.type"
KSQLDB_ROLE = b"ksqldb.role"


def told_schema(schema: pa.Schema, columns: Sequence[LakeColumn]) -> pa.Schema:
    """The columns of a read as the lake keeps them, each with its ksqlDB name, type and role. Raises ColumnUnnamed."""
    for column in columns:
        if not all(_names(schema.field(column.name))):
            named = f"a field of {column.name} of the source" if column.name else "a column of the source"
            raise ColumnUnnamed(
                f"{named} has an empty name", "derive a source with SELECT ... AS a name, and export that"
            )
    return pa.schema(
        [
            schema.field(column.name).with_metadata(
                {
                    KSQLDB_NAME: column.source.name.encode(),
                    KSQLDB_TYPE: str(column.source.type).encode(),
                    KSQLDB_ROLE: column.source.role.encode(),
                }
            )
            for column in columns
        ]
    )


def compare_columns(feed: Feed, before: pa.Schema, now: pa.Schema) -> tuple[list[str], list[str]]:
    """The columns that are new, and those whose type has become wider.

    Raises SchemaChanged for any other difference.
    """
    old = {column.name: column for column in before}
    new = {column.name: column for column in now}
    gone = [name for name in old if name not in new]
    both = [name for name in old if name in new]
    changed = [name for name in both if new[name].type != old[name].type or _is_retold(old[name], new[name])]
    other = [name for name in changed if not _is_wider(old[name].type, new[name].type)]
    if gone or other:
        said = [f"{name} is gone" for name in gone]
        said += [f"{name} was {old[name].type} and is {new[name].type}" for name in other]
        raise SchemaChanged(
            f"the columns of {feed.source} no longer fit the lake's table {feed.name}: {'; '.join(said)}",
            f"keep the history under its feed (manage_feeds.py archive {feed.name}) and add a new feed, "
            "or derive a source that keeps the old columns",
        )
    return [name for name in new if name not in old], changed


def _is_retold(old: pa.Field, new: pa.Field) -> bool:
    """Whether columns of one Arrow type differ in what ksqlDB calls it, and all values of `old` are of `new`.

    TIME is kept as text, so it can become STRING, at any depth. Not the other way: not all text is a time.
    """
    pairs = set(zip(_words(old), _words(new), strict=False))
    return old.type == new.type and (b"TIME", b"STRING") in pairs and (b"STRING", b"TIME") not in pairs


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


def _words(column: pa.Field) -> list[bytes]:
    return re.findall(rb"`[^`]*`|\w+", (column.metadata or {}).get(KSQLDB_TYPE, b""))


def _is_wider(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every value of `old` is one of `new` too, at every depth: INTEGER to BIGINT, DECIMAL to a longer one."""
    if old == new or (old == pa.int32() and new == pa.int64()):
        return True
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _is_wider(old.value_type, new.value_type)
    if pa.types.is_map(old) and pa.types.is_map(new):
        return bool(old.key_type == new.key_type) and _is_wider(old.item_type, new.item_type)
    if pa.types.is_struct(old) and pa.types.is_struct(new) and [f.name for f in old] == [f.name for f in new]:
        return all(_is_wider(a.type, b.type) for a, b in zip(old, new, strict=True))
    return False
