"""One table's log, opened once: its head is read immediately, the list of its files when it is needed.

In a session the Delta library reads one private copy of the log, so nothing is read twice; a commit that needs no list
of files is made without the copy. The end of the session removes it; the next run removes the copy of a killed one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Iterator

import deltalake

from pipeline.lake.checkpoint import drop_old_entries, write_checkpoint
from pipeline.lake.clock import is_over
from pipeline.lake.delta import delta_errors
from pipeline.lake.entry import PrivateLog, Write, log_of_head, private_log, publish_entry
from pipeline.lake.files import Bounds, DataFile, committed_files
from pipeline.lake.head import Head, read_head
from pipeline.lake.log import removed_files
from pipeline.lake.store import Store

_log = logging.getLogger("pipeline")


class OpenLog:
    """The log of a table partitioned by `column`. Without a `session` each use of the library opens it again."""

    def __init__(self, store: Store, feed: str, column: str, session: contextlib.ExitStack | None) -> None:
        self._store, self._feed, self._column, self._session = store, feed, column, session
        if session is not None:
            session.callback(self._end_session)
        self.refresh()

    def refresh(self) -> None:
        """Reads the log again. Raises LogDamaged and TableNotSupported."""
        self._private: PrivateLog | None = None
        self.head: Head | None = read_head(self._store, self._feed)

    @property
    def next_version(self) -> int:
        return self.head.version + 1 if self.head else 0

    def files(self, within: Bounds | None = None) -> tuple[DataFile, ...]:
        """The files that the log names; those that may have values `within` bounds."""
        if self.head is None:
            return ()
        with delta_errors(self._store.uri()):
            if self._session is None:
                return self.files_at(self.head.version, within)  # another run may have committed since
            with self._copy() as private:
                return tuple(committed_files(private.delta, self._column, self._store, within))

    def files_at(self, version: int, within: Bounds | None = None) -> tuple[DataFile, ...]:
        """The files that the log named at an earlier version."""
        with delta_errors(self._store.uri()):
            place = self._store.local_path()
            if place is not None:
                delta = deltalake.DeltaTable(place, version=version)
                return tuple(committed_files(delta, self._column, self._store, within))
            with private_log(self._store, version) as private:
                return tuple(committed_files(private.delta, self._column, self._store, within))

    def publish(self, write: Write, check: Callable[[], None], needs_files: bool = True) -> None:
        """Makes the next entry by `write`; see `publish_entry`. Without `needs_files` it gets the head alone."""
        head = None if needs_files else self.head
        with self._copy() if head is None else log_of_head(self._store, head) as private:
            try:
                entry = publish_entry(self._store, private, self.next_version, write, check)
            except BaseException:
                self._private = None  # it may have an entry that the log does not have
                raise
        _log.debug("commit: version %d of %s", self.next_version, self._store.uri())
        self.head = (self.head or Head()).after(self.next_version, entry)

    def sum_up(self, past: dt.datetime | None, keep: dt.timedelta) -> None:
        """Writes a checkpoint, and drops the entries that no reader needs after it; `past` is a safely past time."""
        if self.head is None:
            return
        due = [path for path, removed_ms in removed_files(self._store).items() if is_over(removed_ms, keep, past)]
        gone = [path for path in due if self._store.size(path) is None]
        with self._copy() as private:
            write_checkpoint(self._store, private, self.head.version, self.head.transactions, gone)
        if past is not None and self._session is not None:
            drop_old_entries(self._store, past, keep)

    def _end_session(self) -> None:
        self._session = self._private = None

    @contextlib.contextmanager
    def _copy(self) -> Iterator[PrivateLog]:
        version = self.next_version - 1
        if self._session is None:
            with private_log(self._store, version) as private:
                yield private
            return
        if self._private is None:
            self._private = self._session.enter_context(private_log(self._store, version))
        self._private.follow(self._store, version)
        yield self._private
