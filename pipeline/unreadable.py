"""Records of a topic that cannot be read as rows: their columns, counts and offsets.

A source gives them in batches of `SCHEMA`, which is also the schema of their table in the lake. `rowtime` is the
record's own time in milliseconds since 1970, null where it has none; `key` and `value` are its bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA = pa.schema(
    [
        ("rowtime", pa.int64()),
        ("rowpartition", pa.int32()),
        ("rowoffset", pa.int64()),
        ("reason", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)


def counted(batch: pa.RecordBatch) -> Counter[str]:
    """The number of records for each reason."""
    return Counter({each["values"]: each["counts"] for each in pc.value_counts(batch.column("reason")).to_pylist()})


def ends(batch: pa.RecordBatch) -> dict[int, int]:
    """By topic partition the offset after the last record."""
    found = dict[int, int]()
    for partition, offset in zip(
        *(batch.column(name).to_pylist() for name in ("rowpartition", "rowoffset")), strict=True
    ):
        found[partition] = max(offset + 1, found.get(partition, 0))
    return found


def not_before(batch: pa.RecordBatch, starts: Mapping[int, int]) -> pa.RecordBatch:
    """The records at or after the start of their topic partition; all records of partitions not in `starts`."""
    places = zip(*(batch.column(name).to_pylist() for name in ("rowpartition", "rowoffset")), strict=True)
    return batch.filter(pa.array([offset >= starts.get(partition, 0) for partition, offset in places], pa.bool_()))
