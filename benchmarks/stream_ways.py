"""The ways of reading a stream that ours is compared with. Each runs in a process of its own, its imports not counted.

The lower bound only gets values into files: the answer is in memory as bytes without chunks, the faster engine decodes
them, and one ParquetWriter a day writes them. The naive way is the simplest program for the task.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import requests

from benchmarks.events import SENT
from pipeline.columns import Column
from pipeline.decode.engine import engine
from pipeline.decode.layout import AnswerColumn, Layout
from pipeline.ksqldb.sqltypes import parse_type

_READ_BYTES = 256 * 1024
_ROW_GROUP_ROWS = 131_072


def bare(answer: Path, folder: Path) -> float:
    """The bytes of `answer`, decoded and written by bare calls."""
    started = time.monotonic()
    writers = dict[dt.date, pq.ParquetWriter]()
    waiting, waiting_rows = list[pa.RecordBatch](), 0
    for batch in _decoded(answer):
        waiting.append(batch)
        waiting_rows += batch.num_rows
        if waiting_rows >= _ROW_GROUP_ROWS:
            _write(waiting, writers, folder)
            waiting, waiting_rows = [], 0
    _write(waiting, writers, folder)
    for writer in writers.values():
        writer.close()
    return time.monotonic() - started


def _decoded(answer: Path) -> Iterator[pa.RecordBatch]:
    parts = [AnswerColumn.as_declared(Column(name, parse_type(type_))) for name, type_ in SENT]
    parts = [
        AnswerColumn(part.column, (parse_type("BIGINT"),)) if part.column.type.base == "TIMESTAMP" else part
        for part in parts
    ]
    decoder, rest = engine().decoder(True, Layout(parts)), b""
    with answer.open("rb") as file:
        while data := file.read(_READ_BYTES):
            rows, _, rest = (rest + data).rpartition(b",\n")
            yield decoder.decode(rows).batch


def _write(batches: list[pa.RecordBatch], writers: dict[dt.date, pq.ParquetWriter], folder: Path) -> None:
    if not batches:
        return
    rows = pa.Table.from_batches(batches)
    days = rows["rowtime"].cast(pa.timestamp("ms")).cast(pa.date32(), safe=False)
    found = pc.unique(days)
    for day in found.to_pylist():
        if day not in writers:
            writers[day] = pq.ParquetWriter(folder / f"{day}.parquet", rows.schema, compression="snappy")
        writers[day].write_table(rows if len(found) == 1 else rows.filter(pc.equal(days, pa.scalar(day))))


def naive(url: str, folder: Path) -> float:
    """Line by line through `json` into one DataFrame, which pyarrow writes, a file for each day."""
    started = time.monotonic()
    answer = requests.post(f"{url}/query-stream", json={"sql": "SELECT * FROM BENCH;"}, stream=True, timeout=600)
    rows = []
    for line in answer.iter_lines(chunk_size=2**20):
        element = json.loads(line.strip(b"[],"))
        if "row" in element:
            rows.append(element["row"]["columns"])
    frame = pd.DataFrame(rows, columns=[name for name, _ in SENT])
    frame["day"] = pd.to_datetime(frame["ROWTIME"], unit="ms").dt.date
    for day, group in frame.groupby("day"):
        pq.write_table(pa.Table.from_pandas(group.drop(columns="day")), folder / f"{day}.parquet")
    return time.monotonic() - started
