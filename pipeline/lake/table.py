"""One feed's data in the lake: a Delta table of hive-partitioned Parquet files.

`commit` is the one instant at which rows exist: it moves staged files into their partitions and adds them to the log
together with the bookmark, in one entry that is on disk before it has its name. A crash before it leaves files that
no reader of the log sees and that `remove_orphans` deletes; a crash after it loses nothing. Bookmarks and the current
version are Delta application transactions, so they survive checkpoints and log clean-up, and rows and progress cannot
disagree. No clock of this machine goes back behind the newest commit.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import LakeDamaged, PipelineError
from pipeline.feeds import Feed
from pipeline.fingerprint import total
from pipeline.lake.change import CURRENT, TOPIC_NUMBER, Change, bookmarks_in, file_actions, files_after, transactions
from pipeline.lake.checkpoint import CHECKPOINT_EVERY
from pipeline.lake.clock import clock_text, guarded
from pipeline.lake.columns import compare_columns
from pipeline.lake.delta import add_columns, commit_properties, create_table, delta_errors, write_files
from pipeline.lake.delta import partitioned_schema as partitioned
from pipeline.lake.encoding import Compression
from pipeline.lake.entry import Write
from pipeline.lake.files import DataFile, place_of, read_files
from pipeline.lake.head import Head
from pipeline.lake.leftovers import delete_orphans, may_forget, note_moves, refuse_lost, surely_past_by
from pipeline.lake.log import history, remove_damage
from pipeline.lake.newest import Growth, newest_files
from pipeline.lake.open_log import OpenLog
from pipeline.lake.rule import Rule
from pipeline.lake.store import Store, Tell
from pipeline.source import Bookmark

VIEWS = "views.sql"
METADATA = "_metadata.json"


class LakeTable:
    """A feed's table. The head of its log is read immediately, the list of its files when it is needed; both follow the
    commits of this object, and `refresh` reads the log again. `growth` is what they came to.
    """

    def __init__(
        self,
        lake: Store,
        feed: Feed,
        tell: Tell,
        compression: Compression = "snappy",
        session: contextlib.ExitStack | None = None,
    ) -> None:
        self.feed, self._tell, self._lake, self.compression = feed, tell, lake, compression
        self.store = lake.below(f"{feed.kind_folder}/{feed.name}")
        self.partition_column = "date" if feed.type == "stream" else "version"
        self._newest_before: dt.datetime | None = None
        self._grace, self.has_named_leftovers = dt.timedelta(), False
        self._log = OpenLog(self.store, feed.name, self.partition_column, session)
        self._files: tuple[DataFile, ...] | None
        self.growth: Growth
        self._forget()

    @classmethod
    def for_writing(
        cls,
        lake: Store,
        feed: Feed,
        grace_hours: int,
        tell: Tell,
        compression: Compression,
        session: contextlib.ExitStack,
    ) -> LakeTable:
        """Opens the table and removes what killed runs and power cuts left: a torn log entry, staged files, orphans.

        Only under the feed's lock, and until `session` is closed, which closes the table too. Raises ClockWentBack, and
        LakeDamaged for a symbolic link among its folders.
        """
        store = lake.below(f"{feed.kind_folder}/{feed.name}")
        with delta_errors(store.uri()):
            store.make_durable()
            remove_damage(store)
            store.clear_staging()
        table, hold = cls(lake, feed, tell, compression, session), store.held()
        if hold is not None and hold.since is not None:
            table.guarded(hold.since)
        table._newest_before, table._grace = table.newest_at, dt.timedelta(hours=grace_hours)
        table.remove_orphans(grace_hours)
        return table

    def uri(self, path: str = "") -> str:
        """The URI at which readers find the table, or a file of it."""
        return self.store.uri(path)

    def refresh(self) -> None:
        self._log.refresh()
        self._forget()

    @property
    def exists(self) -> bool:
        return self._log.head is not None

    @property
    def head(self) -> Head:
        """The head of the table's log. Raises LakeDamaged for a table without data."""
        if self._log.head is None:
            raise LakeDamaged(
                f"the feed {self.feed.name} has no data in the lake yet",
                f"python export_to_data_lake.py --{self.feed.type} {self.feed.name}",
            )
        return self._log.head

    @property
    def newest_at(self) -> dt.datetime | None:
        """The time of the run that made the newest log entry; None before the first run."""
        return self._log.head.made_at if self._log.head else None

    @property
    def delta_version(self) -> int:
        return self.head.version

    @property
    def id(self) -> str:
        """The id of the Delta table: a table of the same name in another lake has another id."""
        return str(self.head.metadata["id"])

    @property
    def topic(self) -> str:
        """The topic of the bookmarks; empty for tables."""
        return self.head.settings.get("ksqldb.topic", "")

    @property
    def topic_number(self) -> int | None:
        """The topic's id as a number (see `change.number_of`); None where no source has reported it yet."""
        return self.head.transactions.get(f"{self.topic}{TOPIC_NUMBER}") if self.exists else None

    @property
    def schema(self) -> pa.Schema:
        """The columns of the data files, each with its ksqlDB name and type as field metadata."""
        return pa.schema([column for column in self.head.schema if column.name != self.partition_column])

    @property
    def files(self) -> tuple[DataFile, ...]:
        if self._files is None:
            self._files = self._log.files()
        return self._files

    def files_with(self, topic_partition: int, first: int, last: int) -> tuple[DataFile, ...]:
        """A stream's files that may have rows with these offsets; newest rows are found by the log's newest entries."""
        within = {"rowpartition": (topic_partition, topic_partition), "rowoffset": (first, last)}
        newest = newest_files(self.store, self.delta_version, self.partition_column, topic_partition, first)
        return self._log.files(within) if newest is None else tuple(file for file in newest if file.meets(within))

    @property
    def current_version(self) -> int | None:
        """The table version that readers should take; None before the first."""
        return self.head.transactions.get(CURRENT) if self.exists else None

    @property
    def rule(self) -> Rule | None:
        """The retention by which the rows are kept; None where there are none."""
        if not self.exists or self.rule_in_log is not None:
            return self.rule_in_log if self.exists else None
        return Rule.of_older_log(self.files, self.feed.type, self.newest_at, lambda: self.store.read(METADATA))

    @property
    def rule_in_log(self) -> Rule | None:
        return Rule.in_log(self.head.transactions.get)

    def versions(self) -> dict[int, list[DataFile]]:
        """The retained snapshots of a table feed: version to files."""
        found: dict[int, list[DataFile]] = {}
        for file in self.files:
            found.setdefault(int(file.partition or 0), []).append(file)
        return dict(sorted(found.items()))

    def bookmarks(self) -> dict[int, Bookmark]:
        """The bookmark of each topic partition that has one."""
        return bookmarks_in(self.head.transactions.get, self.topic) if self.exists else {}

    def files_at(self, delta_version: int) -> tuple[DataFile, ...]:
        """The files as they were after an earlier commit. Raises CommitFailed where the log no longer has them."""
        return self._log.files_at(delta_version)

    def history(self) -> list[dict[str, Any]]:
        """All entries of the log, newest first: Delta's own keys, ours under `pipeline`; `version`."""
        with delta_errors(self.uri()):
            return list(history(self.store)) if self.exists else []

    def guarded(self, now: dt.datetime) -> dt.datetime:
        """The time of a change of this table that is made `now`; see `clock`. Raises ClockWentBack."""
        return guarded(self.feed.name, self.newest_at, now)

    def accept_clock(self, commit_id: str, now: dt.datetime) -> int:
        """Lets the table go on from `now`, although it has commits of a later time; returns the Delta version."""
        note = {"kind": "clock accepted", "instead_of": clock_text(self.newest_at) if self.newest_at else None}
        return self._commit(commit_id, Change(note=note), now)

    def create(self, schema: pa.Schema, topic: str) -> None:
        """Makes the empty table. `schema` is that of the data files."""
        with delta_errors(self.uri()):
            whole = partitioned(schema, self.partition_column)
            self._publish(lambda private: create_table(private.folder, self.feed, whole, self.partition_column, topic))

    def compare_schema(self, schema: pa.Schema) -> tuple[list[str], list[str]]:
        """The columns that are new, and those whose type has become wider; raises SchemaChanged for anything else."""
        return compare_columns(self.feed, self.schema, schema)

    def match_schema(self, schema: pa.Schema) -> list[str]:
        """Adds new columns to the table; returns the columns whose type has become wider, which it does not change.

        Raises SchemaChanged for anything else; the table is left as it was.
        """
        added, wider = self.compare_schema(schema)
        if added:
            with delta_errors(self.uri()):
                note = commit_properties({"added_columns": added, "fingerprint": self.head.fingerprint}, self.newest_at)
                self._publish(lambda private: add_columns(private.delta, [schema.field(n) for n in added], note))
        return wider

    def commit(self, commit_id: str, change: Change, now: dt.datetime) -> int:
        """Publishes the change in one log entry and returns its Delta version.

        Raises CommitStands when the change is committed and the disk failed after that, and CommitUnknown when that
        cannot be known; after CommitFailed, DiskFull, LakeNotWritable and any other error the lake is as it was before.
        The change's files are left where they are: the next run knows whether they are committed.
        """
        return self._commit(commit_id, change, self.guarded(now))

    def _commit(self, commit_id: str, change: Change, now: dt.datetime) -> int:
        with delta_errors(self.uri()):
            paths = [place_of(self.partition_column, file, commit_id, n) for n, file in enumerate(change.adds)]
            note_moves(self.store, self.delta_version + 1, commit_id, paths)
            self.store.take_in({path: staged.path for path, staged in zip(paths, change.adds, strict=True)})
            actions = file_actions(change, paths, self.partition_column, now)
            own, files, growth = Rule.of(self.feed), self._files, self.growth
            rule = (self.rule or own).longer(own)
            marks = transactions(change, self.topic, self.head.transactions, rule, now)
            schema = partitioned(change.schema, self.partition_column) if change.schema is not None else None
            known = change.fingerprint_after(self.head.fingerprint or total(file.fingerprint for file in self.files))
            note = commit_properties({**change.note, "fingerprint": known}, now, marks)
            self._publish(
                lambda private: write_files(private.delta, actions, self.partition_column, note, schema),
                [*paths, *(file.path for file in change.returns)], needs_files=schema is not None
            )  # fmt: skip
            self._files = None if files is None else files_after(change, files, paths, now)
            self.growth = growth.after(change, paths, now, self.head.checksum)
        return self.delta_version

    def staging_folder(self, name: str = "") -> Path:
        return self.store.staging(name)

    def remove_orphans(self, grace_hours: int) -> int:
        """Deletes our files that no commit names, and expired ones past their grace period; returns how many.

        Files that `views.sql` names (`has_named_leftovers`) stay until it is rewritten: a run may have died before it.
        Files that may belong to a run that still lives stay too (see `lock`). Only under the feed's lock.
        """
        with delta_errors(self.uri()):
            if not self.exists:
                return 0
            count, self.has_named_leftovers = delete_orphans(
                self.store,
                self.delta_version,
                lambda: {file.path for file in self.files},
                lambda: self._lake.read(VIEWS).decode() if self._lake.size(VIEWS) is not None else "",
                surely_past_by(self.store, self._newest_before or self.newest_at),
                dt.timedelta(hours=grace_hours),
            )
            return count

    def read_batches(self, files: Sequence[DataFile], batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The rows of committed files; columns that a file does not have are null. Raises LakeDamaged for a bad one."""
        return read_files(self.store, self.feed.name, files, self.schema, batch_rows)

    def _forget(self) -> None:
        self._files, self.growth = None, Growth(self.head.checksum if self.exists else "")

    def _publish(self, write: Write, paths: Sequence[str] = (), needs_files: bool = True) -> None:
        """Makes the next log entry, with new files at `paths`; `write` commits it to a private log."""
        version = self._log.next_version
        self._log.publish(write, lambda: refuse_lost(self.store, paths), needs_files)
        self._forget()
        is_due = version and version % CHECKPOINT_EVERY == 0
        if is_due and not may_forget(self.store, self._newest_before, self._grace):
            self._sum_up()

    def _sum_up(self) -> None:
        """Writes a checkpoint. If that fails the commit stands, and the log takes longer to read until the next one."""
        try:
            with delta_errors(self.uri()):
                self._log.sum_up(surely_past_by(self.store, self._newest_before), self._grace)
        except PipelineError as error:
            self._tell(f"{self.feed.name}: no checkpoint of its log could be written: {error.message}")
