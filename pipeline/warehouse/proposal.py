"""Proposes a fact table for a feed from its source's columns: the mapping, and the SQL of the table.

The two fit each other, the SQL can be run twice on MySQL 8 and MariaDB 10.6, and each value of the source is stored
exactly; a value that is longer than its column, or that MySQL cannot store, becomes a reject.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.columns import Column, SqlType, is_long_in_mysql_key, mysql_type
from pipeline.errors import NoProposal
from pipeline.feeds import RESERVED_COLUMNS, Feed, WarehouseMapping
from pipeline.source import StreamSource, TableSource
from pipeline.warehouse.connection import quote
from pipeline.warehouse.migrations import DEFAULT_DATABASE

_NAME_LENGTH = 64
_FEED_LENGTH = 47  # with `fact_` before it, short enough for the names of a session's tables
_INDEX_BYTES, _INDEX_COLUMNS = 3072, 16  # InnoDB's limits
_KEY_LENGTH = 255
_BYTES_PER_CHARACTER = 4  # utf8mb4
_VERSION_BYTES = 4  # snapshot_version
_FIXED_KEY_BYTES = 32  # the most that a key column takes that is neither text nor bytes
_WINDOW = {"WINDOWSTART": "epoch ms, inclusive", "WINDOWEND": "epoch ms, exclusive"}
_FILE = """\
-- {fact}: the snapshots of the ksqlDB table {source} (feed {feed}). Can be run twice; drops nothing.
--   python sync_to_mysql.py --init-schema
-- Proposed by `manage_feeds.py ddl {feed}`. Before the first use lengths can be changed, and columns and indexes
-- added or left out; what the mapping names must stay. A value that is longer than its column becomes a reject.

USE {database};

