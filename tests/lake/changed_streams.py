"""What happens to a stream whose catalogs of other engines must follow it."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.lake.checkpoint import drop_old_entries
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.retention import expire
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import DAY_MS, add_rows, commit_id

MORE: list[tuple[str, pa.DataType]] = [
    ("m", pa.map_(pa.string(), pa.decimal128(38, 10))),
    ("s", pa.struct([("x", pa.int32()), ("l", pa.list_(pa.timestamp("us", tz="UTC")))])),
    ("b", pa.binary()),
    ("d", pa.date32()),
    ("f", pa.float64()),
]
"""Columns that come later, of the types that a stream begins without."""


def add_old_and_new_rows(table: LakeTable) -> None:
    """Four commits, each with a row of 1970 and one of 2026."""
    for number in range(4):
        add_rows(table, number + 1, [(0, 0, number, "old"), (20_775 * DAY_MS + number, 0, 10 + number, "new")])


def compact_and_expire(table: LakeTable, now: dt.datetime) -> None:
    compact_part(table, Goal(10**6, None), commit_id(9), now, Compacted("events"))
    expire(table, commit_id(10), now, max_share=1)


def drop_first_entries(table: LakeTable, now: dt.datetime) -> None:
    """Two commits, each after a checkpoint; the entries before the first checkpoint are dropped."""
    for _ in range(2):  # the second checkpoint lets go of the entries before the first
        table._log.sum_up(None, dt.timedelta(0))
        add_rows(table, 17 + table.delta_version, [(0, 0, 50 + table.delta_version, "v")], now)
    drop_old_entries(table.store, now + dt.timedelta(days=60), dt.timedelta(0))
    assert "00000000000000000000.json" not in table.store.names(LOG)


@contextlib.contextmanager
def restored_after(table: LakeTable, backup: Path) -> Iterator[None]:
    """At the end of the block the log is lost, and what it was at its beginning is restored from a backup."""
    log = Path(table.uri(LOG))
    shutil.copytree(log, backup)
    yield
    shutil.rmtree(log)
    shutil.copytree(backup, log)
    table.refresh()
