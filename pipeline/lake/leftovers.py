"""Deletes files that no reader needs any more: files that no commit names, and expired ones.

They are found without listing all partitions. Before a commit moves files it notes their folders in `_moving.json`, so
the files of a killed commit are found there; expired files are in the log. Without that note, or where the log is older
than the note (restored from a backup), all folders are listed.

The files of a commit that is under way are not in the log yet, so a file's absence from the log alone proves nothing:
the run that held the feed before, the file's age, and whether the log still has room for the entry that would name it
decide. In doubt a file stays until a later run.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from pipeline.errors import LakeDamaged
from pipeline.lake.clock import CHECKPOINTS_FORGET, is_over, surely_past
from pipeline.lake.files import files_in, files_on_disk
from pipeline.lake.log import entry_name, removed_files
from pipeline.lake.names import checksum_in
from pipeline.lake.store import LOG, Store, json_bytes

MOVING = "_moving.json"


@dataclass(frozen=True)
class Moving:
    """The note of the last commit: its id, its intended version, and the folders that it moved files into.

    `unsure` are folders in which earlier commits may have left files; None where that may be any folder.
    """

    version: int
    commit_id: str
    folders: tuple[str, ...]
    unsure: tuple[str, ...] | None = ()

    @classmethod
    def read(cls, store: Store) -> Moving | None:
        """The note in the store; None where there is none or it cannot be read."""
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
    """Notes where the commit of the intended `version` will move files; keeps the `unsure` folders of earlier notes."""
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
    grace: dt.timedelta,
) -> tuple[int, bool]:
    """Deletes this package's files that are not `committed` and not in the text `named`.

    Returns how many, and whether files are kept because `named` has them.

    Keeps expired files until their grace period is over at `past`, a safely past time, and files that may belong to a
    run that still lives. The log is at `version`.
    """
    if temporary := [f"{LOG}/{name}" for name in store.names(LOG) if ".json#" in name]:
        store.delete(*temporary)  # of the Delta library
    note = Moving.read(store)
    folders = _searched(note, store, version)
    removed = removed_files(store)
    waiting = {path for path, removed_ms in removed.items() if not is_over(removed_ms, grace, past)}
    found = set(files_on_disk(store) if folders is None else files_in(store, folders))
    found |= {path for path in removed if path not in waiting and checksum_in(path.rpartition("/")[2])}
    found = {path for path in found - waiting if store.size(path) is not None}
    if found:
        found -= set(committed())
    text = named() if found else ""
    shown = {path for path in found if path in text}
    due = sorted(found - shown)
    has_room = note is None or version < note.version
    count = store.delete_leftovers(*due, may_be_named=has_room) if due else 0
    if folders is None or folders:
        left = {path.rpartition("/")[0] for path in found} if count < len(found) else set[str]()
        Moving(version, "", (), tuple(sorted(left))).write(store)
    return count, bool(shown)


def find_orphans(store: Store, committed: Collection[str]) -> list[str]:
    """Files of ours that the log neither names nor has let go: of a run that was killed, or of one that lives."""
    return sorted(set(files_on_disk(store)) - set(committed) - removed_files(store).keys())


def surely_past_by(store: Store, newest: dt.datetime | None) -> dt.datetime | None:
    """The safely past time, see `clock.surely_past`. `newest` is the time of the newest commit before this run."""
    hold = store.held()
    return surely_past(newest, hold.previous_since if hold else None, hold.since if hold else None)


def may_forget(store: Store, newest: dt.datetime | None, grace: dt.timedelta) -> bool:
    """Whether a checkpoint of this run would lack removed files whose grace period may not be over.

    The run's clock may be wrong as far as it is after the safely past time; `newest` as there.
    """
    hold, past = store.held(), surely_past_by(store, newest)
    since = hold.since if hold else None
    return since is not None and past is not None and since - past > CHECKPOINTS_FORGET - grace


def refuse_lost(store: Store, paths: Collection[str]) -> None:
    """Raises FeedLost when this run no longer holds the feed, LakeDamaged when one of its files was deleted."""
    hold = store.held()
    if hold is not None:
        hold.check()
    for path in paths:
        if store.size(path) is None:
            raise LakeDamaged(f"{store.uri(path)} was deleted by another program", "nothing was committed; find it")


def _searched(note: Moving | None, store: Store, version: int) -> tuple[str, ...] | None:
    return None if note is None else note.searched(store, version)
