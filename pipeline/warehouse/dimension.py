"""Merges a snapshot's members into their dimension (SCD1), and keeps the dimension's versions in its history (SCD2).

Both are part of the load's transaction.
"""

from __future__ import annotations

import datetime as dt

from pipeline.errors import MembersMerged, RowsLost
from pipeline.feeds import DimensionMapping
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.ledger import in_mysql
from pipeline.warehouse.mapping import History, ResolvedMapping
from pipeline.warehouse.sorted_rows import SortedRows

SHOWN_MEMBERS = 20
_FOR_EVER = dt.datetime(9999, 12, 31)


def add_members(connection: Connection, rows: SortedRows, is_newest: bool) -> tuple[int, list[str]]:
    """Merges a snapshot's members into its dimension; returns how many are new there, and the first of them.

    All of them are there then, and locked: nobody can delete one before the transaction ends. A snapshot that is not
    the newest only fills in missing members and attributes. Raises MembersMerged.
    """
    count, first = _unknown_members(connection, rows.mapping)
    _fill(connection, rows.mapping, is_newest)
    _hold_members(connection, rows.mapping, rows.member_count)
    return count, first


def _unknown_members(connection: Connection, mapping: ResolvedMapping) -> tuple[int, list[str]]:
    """How many of the snapshot's members the dimension does not have, and the first of them."""
    dimension = mapping.dimension
    if dimension is None:
        return 0, []
    key = quote(dimension.key)
    unknown = (
        f"FROM {quote(mapping.member_table)} AS new LEFT JOIN {quote(dimension.table)} AS known"
        f" ON known.{key} = new.{key} WHERE known.{key} IS NULL"
    )
    ((count,),) = connection.rows(f"SELECT COUNT(*) {unknown}")
    if not count:
        return 0, []
    first = connection.rows(f"SELECT new.{key} {unknown} ORDER BY new.staging_id LIMIT {SHOWN_MEMBERS}")
    return int(count), [str(member) for (member,) in first]


def _fill(connection: Connection, mapping: ResolvedMapping, is_newest: bool) -> None:
    """Adds members that the dimension does not have, and merges the snapshot's attributes.

    Members whose row would not change are not updated.
    """
    dimension = mapping.dimension
    if dimension is None:
        return
    table, key = quote(dimension.table), quote(dimension.key)
    merged = {
        name: f"COALESCE({', '.join([new, known] if is_newest else [known, new])})"
        for name in _attributes(dimension)
        for new, known in [(f"new.{quote(name)}", f"known.{quote(name)}")]
    }
    changed = [f"known.{key} IS NULL", *(_differs(value, f"known.{quote(name)}") for name, value in merged.items())]
    listed = ", ".join(quote(name) for name in (dimension.key, *merged))
    taken = ", ".join([f"new.{key}", *(f"{value} AS {quote(name)}" for name, value in merged.items())])
    updates = [f"{table}.{quote(name)} = fresh.{quote(name)}" for name in merged] or [f"{table}.{key} = fresh.{key}"]
    connection.run(
        f"INSERT INTO {table} ({listed})\n"
        f"SELECT {listed} FROM (SELECT {taken} FROM {quote(mapping.member_table)} AS new LEFT JOIN {table} AS known"
        f" ON known.{key} = new.{key} WHERE {' OR '.join(changed)}) AS fresh\n"
        f"ON DUPLICATE KEY UPDATE {', '.join(updates)}"
    )


def _hold_members(connection: Connection, mapping: ResolvedMapping, count: int) -> None:
    """Locks the snapshot's members in the dimension, as a look-up of each row's foreign key would.

    Raises RowsLost when the server was not given all of them, and MembersMerged when one is still missing: the
    dimension took it for another one with an equal key.
    """
    dimension = mapping.dimension
    if dimension is None:
        return
    key, members = quote(dimension.key), quote(mapping.member_table)
    ((given,),) = connection.rows(f"SELECT COUNT(*) FROM {members}")
    if given != count:
        raise RowsLost(
            f"{given} of {count} members reached {dimension.table}; nothing was loaded", "run the command again"
        )
    ((held,),) = connection.rows(  # member by member: a scan of the dimension would lock all of it
        f"SELECT COUNT(*) FROM {members} AS new STRAIGHT_JOIN {quote(dimension.table)} AS known"
        f" ON known.{key} = new.{key} LOCK IN SHARE MODE"
    )
    if held != count:
        _, first = _unknown_members(connection, mapping)
        raise MembersMerged(
            f"{dimension.table} takes {', '.join(first[:5])} for another member; nothing was loaded",
            f"a unique key of {dimension.table} besides its key, or a collation that is not a _bin one, does that: "
            "change it",
        )


def keep_history(connection: Connection, history: History, taken_at: dt.datetime) -> None:
    """Ends the versions of changed members at `taken_at`, and begins new ones.

    A version that began at `taken_at` or later is corrected in place, so that none ends before it begins.
    """
    table, dimension, key, now = quote(history.table), quote(history.dimension), quote(history.key), in_mysql(taken_at)
    names = [quote(name) for name in history.attributes]
    joined = f"{table} AS old JOIN {dimension} AS known ON known.{key} = old.{key}"
    changed = f"old.is_current AND ({' OR '.join(_differs(f'old.{name}', f'known.{name}') for name in names)})"
    connection.run(
        f"UPDATE {joined} SET {', '.join(f'old.{name} = known.{name}' for name in names)}"
        f" WHERE {changed} AND old.valid_from >= %s",
        (now,),
    )
    connection.run(f"UPDATE {joined} SET old.valid_to = %s, old.is_current = FALSE WHERE {changed}", (now,))
    connection.run(
        f"INSERT INTO {table} ({key}, {', '.join(names)}, valid_from, valid_to, is_current)\n"
        f"SELECT known.{key}, {', '.join(f'known.{name}' for name in names)}, %s, %s, TRUE FROM {dimension} AS known"
        f" LEFT JOIN {table} AS old ON old.{key} = known.{key} AND old.is_current WHERE old.{key} IS NULL",
        (now, _FOR_EVER),
    )


def _differs(one: str, other: str) -> str:
    """SQL for two values that differ in a byte: collations ignore spaces at the end."""
    return f"NOT (CAST({one} AS BINARY) <=> CAST({other} AS BINARY))"


def _attributes(dimension: DimensionMapping) -> list[str]:
    return [name for name in dimension.columns if name != dimension.key]
