"""The columns of a stream or table, with the types of all their parts.

DESCRIBE lacks the key types of MAPs (see `sqltypes.described_type`). In JSON all keys are STRING; for other formats the
key types come from the header of a query, which is ended before it sends rows.
"""

from __future__ import annotations

from pipeline.columns import Column, SqlType
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import Description, quote
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.push import start_push
from pipeline.limits import Limits

_KEYS_ARE_STRINGS = ("JSON", "JSON_SR")  # the server refuses to declare a MAP with others in these formats


def columns_of(client: Client, source: Description, positions: bool) -> tuple[Column, ...]:
    """The columns for the lake; with `positions`, ROWTIME, partition and offset come first. May send a query."""
    projection = project(source, positions)
    if source.value_format in _KEYS_ARE_STRINGS or not any(_has_map(column.type) for column in source.columns):
        return projection.describe().columns
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)} EMIT CHANGES;"
    push = start_push(client, source, sql, Limits(), None, {}, projection.layout)
    push.answer.close()
    return push.answer.layout.columns


def _has_map(type_: SqlType) -> bool:
    inner = [type_.element] if type_.element else [field for _, field in type_.fields]
    return type_.base == "MAP" or any(map(_has_map, inner))
