"""Rows into a staging table: by LOAD DATA LOCAL where the server takes it, else by multi-row INSERTs.

Each call sends what it is given and leaves no file behind; a process that is killed leaves one file of at most that
many rows in the system's temporary folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.content import bytes_of
from pipeline.errors import TryLater
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.rows import StagedColumn

SENT_BYTES = 8 * 2**20
"""About the size of what is converted and sent at once; the largest temporary file is of this order."""


class StagedRowsLost(TryLater):
    """The server did not keep the rows that were staged."""


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in parts that are small enough to be sent at once."""
    rows = max(1, SENT_BYTES * batch.num_rows // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def send_rows(
    connection: Connection, table: str, columns: Sequence[StagedColumn], texts: Sequence[pa.Array], lines: pa.Array
) -> None:
    """Adds rows, given as texts by column and as whole lines, to a table. Both ways give the same values.

    Raises StagedRowsLost when rows did not arrive.
    """
    if len(lines) == 0:
        return
    if connection.takes_local_files:
        sent = connection.load_file(table, _column_list(columns), lambda path: path.write_bytes(bytes_of(lines)))
        if sent is not None and sent != len(lines):
            raise StagedRowsLost(f"{sent} of {len(lines)} rows reached {table}", "run the command again")
        if sent is not None:
            return
    values = [
        [None if text is None else bytes.fromhex(text) for text in column.to_pylist()]
        if target.target.is_binary
        else column.to_pylist()
        for target, column in zip(columns, texts, strict=True)
    ]
    connection.insert(table, [column.name for column in columns], zip(*values, strict=True))


def _column_list(columns: Sequence[StagedColumn]) -> str:
    """Binary columns travel as hexadecimal digits, because the file has to be valid UTF-8."""
    names, unhexed = [], []
    for place, column in enumerate(columns):
        if column.target.is_binary:
            names.append(f"@b{place}")
            unhexed.append(f"{quote(column.name)} = UNHEX(@b{place})")
        else:
            names.append(quote(column.name))
    return f"({', '.join(names)})" + (f" SET {', '.join(unhexed)}" if unhexed else "")
