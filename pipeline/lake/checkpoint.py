"""A log's checkpoints, and the entries before them, which are dropped when no reader needs them.

A checkpoint has the table's whole state, bookmarks included. Entries are dropped only when two checkpoints lie after
them and all versions before the older one are out of reach for readers and `unexpire`. That is decided by versions and
by the times of two runs, never by one clock alone. A crash leaves more files than are needed.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import CommitFailed
from pipeline.lake.entry import PrivateLog
from pipeline.lake.head import entry_time
from pipeline.lake.log import HISTORY, LAST_CHECKPOINT, checkpoints, entry_info, entry_name, entry_numbers
from pipeline.lake.store import LOG, Store

CHECKPOINT_EVERY = 25
"""Entries from one checkpoint to the next, a quarter of the Delta library's own default: each run reads those since the
last one, in a bucket with a request each.
"""
READERS_NEED = dt.timedelta(days=1)
"""How long a reader may use the log as it was at its start; after that its checkpoint and entries may be dropped."""


def write_checkpoint(
    store: Store, private: PrivateLog, version: int, transactions: Mapping[str, int], gone: Collection[str]
) -> None:
    """Writes the checkpoint of `version` from its `private` copy, without removed files that are `gone` from disk.

    A checkpoint of that version by another program is kept as it is. Ours is compressed, because the Delta
    library does not do so: with zstd the checkpoint of 10,000 files has 0.2 MB instead of 3 MB. Raises CommitFailed
    where it lacks one of the `transactions`.
    """
    name = f"{LOG}/{version:020}.checkpoint.parquet"
    if version in checkpoints(store.names(LOG)):  # its bytes are in the private copy too, and readers may be in them
        return
    private.delta.create_checkpoint()
    rows = pq.read_table(private.folder / name)
    has = {mark["appId"]: mark["version"] for mark in pc.drop_null(rows["txn"]).to_pylist()}
    if has != dict(transactions):
        raise CommitFailed(f"the checkpoint {version} of {store.uri()} lacks bookmarks", "nothing needs to be done")
    if gone:
        removed = pc.struct_field(rows["remove"].combine_chunks(), "path")
        rows = rows.filter(pc.invert(pc.is_in(removed, value_set=pa.array(sorted(gone), pa.string()))))
    pq.write_table(rows, private.folder / name, compression="zstd")
    store.put_new(name, private.folder / name, lambda: None)
    store.replace(f"{LOG}/{LAST_CHECKPOINT}", json.dumps({"version": version, "size": rows.num_rows}).encode())


def drop_old_entries(store: Store, past: dt.datetime, keep: dt.timedelta) -> None:
    """Drops entries and checkpoints that are not needed to read versions from `keep` before `past`, a safely past time.

    The two newest checkpoints stay; so do the checkpoint that the oldest readable version starts from, the entries
    after it, and the checkpoint that will replace it. The commit information of dropped entries is saved.
    """
    names = store.names(LOG)
    sums = checkpoints(names)
    first = _newest_before(store, sums[:-1], past - max(keep, READERS_NEED))
    passed = _newest_before(store, sums[:-2], past - READERS_NEED)
    following = min(version for version in sums if version > first)
    _keep_history(store, [version for version in sorted(entry_numbers(names)) if version < first])
    dropped = []
    for name in names:
        stem = name.partition(".")[0]
        if len(stem) == 20 and stem.isdigit():
            between = ".checkpoint" in name and following < int(stem) < passed
            if int(stem) < first or between:
                dropped.append(f"{LOG}/{name}")
    if dropped:
        store.delete(*dropped)


def _newest_before(store: Store, sums: Sequence[int], moment: dt.datetime) -> int:
    """The newest of these versions that was made before the moment; 0 if there is none."""
    for version in reversed(sums):
        if store.size(entry_name(version)) is None:
            continue
        made_at = entry_time(entry_info(store, version))
        if made_at is not None and made_at < moment:
            return version
    return 0


def _keep_history(store: Store, versions: Sequence[int]) -> None:
    """Appends the commit information of these entries to that of earlier ones."""
    if versions:
        lines = [json.dumps(entry_info(store, version), separators=(",", ":")) + "\n" for version in versions]
        before = store.read(HISTORY) if store.size(HISTORY) is not None else b""
        store.replace(HISTORY, before + gzip.compress("".join(lines).encode(), mtime=0))
