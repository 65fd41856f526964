"""What no reader needs any more: staged files of runs that ended, files that no commit names, expired ones.

A file of a commit that is under way is named by none yet, so its absence from the log alone says nothing: who held the
feed before, and how old the file is, decide. What is deleted is gone; whatever is not certain stays until a later run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection
from pathlib import Path

from pipeline.errors import LakeDamaged
from pipeline.lake.clock import surely_past
from pipeline.lake.files import STAGING, files_on_disk
from pipeline.lake.local_store import LOG, delete_file, delete_folder
from pipeline.lake.lock import held_feed
from pipeline.lake.log import removed_files


def delete_staged(folder: Path) -> None:
    """Deletes what runs have staged, but for what may be of a run that lives (see `lock`)."""
    staging, kept_from = folder / STAGING, _kept_from(folder)
    for path in staging.iterdir() if staging.is_dir() else ():
        if max(part.lstat().st_mtime for part in (path, *path.rglob("*"))) < kept_from:
            delete_folder(path)
    with contextlib.suppress(OSError):  # not empty: what is kept is in it
        staging.rmdir()


def delete_orphans(
    folder: Path, committed: Collection[str], named: str, newest: dt.datetime | None, grace_hours: int
) -> int:
    """Deletes files of ours that are not `committed`, and whose path is not in the text `named`; returns how many.

    Not those that wait for their grace period, and not what may be of a run that lives. `newest` is the time of the
    newest commit before this run.
    """
    for temporary in (folder / LOG).glob("*.json#*"):  # of the Delta library
        delete_file(temporary)
    kept_from, orphans = _kept_from(folder), [path for path in files_on_disk(folder) if path not in committed]
    waiting = _waiting_files(folder, newest, grace_hours) if orphans and grace_hours else set()
    gone = [path for path in orphans if path not in waiting and path not in named]
    gone = [path for path in gone if (folder / path).lstat().st_ctime < kept_from]
    for path in gone:
        delete_file(folder / path)
    return len(gone)


def refuse_lost(folder: Path, paths: Collection[str]) -> None:
    """Raises FeedLost when this run no longer holds the feed, LakeDamaged when one of its files is gone again."""
    hold = held_feed(folder)
    if hold is not None:
        hold.check()
    for path in paths:
        if not (folder / path).exists():
            raise LakeDamaged(f"{folder / path} was deleted by another program", "nothing was committed; find it")


def _kept_from(folder: Path) -> float:
    hold = held_feed(folder)
    return float("inf") if hold is None else hold.kept_from


def _waiting_files(folder: Path, newest: dt.datetime | None, grace_hours: int) -> set[str]:
    """Files that were taken out of the table and for which it is not sure that their grace period is over."""
    hold = held_feed(folder)
    past = surely_past(newest, hold.previous_since if hold else None, hold.since if hold else None)
    over_ms = int(past.timestamp() * 1000) - grace_hours * 3_600_000 if past else 0
    return {path for path, removed_ms in removed_files(folder).items() if removed_ms > over_ms}
