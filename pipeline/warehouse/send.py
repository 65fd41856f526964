"""Sends rows to a table: by LOAD DATA LOCAL where the server accepts that, else by multi-row INSERTs.

Each call leaves no file behind; a process that is killed leaves one file with at most the rows of one call in the
system's temporary folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import RowsLost
from pipeline.exact_text import bytes_of, texts_in
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.fitting import MappedColumn


def send_lines(
    connection: Connection,
    table: str,
    columns: Sequence[MappedColumn],
    lines: pa.Array,
    same: Mapping[str, Any] | None = None,
) -> None:
    """Adds rows to a table, each with the values of `same` besides. Both ways store the same values.

    Raises RowRefused when the table does not take them all as they are, RowsLost when rows did not arrive.
    """
    same = same or {}
    if connection.takes_local_files:
        sent = connection.load_file(table, _column_list(columns, same), bytes_of(lines), tuple(same.values()))
        if sent is not None and sent != len(lines):
            raise RowsLost(f"{sent} of {len(lines)} rows reached {table}; nothing was loaded", "run the command again")
        if sent is not None:
            return
    binary = [column.target.is_binary for column in columns]
    rows = (
        [bytes.fromhex(text) if is_binary and text is not None else text
         for text, is_binary in zip(texts_in(line), binary, strict=True)] + list(same.values())
        for line in lines.to_pylist()
    )  # fmt: skip
    connection.insert(table, [*(column.name for column in columns), *same], rows)


def _column_list(columns: Sequence[MappedColumn], same: Mapping[str, Any]) -> str:
    """The column list of LOAD DATA. Binary columns are sent as hexadecimal digits, because the file must be UTF-8."""
    names, settings = [], []
    for place, column in enumerate(columns):
        if column.target.is_binary:
            names.append(f"@b{place}")
            settings.append(f"{quote(column.name)} = UNHEX(@b{place})")
        else:
            names.append(quote(column.name))
    settings += [f"{quote(name)} = %s" for name in same]
    return f"({', '.join(names)})" + (f" SET {', '.join(settings)}" if settings else "")
