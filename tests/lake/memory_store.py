"""A store that is no disk: files are bytes in this process. A reader, and the Delta library, get a copy on a disk."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.errors import FeedLocked, FeedLost
from pipeline.lake.access import StoreAccess
from pipeline.lake.store import Space


@dataclass
class MemoryHold:
    holds: dict[str, MemoryHold]
    folder: str
    since: dt.datetime | None = None
    previous_since: dt.datetime | None = None

    def check(self) -> None:
        if self.holds.get(self.folder) is not self:
            raise FeedLost(f"{self.folder} is held no longer", "run the same command again")


@dataclass
class MemoryStore:
    """`files` and `holds` are those of all folders of the store."""

    prefix: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    holds: dict[str, MemoryHold] = field(default_factory=dict)
    access: ClassVar[StoreAccess] = StoreAccess()
    disk: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()))

    def below(self, folder: str) -> MemoryStore:
        return MemoryStore(f"{self.prefix}{folder}/", self.files, self.holds, self.disk)

    def uri(self, name: str = "") -> str:
        copies = self.disk / "copies"
        shutil.rmtree(copies, ignore_errors=True)
        for path, data in self.files.items():
            (copies / path).parent.mkdir(parents=True, exist_ok=True)
            (copies / path).write_bytes(data)
        return str(copies / f"{self.prefix}{name}")

    def filesystem(self) -> None:
        """`uri` makes copies on a disk."""

    @property
    def cold_class(self) -> str:
        return ""

    def put_cold(self, name: str, source: Path) -> None:
        """Memory has one class."""

    def is_there(self) -> bool:
        return True

    def space(self) -> Space:
        return Space("this process's memory", is_writable=True, free_bytes=None)

    def names(self, folder: str = "") -> list[str]:
        start = f"{self.prefix}{folder}/" if folder else self.prefix
        return sorted({path[len(start) :].partition("/")[0] for path in self.files if path.startswith(start)})

    def size(self, name: str) -> int | None:
        data = self.files.get(self.prefix + name)
        return None if data is None else len(data)

    def read(self, name: str) -> bytes:
        try:
            return self.files[self.prefix + name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def local_path(self, name: str = "") -> None:
        """It is in memory."""

    def open_parquet(self, name: str) -> pa.NativeFile:
        return pa.BufferReader(self.read(name))

    def put_new(self, name: str, source: Path, check: Callable[[], None]) -> None:
        check()
        if self.files.setdefault(self.prefix + name, data := source.read_bytes()) != data:
            raise FileExistsError(name)

    def take_in(self, moves: Mapping[str, Path | str]) -> None:
        for name, source in moves.items():
            self.replace(name, Path(source).read_bytes())
            Path(source).unlink()

    def hand_over(self, staged: Path) -> Path:
        return staged

    def replace(self, name: str, data: bytes) -> None:
        self.files[self.prefix + name] = data

    def append(self, name: str, data: bytes) -> None:
        self.files[self.prefix + name] = self.files.get(self.prefix + name, b"") + data

    def move(self, name: str, new: str) -> None:
        self.files[self.prefix + new] = self.files.pop(self.prefix + name)

    def delete(self, *names: str) -> None:
        for name in names:
            self.files.pop(self.prefix + name, None)

    def delete_leftovers(self, *names: str, may_be_named: bool) -> int:  # noqa: ARG002 # one process
        self.delete(*names)
        return len(names)

    def delete_all(self) -> None:
        for path in [path for path in self.files if path.startswith(self.prefix)]:
            del self.files[path]

    def make_durable(self) -> None:
        """Nothing waits for a disk."""

    def check_puts(self, name: str) -> bool:  # noqa: ARG002 # nothing is written
        """`put_new` is one step of one process."""
        return False

    def staging(self, name: str) -> Path:
        return self.disk / "staging" / self.prefix / name

    def clear_staging(self) -> None:
        shutil.rmtree(self.staging(""), ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.disk) as folder:
            yield Path(folder)

    def fetch(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.read(name))

    @contextlib.contextmanager
    def hold(self, feed: str, holder: Mapping[str, Any]) -> Iterator[MemoryHold]:  # noqa: ARG002 # nobody else looks
        if self.prefix in self.holds:
            raise FeedLocked(f"the feed {feed} is held by another run", "wait for it to end")
        self.holds[self.prefix] = hold = MemoryHold(self.holds, self.prefix)
        try:
            yield hold
        finally:
            self.holds.pop(self.prefix, None)

    def hold_run(self, holder: Mapping[str, Any]) -> contextlib.AbstractContextManager[MemoryHold]:
        return self.hold("of all feeds", holder)

    def held(self) -> MemoryHold | None:
        return self.holds.get(self.prefix)

    @contextlib.contextmanager
    def short_lock(self, name: str) -> Iterator[None]:  # noqa: ARG002 # one process
        yield

    def make_folder(self, name: str) -> None:
        """A folder is there when a file is in it."""

    def open_log(self, name: str) -> logging.Handler:  # noqa: ARG002 # nobody reads it
        return logging.StreamHandler(io.StringIO())
