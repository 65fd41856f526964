"""A hash of rows that does not depend on their order, for proving that two places hold the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa


class ContentHash:
    """Counts and hashes a multiset of rows: the same rows in any order give the same; one changed value does not."""

    def __init__(self) -> None:
        self._sum = 0
        self.row_count = 0

    def add(self, row: Sequence[Any]) -> None:
        digest = hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % 2**128
        self.row_count += 1

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """All rows of a batch, their columns in the batch's order."""
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            self.add(row)

    def hexdigest(self) -> str:
        return f"{self._sum:032x}"
