"""What no reader needs any more: files that no commit names, expired ones.

A file of a commit that is under way is named by none yet, so its absence from the log alone says nothing: who held the
feed before, and how old the file is, decide. What is deleted is gone; whatever is not certain stays until a later run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from pipeline.errors import LakeDamaged
from pipeline.lake.clock import surely_past
from pipeline.lake.files import files_on_disk
from pipeline.lake.log import removed_files
from pipeline.lake.store import LOG, Store


def delete_orphans(
    store: Store, committed: Collection[str], named: str, newest: dt.datetime | None, grace_hours: int
) -> int:
    """Deletes files of ours that are not `committed`, and whose path is not in the text `named`; returns how many.

    Not those that wait for their grace period, and not what may be of a run that lives. `newest` is the time of the
    newest commit before this run.
    """
    if temporary := [f"{LOG}/{name}" for name in store.names(LOG) if ".json#" in name]:
        store.delete(*temporary)  # of the Delta library
    orphans = [path for path in files_on_disk(store) if path not in committed]
    waiting = _waiting_files(store, newest, grace_hours) if orphans and grace_hours else set()
    return store.delete_leftovers(*(path for path in orphans if path not in waiting and path not in named))


def refuse_lost(store: Store, paths: Collection[str]) -> None:
    """Raises FeedLost when this run no longer holds the feed, LakeDamaged when one of its files is gone again."""
    hold = store.held()
    if hold is not None:
        hold.check()
    for path in paths:
        if store.size(path) is None:
            raise LakeDamaged(f"{store.uri(path)} was deleted by another program", "nothing was committed; find it")


def _waiting_files(store: Store, newest: dt.datetime | None, grace_hours: int) -> set[str]:
    """Files that were taken out of the table and for which it is not sure that their grace period is over."""
    hold = store.held()
    past = surely_past(newest, hold.previous_since if hold else None, hold.since if hold else None)
    over_ms = int(past.timestamp() * 1000) - grace_hours * 3_600_000 if past else 0
    return {path for path, removed_ms in removed_files(store).items() if removed_ms > over_ms}
