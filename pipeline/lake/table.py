"""One feed's data in the lake: a Delta table of hive-partitioned Parquet files.

`commit` is the one instant at which rows exist: it moves staged files into their partitions and adds them to the log
together with the bookmark, in one entry that is on disk before it has its name. A crash before it leaves files that
no reader of the log sees and that `remove_orphans` deletes; a crash after it loses nothing. Bookmarks and the current
version are Delta application transactions, so they survive checkpoints and log clean-up, and rows and progress cannot
disagree.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from pipeline import cli
from pipeline.errors import PipelineError
from pipeline.feeds import Feed
from pipeline.lake.columns import compare_columns
from pipeline.lake.delta import commit_properties, delta_errors, plain_schema
from pipeline.lake.log import (
    CHECKPOINT_EVERY,
    LOG,
    NO_HOOKS,
    open_table,
    publish_entry,
    remove_torn_entry,
    sync_log,
    write_checkpoint,
)
from pipeline.lake.storage import LakeDamaged, delete_file, delete_folder, make_folder, move_file, sync_folder
from pipeline.lake.writer import Partition, StagedFile

STAGING = "_staging"
VIEWS = "views.sql"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_OUR_FILE = re.compile(r"(?P<commit>[0-9TZ]+-[0-9a-f]+)-\d{5}-(?P<checksum>[0-9a-f]{16})\.parquet")
_CURRENT = "current-version"
_PARTITIONS = "topic-partitions"
_KEEP_LOG = {
    # What a feed's history tells is kept for over a year; Delta's own default is 30 days.
    "delta.logRetentionDuration": "interval 400 days",
    "delta.deletedFileRetentionDuration": "interval 400 days",
}


Mark = tuple[int, int | None]
"""How far a topic partition was read: the offset that is due, and the ROWTIME of the row before it, if there was."""


@dataclass(frozen=True)
class DataFile:
    """A committed file. `bounds` are the smallest and largest value of the integer columns."""

    path: str
    partition: Partition
    row_count: int
    size_bytes: int
    added_at: dt.datetime
    bounds: Mapping[str, tuple[int, int]]

    @property
    def checksum(self) -> str:
        match = _OUR_FILE.fullmatch(Path(self.path).name)
        return match["checksum"] if match else ""


@dataclass(frozen=True)
class Change:
    """What one commit does. `bookmarks` are by topic partition.

    `schema` replaces the table's: then `adds` are all of its rows, and every file there was is removed.
    """

    adds: Sequence[StagedFile] = ()
    removes: Sequence[DataFile] = ()
    bookmarks: Mapping[int, Mark] = field(default_factory=dict)
    partitions: int | None = None
    current_version: int | None = None
    schema: pa.Schema | None = None
    note: Mapping[str, Any] = field(default_factory=dict)


class LakeTable:
    """A feed's table; `refresh` (also called by `commit`) reads the log anew."""

    def __init__(self, root: Path, feed: Feed) -> None:
        self.feed = feed
        self.folder = root / feed.kind_folder / feed.name
        self._views = root / VIEWS
        self.partition_column = "date" if feed.type == "stream" else "version"
        self._delta: deltalake.DeltaTable | None = None
        self._files: tuple[DataFile, ...] | None = None
        self.refresh()

    @classmethod
    def for_writing(cls, root: Path, feed: Feed, grace_hours: int) -> LakeTable:
        """The table without what killed runs and power cuts left: a torn log entry, staged files, orphans.

        Only under the feed's lock.
        """
        folder = root / feed.kind_folder / feed.name
        with delta_errors(folder):
            remove_torn_entry(folder / LOG)
            sync_log(folder)
        table = cls(root, feed)
        table.remove_orphans(grace_hours)
        return table

    def refresh(self) -> None:
        self._files = None
        self._delta = open_table(self.folder, self.feed.name)

    @property
    def exists(self) -> bool:
        return self._delta is not None

    @property
    def delta_version(self) -> int:
        return self._table.version()

    @property
    def topic(self) -> str:
        """The topic that the bookmarks are of; empty for tables."""
        return str(self._table.metadata().configuration.get("ksqldb.topic", ""))

    @property
    def created_at(self) -> dt.datetime:
        return _from_ms(self._table.metadata().created_time or 0)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the data files, each with its ksqlDB name and type as field metadata."""
        return pa.schema(
            [column for column in plain_schema(self._table.schema()) if column.name != self.partition_column]
        )

    @property
    def files(self) -> tuple[DataFile, ...]:
        if self._files is None:
            self._files = tuple(self._read_files()) if self.exists else ()
        return self._files

    @property
    def current_version(self) -> int | None:
        """The table version that readers should take; None before the first."""
        return self._table.transaction_version(_CURRENT) if self.exists else None

    def versions(self) -> dict[int, list[DataFile]]:
        """The retained snapshots of a table feed: version to files."""
        found: dict[int, list[DataFile]] = {}
        for file in self.files:
            found.setdefault(int(file.partition or 0), []).append(file)
        return dict(sorted(found.items()))

    def bookmarks(self) -> dict[int, Mark]:
        """The bookmark of each topic partition that has one."""
        if not self.exists:
            return {}
        count = self._table.transaction_version(_PARTITIONS) or 0
        marks = {}
        for partition in range(count):
            next_offset = self._table.transaction_version(f"{self.topic}/{partition}")
            if next_offset is not None:
                marks[partition] = (next_offset, self._table.transaction_version(f"{self.topic}/{partition}/rowtime"))
        return marks

    def history(self) -> list[dict[str, Any]]:
        """The log's entries, newest first: Delta's own keys, ours under `pipeline`."""
        return self._table.history() if self.exists else []

    def create(self, schema: pa.Schema, topic: str) -> None:
        """Makes the empty table. `schema` is that of the data files."""
        with delta_errors(self.folder):
            make_folder(self.folder)
            self._publish(
                lambda private: deltalake.DeltaTable.create(
                    private,
                    schema=self._full_schema(schema),
                    partition_by=[self.partition_column],
                    name=self.feed.name,
                    description=f"ksqlDB {self.feed.type} {self.feed.source}",
                    configuration=_KEEP_LOG | {"ksqldb.topic": topic},
                    raise_if_key_not_exists=False,
                )
            )

    def _full_schema(self, schema: pa.Schema) -> deltalake.Schema:
        partition = pa.field(self.partition_column, _PARTITION_TYPES[self.partition_column])
        return deltalake.Schema.from_arrow(pa.schema([*schema, partition]))

    def compare_schema(self, schema: pa.Schema) -> tuple[list[str], list[str]]:
        """The columns that are new, and those whose type has become wider; raises SchemaChanged for anything else."""
        return compare_columns(self.feed, self.schema, schema)

    def match_schema(self, schema: pa.Schema) -> list[str]:
        """Takes over new columns; returns the columns whose type has become wider, which are left as they are.

        Raises SchemaChanged for anything else; the table is left as it was.
        """
        added, wider = self.compare_schema(schema)
        if added:
            with delta_errors(self.folder):
                fields = deltalake.Schema.from_arrow(pa.schema([schema.field(name) for name in added])).fields
                note = commit_properties({"added_columns": added})
                self._publish(
                    lambda private: deltalake.DeltaTable(private).alter.add_columns(
                        fields, commit_properties=note, post_commithook_properties=NO_HOOKS
                    )
                )
        return wider

    def commit(self, commit_id: str, change: Change, now: dt.datetime) -> int:
        """Publishes the change in one log entry and returns its Delta version.

        Raises CommitFailed, DiskFull or LakeNotWritable; the lake is then as it was before.
        """
        with delta_errors(self.folder):
            actions: list[AddAction | RemoveAction] = [
                self._add_action(staged, self._place(staged, commit_id, index), now)
                for index, staged in enumerate(change.adds)
            ]
            actions += [
                RemoveAction(file.path, True, _ms(now), file.size_bytes, {self.partition_column: file.partition})
                for file in change.removes
            ]
            for folder in {(self.folder / action.path).parent for action in actions if isinstance(action, AddAction)}:
                sync_folder(folder)
            self._publish(
                lambda private: deltalake.DeltaTable(private).create_write_transaction(
                    actions,
                    mode="append" if change.schema is None else "overwrite",
                    schema=self._table.schema() if change.schema is None else self._full_schema(change.schema),
                    partition_by=[self.partition_column],
                    commit_properties=commit_properties(change.note, self._transactions(change)),
                    post_commithook_properties=NO_HOOKS,
                )
            )
        return self.delta_version

    def staging_folder(self, run_id: str) -> Path:
        return self.folder / STAGING / run_id

    def remove_orphans(self, grace_hours: int) -> int:
        """Deletes files of ours that no commit names, and expired ones past their grace period; returns how many.

        Files that `views.sql` still names stay until it is rewritten: a run may have died between the two. Only under
        the feed's lock: the files of a running commit are orphans until it is done.
        """
        with delta_errors(self.folder):
            delete_folder(self.folder / STAGING)
            if not self.exists:
                return 0
            keep = {file.path for file in self.files} | self._waiting_files(grace_hours)
            views = self._views.read_text(encoding="utf-8") if self._views.exists() else ""
            orphans = [path for path in self.files_on_disk() if path not in keep and path not in views]
            orphans += [f"{LOG}/{path.name}" for path in (self.folder / LOG).glob("*.json#*")]  # of the Delta library
            for path in orphans:
                delete_file(self.folder / path)
            return len(orphans)

    def files_on_disk(self) -> list[str]:
        """Paths, relative to the table, of all data files of ours that exist."""
        found = self.folder.glob(f"{self.partition_column}=*/*.parquet")
        return sorted(str(path.relative_to(self.folder)) for path in found if _OUR_FILE.fullmatch(path.name))

    def read_batches(self, files: Sequence[DataFile], batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The rows of committed files in the table's columns; columns that a file does not have yet are null.

        Raises LakeDamaged for a file that is missing or cannot be read.
        """
        schema = self.schema
        for file in files:
            path = self.folder / file.path
            try:
                with pq.ParquetFile(path) as parquet:
                    for batch in parquet.iter_batches(batch_size=batch_rows):
                        yield _fit(batch, schema)
            except (OSError, pa.ArrowException) as error:
                raise LakeDamaged(
                    f"{path} cannot be read: {error}", f"python metadata_utils.py verify {self.feed.name}"
                ) from error

    @property
    def _table(self) -> deltalake.DeltaTable:
        if self._delta is None:
            raise LakeDamaged(
                f"the feed {self.feed.name} has no data in the lake yet",
                f"python export_to_data_lake.py --{self.feed.type} {self.feed.name}",
            )
        return self._delta

    def _place(self, staged: StagedFile, commit_id: str, index: int) -> str:
        """Moves a staged file to where its commit will name it; returns the path in the table."""
        folder = f"{self.partition_column}={NULL_PARTITION if staged.partition is None else staged.partition}"
        path = f"{folder}/{commit_id}-{index:05}-{staged.checksum}.parquet"
        make_folder(self.folder / folder)
        move_file(staged.path, self.folder / path)
        return path

    def _add_action(self, staged: StagedFile, path: str, now: dt.datetime) -> AddAction:
        return AddAction(
            path=path,
            size=staged.size_bytes,
            partition_values={self.partition_column: staged.partition},
            modification_time=_ms(staged.written_at or now),
            data_change=True,
            stats=staged.stats,
        )

    def _transactions(self, change: Change) -> list[deltalake.Transaction]:
        wanted: dict[str, int | None] = {_CURRENT: change.current_version}
        if change.partitions is not None:
            known = self._table.transaction_version(_PARTITIONS) or 0  # never less: a bookmark stays in sight
            wanted[_PARTITIONS] = max(known, change.partitions, *(partition + 1 for partition in change.bookmarks))
        for partition, (next_offset, rowtime_ms) in change.bookmarks.items():
            wanted[f"{self.topic}/{partition}"] = next_offset
            wanted[f"{self.topic}/{partition}/rowtime"] = rowtime_ms
        return [deltalake.Transaction(app_id, version) for app_id, version in wanted.items() if version is not None]

    def _publish(self, write: Callable[[Path], object]) -> None:
        """Makes the next log entry by `write`, which commits to the copy of this table that it is given."""
        version = self.delta_version + 1 if self.exists else 0
        private = self.staging_folder("log")
        publish_entry(self.folder, private, version, write)
        self.refresh()
        if version and version % CHECKPOINT_EVERY == 0:
            self._write_checkpoint(private, version)

    def _write_checkpoint(self, private: Path, version: int) -> None:
        """The commit stands without it: reading the log takes longer, until the next one can be written."""
        try:
            with delta_errors(self.folder):
                write_checkpoint(self.folder, private, version)
        except PipelineError as error:
            cli.tell(f"{self.feed.name}: no checkpoint of its log could be written: {error.message}")

    def _waiting_files(self, grace_hours: int) -> set[str]:
        """Files that were taken out of the table less than the grace period ago."""
        removed = self._table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
        past = self._table.vacuum(retention_hours=grace_hours, dry_run=True, enforce_retention_duration=False)
        return set(removed) - set(past)

    def _read_files(self) -> Iterator[DataFile]:
        for action in pa.table(self._table.get_add_actions(flatten=False)).to_pylist():
            partition = action["partition"][self.partition_column]
            low, high = action.get("min") or {}, action.get("max") or {}
            yield DataFile(
                path=action["path"],
                partition=None if partition is None else str(partition),
                row_count=action["num_records"],
                size_bytes=action["size_bytes"],
                added_at=_from_ms(action["modification_time"]),
                bounds={
                    name: (low[name], high[name])
                    for name in low
                    if isinstance(low[name], int) and isinstance(high.get(name), int)
                },
            )


_PARTITION_TYPES = {"date": pa.date32(), "version": pa.int32()}


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(column.name) if column.name in batch.schema.names else pa.nulls(batch.num_rows, column.type)
        for column in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)


def _from_ms(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC)
