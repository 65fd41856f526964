"""The next entry of a Delta log: it gets its name only after it is synced to disk.

The Delta library names its files before their bytes are on disk, so a power cut can leave an entry without its last
lines: rows without their bookmark. Here the library writes into a private log, and the new entry is synced before it is
linked into the table's log. A crash leaves the entry complete or not at all, and the private log, which is in the
staging folder that the next run removes.

The private log is a copy (links, no bytes are copied), or the table's head alone: the library reads the whole list of
files when it opens a log, and an entry that says itself which files it adds and removes needs none of them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import deltalake

from pipeline.errors import (
    CommitFailed,
    CommitStands,
    CommitUnknown,
    PipelineError,
    RequestUnsettled,
    StoreRefused,
    StoreUnreachable,
)
from pipeline.lake.head import Head
from pipeline.lake.log import entry_name, newest_checkpoint
from pipeline.lake.store import LOG, Store, disk_errors


def publish_entry(store: Store, private: PrivateLog, version: int, write: Write, check: Callable[[], None]) -> bytes:
    """Lets `write` commit to the private log, then links its entry into the table's as `version`; returns its bytes.

    `check` is called before the link and may raise to prevent it. There are three outcomes. Done. Refused: any error
    but the two below; the log is as it was before. Unknown, when the disk fails after the link may have been made: then
    the log is read again, and CommitStands is raised if it has the entry, the disk's error if not, CommitUnknown if it
    cannot be read, or if a request to an object store may still arrive.
    """
    name, entry = entry_name(version), private.next_entry
    write(private)
    ours = entry.read_bytes()  # no other program's entry has these bytes: it names our files
    private.has_grown()
    try:
        store.put_new(name, entry, check)
    except FileExistsError:
        raise CommitFailed(
            f"another program has committed version {version} to {store.uri()}",
            "nothing was committed; run the same command again",
        ) from None
    except (OSError, RequestUnsettled) as failed:
        if not _has_entry(store, name, ours):
            if isinstance(failed, RequestUnsettled):
                raise _unknown(store.uri(name), failed.message) from failed
            raise
        with commit_stands(version, store.uri()):
            raise failed
    return ours


def _has_entry(store: Store, name: str, ours: bytes) -> bool:
    """Whether the log has our entry after all. Raises CommitUnknown."""
    try:
        return store.read(name) == ours
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unknown(store.uri(name), f"it cannot be read: {os.strerror(error.errno or 0)}") from error
    except (StoreUnreachable, StoreRefused) as error:
        raise _unknown(store.uri(name), f"it cannot be read: {error.message}") from error


def _unknown(where: str, why: str) -> CommitUnknown:
    return CommitUnknown(
        f"whether {where} was committed is not known: {why}",
        "look at the disk or the object store; the next run goes on from what is there then, and no row is lost or "
        "doubled",
    )


@contextlib.contextmanager
def commit_stands(version: int, where: str) -> Iterator[None]:
    """Turns a failure after the commit of `version` into CommitStands: what is committed is not denied."""
    try:
        with disk_errors(where):
            yield
    except PipelineError as error:
        raise CommitStands(
            f"version {version} of {where} is committed, and readers see it; after that {error.message}",
            "look at the disk; the next run goes on from this commit",
        ) from error


class PrivateLog:
    """A folder of this process alone with a log up to `version`, in which the Delta library reads and commits."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder, self.version = folder, version
        self._is_behind = False
        self._delta: deltalake.DeltaTable | None = None

    @property
    def next_entry(self) -> Path:
        """Where the library writes the next entry."""
        return self.folder / entry_name(self.version + 1)

    @property
    def delta(self) -> deltalake.DeltaTable:
        """The table, opened once; later only new entries are read."""
        if self._delta is None:
            self._delta = deltalake.DeltaTable(self.folder)
        elif self._is_behind:
            self._delta.update_incremental()
        self._is_behind = False
        return self._delta

    def has_grown(self) -> None:
        """Takes note of the next entry, which is in the folder now."""
        self.version += 1
        self._is_behind = True

    def follow(self, store: Store, version: int) -> None:
        """Fetches the entries of the table's log up to `version` that a copy lacks."""
        while self.version < version:
            store.fetch(entry_name(self.version + 1), self.next_entry)
            self.has_grown()


Write = Callable[[PrivateLog], object]
"""Commits the next entry to such a log."""


@contextlib.contextmanager
def private_log(store: Store, version: int) -> Iterator[PrivateLog]:
    """A copy of the log up to `version`, from the last checkpoint before it on.

    Before the first entry it has no log folder: the Delta library takes an empty one for a damaged table.
    """
    with store.scratch() as folder:
        numbers = {name: name.partition(".")[0] for name in store.names(LOG)}
        names = [name for name, number in numbers.items() if number.isdigit() and int(number) <= version]
        first = newest_checkpoint(names)
        for name in names:
            if int(numbers[name]) >= first:
                store.fetch(f"{LOG}/{name}", folder / LOG / name)
        yield PrivateLog(folder, version)


@contextlib.contextmanager
def log_of_head(store: Store, head: Head) -> Iterator[PrivateLog]:
    """A log without files, whose only entry says what the table is: what it costs does not follow the table's files."""
    with store.scratch() as folder:
        said = {"protocol": head.protocol, "metaData": head.metadata}
        (folder / LOG).mkdir()
        lines = [json.dumps({name: _known(action)}) for name, action in said.items()]
        (folder / entry_name(0)).write_text("\n".join([*lines, ""]), encoding="utf-8")
        yield PrivateLog(folder, 0)


def _known(action: Mapping[str, Any]) -> dict[str, Any]:
    """An action as an entry has it: one that was read from a checkpoint has a null for each field that it lacks."""
    return {name: value for name, value in action.items() if value is not None}
