"""Temporary folders for rows on their way: removed at the end, and, after a kill, by the next run that needs one.

A folder in use is held by a lock that the kernel frees when its process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ActionNeeded

_PREFIX = "ksqldb-lake-scratch-"
_LOCK = "in-use"
_YOUNG_S = 600  # a folder that has just been made may not be held yet


class ScratchUnusable(ActionNeeded):
    """The system's temporary folder has no space, or cannot be written."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder until the block ends. Raises ScratchUnusable, also for an OSError in writing to it."""
    parent = Path(tempfile.gettempdir())
    with scratch_errors(parent):
        _remove_leftovers(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        held = (folder / _LOCK).open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.close()


@contextlib.contextmanager
def scratch_errors(folder: Path, kinds: type[Exception] | tuple[type[Exception], ...] = OSError) -> Iterator[None]:
    """Makes ScratchUnusable of errors in writing to a temporary folder."""
    try:
        yield
    except kinds as error:
        told = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise ScratchUnusable(
            f"rows cannot be put into the temporary folder {folder}: {told}; nothing was changed",
            "free space there, or name another folder by TMPDIR",
        ) from error


def _remove_leftovers(parent: Path) -> None:
    """Removes the folders of processes that are dead; those of other users stay."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            with (folder / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
