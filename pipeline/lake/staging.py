"""Where and how a stream's rows are staged, as plain values that can be sent to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.lake.encoding import Compression
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.unreadable import SCHEMA


@dataclass(frozen=True)
class Kept:
    """Where records that are no rows are staged, and by topic partition the offset up to which the lake has them."""

    folder: Path
    reached: Mapping[int, int]

    @classmethod
    def of(cls, table: LakeTable) -> Kept:
        return cls(table.staging_folder(), {p: mark.next_offset for p, mark in table.bookmarks().items()})

    def writer(self, name: str) -> StagedWriter:
        return StagedWriter(self.folder / name, SCHEMA, date_column="rowtime")


@dataclass(frozen=True)
class Staging:
    """The table's staging folder, its columns, and the column whose date is a row's partition; `kept` is set where
    records that are no rows are kept.
    """

    folder: Path
    schema: pa.Schema
    date_column: str
    compression: Compression = "snappy"
    kept: Kept | None = None

    @classmethod
    def of(cls, table: LakeTable, kept: LakeTable | None = None) -> Staging:
        """`kept` is the table of the records that are no rows; see `feeds.Feed.keep_unreadable`."""
        columns, beside = table.schema.remove_metadata(), Kept.of(kept) if kept else None
        return cls(table.staging_folder(), columns, table.feed.partition_column, table.compression, beside)

    def writer(self, name: str) -> StagedWriter:
        """A writer of files whose names begin with `name`, which no other writer of the table may use."""
        folder = self.folder / name
        return StagedWriter(folder, self.schema, date_column=self.date_column, compression=self.compression)

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the table's columns, in their order."""
        return batch if batch.schema.names == self.schema.names else batch.select(self.schema.names).cast(self.schema)
