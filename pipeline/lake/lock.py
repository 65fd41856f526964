"""One writer a feed, and what a run does when its lock file was removed.

The kernel frees a lock when its process dies, however it dies, so no lock file is ever removed by this package. Where
a person removed one, the run that held it commits nothing more, and while it lives no other run of the feed begins or
deletes files that may belong to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from pipeline.errors import FeedLocked, FeedLost
from pipeline.lake.disk import make_folder, refuse_links, write_file
from pipeline.lake.holder import Holder
from pipeline.lake.store import disk_errors, json_bytes

LOCK = "_lock"
_UNSURE_S = 86_400  # longer than a commit takes from its first file to its entry


@contextlib.contextmanager
def short_lock(path: Path, timeout_s: float = 60) -> Iterator[None]:
    """Waits for a lock that is held for moments only. Raises FeedLocked."""
    try:
        with filelock.FileLock(path, timeout=timeout_s):
            yield
    except filelock.Timeout:
        raise FeedLocked(f"{path} is held for over {timeout_s:g} s", "run the same command again") from None


@dataclass(frozen=True)
class Hold:
    """A lock that this process holds, with its record. `before` is the run that held it last, if that is recorded."""

    lock: Path
    record: Path
    descriptor: int
    holder: Holder
    before: Holder | None

    def check(self) -> None:
        """Raises FeedLost when the lock file was removed or replaced: another run may have begun."""
        if not self._is_there():
            raise FeedLost(
                f"{self.lock} was removed while this run held it; nothing was committed",
                "run the same command again, and leave lock files alone: they are freed when their process ends",
            )

    @property
    def since(self) -> dt.datetime | None:
        return self.holder.since

    @property
    def previous_since(self) -> dt.datetime | None:
        """When the run before this one began, by its own clock."""
        return self.before.since if self.before is not None else None

    @property
    def kept_from(self) -> float:
        """A leftover written at this moment (epoch seconds of the file system) or later may be of a run that lives.

        Infinite where the previous run is known to have ended: its leftovers are of no use.
        """
        if self.before is not None and self.before.has_ended_for(self.holder):
            return float("inf")
        return self.record.stat().st_mtime - _UNSURE_S

    def release(self) -> None:
        """Releases the lock, and records that unless the lock file was removed meanwhile."""
        try:
            if self._is_there():
                write_file(self.record, json_bytes(dataclasses.replace(self.holder, released=True).as_json()))
        finally:
            os.close(self.descriptor)

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self.lock.lstat(), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False


_HELD: dict[Path, Hold] = {}


def held_feed(folder: Path) -> Hold | None:
    """This process's hold of a feed's folder. Looked up here instead of passed on, so that no caller can forget it."""
    return _HELD.get(folder.absolute())


@contextlib.contextmanager
def hold_feed(folder: Path, feed: str, holder: Mapping[str, Any]) -> Iterator[Hold]:
    """Holds the feed for this process; the kernel frees the lock when the process dies, however it dies.

    `holder` is shown to a second run; its `since` is the time of this run. Raises FeedLocked, also while a run whose
    lock file was removed by hand still lives.
    """
    refuse_links(folder.parent, folder)
    with _held(folder / LOCK, folder / "_lock.json", f"the feed {feed}", holder) as hold:
        _HELD[folder.absolute()] = hold
        try:
            yield hold
        finally:
            del _HELD[folder.absolute()]


@contextlib.contextmanager
def hold_run(root: Path, holder: Mapping[str, Any]) -> Iterator[Hold]:
    """Holds the lake for one run of a kind, as `hold_feed` holds a feed. Raises FeedLocked."""
    with _held(root / ".run.lock", root / ".run.json", f"the lake {root}", holder) as hold:
        yield hold


@contextlib.contextmanager
def _held(lock: Path, record: Path, what: str, holder: Mapping[str, Any]) -> Iterator[Hold]:
    with disk_errors(lock.parent):
        make_folder(lock.parent)
        hold = _take(lock, record, what, Holder.of_this_process(holder))
    try:
        yield hold
    finally:
        # What was done stands, or its error is the one to report. Without the record the next run sees that this
        # process is gone.
        with contextlib.suppress(OSError):
            hold.release()


def _take(lock: Path, record: Path, what: str, holder: Holder) -> Hold:
    before = _read_holder(record)
    if _lives(before, holder) and not lock.exists():
        raise _locked(what, before)  # before a new lock file exists, which the living run would take for its own
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(what, _read_holder(record)) from None
        hold = Hold(lock, record, descriptor, holder, _read_holder(record))
        if not hold._is_there() or _lives(hold.before, holder):
            raise _locked(what, hold.before)
        write_file(record, json_bytes(holder.as_json()))
    except BaseException:
        os.close(descriptor)
        raise
    return hold


def _lives(before: Holder | None, holder: Holder) -> bool:
    return before is not None and before.is_alive is True and before.process != holder.process


def _read_holder(record: Path) -> Holder | None:
    try:
        return Holder.parse(json.loads(record.read_bytes()))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _locked(what: str, holder: Holder | None) -> FeedLocked:
    """Names the run that holds the lock, unless the record is still that of an earlier run, which has ended."""
    named = f" ({holder})" if holder is not None and holder.is_alive is not False else ""
    return FeedLocked(f"{what} is held by another run{named}", "wait for it to end, then run the command again")
