"""The Delta log on disk as it is found: opened, or refused with what is wrong with it; what it let go, and when.

A log that is lost, torn or of a kind that this package does not read calls for a person: taken for a new table, or read
as far as it goes, it would double rows or lose them in silence.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow.parquet as pq

from pipeline.errors import CommitFailed, LogDamaged, TableNotSupported
from pipeline.lake.delta import TIME_KEY, delta_errors
from pipeline.lake.files import parquet_files
from pipeline.lake.store import LOG, Store

LAST_CHECKPOINT = "_last_checkpoint"
_READER_FEATURES = frozenset({"timestampNtz"})
_FORGETS = "delta.setTransactionRetentionDuration"


def open_table(store: Store, feed: str) -> deltalake.DeltaTable | None:
    """The table by its log; None before its first entry.

    Raises LogDamaged for a log that is lost or cannot be read, or that has an empty entry: the Delta library would pass
    it over, and its rows. Raises TableNotSupported.
    """
    with delta_errors(store.uri()):
        if not any(name.endswith((".json", ".parquet")) for name in store.names(LOG)):
            _refuse_lost_log(store, feed)
            return None
        due = entries_due(store)
        what = "" if all(store.size(entry) != 0 for entry in due) else _harm(store, due)
        try:
            if not what:
                with delta_errors(store.uri()):
                    return _supported(deltalake.DeltaTable(store.uri()), feed)
        except CommitFailed as error:
            what = _harm(store, due) or error.message
    hint = f"restore its Delta log from a backup, or see what can be done: python metadata_utils.py repair {feed}"
    if due and store.uri(due[-1]) in what:
        hint = f"the next export of {feed} removes that entry: another program began it and did not end it"
    raise LogDamaged(f"the feed {feed} cannot be read: {what}", hint)


def _refuse_lost_log(store: Store, feed: str) -> None:
    """A table's first entry is there before its first file, and its log is deleted after its last one."""
    for path in parquet_files(store):
        raise LogDamaged(
            f"the feed {feed} cannot be read: {store.uri(LOG)} is lost, and there are data files, "
            f"{store.uri(path)} among them",
            f"restore that folder from a backup, or see what can be done: python metadata_utils.py repair {feed}",
        )


def _supported(table: deltalake.DeltaTable, feed: str) -> deltalake.DeltaTable:
    """The table, if what its log says means what this package takes it for. Raises TableNotSupported."""
    settings, protocol = table.metadata().configuration, table.protocol()
    if _FORGETS in settings:
        raise TableNotSupported(
            f"the table of the feed {feed} has the property {_FORGETS}: with it other engines drop its bookmarks",
            f"unset it where it was set: ALTER TABLE ... UNSET TBLPROPERTIES ('{_FORGETS}')",
        )
    unknown = set(protocol.reader_features or ()) - _READER_FEATURES
    if settings.get("delta.enableDeletionVectors", "false") != "false" or "deletionVectors" in unknown:
        raise TableNotSupported(
            f"the table of the feed {feed} has deletion vectors: its files have rows that no longer count",
            "purge and drop them where they were set: REORG TABLE ... APPLY (PURGE), then "
            "ALTER TABLE ... DROP FEATURE deletionVectors",
        )
    if unknown or protocol.min_reader_version == 2:
        named = ", ".join(sorted(unknown)) or "columnMapping"
        raise TableNotSupported(
            f"the table of the feed {feed} has features of Delta that are not read here: {named}",
            "drop them where they were set: ALTER TABLE ... DROP FEATURE ...",
        )
    return table


def entry_time(entry: dict[str, Any]) -> dt.datetime | None:
    """The time of the run that made an entry of a table's history; None for one from before the first run."""
    epoch_ms = entry.get(TIME_KEY, entry.get("timestamp", 0))
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC) if epoch_ms else None


def removed_files(store: Store) -> dict[str, int]:
    """When each file that the table let go was taken out of it, in epoch milliseconds, by path.

    Read here because the Delta library leaves out those whose time is still to come by this machine's clock.
    """
    removed: dict[str, int] = {}
    names = store.names(LOG)
    for name in (name for name in names if name.startswith(f"{_newest_checkpoint(names):020}.checkpoint")):
        with store.open_parquet(f"{LOG}/{name}") as opened, pq.ParquetFile(opened) as checkpoint:
            rows = checkpoint.read(columns=["remove.path", "remove.deletionTimestamp"]).to_pylist()
        for row in (row["remove"] for row in rows if row["remove"]):
            removed[unquote(row["path"])] = row["deletionTimestamp"] or 0
    for action in _actions(store, entries_due(store)):
        if "remove" in action:
            removed[unquote(action["remove"]["path"])] = action["remove"].get("deletionTimestamp") or 0
        elif "add" in action:
            removed.pop(unquote(action["add"]["path"]), None)
    return removed


def _actions(store: Store, entries: Iterable[str]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        for line in store.read(entry).splitlines():
            yield json.loads(line)


def remove_torn_entry(store: Store) -> bool:
    """Removes the newest log entry when a power cut left it empty or in part; returns whether it did.

    Such an entry is of another program, was never acknowledged, and keeps readers from the table. Only under the
    feed's lock.
    """
    torn = torn_entry(store)
    if torn is None:
        return False
    store.delete(torn)
    return True


def torn_entry(store: Store) -> str | None:
    """The newest log entry, where it is not whole."""
    numbers = _entry_numbers(store.names(LOG))
    newest = entry_name(max(numbers, default=0))
    return newest if numbers and not _is_whole(store.read(newest)) else None


def last_checkpoint(store: Store) -> int:
    """The version of the checkpoint that readers are pointed to; 0 without one, or with a hint that was torn."""
    try:
        return int(json.loads(store.read(f"{LOG}/{LAST_CHECKPOINT}"))["version"])
    except (FileNotFoundError, ValueError):
        return 0


def entry_name(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def entries_due(store: Store) -> list[str]:
    """The entries that readers need, there or not: those after the newest checkpoint."""
    names = store.names(LOG)
    last = max(_entry_numbers(names), default=-1)
    return [entry_name(number) for number in range(_newest_checkpoint(names) + 1, last + 1)]


def _entry_numbers(names: Sequence[str]) -> list[int]:
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [int(stem) for stem in stems if stem.isdigit()]


def _newest_checkpoint(names: Sequence[str]) -> int:
    numbers = (name.partition(".checkpoint")[0] for name in names if ".checkpoint" in name and name.endswith("parquet"))
    return max((int(number) for number in numbers if number.isdigit()), default=-1)


def _harm(store: Store, entries: Iterable[str]) -> str:
    """What is wrong with the first entry that is missing or not whole; empty without one."""
    for entry in entries:
        if store.size(entry) is None:
            return f"{store.uri(entry)} is missing"
        if not _is_whole(store.read(entry)):
            return f"{store.uri(entry)} is not whole"
    return ""


def _is_whole(entry: bytes) -> bool:
    """Whether each line can be read: a line of a log that is cut, or that was never written, is no JSON."""
    try:
        return bool([json.loads(line) for line in entry.splitlines()])
    except ValueError:
        return False
