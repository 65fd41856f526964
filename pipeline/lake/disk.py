"""Durable file operations on a local disk, for `local_store`, `lock` and `writer`.

A file written here is either complete and on disk, or does not exist; a crash leaves at most a `*.tmp` that the next
write of the same file replaces.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

from pipeline.errors import LakeDamaged


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Syncs the folder, so that renames into and out of it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes the folder and its parents, each synced in its parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def refuse_links(*paths: Path) -> None:
    """Raises LakeDamaged for a path that is a symbolic link: it could lead out of the lake."""
    for path in paths:
        if path.is_symlink():
            raise LakeDamaged(
                f"{path} is a symbolic link: the lake follows none",
                "put the folder itself there, or mount the other disk there",
            )


def move_file(source: Path, target: Path) -> None:
    """Moves a synced file to its place; durable when the target's folder is synced."""
    source.rename(target)


def link_file(source: Path, target: Path) -> None:
    """Gives a file a second name; durable when the target's folder is synced. Raises FileExistsError."""
    os.link(source, target)


def write_file(path: Path, data: bytes) -> None:
    """Replaces the file by `data`, synced, in one step for readers; for one writer at a time."""
    make_folder(path.parent)
    temporary = path.with_name(path.name + ".tmp")
    delete_file(temporary)
    with temporary.open("xb") as file:  # a link of that name is not followed
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    move_file(temporary, path)
    sync_folder(path.parent)


def append_to_file(path: Path, data: bytes) -> None:
    """Appends whole lines to the file, and syncs it; for one writer at a time.

    A write that fails half way is undone. A last line that a power cut has torn gets a line end first.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    with os.fdopen(descriptor, "rb+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    if not size:
        sync_folder(path.parent)


def delete_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def delete_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def checksum(path: Path) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
