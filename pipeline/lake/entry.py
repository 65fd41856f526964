"""The next entry of a Delta log, and its checkpoints: each has its name only when all of it is there to stay.

The Delta library names its files before their bytes are on disk, so a power cut can leave an entry without its last
lines: rows without their bookmark. Here the library writes into a private copy of the log (links, no bytes are copied),
and what it wrote is synced before it is linked into the table's log. A crash leaves the entry whole or not at all, and
the private copy, which is in the staging folder that the next run removes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import deltalake

from pipeline.errors import CommitFailed, CommitStands, CommitUnknown, PipelineError
from pipeline.lake.log import LAST_CHECKPOINT, entry_name, last_checkpoint
from pipeline.lake.store import LOG, Store, disk_errors

CHECKPOINT_EVERY = 100
"""Entries from one checkpoint to the next; the Delta library's own default."""
NO_HOOKS = deltalake.PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def publish_entry(store: Store, version: int, write: Callable[[Path], object], check: Callable[[], None]) -> None:
    """Has `write` commit entry `version` to a private copy of the table's log, then gives it its name.

    `check` has the last word before that. There are three outcomes. Done. Refused: any error but the two below; the log
    is as it was before. Unknown, when the disk fails once the entry may have its name: then the log is read again, and
    CommitStands is raised where it has the entry, the disk's error where not, CommitUnknown where it cannot be read.
    """
    name = entry_name(version)
    with _private_copy(store, version - 1) as private:
        write(private)
        ours = (private / name).read_bytes()  # no other program's entry is the same, down to the names of its files
        try:
            store.put_new(name, private / name, check)
        except FileExistsError:
            raise CommitFailed(
                f"another program has committed version {version} to {store.uri()}",
                "nothing was committed; run the same command again",
            ) from None
        except OSError as failed:
            if not _has_entry(store, name, ours):
                raise
            with commit_stands(version, store.uri()):
                raise failed


def _has_entry(store: Store, name: str, ours: bytes) -> bool:
    """Whether the log has our entry after all. Raises CommitUnknown."""
    try:
        return store.read(name) == ours
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CommitUnknown(
            f"whether {store.uri(name)} was committed is not known: it cannot be read: {os.strerror(error.errno or 0)}",
            "look at the disk; the next run goes on from what is there then, and no row is lost or doubled",
        ) from error


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


def write_checkpoint(store: Store, version: int) -> None:
    """Sums the log up in a checkpoint, then drops the entries that are past the table's log retention."""
    name, hint = f"{LOG}/{version:020}.checkpoint.parquet", f"{LOG}/{LAST_CHECKPOINT}"
    with _private_copy(store, version) as private:
        deltalake.DeltaTable(private).create_checkpoint()
        store.put_new(name, private / name, lambda: None)
        store.replace(hint, (private / hint).read_bytes())
    deltalake.DeltaTable(store.uri()).cleanup_metadata()


@contextlib.contextmanager
def _private_copy(store: Store, version: int) -> Iterator[Path]:
    """A folder of this process alone with the log up to `version`, from its last checkpoint on.

    Without entries it has no log: the Delta library takes an empty one for a damaged table.
    """
    with store.scratch() as private:
        first = last_checkpoint(store)
        for name in store.names(LOG):
            number = name.partition(".")[0]
            if name == LAST_CHECKPOINT or (number.isdigit() and first <= int(number) <= version):
                store.fetch(f"{LOG}/{name}", private / LOG / name)
        yield private
