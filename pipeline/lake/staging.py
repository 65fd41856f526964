"""Where the rows of a stream's table are staged: plain values, which can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter


@dataclass(frozen=True)
class Staging:
    """The table's folder for files on their way, its columns, and the one that dates its rows."""

    folder: Path
    schema: pa.Schema
    date_column: str

    @classmethod
    def of(cls, table: LakeTable) -> Staging:
        return cls(table.staging_folder(), table.schema.remove_metadata(), table.feed.partition_column)

    def writer(self, name: str) -> StagedWriter:
        """Of files below that name, which no other writer of the table has."""
        return StagedWriter(self.folder / name, self.schema, date_column=self.date_column)

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch in the table's columns."""
        return batch if batch.schema.names == self.schema.names else batch.select(self.schema.names).cast(self.schema)
