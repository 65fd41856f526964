"""The lake in a bucket of an object store: S3, Azure Blob Storage or Google Cloud Storage.

An object is there whole or not at all. A log entry gets its name by a conditional write, and after an answer that is
not clear the store is asked what is there. Data files are written on a local disk first and uploaded whole. A crash
leaves staged files on that disk, and objects that no log names; the next run removes both.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import PipelineError, RequestUnsettled, StoreUnreachable
from pipeline.lake import lease
from pipeline.lake.access import StoreAccess
from pipeline.lake.bucket import Bucket, Found
from pipeline.lake.disk import delete_file, make_folder
from pipeline.lake.local_staging import LocalStaging, make_private
from pipeline.lake.log_cache import LogCache
from pipeline.lake.object_files import ObjectLog, ObjectReader
from pipeline.lake.store import LOG, Hold, Space

_READ_WHOLE_BYTES = 32 * 2**20
"""Larger files are read in pieces, those that a reader asks for."""
_UPLOADS = 4
"""Files that are uploaded at once."""
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Between two attempts at a conditional write."""
_LEASE, _STAGED = "_lock.json", "_staging"


class ObjectStore:
    """A folder of a bucket: the keys that begin with `prefix`. `staging` is a local folder; `Store` has the methods."""

    def __init__(self, bucket: Bucket, prefix: str, staging: Path, logs: LogCache | None = None) -> None:
        self._bucket, self._prefix, self._staging = bucket, prefix, staging
        self._logs = logs or LogCache()
        self._local = LocalStaging(staging / bucket.root.replace("://", "/") / prefix / "_staging")

    def below(self, folder: str) -> ObjectStore:
        return ObjectStore(self._bucket, self._key(folder), self._staging, self._logs)

    def uri(self, name: str = "") -> str:
        return f"{self._bucket.root}/{self._key(name)}".rstrip("/")

    @property
    def access(self) -> StoreAccess:
        return self._bucket.access

    def filesystem(self) -> Any:
        return self._bucket.filesystem()

    @property
    def cold_class(self) -> str:
        return self._bucket.cold_class

    def is_there(self) -> bool:
        return next(self._bucket.all_below(self._folder("")), None) is not None

    def space(self) -> Space:
        """Whether it can be written is seen when it is."""
        return Space(self.uri(), is_writable=True, free_bytes=None)

    def names(self, folder: str = "") -> list[str]:
        there = self._bucket.names(self._folder(folder))
        self._logs.compare(self._key(folder), there)
        return list(there)

    def size(self, name: str) -> int | None:
        found = self._bucket.head(self._key(name))
        return found.size if found is not None else None

    def read(self, name: str) -> bytes:
        return self._logs.get(self._key(name), self._bucket.get)

    def local_path(self, name: str = "") -> None:
        """It is on no local disk."""

    def open_parquet(self, name: str) -> pa.NativeFile:
        if name.startswith(LOG):
            return pa.BufferReader(self.read(name))
        data, size = self._bucket.get_up_to(self._key(name), _READ_WHOLE_BYTES)
        if data is not None:
            return pa.BufferReader(data)
        return pa.PythonFile(ObjectReader(self._bucket, self._key(name), size), mode="r")

    def put_new(self, name: str, source: Path, check: Callable[[], None]) -> None:
        """By a conditional write, again after an answer that is not clear: with the same bytes that changes nothing.

        Raises RequestUnsettled when it is not known whether the object was written, nor whether it still will be.
        """
        key, data = self._key(name), source.read_bytes()
        self._logs.forget([key])
        unsettled: StoreUnreachable | None = None
        failed: PipelineError = StoreUnreachable(
            f"{self.uri(name)} is not there although nothing refuses it", "run the same command again"
        )
        for pause_s in (*_PAUSES_S, 0):
            try:
                check()
            except PipelineError as error:
                failed = error
                if not isinstance(error, StoreUnreachable):
                    break
            else:
                try:
                    if self._creates(key, data):
                        return
                except StoreUnreachable as error:
                    failed = unsettled = error
            time.sleep(pause_s)
        if unsettled is not None:
            raise RequestUnsettled(unsettled.message, unsettled.hint) from failed
        raise failed

    def _creates(self, key: str, data: bytes) -> bool:
        """One attempt: whether the object is there with these bytes. Raises FileExistsError where it has others."""
        try:
            self._bucket.create(key, data)
        except FileExistsError:
            found = self._bucket.find(key)  # a lost answer, or a store that was busy with another request
            if found is not None and found[0] != data:
                raise
            return found is not None
        except StoreUnreachable:
            found = self._bucket.find(key)
            if found is not None and found[0] != data:
                raise FileExistsError(errno.EEXIST, "another writer was first", key) from None
            if found is None:
                raise
        return True

    def take_in(self, moves: Mapping[str, Path | str]) -> None:
        """Uploads the files, some at once, and deletes them on the local disk. What another machine has uploaded the
        store copies by itself.
        """

        def take(name: str, source: Path | str) -> None:
            if isinstance(source, str):
                self.move(source, name)
                return
            self._bucket.put(self._key(name), source)
            delete_file(source)

        with ThreadPoolExecutor(_UPLOADS) as pool:
            try:
                for done in [pool.submit(take, name, source) for name, source in moves.items()]:
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # those that have begun end
                raise

    def put_cold(self, name: str, source: Path) -> None:
        self._bucket.put(self._key(name), source, self.cold_class)

    def hand_over(self, staged: Path) -> str:
        """Uploads it to a name of its own, and deletes it on the local disk."""
        name = f"{_STAGED}/{staged.parent.name}/{staged.name}"
        self._bucket.put(self._key(name), staged)
        delete_file(staged)
        return name

    def replace(self, name: str, data: bytes) -> None:
        """By a conditional write: one that arrives late, after its run was killed, does not undo a newer one."""
        key = self._key(name)
        self._logs.forget([key])
        self._write_over(key, lambda: (data, self._bucket.head(key)), lambda found: found == data)

    def append(self, name: str, data: bytes) -> None:
        key = self._key(name)

        def longer() -> tuple[bytes, Found | None]:
            found = self._bucket.find(key)
            return (data, None) if found is None else (found[0] + data, found[1])

        self._write_over(key, longer, lambda found: data in found)

    def _write_over(
        self, key: str, wanted: Callable[[], tuple[bytes, Found | None]], is_done: Callable[[bytes], bool]
    ) -> None:
        """Writes what is `wanted` over what is there; again when another was first, or an answer is not clear."""
        unclear: StoreUnreachable | None = None
        for pause_s in (*_PAUSES_S, 0):
            if unclear is not None and (there := self._bucket.find(key)) is not None and is_done(there[0]):
                return
            try:
                data, over = wanted()
                if over is None:
                    self._bucket.create(key, data)
                else:
                    self._bucket.update(key, data, over.tag)
                return
            except (FileExistsError, FileNotFoundError):  # another writer was first, or deleted it
                pass
            except StoreUnreachable as error:
                unclear = error
            time.sleep(pause_s)
        where = f"{self._bucket.root}/{key}"
        raise unclear or StoreUnreachable(f"{where} is written by others all the time", "run the same command again")

    def move(self, name: str, new: str) -> None:
        """A crash may leave both names; to move again ends it."""
        self._bucket.copy(self._key(name), self._key(new))
        self._bucket.delete([self._key(name)])

    def delete(self, *names: str) -> None:
        keys = [self._key(name) for name in names]
        self._logs.forget(keys)
        if keys:
            self._bucket.delete(keys)

    def delete_leftovers(self, *names: str, may_be_named: bool) -> int:
        kept_from = self._kept_from(may_be_named)
        if kept_from == float("inf"):
            self.delete(*names)
            return len(names)
        heads = {name: self._bucket.head(self._key(name)) for name in names}
        gone = [name for name, head in heads.items() if head and head.written_at.timestamp() < kept_from]
        self.delete(*gone)
        return len(gone)

    def delete_all(self) -> None:
        """The lease is deleted last, the log just before it: data files without a log would be a damaged feed."""
        log, lock = self._folder(LOG), self._key(_LEASE)
        keys = list(self._bucket.all_below(self._folder("")))
        self._logs.forget(keys)
        self._bucket.delete([key for key in keys if not key.startswith(log) and key != lock])
        self._bucket.delete([key for key in keys if key.startswith(log)])
        self._bucket.delete([lock])

    def make_durable(self) -> None:
        """What the store has said that it wrote is written."""

    def check_puts(self, name: str) -> bool:
        key = self._key(name)
        self._bucket.delete([key])
        try:
            self._bucket.create(key, b"first")
            lease.refuse_unsafe(self._bucket, key, b"second")
            return True
        finally:
            self._bucket.delete([key])

    def staging(self, name: str) -> Path:
        make_private(self._staging)
        return self._local.path(name)

    def clear_staging(self) -> None:
        """Also what another machine has staged: it is deleted by when the store wrote it."""
        make_private(self._staging)
        kept_from = self._kept_from()
        self._local.clear(kept_from)
        staged = self._bucket.written_below(self._folder(_STAGED))
        if gone := [key for key, written_at in staged if written_at.timestamp() < kept_from]:
            self._bucket.delete(gone)

    def scratch(self) -> AbstractContextManager[Path]:
        make_private(self._staging)
        return self._local.scratch()

    def fetch(self, name: str, target: Path) -> None:
        make_folder(target.parent)
        target.write_bytes(self.read(name))

    def hold(self, feed: str, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        return lease.hold(self._bucket, self._key(_LEASE), f"the feed {feed}", holder)

    def hold_run(self, holder: Mapping[str, Any]) -> AbstractContextManager[Hold]:
        return lease.hold(self._bucket, self._key(".run.json"), f"the lake {self.uri()}", holder)

    def held(self) -> Hold | None:
        return lease.held(self._bucket, self._key(_LEASE))

    def short_lock(self, name: str) -> AbstractContextManager[None]:
        return lease.short_hold(self._bucket, self._key(name))

    def make_folder(self, name: str) -> None:
        """A folder is there when an object is in it."""

    def open_log(self, name: str) -> logging.Handler:
        return ObjectLog(lambda lines: self.append(name, lines))

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self._prefix, name) if part)

    def _folder(self, name: str) -> str:
        key = self._key(name)
        return f"{key}/" if key else ""

    def _kept_from(self, may_be_named: bool = False) -> float:
        hold = lease.held(self._bucket, self._key(_LEASE))
        return float("inf") if hold is None else hold.kept_from(may_be_named)
