"""Where the rows of a stream's table are staged: plain values, which can be sent to another process."""

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
    """Where records that are no rows are staged, and by topic partition the offset before which the lake has them."""

    folder: Path
    reached: Mapping[int, int]

    @classmethod
    def of(cls, table: LakeTable) -> Kept:
        return cls(table.staging_folder(), {p: mark.next_offset for p, mark in table.bookmarks().items()})

    def writer(self, name: str) -> StagedWriter:
        return StagedWriter(self.folder / name, SCHEMA, date_column="rowtime")


@dataclass(frozen=True)
class Staging:
    """The table's folder for files on their way, its columns, and the one that dates its rows; `kept` where records
    that are no rows are kept.
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
        """Of files below that name, which no other writer of the table has."""
        folder = self.folder / name
        return StagedWriter(folder, self.schema, date_column=self.date_column, compression=self.compression)

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch in the table's columns."""
        return batch if batch.schema.names == self.schema.names else batch.select(self.schema.names).cast(self.schema)
