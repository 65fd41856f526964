"""A hash of rows that does not depend on their order: two places that have the same rows have the same hash.

Rows of the lake are added by their values (`row_hash`), rows of the warehouse as lines of text; the two do not compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa

from pipeline import row_hash
from pipeline.exact_text import bytes_of

try:
    from ksqldb_lake_native import sum_of_hashes as _native
    from ksqldb_lake_native import sum_of_rows as _native_rows
except ImportError:  # not built, or built before it had them
    _native = _native_rows = None

NOTHING = "0" * 32
"""The fingerprint of no rows."""


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
        """All rows of a batch, whatever the order of its columns. Raises ValueError for types that the lake lacks."""
        self._sum = (self._sum + _sum_of_rows(batch)) % 2**128
        self.row_count += batch.num_rows

    def add_batches(self, batches: Iterable[pa.RecordBatch]) -> None:
        """As `add_batch`, for batches that have the same columns."""
        for batch in row_hash.joined(batches) if _native_rows is None else batches:
            self.add_batch(batch)

    def merge(self, other: ContentHash) -> None:
        """Adds the rows of another hash."""
        self._sum = (self._sum + other._sum) % 2**128
        self.row_count += other.row_count

    def hexdigest(self) -> str:
        return f"{self._sum:032x}"


def total(added: Iterable[str], removed: Iterable[str] = ()) -> str:
    """The fingerprint of all rows of some parts, without those of others; an empty text is none, and adds nothing."""
    found = sum(int(one or "0", 16) for one in added) - sum(int(one or "0", 16) for one in removed)
    return f"{found % 2**128:032x}"


def sum_of_rows(batch: pa.RecordBatch) -> int:
    """The sum of the hashes of a batch's rows, natively; what is laid out in another way than the lake's is left."""
    found = _native_rows(*batch.__arrow_c_array__())
    return row_hash.sum_of_rows(batch) if found is None else int.from_bytes(found, "big")


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
_sum_of_rows = row_hash.sum_of_rows if _native_rows is None else sum_of_rows
