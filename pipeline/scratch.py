"""Temporary folders for rows: removed when their block ends, or, after a kill, by the next run that needs one.

A folder in use is held by a lock that the kernel frees when its process dies. Other users of the machine can neither
read it nor put something in its place: folders are private, and links are not followed. Only folders that this package
made are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.errors import ScratchUnusable

_PREFIX = "ksqldb-lake-scratch-"
_LOCK = "in-use"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, removed when the block ends. Raises ScratchUnusable."""
    parent = Path(tempfile.gettempdir())
    with scratch_errors(parent):
        _refuse_shared(parent)
        _remove_leftovers(parent)
        folder, held = _new_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


@contextlib.contextmanager
def scratch_file(folder: Path, content: bytes | memoryview) -> Iterator[Path]:
    """A file in a scratch folder until the block ends, one at a time. Raises ScratchUnusable."""
    path = folder / "rows"
    try:
        with scratch_errors(folder):
            path.write_bytes(content)
        yield path
    finally:
        path.unlink(missing_ok=True)


class ScratchBatches:
    """Record batches in a file of a scratch folder: all are added first, then read in order, any number of times.

    Raises ScratchUnusable.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._path = folder, folder / "batches"
        with scratch_errors(folder):
            self._file = pa.OSFile(str(self._path), "wb")
            packed = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, schema, options=packed)

    def add(self, batch: pa.RecordBatch) -> None:
        with scratch_errors(self._folder):
            self._writer.write_batch(batch)

    def close(self) -> None:
        """To be called after the last `add`."""
        with scratch_errors(self._folder):
            self._writer.close()
            self._file.close()

    def read(self) -> Iterator[pa.RecordBatch]:
        with scratch_errors(self._folder), pa.OSFile(str(self._path), "rb") as file:
            yield from pa.ipc.open_stream(file)


@contextlib.contextmanager
def scratch_errors(folder: Path, kinds: type[Exception] | tuple[type[Exception], ...] = OSError) -> Iterator[None]:
    """Turns errors in writing to a temporary folder into ScratchUnusable."""
    try:
        yield
    except kinds as error:
        reason = getattr(error, "strerror", None) or "no room is left, or it cannot be written"
        raise ScratchUnusable(
            f"rows cannot be put into the temporary folder {folder}: {reason}; nothing was changed",
            "free space there, or name another folder by TMPDIR",
        ) from error


def _refuse_shared(parent: Path) -> None:
    """Without the sticky bit another user could rename our folder and put one of theirs in its place."""
    mode = parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ScratchUnusable(
            f"every user may rename and replace what is in the temporary folder {parent}; nothing was changed",
            f"chmod +t {parent}, or name another folder by TMPDIR",
        )


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of the folder; a link of its name is not followed.

    Raises PermissionError for a folder that other users own or may use.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise PermissionError(None, "it is not private to this user", str(folder))
        yield opened
    finally:
        os.close(opened)


def _new_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and its held lock; tries again when another process removes the folder before it is held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError), _opened(folder) as opened:
            if (held := _hold(opened)) is not None:
                return folder, held


def _hold(folder: int) -> int | None:
    """The held lock of a folder; None where another process holds or has removed it."""
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    os.close(lock)
    return None


def _remove_leftovers(parent: Path) -> None:
    """Removes the folders of this user's processes that are dead."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(folder) as opened:
            if (held := _hold(opened)) is not None:
                try:
                    shutil.rmtree(folder)
                finally:
                    os.close(held)
