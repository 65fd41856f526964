"""A batch of a topic's records as columns, from either consumer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("time", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)  # fmt: skip

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Records:
    """Records by offset within each partition. `batch` has the SCHEMA, times in milliseconds, null where a record has
    none; `headers` are those of each record, or empty where nobody asked for them.
    """

    batch: pa.RecordBatch
    headers: Sequence[Headers] = ()

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    @property
    def partitions(self) -> Any:
        """As a numpy array, as `offsets`."""
        return self.batch.column("partition").to_numpy()

    @property
    def offsets(self) -> Any:
        return self.batch.column("offset").to_numpy()

    @property
    def keys(self) -> pa.Array:
        return self.batch.column("key")

    @property
    def values(self) -> pa.Array:
        return self.batch.column("value")

    def only(self, wanted: Any) -> Records:
        """The records that `wanted`, a numpy array of truth values, is true for."""
        if wanted.all():
            return self
        headers = [self.headers[at] for at in np.flatnonzero(wanted).tolist()] if self.headers else ()
        return Records(self.batch.filter(pa.array(wanted)), headers)


def joined(parts: Sequence[Records]) -> Records:
    """One after the other; there is at least one."""
    if len(parts) == 1:
        return parts[0]
    headers = [headers for part in parts for headers in part.headers]
    return Records(pa.concat_batches([part.batch for part in parts]), headers)
