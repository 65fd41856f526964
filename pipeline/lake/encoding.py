"""The Parquet encodings of data files' columns, chosen by the first rows.

A dictionary saves space where values repeat and costs where they do not, so only columns with repeated values get one.
Other integers and timestamps are delta-encoded: differences are small in columns that grow, such as offsets and
ROWTIME. DuckDB, pyarrow and pandas, Polars, delta-rs, and Spark from 3.3 on read all of this. Doubles are not
byte-stream-split: Spark's vectorized reader supports that only from 4.2 on. Texts inside nested values have no bounds
in the statistics: comparing them costs a twentieth of writing, and few readers look for one by them. Nor have long
texts, whose bounds Parquet's writer would copy again and again, and then leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

Compression = Literal["snappy", "zstd"]

_SAMPLE_ROWS = 8192
_SAMPLE_BYTES = 4 * 2**20
_PAGE_BYTES, _MOST_PAGE_ROWS = 2**20, 1024
"""A page ends after about so many bytes, which are looked at after so many rows at most: long rows share no page."""
_LONG_TEXT_BYTES = 64 * 1024
"""The length of texts in a sample from which on they have no bounds; those of more than 4 kB are never written."""
_MOST_DIFFERENT, _MOST_DIFFERENT_NUMBERS = 0.75, 0.125
"""The shares of different values in a sample up to which a dictionary saves space. For numbers the share is smaller:
their differences are short too, and the same offset occurs once in each topic partition.
"""


class Encodings:
    """Chooses the encodings of files whose rows are alike: the first sample of full size counts for all after it."""

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._chosen: dict[str, Any] | None = None

    def options(self, rows: pa.Table, has_pages: bool) -> dict[str, Any]:
        """Arguments for `ParquetWriter`. `rows` are the first row group; `has_pages` says that it is long enough for a
        page index to help readers.
        """
        row_bytes = max(1, rows.nbytes // max(1, rows.num_rows))
        sample_rows = min(_SAMPLE_ROWS, _SAMPLE_BYTES // row_bytes + 1)
        chosen = self._chosen or _choose(rows.slice(0, sample_rows).combine_chunks())
        if rows.num_rows >= sample_rows:
            self._chosen = chosen
        return {
            **chosen,
            "compression": self._compression,
            "store_decimal_as_integer": True,
            "write_page_index": has_pages,
            "write_batch_size": max(1, min(_MOST_PAGE_ROWS, _PAGE_BYTES // row_bytes)),
        }


def _choose(sample: pa.Table) -> dict[str, Any]:
    with_dictionary, by_difference, bounded = list[str](), list[str](), list[str]()
    for path, values in _leaves(sample):
        is_long = values.nbytes >= _LONG_TEXT_BYTES * max(1, len(values))
        if not _is_text(values.type) or (path in sample.schema.names and not is_long):
            bounded.append(path)
        is_number = pa.types.is_integer(values.type) or pa.types.is_timestamp(values.type)
        if _share_different(values) <= (_MOST_DIFFERENT_NUMBERS if is_number else _MOST_DIFFERENT):
            with_dictionary.append(path)
        elif is_number:
            by_difference.append(path)
    return {
        "use_dictionary": with_dictionary,
        "column_encoding": dict.fromkeys(by_difference, "DELTA_BINARY_PACKED"),
        "write_statistics": bounded,
    }


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_binary(type_))


def _share_different(values: pa.Array) -> float:
    return float(pc.count_distinct(values).as_py() / max(1, len(values) - values.null_count))


def _leaves(rows: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        for chunk in column.chunks:
            yield from _leaves_of(name, chunk)


def _leaves_of(path: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The leaf arrays of a column, each with its path in Parquet."""
    if isinstance(array, pa.StructArray):
        for field, child in zip(array.type, array.flatten(), strict=True):
            yield from _leaves_of(f"{path}.{field.name}", child)
    elif isinstance(array, pa.MapArray):
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        for name, child in (("key", array.keys), ("value", array.items)):
            yield from _leaves_of(f"{path}.key_value.{name}", child.slice(start, end - start))
    elif isinstance(array, pa.ListArray):
        yield from _leaves_of(f"{path}.list.element", array.flatten())
    else:
        yield path, array
