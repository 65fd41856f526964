"""Files below the lake's root: durable writes, typed errors for what a disk can do, and one writer a feed.

The only module that syncs, renames or deletes. A file written here is either whole and on disk or not there; a
crash leaves at most a `*.tmp` that the next write of the same file replaces.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import filelock

from pipeline.errors import ActionNeeded, TryLater

_LOCK = "_lock"


class LakeNotWritable(ActionNeeded):
    """The lake's folder cannot be written, or not even read; nothing was committed."""


class DiskFull(ActionNeeded):
    """No space left; nothing was committed, and what was staged is removed by the next run."""


class LakeDamaged(ActionNeeded):
    """A file of the lake is missing or unreadable."""


class FeedLocked(TryLater):
    """Another run holds the feed."""


def lake_folder(root: str) -> Path:
    """The lake's root as a local folder: a path or a `file://` URL.

    Raises LakeNotWritable for other URL schemes.
    """
    parts = urlsplit(root)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" in root:
        raise LakeNotWritable(f"the lake's root {root!r} is not on a local disk", "set LAKE_ROOT to a local folder")
    return Path(root).expanduser().absolute()


@contextlib.contextmanager
def disk_errors(path: Path, wanted: str = "written") -> Iterator[None]:
    """Turns what the operating system says about `path` into one of this module's errors.

    `wanted` is `written` or `read`: what may not be done where rights are missing.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or str(path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk is full: {where}", f"free space (see 'df -h {path}'), then run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            right = "writable" if wanted == "written" else "readable"
            raise LakeNotWritable(
                f"the lake cannot be {wanted}: {where}: {os.strerror(error.errno)}",
                f"make {path} {right} for this user, or set LAKE_ROOT to another folder",
            ) from error
        raise LakeDamaged(f"the lake cannot be used: {where}: {error.strerror or error}", f"look at {path}") from error


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Makes renames into and out of the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes the folder and its parents, each durable in its own parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def move_file(source: Path, target: Path) -> None:
    """Moves a synced file to its place; durable when the target's folder is synced."""
    source.rename(target)


def link_file(source: Path, target: Path) -> None:
    """Gives a file a second name; durable when the target's folder is synced. Raises FileExistsError."""
    os.link(source, target)


def write_file(path: Path, text: str) -> None:
    """Puts `text` in the place of the file, whole and on disk, in one step for readers; for one writer at a time."""
    make_folder(path.parent)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    move_file(temporary, path)
    sync_folder(path.parent)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_file(path, json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path, hint: str = "correct or remove that file") -> Any:
    """The parsed file.

    Raises LakeDamaged when it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise LakeDamaged(f"{path} is not valid JSON: line {error.lineno}, column {error.colno}", hint) from None
    except (ValueError, RecursionError):
        raise LakeDamaged(f"{path} is not valid JSON: it is not UTF-8, or nested too deeply", hint) from None


def delete_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def delete_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def delete_feed_data(folder: Path) -> None:
    """Deletes the folder of a feed that this process holds. What cannot be deleted stays, and is deleted the next time.

    The lock goes last: without it a second run would take the feed while its files are being deleted.
    """
    with disk_errors(folder):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        delete_file(folder / _LOCK)
        with contextlib.suppress(OSError):  # another run may be in it already; an empty folder is no data
            folder.rmdir()


def checksum(path: Path) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@contextlib.contextmanager
def short_lock(path: Path, timeout_s: float = 60) -> Iterator[None]:
    """Waits for a lock that is held for moments only. Raises FeedLocked."""
    try:
        with filelock.FileLock(path, timeout=timeout_s):
            yield
    except filelock.Timeout:
        raise FeedLocked(f"{path} is held for over {timeout_s:g} s", "run the same command again") from None


@contextlib.contextmanager
def hold_feed(folder: Path, feed: str, holder: Mapping[str, Any]) -> Iterator[None]:
    """Holds the feed for this process; the kernel lets go when the process dies, however it dies.

    `holder` is shown to whoever comes second. Raises FeedLocked.
    """
    with _held(folder / _LOCK, folder / "_lock.json", f"the feed {feed}", holder):
        yield


@contextlib.contextmanager
def hold_run(root: Path, holder: Mapping[str, Any]) -> Iterator[None]:
    """Holds the lake for one run of a kind, as `hold_feed` holds a feed. Raises FeedLocked."""
    with _held(root / ".run.lock", root / ".run.json", f"the lake {root}", holder):
        yield


@contextlib.contextmanager
def _held(path: Path, note: Path, what: str, holder: Mapping[str, Any]) -> Iterator[None]:
    with disk_errors(path.parent):
        make_folder(path.parent)
        lock = filelock.FileLock(path, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise FeedLocked(
                f"{what} is held by {_holder_of(note)}", "wait for it to end, then run the command again"
            ) from None
    try:
        with disk_errors(path.parent):
            delete_file(note)  # of a process that died
            write_json(note, holder)
        yield
    finally:
        lock.release()


def _holder_of(note: Path) -> str:
    """Who holds a lock; its note is written a moment after the lock is taken."""
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(note.read_text(encoding="utf-8"))
        return f"another run ({', '.join(f'{key} {value}' for key, value in told.items())})"
    return "another run"
