"""What no reader needs any more: files that no commit names, expired ones.

Where they can be is known without a look at all partitions. A commit notes the folders that it moves files into, before
it does (`_moving.json`), so a killed one's files are found there; expired files are in the log. Without that note, or
where the log is older than it (restored from a backup), all folders are looked through.

A file of a commit that is under way is named by no entry yet, so its absence from the log alone says nothing: who held
the feed before, and how old the file is, decide. What is deleted is gone; whatever is not certain stays until a later
run.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from pipeline.errors import LakeDamaged
from pipeline.lake.clock import surely_past
from pipeline.lake.files import files_in, files_on_disk
from pipeline.lake.log import entry_name, removed_files
from pipeline.lake.names import checksum_in
from pipeline.lake.store import LOG, Store, json_bytes

MOVING = "_moving.json"


@dataclass(frozen=True)
class Moving:
    """The note of the last commit: its name, the version it was to be, and the folders that it moved files into.

    `unsure` are folders in which earlier ones may have left something, None where that can be anywhere.
    """

    version: int
    commit_id: str
    folders: tuple[str, ...]
    unsure: tuple[str, ...] | None = ()

    @classmethod
    def read(cls, store: Store) -> Moving | None:
        """The note that is there; None for none, or one that cannot be understood."""
        try:
            note = json.loads(store.read(MOVING))
            unsure = None if note["unsure"] is None else tuple(map(str, note["unsure"]))
            return cls(int(note["version"]), str(note["commit"]), tuple(map(str, note["folders"])), unsure)
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, store: Store) -> None:
        note = {"version": self.version, "commit": self.commit_id, "folders": self.folders, "unsure": self.unsure}
        store.replace(MOVING, json_bytes({"schema_version": 1, **note}))

    def searched(self, store: Store, version: int) -> tuple[str, ...] | None:
        """The folders that may have leftovers when the log is at `version`; None for all."""
        if self.unsure is None or version < self.version - 1:
            return None
        stands = not self.folders or (version >= self.version and self._is_committed(store))
        return self.unsure if stands else tuple(sorted({*self.unsure, *self.folders}))

    def _is_committed(self, store: Store) -> bool:
        try:
            return self.commit_id.encode() in store.read(entry_name(self.version))
        except FileNotFoundError:
            return False


def note_moves(store: Store, version: int, commit_id: str, paths: Iterable[str]) -> None:
    """Notes where the commit that is to be `version` will move files to; what earlier notes leave open stays in it."""
    folders = sorted({path.rpartition("/")[0] for path in paths})
    if folders:
        before = Moving.read(store)
        unsure = () if before is None and version == 1 else _searched(before, store, version - 1)
        Moving(version, commit_id, tuple(folders), unsure).write(store)


def delete_orphans(
    store: Store,
    version: int,
    committed: Callable[[], Collection[str]],
    named: Callable[[], str],
    past: dt.datetime | None,
    grace_hours: int,
) -> int:
    """Deletes files of ours that are not `committed`, and whose path is not in the text `named`; returns how many.

    Not those that wait for their grace period by the time that is surely `past`, and not what may be of a run that
    lives. The log is at `version`.
    """
    if temporary := [f"{LOG}/{name}" for name in store.names(LOG) if ".json#" in name]:
        store.delete(*temporary)  # of the Delta library
    note = Moving.read(store)
    folders = _searched(note, store, version)
    removed = removed_files(store)
    waiting = {path for path, removed_ms in removed.items() if grace_hours and removed_ms > _over_ms(past, grace_hours)}
    found = set(files_on_disk(store) if folders is None else files_in(store, folders))
    found |= {path for path in removed if path not in waiting and checksum_in(path.rpartition("/")[2])}
    found = {path for path in found - waiting if store.size(path) is not None}
    if found:
        found -= set(committed())
    if found:
        text = named()
        found = {path for path in found if path not in text}
    count = store.delete_leftovers(*sorted(found)) if found else 0
    if folders is None or folders:
        left = sorted({path.rpartition("/")[0] for path in found}) if count < len(found) else ()
        Moving(version, "", (), tuple(left)).write(store)
    return count


def surely_past_by(store: Store, newest: dt.datetime | None) -> dt.datetime | None:
    """The time that this run has seen, and one before it: see `clock`. `newest` is of the newest commit before it."""
    hold = store.held()
    return surely_past(newest, hold.previous_since if hold else None, hold.since if hold else None)


def refuse_lost(store: Store, paths: Collection[str]) -> None:
    """Raises FeedLost when this run no longer holds the feed, LakeDamaged when one of its files is gone again."""
    hold = store.held()
    if hold is not None:
        hold.check()
    for path in paths:
        if store.size(path) is None:
            raise LakeDamaged(f"{store.uri(path)} was deleted by another program", "nothing was committed; find it")


def _searched(note: Moving | None, store: Store, version: int) -> tuple[str, ...] | None:
    return None if note is None else note.searched(store, version)


def _over_ms(past: dt.datetime | None, grace_hours: int) -> int:
    return int(past.timestamp() * 1000) - grace_hours * 3_600_000 if past else 0
