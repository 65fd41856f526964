"""The next entry of a Delta log, and its checkpoints: each has its name only when all of it is there to stay.

The Delta library names its files before their bytes are on disk, so a power cut can leave an entry without its last
lines: rows without their bookmark. Here the library writes into a private copy of the log (links, no bytes are copied),
and what it wrote is synced before it is linked into the table's log. A crash leaves the entry whole or not at all, and
the private copy, which is in the staging folder that the next run removes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import deltalake

from pipeline.errors import CommitFailed, CommitStands, CommitUnknown, PipelineError
from pipeline.lake.local_store import (
    LOG,
    delete_folder,
    disk_errors,
    link_file,
    make_folder,
    sync_file,
    sync_folder,
    write_file,
)
from pipeline.lake.log import LAST_CHECKPOINT, last_checkpoint

CHECKPOINT_EVERY = 100
"""Entries from one checkpoint to the next; the Delta library's own default."""
NO_HOOKS = deltalake.PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def publish_entry(
    folder: Path, staging: Path, version: int, write: Callable[[Path], object], check: Callable[[], None]
) -> None:
    """Has `write` commit entry `version` to a private copy of the table in `folder`, then gives it its name.

    `check` has the last word before that. There are three outcomes. Done. Refused: any error but the two below; the log
    is as it was before. Unknown, when the disk fails once the entry may have its name: then the log is read again, and
    CommitStands is raised where it has the entry, the disk's error where not, CommitUnknown where it cannot be read.
    """
    make_folder(folder / LOG)
    with _private_copy(folder, staging, version - 1) as private:
        write(private)
        name = f"{version:020}.json"
        sync_file(private / LOG / name)
        check()
        _give_name(private / LOG / name, folder / LOG / name)


def _give_name(private: Path, entry: Path) -> None:
    ours = private.read_bytes()  # no other program's entry is the same, down to the names of its files
    try:
        try:
            link_file(private, entry)
        except FileExistsError:
            if entry.read_bytes() != ours:
                raise CommitFailed(
                    f"another program has committed version {int(entry.stem)} to {entry.parent.parent}",
                    "nothing was committed; run the same command again",
                ) from None
        sync_folder(entry.parent)
    except OSError as failed:
        if not _has_entry(entry, ours):
            raise
        with commit_stands(int(entry.stem), entry.parent.parent):
            raise failed


def _has_entry(entry: Path, ours: bytes) -> bool:
    """Whether the log has our entry after all. Raises CommitUnknown."""
    try:
        return entry.read_bytes() == ours
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CommitUnknown(
            f"whether {entry} was committed is not known: it cannot be read: {os.strerror(error.errno or 0)}",
            "look at the disk; the next run goes on from what is there then, and no row is lost or doubled",
        ) from error


@contextlib.contextmanager
def commit_stands(version: int, folder: Path) -> Iterator[None]:
    """Turns a failure after the commit of `version` into CommitStands: what is committed is not denied."""
    try:
        with disk_errors(folder):
            yield
    except PipelineError as error:
        raise CommitStands(
            f"version {version} of {folder} is committed, and readers see it; after that {error.message}",
            "look at the disk; the next run goes on from this commit",
        ) from error


def write_checkpoint(folder: Path, staging: Path, version: int) -> None:
    """Sums the log up in a checkpoint, then drops the entries that are past the table's log retention."""
    with _private_copy(folder, staging, version) as private:
        log, name = private / LOG, f"{version:020}.checkpoint.parquet"
        deltalake.DeltaTable(private).create_checkpoint()
        sync_file(log / name)
        link_file(log / name, folder / LOG / name)
        sync_folder(folder / LOG)
        write_file(folder / LOG / LAST_CHECKPOINT, (log / LAST_CHECKPOINT).read_text(encoding="utf-8"))
    deltalake.DeltaTable(folder).cleanup_metadata()


@contextlib.contextmanager
def _private_copy(folder: Path, staging: Path, version: int) -> Iterator[Path]:
    """A folder of this process alone with the log up to `version`, from its last checkpoint on, as links.

    Without entries it has no log: the Delta library takes an empty one for a damaged table.
    """
    make_folder(staging)
    private, log = Path(tempfile.mkdtemp(prefix="log-", dir=staging)), folder / LOG
    try:
        first = last_checkpoint(log)
        for path in log.iterdir():
            number = path.name.partition(".")[0]
            if path.name == LAST_CHECKPOINT or (number.isdigit() and first <= int(number) <= version):
                make_folder(private / LOG)
                link_file(path, private / LOG / path.name)
        yield private
    finally:
        delete_folder(private)
