"""The files of a Delta log: which ones exist, which of them readers need, and what they record of runs and removals.

`history` is complete although old entries are dropped: their commit information is saved beside the log before that.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.lake.store import LOG, Store

LAST_CHECKPOINT = "_last_checkpoint"
HISTORY = "_history.jsonl.gz"
"""The commit information of dropped entries, one JSON line each, oldest first; the file lies beside the log."""
_CHECKPOINT = re.compile(r"(?P<version>\d{20})\.checkpoint(\.\d{10}\.(?P<parts>\d{10})|\.[\w-]+)?\.parquet")


def history(store: Store) -> Iterator[dict[str, Any]]:
    """The commit information of all entries, newest first, dropped ones included: Delta's keys, and `version`. Each
    entry is read when it is asked for.
    """
    seen = set[int]()
    for number in sorted(entry_numbers(store.names(LOG)), reverse=True):
        with contextlib.suppress(FileNotFoundError):  # dropped since: then it is among those that were kept
            entry = entry_info(store, number)
            seen.add(number)
            yield entry
    if store.size(HISTORY) is not None:
        for line in reversed(gzip.decompress(store.read(HISTORY)).splitlines()):
            entry = json.loads(line)
            if entry["version"] not in seen:
                seen.add(entry["version"])
                yield entry


def entry_info(store: Store, version: int) -> dict[str, Any]:
    """The commit information (`commitInfo`) of an entry; empty for a damaged one, which a later checkpoint replaces."""
    info: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        actions = actions_in(store, [entry_name(version)])
        info = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    return {"timestamp": 0, **info, "version": version}


def info_of(store: Store, version: int) -> dict[str, Any]:
    """The same of a version whose entry may have been dropped; empty where nothing is known of it."""
    with contextlib.suppress(FileNotFoundError):
        return entry_info(store, version)
    return next((entry for entry in history(store) if entry["version"] == version), {})


def commit_checksum(info: Mapping[str, Any]) -> str:
    """Of an entry's commit information: it tells the entry from another of the same version, in a log that was restored
    from a backup and has gone on. Empty for an entry without.
    """
    text = json.dumps(info, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if info.get("timestamp") else ""


def removed_files(store: Store, names: Sequence[str] | None = None) -> dict[str, int]:
    """When each file that is no longer in the table was removed from it, in epoch milliseconds, by path; by the log's
    files of these names, or all of them.

    Read here because the Delta library leaves out removals that are in the future by this machine's clock.
    """
    removed: dict[str, int] = {}
    names = store.names(LOG) if names is None else names
    for name in checkpoint_parts(names, newest_checkpoint(names)):
        with store.open_parquet(f"{LOG}/{name}") as opened, pq.ParquetFile(opened) as checkpoint:
            rows = checkpoint.read(columns=["remove.path", "remove.deletionTimestamp"])["remove"]
        for row in rows.filter(pc.is_valid(rows)).to_pylist():
            if row["path"] is not None:
                removed[unquote(row["path"])] = row["deletionTimestamp"] or 0
    for action in actions_in(store, entries_due(names)):
        if "remove" in action:
            removed[unquote(action["remove"]["path"])] = action["remove"].get("deletionTimestamp") or 0
        elif "add" in action:
            removed.pop(unquote(action["add"]["path"]), None)
    return removed


def removed_by(store: Store, version: int) -> set[str]:
    """The paths of the files that an entry removed; none for one that is damaged or dropped."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        actions = list(actions_in(store, [entry_name(version)]))
        return {unquote(action["remove"]["path"]) for action in actions if "remove" in action}
    return set()


def actions_in(store: Store, entries: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The actions of these entries. Raises ValueError for one that is not whole, and FileNotFoundError."""
    for entry in entries:
        for line in store.read(entry).splitlines():
            yield json.loads(line)


def remove_damage(store: Store) -> None:
    """Removes what keeps readers from a table that is whole but for that. Only under the feed's lock."""
    remove_torn_entry(store)
    _remove_lost_hint(store)


def remove_torn_entry(store: Store) -> bool:
    """Removes the newest log entry when a power cut left it empty or in part; returns whether it did.

    Such an entry was written by another program, was never acknowledged, and stops all readers. Only under the feed's
    lock.
    """
    torn = torn_entry(store)
    if torn is None:
        return False
    store.delete(torn)
    return True


def _remove_lost_hint(store: Store) -> None:
    """Removes the hint to a checkpoint that is not there, as in a log that was restored in part: with it readers refuse
    the table, without it they look themselves.
    """
    try:
        hint = json.loads(store.read(f"{LOG}/{LAST_CHECKPOINT}"))
    except (FileNotFoundError, ValueError):
        return
    if not isinstance(hint, dict) or hint.get("version") not in checkpoints(store.names(LOG)):
        store.delete(f"{LOG}/{LAST_CHECKPOINT}")


def torn_entry(store: Store) -> str | None:
    """The name of the newest log entry if it is not whole."""
    numbers = entry_numbers(store.names(LOG))
    newest = entry_name(max(numbers, default=0))
    return newest if numbers and not _is_whole(store.read(newest)) else None


def entry_name(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def names_until(names: Iterable[str], version: int) -> list[str]:
    """The entries and checkpoints of a log up to a version, in the order in which each makes a state that can be read
    with those before it.
    """
    numbered = [name for name in names if name.removesuffix(".json").isdigit() or _CHECKPOINT.fullmatch(name)]
    return sorted(
        (name for name in numbered if number_in(name) <= version), key=lambda n: (n[:20], n.endswith(".json"))
    )


def number_in(name: str) -> int:
    """The version in the name of an entry or a checkpoint."""
    return int(name[:20])


def entries_due(names: Sequence[str]) -> list[str]:
    """The entries that readers of a log of these names need: all after the newest checkpoint, missing ones too."""
    last = max(entry_numbers(names), default=-1)
    return [entry_name(number) for number in range(newest_checkpoint(names) + 1, last + 1)]


def entry_numbers(names: Iterable[str]) -> list[int]:
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [int(stem) for stem in stems if stem.isdigit()]


def checkpoints(names: Iterable[str]) -> list[int]:
    """The versions that have a whole checkpoint."""
    return sorted(_whole_checkpoints(names))


def newest_checkpoint(names: Iterable[str]) -> int:
    return max(checkpoints(names), default=-1)


def oldest_version(names: Sequence[str]) -> int:
    """The oldest version that a log of these names can be read at."""
    return 0 if 0 in entry_numbers(names) else min(checkpoints(names), default=0)


def checkpoint_parts(names: Iterable[str], version: int) -> list[str]:
    """The files of that version's checkpoint; none where it has no whole one."""
    return _whole_checkpoints(names).get(version, [])


def _whole_checkpoints(names: Iterable[str]) -> dict[int, list[str]]:
    """The files of each: some engines write one in parts, and may have died before the last; it counts for nothing."""
    found: dict[tuple[int, int], list[str]] = {}
    for name in names:
        if (match := _CHECKPOINT.fullmatch(name)) is not None:
            found.setdefault((int(match["version"]), int(match["parts"] or 1)), []).append(name)
    return {version: files for (version, parts), files in found.items() if len(files) >= parts}


def _is_whole(entry: bytes) -> bool:
    """Whether each line can be read: a line that is cut, or was never written to disk, is not JSON."""
    try:
        return bool([json.loads(line) for line in entry.splitlines()])
    except ValueError:
        return False
