"""The lake on a local disk: a file is synced before it gets its name, and symbolic links are refused."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from pipeline.errors import LakeNotWritable
from pipeline.lake.access import StoreAccess
from pipeline.lake.disk import (
    append_to_file,
    delete_file,
    link_file,
    make_folder,
    move_file,
    refuse_links,
    sync_file,
    sync_folder,
    write_file,
)
from pipeline.lake.local_staging import LocalStaging
from pipeline.lake.lock import LOCK, Hold, held_feed, hold_feed, hold_run, short_lock
from pipeline.lake.store import LOG, STAGING, Space

_NO_NAMES = frozenset("?*[]{}#%\\")


def lake_folder(root: str) -> Path:
    """The lake's root as a local folder: an absolute path or a `file://` URL.

    Raises LakeNotWritable for other URL schemes, and for characters that some reader of the lake does not take
    literally: DuckDB's wildcards, and URL escapes, which the Delta library decodes once too often.
    """
    hint, path = "set LAKE_ROOT to the path of a local folder, or s3://, gs:// or az://bucket/prefix", root
    if root.startswith("file:"):
        parts = urlsplit(root)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.startswith("/"):
            raise LakeNotWritable(f"the lake's root {root!r} is no URL of a local folder", "write file:///path/to/lake")
    elif "://" in root:
        raise LakeNotWritable(f"the lake's root {root!r} is not on a local disk", hint)
    _refuse_other_than_utf8(path)
    odd = sorted(set(path) & _NO_NAMES | {sign for sign in path if not sign.isprintable()})
    if odd:
        signs = " ".join(sign if sign.isprintable() else repr(sign) for sign in odd)
        raise LakeNotWritable(
            f"not every reader of the lake can read a folder {path!r}: it has {signs}",
            "set LAKE_ROOT to a folder without that in its path",
        )
    return Path(path).absolute()


def _refuse_other_than_utf8(path: str) -> None:
    """Raises LakeNotWritable: the Delta library reads every path as UTF-8, whatever this Python does."""
    try:
        if os.fsencode(path) == path.encode():
            return
    except UnicodeEncodeError:
        pass
    shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if sys.getfilesystemencoding() == "utf-8":
        raise LakeNotWritable(f"the lake's root {shown} is not UTF-8", "set LAKE_ROOT to a folder whose path is")
    raise LakeNotWritable(
        f"the lake's root {shown} has other letters than ASCII, and this Python does not read paths as UTF-8",
        "set PYTHONUTF8=1 in the environment, then run the same command again",
    )


class LocalStore:
    """A folder on a local disk; `Store` describes the methods."""

    access = StoreAccess()

    def __init__(self, root: Path) -> None:
        self._root, self._staging = root, LocalStaging(root / STAGING)

    def below(self, folder: str) -> LocalStore:
        return LocalStore(self._root / folder)

    def uri(self, name: str = "") -> str:
        # Thousands of files are named in views; a Path of each would cost more than all else.
        return f"{self._root}/{name}" if name else str(self._root)

    def filesystem(self) -> None:
        """Paths need none."""

    @property
    def cold_class(self) -> str:
        return ""

    def is_there(self) -> bool:
        return self._root.is_dir()

    def space(self) -> Space:
        there = next(path for path in (self._root, *self._root.parents) if path.exists())
        is_writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        return Space(str(there), is_writable, shutil.disk_usage(there).free)

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._root / folder))  # noqa: PTH208 # names, not paths
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, name: str) -> int | None:
        try:
            return (self._root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def local_path(self, name: str = "") -> Path:
        return self._root / name

    def open_parquet(self, name: str) -> pa.NativeFile:
        return pa.OSFile(self.uri(name), "rb")

    def put_new(self, name: str, source: Path, check: Callable[[], None]) -> None:
        """By a link, after a sync: unlike a rename, a link fails where the name exists."""
        target = self._root / name
        sync_file(source)
        make_folder(target.parent)
        check()
        try:
            link_file(source, target)
        except FileExistsError:
            if target.read_bytes() != source.read_bytes():
                raise
        sync_folder(target.parent)

    def take_in(self, moves: Mapping[str, Path | str]) -> None:
        self._refuse_links(*moves)
        for name, source in moves.items():
            make_folder((self._root / name).parent)
            move_file(Path(source), self._root / name)
        for folder in {(self._root / name).parent for name in moves}:
            sync_folder(folder)

    def put_cold(self, name: str, source: Path) -> None:
        """A disk has one class: the file is where it should be."""

    def hand_over(self, staged: Path) -> Path:
        """It is on a disk that both see."""
        return staged

    def replace(self, name: str, data: bytes) -> None:
        write_file(self._root / name, data)

    def append(self, name: str, data: bytes) -> None:
        path = self._root / name
        make_folder(path.parent)
        with short_lock(path.parent / ".lock"):
            append_to_file(path, data)

    def move(self, name: str, new: str) -> None:
        source, target = self._root / name, self._root / new
        move_file(source, target)
        sync_folder(target.parent)
        sync_folder(source.parent)

    def delete(self, *names: str) -> None:
        for name in names:
            delete_file(self._root / name)
        for folder in {(self._root / name).parent for name in names}:
            sync_folder(folder)

    def delete_leftovers(self, *names: str, may_be_named: bool) -> int:  # noqa: ARG002 # a dead process links nothing
        kept_from = self._kept_from()
        gone = [name for name in names if (self._root / name).lstat().st_ctime < kept_from]
        self._refuse_links(*gone)
        for name in gone:
            delete_file(self._root / name)
        for folder in {(self._root / name).parent for name in gone} - {self._root}:
            with contextlib.suppress(OSError):  # not empty, or gone already
                folder.rmdir()
        return len(gone)

    def delete_all(self) -> None:
        """Files that cannot be deleted stay for the next time.

        The lock file is deleted last: without it a second run would take the feed while its files are being deleted.
        The log is deleted just before it: data files without a log would be a damaged feed.
        """
        for path in sorted(self._root.iterdir(), key=lambda path: path.name == LOG):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        delete_file(self._root / LOCK)
        with contextlib.suppress(OSError):  # another run may use it already; an empty folder does no harm
            self._root.rmdir()

    def make_durable(self) -> None:
        """Syncs the folders: names that a killed run gave may not be on disk yet."""
        refuse_links(self._root.parent, self._root)
        if self._root.is_dir():
            with os.scandir(self._root) as entries:
                refuse_links(*(Path(entry.path) for entry in entries if entry.is_symlink()))
        for path in (self._root / LOG, self._root, self._root.parent, self._root.parent.parent):
            if path.is_dir():
                sync_folder(path)

    def check_puts(self, name: str) -> bool:  # noqa: ARG002 # nothing is written
        """A link never replaces a file."""
        return False

    def staging(self, name: str) -> Path:
        return self._staging.path(name)

    def clear_staging(self) -> None:
        self._staging.clear(self._kept_from())

    def scratch(self) -> AbstractContextManager[Path]:
        self._refuse_links(f"{LOG}/", f"{STAGING}/")
        return self._staging.scratch()

    def fetch(self, name: str, target: Path) -> None:
        """By a hard link: no bytes are copied."""
        make_folder(target.parent)
        link_file(self._root / name, target)

    def hold(self, feed: str, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        return hold_feed(self._root, feed, holder)

    def hold_run(self, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        return hold_run(self._root, holder)

    def held(self) -> Hold | None:
        return held_feed(self._root)

    def short_lock(self, name: str) -> AbstractContextManager[None]:
        make_folder((self._root / name).parent)
        return short_lock(self._root / name)

    def make_folder(self, name: str) -> None:
        make_folder(self._root / name)

    def open_log(self, name: str) -> logging.Handler:
        make_folder((self._root / name).parent)
        return logging.FileHandler(self._root / name, encoding="utf-8", errors="backslashreplace")

    def _refuse_links(self, *names: str) -> None:
        """Raises LakeDamaged where the folder of one of these names is a link; all folders are looked at once a run."""
        folders = {name.rpartition("/")[0] for name in names}
        refuse_links(self._root.parent, self._root, *(self._root / folder for folder in folders))

    def _kept_from(self) -> float:
        hold = held_feed(self._root)
        return float("inf") if hold is None else hold.kept_from
