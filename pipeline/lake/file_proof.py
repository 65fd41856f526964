"""Whether a data file is what was written: its size without reading it, its bytes by their checksum, its rows by their
fingerprint. Changes nothing.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import LakeDamaged
from pipeline.fingerprint import ContentHash
from pipeline.lake.files import DataFile, batches_in, damaged, file_errors
from pipeline.lake.store import Store

_BATCH_ROWS = 65_536


def size_problem(store: Store, file: DataFile) -> str | None:
    """What is wrong with the file as far as its size shows; None when it has that which was written."""
    try:
        size = store.size(file.path)
    except OSError:
        return "file cannot be read"
    if size is None:
        return "file is missing"
    return None if size == file.size_bytes else f"size is {size} bytes, {file.size_bytes} were written"


def file_problem(store: Store, file: DataFile) -> str | None:
    """What is wrong with the file; None when it has the size, the bytes and the rows that were written.

    The rows of a file without a fingerprint are only counted.
    """
    try:
        if (problem := size_problem(store, file)) is not None:
            return problem
        with store.open_parquet(file.path) as opened:
            if not _is_as_written(opened, file):
                return "content is not what was written (checksum differs)"
            content = _content(opened, store.uri(file.path)) if file.fingerprint else None
            rows = content.row_count if content else pq.read_metadata(opened).num_rows
    except (OSError, pa.ArrowException, LakeDamaged):
        return "file cannot be read"
    if rows != file.row_count:
        return f"file has {rows} rows, {file.row_count} were written"
    is_other = content is not None and content.hexdigest() != file.fingerprint
    return "rows are not those that were written (fingerprint differs)" if is_other else None


def has_file(store: Store, file: DataFile) -> bool:
    """Whether the file is in the store with the size and the bytes that were written."""
    if store.size(file.path) != file.size_bytes:
        return False
    with store.open_parquet(file.path) as opened:
        return _is_as_written(opened, file)


def content_of(store: Store, feed: str, file: DataFile) -> ContentHash:
    """The rows of a committed file. Raises LakeDamaged for other bytes or rows than were written."""
    where = store.uri(file.path)
    with file_errors(where, feed):
        opened = store.open_parquet(file.path)
    with opened:
        with file_errors(where, feed):
            if not _is_as_written(opened, file):
                raise damaged(f"{where} is not what was written", feed)
        content = _content(opened, where, feed)
    if content.row_count != file.row_count or content.hexdigest() != (file.fingerprint or content.hexdigest()):
        raise damaged(f"{where} has other rows than were written", feed)
    return content


def _is_as_written(opened: pa.NativeFile, file: DataFile) -> bool:
    digest = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    opened.seek(0)
    return digest == file.checksum


def _content(opened: pa.NativeFile, where: str, feed: str = "") -> ContentHash:
    content = ContentHash()
    for batch in batches_in(opened, where, feed, _BATCH_ROWS):
        content.add_batch(batch)
    return content
