"""Where and how a stream's rows are staged, as plain values that can be sent to another process or machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.errors import LakeNotWritable
from pipeline.lake.access import StoreAccess
from pipeline.lake.encoding import Compression
from pipeline.lake.store import Store
from pipeline.lake.stores import open_store
from pipeline.lake.writer import StagedFile, StagedWriter
from pipeline.scratch import scratch_folder
from pipeline.unreadable import SCHEMA

if TYPE_CHECKING:  # a worker that is handed such values needs no Delta log
    from pipeline.lake.table import LakeTable


@dataclass(frozen=True)
class Place:
    """A folder for staged files, and the table's store that they are for."""

    folder: Path
    url: str
    access: StoreAccess = field(repr=False)

    @classmethod
    def of(cls, table: LakeTable) -> Place:
        return cls(table.staging_folder(), table.store.uri(), table.store.access)

    def store(self) -> Store:
        return open_store(self.url, self.access)

    def hand_over(self, files: Sequence[StagedFile]) -> list[StagedFile]:
        """Gives staged files of this machine to the process that commits; see `Store.hand_over`."""
        store = self.store()
        return [replace(file, path=store.hand_over(Path(file.path))) for file in files]


@dataclass(frozen=True)
class Kept:
    """Where records that are no rows are staged, and by topic partition the offset up to which they are kept, or were
    passed before anybody kept them.
    """

    place: Place
    reached: Mapping[int, int]

    @classmethod
    def of(cls, kept: LakeTable, table: LakeTable) -> Kept:
        """Those that are `kept` beside the rows of `table`."""
        reached = {p: mark.next_offset for p, mark in table.bookmarks().items()}
        for partition, mark in kept.bookmarks().items():
            reached[partition] = max(mark.next_offset, reached.get(partition, 0))
        return cls(Place.of(kept), reached)

    def writer(self, name: str) -> StagedWriter:
        return StagedWriter(self.place.folder / name, SCHEMA, date_column="rowtime")


@dataclass(frozen=True)
class Staging:
    """Where a table's files are staged, its columns, and the column whose date is a row's partition; `kept` is set
    where records that are no rows are kept.
    """

    place: Place
    schema: pa.Schema
    date_column: str
    compression: Compression = "snappy"
    kept: Kept | None = None

    @classmethod
    def of(cls, table: LakeTable, kept: LakeTable | None = None) -> Staging:
        """`kept` is the table of the records that are no rows; see `feeds.Feed.keep_unreadable`."""
        columns, beside = table.schema.remove_metadata(), Kept.of(kept, table) if kept else None
        return cls(Place.of(table), columns, table.feed.partition_column, table.compression, beside)

    def writer(self, name: str) -> StagedWriter:
        """A writer of files whose names begin with `name`, which no other writer of the table may use."""
        folder = self.place.folder / name
        return StagedWriter(folder, self.schema, date_column=self.date_column, compression=self.compression)

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the table's columns, in their order."""
        return batch if batch.schema.names == self.schema.names else batch.select(self.schema.names).cast(self.schema)

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[Staging]:
        """The same on another machine. Where the lake is in a bucket, files are staged in a folder that is removed when
        the block ends; what matters has to be handed over before. Raises LakeNotWritable where that machine does not
        see the disk that the lake is on, and ScratchUnusable.
        """
        store = self.place.store()
        if store.local_path() is None:
            with scratch_folder() as scratch:
                beside = self.kept and replace(self.kept, place=replace(self.kept.place, folder=scratch / "kept"))
                yield replace(self, place=replace(self.place, folder=scratch / "rows"), kept=beside)
            return
        if not store.is_there():
            raise LakeNotWritable(
                f"a machine that is to stage rows does not see the lake's folder {self.place.url}",
                "put the lake on an object store, or on a file system that all of Spark's machines have at this path",
            )
        yield self
