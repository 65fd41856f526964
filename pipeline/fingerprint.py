"""A hash of rows that does not depend on their order: two places that have the same rows have the same hash."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from pipeline.exact_text import bytes_of, lines_of, texts_of

try:
    from ksqldb_lake_native import sum_of_hashes as _native
except ImportError:  # not built, or built before it had this
    _native = None


class ContentHash:
    """Counts and hashes rows: the same rows in any order have the same hash; one changed value changes it."""

    def __init__(self) -> None:
        self._sum = 0
        self.row_count = 0

    def add_lines(self, lines: pa.Array, tag: bytes = b"") -> None:
        """Adds rows as `lines_of` gives them; equal rows with different tags count as different."""
        self._sum = (self._sum + _sum(lines, tag)) % 2**128
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


def sum_of_hashes(lines: pa.Array, tag: bytes) -> int:
    """The sum of all lines' BLAKE2b of 16 bytes, personalized by `tag`, modulo 2 to the power of 128."""
    if len(lines) == 0:
        return 0
    places = memoryview(lines.buffers()[1])[4 * lines.offset : 4 * (lines.offset + len(lines) + 1)]
    return int.from_bytes(_native(bytes(bytes_of(lines)), bytes(places), tag), "big")


def sum_in_python(lines: pa.Array, tag: bytes) -> int:
    """The same where the native code is not built."""
    digest, number = hashlib.blake2b, int.from_bytes
    texts = lines.cast(pa.binary()).to_pylist()
    return sum(number(digest(text, digest_size=16, person=tag).digest(), "big") for text in texts) % 2**128


_sum = sum_in_python if _native is None else sum_of_hashes
