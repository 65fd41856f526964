"""Files on a local disk that are not committed yet: a folder for each commit, and private copies of logs.

A crash leaves them; the next run of the feed on the same machine removes them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import LakeNotWritable
from pipeline.lake.disk import delete_folder, make_folder


class LocalStaging:
    """The staging folder of one feed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        return self._folder / name

    def clear(self, kept_from: float) -> None:
        """Deletes what was last written before `kept_from` (epoch seconds of the file system)."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if max(part.lstat().st_mtime for part in (path, *path.rglob("*"))) < kept_from:
                delete_folder(path)
        with contextlib.suppress(OSError):  # not empty where files were kept
            self._folder.rmdir()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder, removed when the block ends."""
        make_folder(self._folder)
        folder = Path(tempfile.mkdtemp(prefix="log-", dir=self._folder))
        try:
            yield folder
        finally:
            delete_folder(folder)


def default_staging() -> Path:
    """A folder of this user in the system's temporary folder."""
    return Path(tempfile.gettempdir()) / f"ksqldb-lake-staging-{os.getuid()}"


def make_private(folder: Path) -> None:
    """Raises LakeNotWritable for a staging folder that other users own or can change."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LakeNotWritable(
            f"files cannot be staged in {folder}: {error.strerror}", "set LAKE_STAGING_DIR to a folder of this user's"
        ) from error
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LakeNotWritable(
            f"files cannot be staged in {folder}: other users own it, or can change what is in it",
            "set LAKE_STAGING_DIR to a folder of this user alone",
        )
