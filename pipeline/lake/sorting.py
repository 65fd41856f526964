"""A stream's rows in the order of topic partition and offset, in bounded memory.

They are sorted piece by piece. Where there is more than one piece, the pieces are written to disk and merged from
there. A crash leaves their folder, which the next run of the feed removes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.lake.rewrite import place_keys
from pipeline.lake.store import Store, disk_errors

PIECE_BYTES = 64 * 2**20
_BATCH_BYTES = 2**20
"""Bytes of values in memory: how much is sorted at once, and how much is read at once from a piece on disk."""


def in_order(batches: Iterable[pa.RecordBatch], store: Store) -> Iterator[pa.RecordBatch]:
    """The rows of `batches`, sorted; `store` has the folder where pieces wait. Raises DiskFull, LakeNotWritable."""
    pieces = _pieces(batches)
    first, second = next(pieces, None), next(pieces, None)
    if second is None:
        yield from [first] if first is not None else ()
        return
    with disk_errors(store.uri()), store.scratch() as folder:
        paths = _put_all_away(itertools.chain(iter([first, second]), pieces), folder)
        del first, second
        yield from _merged([_taken_back(path) for path in paths])


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    waiting, size = list[pa.RecordBatch](), 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= PIECE_BYTES:
            yield _sorted(waiting)
            waiting, size = [], 0
    if waiting:
        yield _sorted(waiting)


def _sorted(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    rows = pa.concat_batches(batches)
    keys = place_keys(rows).to_numpy()
    if bool(np.all(keys[1:] >= keys[:-1])):
        return rows
    return rows.take(pa.array(np.argsort(keys, kind="stable")))


def _put_all_away(pieces: Iterable[pa.RecordBatch], folder: Path) -> list[Path]:
    paths = list[Path]()
    for piece in pieces:
        paths.append(folder / f"{len(paths):05}.arrow")
        _put_away(piece, paths[-1])
    return paths


def _put_away(piece: pa.RecordBatch, path: Path) -> None:
    rows = max(1, piece.num_rows * _BATCH_BYTES // max(1, piece.nbytes))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, piece.schema, options=options) as writer:
        writer.write_table(pa.Table.from_batches([piece]), max_chunksize=rows)


def _taken_back(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _merged(pieces: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Merges sorted pieces: each step yields all rows up to the first piece whose batch in memory ends."""
    heads = [(next(piece), piece) for piece in pieces]
    while heads:
        keys = [place_keys(head).to_numpy() for head, _ in heads]
        end = min(of[-1] for of in keys)
        counts = [int(np.searchsorted(of, end, side="right")) for of in keys]
        yield _sorted([head.slice(0, count) for (head, _), count in zip(heads, counts, strict=True)])
        left = [(head.slice(count), piece) for (head, piece), count in zip(heads, counts, strict=True)]
        more = [(head if head.num_rows else next(piece, None), piece) for head, piece in left]
        heads = [(head, piece) for head, piece in more if head is not None]
