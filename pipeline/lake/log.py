"""The Delta log on disk as it is found: opened, or refused with what is wrong with it; what it let go, and when.

A log that is lost, torn or of a kind that this package does not read calls for a person: taken for a new table, or read
as far as it goes, it would double rows or lose them in silence.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow.parquet as pq

from pipeline.errors import CommitFailed, LogDamaged, TableNotSupported
from pipeline.lake.delta import TIME_KEY, delta_errors
from pipeline.lake.local_store import LOG, delete_file, sync_folder

LAST_CHECKPOINT = "_last_checkpoint"
_READER_FEATURES = frozenset({"timestampNtz"})
_FORGETS = "delta.setTransactionRetentionDuration"


def open_table(folder: Path, feed: str) -> deltalake.DeltaTable | None:
    """The table by its log; None before its first entry.

    Raises LogDamaged for a log that is lost or cannot be read, or that has an empty entry: the Delta library would pass
    it over, and its rows. Raises TableNotSupported.
    """
    log = folder / LOG
    with delta_errors(folder):
        if not log.is_dir() or not any(any(log.glob(name)) for name in ("*.json", "*.checkpoint*.parquet")):
            _refuse_lost_log(folder, feed)
            return None
        due = entries_due(log)
        what = "" if all(not entry.exists() or entry.stat().st_size for entry in due) else _harm(due)
        try:
            if not what:
                with delta_errors(folder):
                    return _supported(deltalake.DeltaTable(folder), feed)
        except CommitFailed as error:
            what = _harm(due) or error.message
    hint = f"restore its Delta log from a backup, or see what can be done: python metadata_utils.py repair {feed}"
    if due and str(due[-1]) in what:
        hint = f"the next export of {feed} removes that entry: another program began it and did not end it"
    raise LogDamaged(f"the feed {feed} cannot be read: {what}", hint)


def _refuse_lost_log(folder: Path, feed: str) -> None:
    """A table's first entry is there before its first file, and its log is deleted after its last one."""
    for pattern in ("date=*/*.parquet", "version=*/*.parquet"):
        for path in folder.glob(pattern):
            raise LogDamaged(
                f"the feed {feed} cannot be read: {folder / LOG} is lost, and there are data files, {path} among them",
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


def removed_files(folder: Path) -> dict[str, int]:
    """When each file that the table let go was taken out of it, in epoch milliseconds, by path.

    Read here because the Delta library leaves out those whose time is still to come by this machine's clock.
    """
    log = folder / LOG
    removed: dict[str, int] = {}
    for path in log.glob(f"{_newest_checkpoint(log):020}.checkpoint*.parquet"):
        with pq.ParquetFile(path) as checkpoint:
            rows = checkpoint.read(columns=["remove.path", "remove.deletionTimestamp"]).to_pylist()
        for row in (row["remove"] for row in rows if row["remove"]):
            removed[unquote(row["path"])] = row["deletionTimestamp"] or 0
    for action in _actions(entries_due(log)):
        if "remove" in action:
            removed[unquote(action["remove"]["path"])] = action["remove"].get("deletionTimestamp") or 0
        elif "add" in action:
            removed.pop(unquote(action["add"]["path"]), None)
    return removed


def _actions(entries: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        for line in entry.read_bytes().splitlines():
            yield json.loads(line)


def sync_log(folder: Path) -> None:
    """Makes durable what this run finds: a killed run may have given names that no power cut has tested yet."""
    for path in (folder / LOG, folder, folder.parent, folder.parent.parent):
        if path.is_dir():
            sync_folder(path)


def remove_torn_entry(log: Path) -> bool:
    """Removes the newest log entry when a power cut left it empty or in part; returns whether it did.

    Such an entry is of another program, was never acknowledged, and keeps readers from the table. Only under the
    feed's lock.
    """
    torn = torn_entry(log)
    if torn is None:
        return False
    delete_file(torn)
    sync_folder(log)
    return True


def torn_entry(log: Path) -> Path | None:
    """The newest log entry, where it is not whole."""
    entries = sorted(path for path in log.glob("*.json") if path.stem.isdigit())
    return entries[-1] if entries and not _is_whole(entries[-1]) else None


def last_checkpoint(log: Path) -> int:
    """The version of the checkpoint that readers are pointed to; 0 without one, or with a hint that was torn."""
    try:
        return int(json.loads((log / LAST_CHECKPOINT).read_bytes())["version"])
    except (FileNotFoundError, ValueError):
        return 0


def entries_due(log: Path) -> list[Path]:
    """The entries that readers need, there or not: those after the newest checkpoint."""
    last = max((int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()), default=-1)
    return [log / f"{number:020}.json" for number in range(_newest_checkpoint(log) + 1, last + 1)]


def _newest_checkpoint(log: Path) -> int:
    checkpoints = (path.name.partition(".")[0] for path in log.glob("*.checkpoint*.parquet"))
    return max((int(number) for number in checkpoints if number.isdigit()), default=-1)


def _harm(entries: Iterable[Path]) -> str:
    """What is wrong with the first entry that is missing or not whole; empty without one."""
    for entry in entries:
        if not entry.exists():
            return f"{entry} is missing"
        if not _is_whole(entry):
            return f"{entry} is not whole"
    return ""


def _is_whole(entry: Path) -> bool:
    """Whether each line can be read: a line of a log that is cut, or that was never written, is no JSON."""
    lines = entry.read_bytes().splitlines()
    try:
        return bool([json.loads(line) for line in lines])
    except ValueError:
        return False
