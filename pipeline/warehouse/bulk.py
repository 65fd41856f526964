"""Rows into a staging table: by LOAD DATA LOCAL where the server takes it, else by multi-row INSERTs.

Each call sends what it is given and leaves no file behind; a process that is killed leaves one file of at most that
many rows in the system's temporary folder.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.errors import TryLater
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.rows import StagedColumn

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


class StagedRowsLost(TryLater):
    """The server did not keep the rows that were staged."""


def send_rows(
    connection: Connection, table: str, columns: Sequence[StagedColumn], rows: Sequence[Sequence[Any]]
) -> None:
    """Adds rows to a table. Both ways give the same values. Raises StagedRowsLost when rows did not arrive."""
    if not rows:
        return
    if connection.takes_local_files:
        sent = connection.load_file(table, _column_list(columns), lambda path: _write(path, rows))
        if sent is not None and sent != len(rows):
            raise StagedRowsLost(f"{sent} of {len(rows)} rows reached {table}", "run the command again")
        if sent is not None:
            return
    connection.insert(table, [column.name for column in columns], rows)


def _column_list(columns: Sequence[StagedColumn]) -> str:
    """Binary columns travel as hexadecimal digits, because the file has to be valid UTF-8."""
    names, unhexed = [], []
    for place, column in enumerate(columns):
        if _is_binary(column):
            names.append(f"@b{place}")
            unhexed.append(f"{quote(column.name)} = UNHEX(@b{place})")
        else:
            names.append(quote(column.name))
    return f"({', '.join(names)})" + (f" SET {', '.join(unhexed)}" if unhexed else "")


def _is_binary(column: StagedColumn) -> bool:
    return column.target.data_type.endswith(("binary", "blob"))


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines("\t".join(map(_field, row)) + "\n" for row in rows)


def _field(value: Any) -> str:
    """A value as LOAD DATA reads it with its default escapes."""
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    return str(value)
