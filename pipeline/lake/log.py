"""The Delta log on disk: an entry or a checkpoint has its name only when all of it is there to stay.

The Delta library names its files before their bytes are on disk, so a power cut can leave an entry without its last
lines: rows without their bookmark. Here the library writes into a private copy of the log (links, no bytes are copied),
and what it wrote is synced before it is linked into the table's log. A crash leaves the entry whole or not at all, and
the private copy, which is in the staging folder that the next run removes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import deltalake

from pipeline.lake.delta import CommitFailed, delta_errors
from pipeline.lake.storage import (
    LakeDamaged,
    delete_file,
    delete_folder,
    link_file,
    make_folder,
    sync_file,
    sync_folder,
    write_file,
)

LOG = "_delta_log"
CHECKPOINT_EVERY = 100
"""Entries from one checkpoint to the next; the Delta library's own default."""
NO_HOOKS = deltalake.PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_LAST_CHECKPOINT = "_last_checkpoint"


class LogDamaged(LakeDamaged):
    """The Delta log of one feed cannot be read; the other feeds are as they were."""


def open_table(folder: Path, feed: str) -> deltalake.DeltaTable | None:
    """The table by its log; None before its first entry.

    Raises LogDamaged for a log that cannot be read, or that has an empty entry: the Delta library would pass it over,
    and its rows.
    """
    log = folder / LOG
    with delta_errors(folder):
        if not log.is_dir() or not any(log.glob("*.json")):
            return None
        due = _entries_due(log)
        what = "" if all(not entry.exists() or entry.stat().st_size for entry in due) else _harm(due)
        try:
            if not what:
                with delta_errors(folder):
                    return deltalake.DeltaTable(folder)
        except CommitFailed as error:
            what = _harm(due) or error.message
    hint = "restore its Delta log from a backup; its data files are as they were"
    if due and str(due[-1]) in what:
        hint = f"the next export of {feed} removes that entry: another program began it and did not end it"
    raise LogDamaged(f"the feed {feed} cannot be read: {what}", hint)


def publish_entry(folder: Path, private: Path, version: int, write: Callable[[Path], object]) -> None:
    """Has `write` commit entry `version` to a private copy of the table in `folder`, then gives it its name.

    Raises CommitFailed when somebody who does not hold the feed's lock has written that entry.
    """
    make_folder(folder / LOG)
    log = _copy_log(folder, private, version - 1)
    write(private)
    name = f"{version:020}.json"
    sync_file(log / name)
    try:
        link_file(log / name, folder / LOG / name)
    except FileExistsError:
        raise CommitFailed(
            f"another program has committed version {version} to {folder}",
            "nothing was committed; run the same command again",
        ) from None
    sync_folder(folder / LOG)
    delete_folder(private)


def write_checkpoint(folder: Path, private: Path, version: int) -> None:
    """Sums the log up in a checkpoint, then drops the entries that are past the table's log retention."""
    log = _copy_log(folder, private, version)
    deltalake.DeltaTable(private).create_checkpoint()
    name = f"{version:020}.checkpoint.parquet"
    sync_file(log / name)
    link_file(log / name, folder / LOG / name)
    sync_folder(folder / LOG)
    write_file(folder / LOG / _LAST_CHECKPOINT, (log / _LAST_CHECKPOINT).read_text(encoding="utf-8"))
    delete_folder(private)
    deltalake.DeltaTable(folder).cleanup_metadata()


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
    entries = sorted(path for path in log.glob("*.json") if path.stem.isdigit())
    if not entries or _is_whole(entries[-1]):
        return False
    delete_file(entries[-1])
    sync_folder(log)
    return True


def _copy_log(folder: Path, private: Path, version: int) -> Path:
    """The log up to `version`, from its last checkpoint on, as links below `private`; returns the links' folder.

    Without entries it is not made: the Delta library takes an empty one for a damaged table.
    """
    log, copy = folder / LOG, private / LOG
    delete_folder(private)
    make_folder(private)
    first = _last_checkpoint(log)
    for path in log.iterdir():
        number = path.name.partition(".")[0]
        if path.name == _LAST_CHECKPOINT or (number.isdigit() and first <= int(number) <= version):
            make_folder(copy)
            link_file(path, copy / path.name)
    return copy


def _last_checkpoint(log: Path) -> int:
    """The version of the checkpoint that readers are pointed to; 0 without one, or with a hint that was torn."""
    try:
        return int(json.loads((log / _LAST_CHECKPOINT).read_bytes())["version"])
    except (FileNotFoundError, ValueError):
        return 0


def _entries_due(log: Path) -> list[Path]:
    """The entries that readers need, there or not: those after the newest checkpoint."""
    checkpoints = (path.name.partition(".")[0] for path in log.glob("*.checkpoint*.parquet"))
    first = max(map(int, checkpoints), default=-1) + 1
    last = max((int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()), default=-1)
    return [log / f"{number:020}.json" for number in range(first, last + 1)]


def _harm(entries: Iterable[Path]) -> str:
    """What is wrong with the first entry that is missing or not whole; empty without one."""
    for entry in entries:
        if not entry.exists():
            return f"{entry} is missing"
        if not _is_whole(entry):
            return f"{entry} is not whole"
    return ""


def _is_whole(entry: Path) -> bool:
    lines = entry.read_bytes().splitlines()
    try:
        actions = [json.loads(line) for line in lines]
    except ValueError:
        return False
    return bool(actions) and all(isinstance(action, dict) and len(action) == 1 for action in actions)
