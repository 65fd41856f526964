"""A hash of rows that does not depend on their order: two places that have the same rows have the same hash."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from pipeline.exact_text import lines_of, texts_of


class ContentHash:
    """Counts and hashes rows: the same rows in any order have the same hash; one changed value changes it."""

    def __init__(self) -> None:
        self._sum = 0
        self.row_count = 0

    def add_lines(self, lines: pa.Array, tag: bytes = b"") -> None:
        """Adds rows as `lines_of` gives them; equal rows with different tags count as different."""
        digest, number = hashlib.blake2b, int.from_bytes
        self._sum += sum(
            number(digest(line, digest_size=16, person=tag).digest(), "big")
            for line in lines.cast(pa.binary()).to_pylist()
        )
        self._sum %= 2**128
        self.row_count += len(lines)

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """All rows of a batch, their columns in the batch's order."""
        self.add_lines(lines_of([texts_of(column) for column in batch.columns]))

    def merge(self, other: ContentHash) -> None:
        """Adds the rows of another hash."""
        self._sum = (self._sum + other._sum) % 2**128
        self.row_count += other.row_count

    def hexdigest(self) -> str:
        return f"{self._sum:032x}"
