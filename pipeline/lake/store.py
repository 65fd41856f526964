"""The interface of storage: the operations that the lake needs.

A store is a folder. Names in it are relative, with slashes; a folder exists when a file is in it. Each operation raises
OSError for failures of the storage (also FileNotFoundError and FileExistsError), and `disk_errors` turns these into
errors that say what to do; object stores raise StoreRefused and StoreUnreachable, which say it themselves. A file
exists completely or not at all, also after a crash.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipeline.errors import DiskFull, LakeDamaged, LakeNotWritable
from pipeline.lake.access import StoreAccess

LOG = "_delta_log"
"""The folder of a table's Delta log."""
STAGING = "_staging"
"""The folder below a table's of files that no commit has yet; what is in it is removed."""
Tell = Callable[[str], None]
"""Is called with a line for people: progress or a warning."""


class Hold(Protocol):
    """A folder that this process holds."""

    def check(self) -> None:
        """Raises FeedLost when the folder is no longer held."""

    @property
    def since(self) -> dt.datetime | None:
        """When this run began, by its own clock."""

    @property
    def previous_since(self) -> dt.datetime | None:
        """When the run before this one began, by its own clock."""


@dataclass(frozen=True)
class Space:
    """A store's folder, or the nearest existing one above it; `free_bytes` is None where it is not known."""

    place: str
    is_writable: bool
    free_bytes: int | None


class Store(Protocol):
    """A folder of the lake, wherever that is."""

    def below(self, folder: str) -> Store: ...

    def uri(self, name: str = "") -> str:
        """The URI by which readers find the folder or the file."""

    @property
    def access(self) -> StoreAccess:
        """With it `stores.open_store` opens the store of this URI in another process."""

    def filesystem(self) -> Any:
        """The fsspec file system by which DuckDB finds the files of these URIs; None where it finds them itself."""

    @property
    def cold_class(self) -> str:
        """The storage class for what is seldom read; empty where the storage has one class only."""

    def is_there(self) -> bool: ...

    def space(self) -> Space:
        """The space for new files. Changes nothing."""

    def names(self, folder: str = "") -> list[str]:
        """The names directly in the folder, sorted; none where it does not exist."""

    def size(self, name: str) -> int | None:
        """The file's size in bytes; None where it does not exist."""

    def read(self, name: str) -> bytes: ...

    def local_path(self, name: str = "") -> Path | None:
        """Where the folder or the file is on a local disk; None where it is not on one."""

    def open_parquet(self, name: str) -> pa.NativeFile:
        """Opens the file for reads at any place."""

    def put_new(self, name: str, source: Path, check: Callable[[], None]) -> None:
        """Stores a local file under this name; `check` is called immediately before, and may raise to prevent it.

        Raises FileExistsError where a file with other bytes has the name, which keeps two writers apart. A file with
        the same bytes counts as this one, because storage may repeat a request. Raises RequestUnsettled when it is
        not known whether the file was stored, nor whether it still will be.
        """

    def take_in(self, moves: Mapping[str, Path | str]) -> None:
        """Moves staged files to their names, which must be new: local files, or what `hand_over` returned."""

    def hand_over(self, staged: Path) -> Path | str:
        """Gives a staged file of this machine to the process that commits, on whichever machine that is."""

    def put_cold(self, name: str, source: Path) -> None:
        """Writes a file again, whose bytes a local file has, in the class `cold_class`; in one step for readers."""

    def replace(self, name: str, data: bytes) -> None:
        """Creates or replaces a file, in one step for readers; for one writer at a time."""

    def append(self, name: str, data: bytes) -> None:
        """Appends to a file, or creates it, also beside other writers. A write that fails adds nothing.

        Raises FeedLocked where another writer keeps it for too long.
        """

    def move(self, name: str, new: str) -> None: ...

    def delete(self, *names: str) -> None:
        """Deletes files; missing ones are no error."""

    def delete_leftovers(self, *names: str, may_be_named: bool) -> int:
        """Deletes those files that certainly do not belong to a run that still lives; returns how many.

        `may_be_named` says that the log still has room for the entry of the run that left them. Where a request may
        arrive after its sender has ended, they stay until none can.
        """

    def delete_all(self) -> None:
        """Deletes the folder, which this process holds, its log last."""

    def make_durable(self) -> None:
        """Syncs what earlier runs have left. Raises LakeDamaged where the folder leads out of the lake."""

    def check_puts(self, name: str) -> bool:
        """Raises StoreNotSafe where `put_new` would not keep two writers apart; False where it does in any case.

        Uses this name, for a moment.
        """

    def staging(self, name: str) -> Path:
        """A local folder for files that are not committed yet."""

    def clear_staging(self) -> None:
        """Deletes staged files that certainly do not belong to a run that still lives."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A local folder of this process alone, removed when the block ends."""

    def fetch(self, name: str, target: Path) -> None:
        """Provides the file as a local file, which must only be read."""

    def hold(self, feed: str, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        """Holds the folder, which is that feed's. Raises FeedLocked naming the holder."""

    def hold_run(self, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        """Holds the lake for one run of a kind. Raises FeedLocked."""

    def held(self) -> Hold | None:
        """This process's hold of the folder."""

    def short_lock(self, name: str) -> AbstractContextManager[None]:
        """Waits for a lock that is held for moments only. Raises FeedLocked."""

    def make_folder(self, name: str) -> None:
        """Makes a folder, where the storage has folders."""

    def open_log(self, name: str) -> logging.Handler:
        """A file to which lines are added."""


@contextlib.contextmanager
def disk_errors(where: str | Path, wanted: str = "written") -> Iterator[None]:
    """Turns the operating system's errors about `where` into errors that say what to do.

    `wanted` is `written` or `read`: what may not be done where rights are missing.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or str(where)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk is full: {place}",
                f"free space (see 'df -h {_kept(where)}'), then run the same command again",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            right = "writable" if wanted == "written" else "readable"
            raise LakeNotWritable(
                f"the lake cannot be {wanted}: {place}: {os.strerror(error.errno)}",
                f"make {where} {right} for this user, or set LAKE_ROOT to another folder",
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise LakeDamaged(
                f"the lake cannot be used: {place}: a file is where a folder has to be",
                "set LAKE_ROOT to a folder, or move that file away",
            ) from error
        raise LakeDamaged(f"the lake cannot be used: {place}: {error.strerror or error}", f"look at {where}") from error


def _kept(where: str | Path) -> str:
    """The place, or the folder above the staging folder that it is in, which is removed."""
    return str(where).partition(f"/{STAGING}")[0]


def json_bytes(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_json(data: bytes, where: str, hint: str = "correct or remove that file") -> Any:
    """Raises LakeDamaged for what is not JSON."""
    try:
        return json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise LakeDamaged(f"{where} is not valid JSON: line {error.lineno}, column {error.colno}", hint) from None
    except (ValueError, RecursionError):
        raise LakeDamaged(f"{where} is not valid JSON: it is not UTF-8, or nested too deeply", hint) from None
