"""Inserts a snapshot's rows into their fact table; rows that the table refuses become rejects with the server's reason.

Part of the load's transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from pipeline.errors import RowRefused
from pipeline.warehouse.connection import Connection, quote, text_of
from pipeline.warehouse.fitting import MappedColumn, Reject
from pipeline.warehouse.foreign_keys import are_certain, not_looked_up
from pipeline.warehouse.mapping import ResolvedMapping
from pipeline.warehouse.send import send_lines
from pipeline.warehouse.session_tables import add_rejects
from pipeline.warehouse.sorted_rows import SortedRows

WHOLE_ROW = "(row)"
"""The column name of a reject that the table itself refused."""
_NUMBERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "double", "float"}


FillFact = Callable[[Connection, SortedRows, int, dt.datetime], tuple[int, list[Reject]]]
"""Inserts a snapshot's rows into their fact with a version and a time; returns how many, and the refused rows."""


def send_to_fact(
    connection: Connection, rows: SortedRows, version: int, taken_at: dt.datetime
) -> tuple[int, list[Reject]]:
    """Sends all rows directly to the fact. Raises RowRefused when the fact refuses one.

    The server looks up the rows' foreign keys, unless all of them are certain to hold.
    """
    same = {"snapshot_version": version, "snapshot_date": taken_at.date()}
    sent = 0
    with not_looked_up(connection) if are_certain(connection, rows.mapping) else contextlib.nullcontext():
        for lines in rows.row_lines():
            send_lines(connection, rows.mapping.fact, rows.mapping.columns, lines, same)
            sent += len(lines)
    return sent, []


def insert_row_table(
    connection: Connection, rows: SortedRows, version: int, taken_at: dt.datetime
) -> tuple[int, list[Reject]]:
    """Copies the rows of the session's row table to the fact, without those that its keys, CHECKs or triggers refuse.

    Of rows with the same unique key the first stays. All rows are tried at once; if the server refuses, they are halved
    until each refused row is found.
    """
    mapping = rows.mapping
    ((first, last),) = connection.rows(f"SELECT MIN(staging_id), MAX(staging_id) FROM {quote(mapping.row_table)}")
    if first is None:
        return 0, []
    inserted, refused = 0, list[Reject]()
    waiting = [(int(first), int(last))]
    while waiting:
        low, high = waiting.pop()
        try:
            inserted += _insert(connection, mapping, version, taken_at, low, high)
        except RowRefused as refusal:
            if low == high:
                refused.append(_as_reject(connection, mapping, low, refusal.reason))
            else:
                middle = (low + high) // 2
                waiting += [(middle + 1, high), (low, middle)]
    add_rejects(connection, mapping, refused)
    return inserted, refused


def _insert(
    connection: Connection, mapping: ResolvedMapping, version: int, taken_at: dt.datetime, low: int, high: int
) -> int:
    names = ", ".join(quote(name) for name in mapping.declared.columns)
    return connection.run(
        f"INSERT INTO {quote(mapping.fact)} (snapshot_version, snapshot_date, {names})\n"
        f"SELECT %s, %s, {names} FROM {quote(mapping.row_table)} WHERE staging_id BETWEEN %s AND %s",
        (version, taken_at.date(), low, high),
    )


def _as_reject(connection: Connection, mapping: ResolvedMapping, staging_id: int, reason: str) -> Reject:
    listed = ", ".join(in_full(column) for column in mapping.columns)
    ((*values,),) = connection.rows(
        f"SELECT {listed} FROM {quote(mapping.row_table)} WHERE staging_id = %s", (staging_id,)
    )
    row = {column.name: _as_json(value, column) for column, value in zip(mapping.columns, values, strict=True)}
    whole = {column.source: row[column.name] for column in mapping.columns}
    return Reject(_object({key: row[key] for key in mapping.keys}), WHOLE_ROW, reason, _object(whole))


def in_full(column: MappedColumn) -> str:
    """SQL for a value with all its digits: as text for types of which the driver loses digits or cannot make text."""
    name, kind = quote(column.name), column.target.data_type
    if column.target.is_binary:
        return f"HEX({name})"
    if kind == "float":
        return f"{name} + 0e0"
    return name if kind == "double" else f"CAST({name} AS CHAR)"


def _as_json(value: Any, column: MappedColumn) -> str:
    if value is None:
        return "null"
    text = text_of(value)
    return text if column.target.data_type in _NUMBERS else json.dumps(text, ensure_ascii=False)


def _object(row: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in row.items()) + "}"