CREATE TABLE IF NOT EXISTS {quoted_fact} (
  {columns}
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: {grain}.';

CREATE OR REPLACE VIEW {quoted_view} AS
SELECT f.*
FROM {quoted_fact} AS f
JOIN etl_current AS c
  ON c.snapshot_version = f.snapshot_version
WHERE c.fact_table = '{fact}';
"""


def columns_of_table(found: StreamSource | TableSource) -> tuple[Column, ...]:
    """The columns of a table; the bounds of a window are keys.

    Raises NoProposal for a stream; SourceNotReadable, ColumnNamesCollide or TypeNotSupported, as an export would.
    """
    if found.kind != "table":
        name = found.source.name
        raise NoProposal(f"{name} is a {found.kind}: only tables go into the warehouse", "derive a table of it")
    return found.columns()


def propose_mapping(feed: Feed, columns: Sequence[Column], others: Sequence[Feed] = ()) -> WarehouseMapping:
    """A mapping of every column, named as in the lake where MySQL allows that; the grain is the table's key.

    Raises NoProposal for a table without a key, or if one of the feeds `others` already has the fact.
    """
    fact = f"fact_{_short(feed.name.replace('-', '_'), _FEED_LENGTH)}"
    for other in others:
        if other.warehouse and other.name != feed.name and other.warehouse.fact.lower() == fact:
            raise NoProposal(
                f"the fact table {fact} is that of the feed {other.name} already",
                f"give the feed {feed.name} a mapping by hand: docs/warehouse.md, A table of your own",
            )
    named: dict[str, Column] = {}
    for column in columns:
        named[_free_name(column.lake_name, named)] = column
    keys = tuple(name for name, column in named.items() if column.role == "KEY")
    if not keys:
        raise NoProposal(f"the table {feed.source} has no key, so its rows have no grain", "derive a table with a key")
    return WarehouseMapping(fact=fact, keys=keys, columns={name: column.lake_name for name, column in named.items()})


def fact_sql(feed: Feed, mapping: WarehouseMapping, columns: Sequence[Column]) -> str:
    """A whole file for `sql/`: the fact table of the mapping, and its current view.

    Raises NoProposal for a mapping with a column that the source does not have, or with more keys than an index takes.
    """
    declared = [
        *_surrogate_columns(mapping),
        *_mapped_columns(mapping, _sources(feed, mapping, columns)),
        *_indexes(mapping),
    ]
    return _FILE.format(
        fact=mapping.fact,
        source=feed.source,
        feed=feed.name,
        database=DEFAULT_DATABASE,
        quoted_fact=quote(mapping.fact),
        quoted_view=quote(_short(f"current_{_stem(mapping)}", _NAME_LENGTH)),
        columns=",\n  ".join(declared),
        grain=" x ".join([*mapping.keys, "snapshot"]),
    )


def _sources(feed: Feed, mapping: WarehouseMapping, columns: Sequence[Column]) -> dict[str, Column]:
    """The source's column for each column of the fact."""
    by_name = {column.lake_name: column for column in columns}
    missing = [source for source in mapping.columns.values() if source not in by_name]
    if missing:
        raise NoProposal(
            f"the warehouse mapping of {feed.name} names columns that {feed.source} does not have: "
            f"{', '.join(missing)}",
            "correct 'warehouse' in the feed's file, or add --new-mapping to propose another mapping",
        )
    return {name: by_name[source] for name, source in mapping.columns.items()}


def _surrogate_columns(mapping: WarehouseMapping) -> list[str]:
    return [
        f"{quote(_surrogate(mapping))} BIGINT NOT NULL AUTO_INCREMENT",
        "snapshot_version INT NOT NULL",
        "snapshot_date DATE NOT NULL",
    ]


def _mapped_columns(mapping: WarehouseMapping, sources: Mapping[str, Column]) -> Iterator[str]:
    key_length = _key_length([sources[key].type for key in mapping.keys])
    member = _member_column(mapping)
    for name, column in sources.items():
        is_key = name in mapping.keys
        length = key_length if is_key else _KEY_LENGTH if name == member else None
        type_, meaning = mysql_type(column.type, length)
        if is_key:
            meaning = _WINDOW.get(column.name, meaning)
        comment = f" COMMENT '{meaning}'" if meaning else ""
        yield f"{quote(name)} {type_} {'NOT NULL' if is_key else 'NULL'}{comment}"


def _indexes(mapping: WarehouseMapping) -> Iterator[str]:
    fact, dimension, member = mapping.fact, mapping.dimension, _member_column(mapping)
    keys = ", ".join(quote(key) for key in mapping.keys)
    yield f"PRIMARY KEY ({quote(_surrogate(mapping))})"
    yield f"UNIQUE KEY {_named('uq', fact)} (snapshot_version, {keys})"
    for name in dict.fromkeys([mapping.keys[0], *([member] if member else [])]):
        yield f"KEY {_named('ix', fact, name.lower())} ({quote(name)}, snapshot_version)"
    yield f"KEY {_named('ix', fact, 'snapshot_date')} (snapshot_date)"
    if dimension and member:
        yield (
            f"CONSTRAINT {_named('fk', fact, dimension.table)} FOREIGN KEY ({quote(member)})\n"
            f"    REFERENCES {quote(dimension.table)} ({quote(dimension.key)}) ON DELETE CASCADE ON UPDATE CASCADE"
        )
    yield (
        f"CONSTRAINT {_named('fk', fact, 'snapshot')} FOREIGN KEY (snapshot_version)\n"
        "    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE"
    )


def _stem(mapping: WarehouseMapping) -> str:
    return mapping.fact.removeprefix("fact_")


def _surrogate(mapping: WarehouseMapping) -> str:
    """The name of the fact's primary key column, different from all columns of the mapping."""
    return _free_name(f"{_stem(mapping)}_id", mapping.columns)


def _member_column(mapping: WarehouseMapping) -> str | None:
    """The fact's column that names a member of the mapping's dimension."""
    if mapping.dimension is None:
        return None
    wanted = mapping.dimension.columns[mapping.dimension.key]
    return next((name for name, source in mapping.columns.items() if source == wanted), None)


def _key_length(keys: Sequence[SqlType]) -> int:
    """The most characters of each text, or bytes of each BYTES column, in the key, so that the unique key is not longer
    than InnoDB allows.

    Raises NoProposal for more columns than an index takes.
    """  # fmt: skip
    if len(keys) >= _INDEX_COLUMNS:
        raise NoProposal(
            f"the key has {len(keys)} columns, and an index of the warehouse takes {_INDEX_COLUMNS - 1} besides "
            "snapshot_version",
            "derive a table with a shorter key",
        )
    long = sum(map(is_long_in_mysql_key, keys))
    room = _INDEX_BYTES - _VERSION_BYTES - _FIXED_KEY_BYTES * (len(keys) - long)
    return min(_KEY_LENGTH, room // max(long, 1) // _BYTES_PER_CHARACTER)


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    """A name that MySQL and mappings allow: other characters become `_`, and a taken name gets a number."""
    plain = _short(re.sub(r"[^A-Za-z0-9_]", "_", name), _NAME_LENGTH)
    used = {*RESERVED_COLUMNS, *(other.lower() for other in taken)}
    free, number = plain, 2
    while free.lower() in used:
        free, number = f"{plain[: _NAME_LENGTH - 4]}_{number}", number + 1
    return free


def _named(kind: str, *parts: str) -> str:
    return quote(_short("_".join([kind, *parts]), _NAME_LENGTH))


def _short(name: str, length: int) -> str:
    """The name; if it is too long, its beginning and a hash of it."""
    if len(name) <= length:
        return name
    return f"{name[: length - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
