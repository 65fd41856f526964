"""The verbs of storage: what the lake needs of the place where it is kept.

A store is a folder. Names in it are relative, with slashes; a folder is there when a file is in it. Each verb raises
OSError for what the storage does (FileNotFoundError and FileExistsError among them), and `disk_errors` turns that into
an error that says what to do. A file is there whole or not at all, also after a crash.
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

LOG = "_delta_log"
"""The folder of a table's Delta log; its files are the table's for as long as it is there."""
Tell = Callable[[str], None]
"""Hears what a person should know on the way."""


class Hold(Protocol):
    """A folder that this process holds."""

    def check(self) -> None:
        """Raises FeedLost when it is held no longer."""

    @property
    def since(self) -> dt.datetime | None:
        """When this run began, by its own clock."""

    @property
    def previous_since(self) -> dt.datetime | None:
        """When the run before this one began, by its own clock."""


@dataclass(frozen=True)
class Space:
    """Where a store is, or the nearest place above it that is there; `free_bytes` is None where nobody knows."""

    place: str
    is_writable: bool
    free_bytes: int | None


class Store(Protocol):
    """A folder of the lake, wherever that is."""

    def below(self, folder: str) -> Store: ...

    def uri(self, name: str = "") -> str:
        """Where readers and the Delta library find it."""

    def is_there(self) -> bool: ...

    def space(self) -> Space:
        """What there is for new files. Changes nothing."""

    def names(self, folder: str = "") -> list[str]:
        """What is directly in the folder, sorted; nothing where it is not there."""

    def size(self, name: str) -> int | None:
        """In bytes; None for a file that is not there."""

    def read(self, name: str) -> bytes: ...

    def open_parquet(self, name: str) -> pa.NativeFile:
        """The file, to be read in pieces."""

    def put_new(self, name: str, source: Path, check: Callable[[], None]) -> None:
        """Gives a local file this name, after `check`, which has the last word.

        Raises FileExistsError where another file has it: the fence between two writers. A file that is there with the
        same bytes is this one: storage may do a request twice.
        """

    def take_in(self, moves: Mapping[str, Path]) -> None:
        """Moves staged files to their names, which no other file has."""

    def replace(self, name: str, data: bytes) -> None:
        """Puts a file in the place of the one that is there, in one step for readers; for one writer at a time."""

    def append(self, name: str, data: bytes) -> None:
        """Adds to the end of a file, or makes it; for one writer at a time. A write that fails adds nothing."""

    def move(self, name: str, new: str) -> None: ...

    def delete(self, *names: str) -> None:
        """Deletes the files that are there."""

    def delete_leftovers(self, *names: str) -> int:
        """Deletes those that are surely not of a run that lives; returns how many."""

    def delete_all(self) -> None:
        """Deletes the folder, which this process holds, its log last."""

    def make_durable(self) -> None:
        """Makes durable what earlier runs have left. Raises LakeDamaged where the folder leads out of the lake."""

    def staging(self, name: str) -> Path:
        """A local folder for files on their way."""

    def clear_staging(self) -> None:
        """Deletes what is surely not of a run that lives."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A local folder of this process alone, for a moment."""

    def fetch(self, name: str, target: Path) -> None:
        """Makes the file's bytes a local file, which is only read."""

    def hold(self, feed: str, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        """Holds the folder, which is that feed's. Raises FeedLocked naming the holder."""

    def hold_run(self, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        """Holds the lake for one run of a kind. Raises FeedLocked."""

    def held(self) -> Hold | None:
        """This process's hold of the folder."""

    def short_lock(self, name: str) -> AbstractContextManager[None]:
        """Waits for a lock that is held for moments only. Raises FeedLocked."""

    def make_folder(self, name: str) -> None:
        """Where storage has folders."""

    def open_log(self, name: str) -> logging.Handler:
        """A file to which lines are added."""


@contextlib.contextmanager
def disk_errors(where: str | Path, wanted: str = "written") -> Iterator[None]:
    """Turns what the operating system says about `where` into an error that says what to do.

    `wanted` is `written` or `read`: what may not be done where rights are missing.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or str(where)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk is full: {place}", f"free space (see 'df -h {where}'), then run the same command again"
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
