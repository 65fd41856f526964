"""A lake as a year of hourly runs leaves it, made by the project's own commits, and the server that it was read from.

One of the four streams and one of the four tables are committed, hour by hour, with the clock of that hour; the others
are copies of their folders under other names. The server has only the last records: older ones have left its topics.
"""

from __future__ import annotations

import datetime as dt
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ksqldb_emulator.dataset import Column as EmulatedColumn
from ksqldb_emulator.dataset import Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from pipeline.columns import Column, SqlType
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.change import Change
from pipeline.lake.columns import annotated_schema
from pipeline.lake.lake import Lake
from pipeline.lake.names import name_of_act, name_of_part
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.source import Bookmark

ROWS = 60
"""Of each commit."""
_HOUR = dt.timedelta(hours=1)
_RUNS = 24  # runs of one session, so that the clean-up and the views are done only once a day
_NAMES = {"stream": [f"events_{n}" for n in range(4)], "table": [f"totals_{n}" for n in range(4)]}


def feeds(of_a_kind: int = 4) -> list[Feed]:
    """So many streams, and as many tables; a table keeps seven versions."""
    forms = [
        {"name": name, "type": kind, "source": name.upper()} | ({"retention_versions": 7} if kind == "table" else {})
        for kind, names in _NAMES.items()
        for name in names[:of_a_kind]
    ]
    return [parse_feed(form, str(form["name"])) for form in forms]


def make_lake(root: Path, commits: int, newest: dt.datetime, seed: int, of_a_kind: int = 4) -> Lake:
    """A lake in which each feed has so many commits, an hour apart, the newest at that time."""
    lake = Lake(str(root), lambda _: None, grace_hours=168)
    for feed in feeds(of_a_kind):
        lake.feeds.add(feed)
    for kind in _NAMES:
        first, *others = [feed for feed in feeds(of_a_kind) if feed.type == kind]
        _commit_all(lake, first, commits, newest, random.Random(seed))
        for other in others:
            shutil.copytree(root / first.kind_folder / first.name, root / other.kind_folder / other.name)
            (root / other.kind_folder / other.name / "_metadata.json").unlink()
    for feed in feeds(of_a_kind):
        with lake.writing(feed, {"since": newest.isoformat()}):
            pass  # as the last run of an hour without new rows leaves it
    return lake


def server(commits: int, newest: dt.datetime, new_rows: int = 0, earlier_rows: int = 0) -> Dataset:
    """The streams with their last rows and so many new ones, and the tables that are made of the first of them.

    The earlier rows are those that an export has taken since the lake was made.
    """
    columns = tuple(
        EmulatedColumn(name, parse_type(kind), "KEY" if name == "K" else "VALUE") for name, kind in _COLUMNS.items()
    )
    end = commits * ROWS + earlier_rows
    first_ms = int(newest.timestamp() * 1000) - (commits - 1) * ROWS
    records = [Record(0, n, first_ms + n, _values(n), at_s=0.0) for n in range(end - ROWS, end + new_rows)]
    sources = list[Source]()
    for kind, names in _NAMES.items():
        for name in (name.upper() for name in names):
            query = Query(f"CTAS_{name}_1", f"CREATE TABLE {name} AS ...", (name,), (name,), (_TOPIC,))
            if kind == "stream":
                sources.append(Source(name, "STREAM", columns, _TOPIC, 1, list(records), log_start={0: end - ROWS}))
            else:
                sources.append(Source(name, "TABLE", columns, name, 1, list(records), write_query=query))
    return Dataset(sources)


_TOPIC = "events"
_COLUMNS = {"K": "STRING", "N": "BIGINT", "AMOUNT": "DOUBLE", "CITY": "STRING", "NOTE": "STRING"}


def _values(n: int) -> dict[str, object]:
    city = ("Paris", "Lyon", "Nantes", "Lille")[n % 4]
    return {
        "K": f"user-{n % ROWS}",
        "N": n,
        "AMOUNT": n % 977 + 0.25,
        "CITY": city,
        "NOTE": f"{n * 2654435761 % 2**32:08x}" * 6,
    }


def _commit_all(lake: Lake, feed: Feed, commits: int, newest: dt.datetime, rng: random.Random) -> None:
    positions = [("ROWTIME", "BIGINT"), ("ROWPARTITION", "INTEGER"), ("ROWOFFSET", "BIGINT")]
    columns = [Column(name, SqlType(kind)) for name, kind in positions if feed.type == "stream"]
    columns += [Column(name, SqlType(kind), "KEY" if name == "K" else "VALUE") for name, kind in _COLUMNS.items()]
    times = (newest - (commits - 1 - n) * _HOUR for n in range(commits))
    for numbers in _chunks(commits):
        moments = [next(times) for _ in numbers]
        with lake.writing(feed, {"since": moments[0].isoformat()}) as table:
            if not table.exists:
                table.create(annotated_schema(columns), _TOPIC if feed.type == "stream" else "")
            for number, now in zip(numbers, moments, strict=True):
                run_id = f"{now:%Y%m%dT%H%M%SZ}-{rng.getrandbits(32):08x}"
                _commit(table, number, name_of_part(run_id, 0), now)
                expire(table, name_of_act(run_id, "expire"), now, max_share=1)


def _chunks(count: int) -> Iterator[range]:
    yield from (range(start, min(start + _RUNS, count)) for start in range(0, count, _RUNS))


def _commit(table: LakeTable, number: int, commit_id: str, now: dt.datetime) -> None:
    """What an export of that hour commits."""
    first, schema = number * ROWS, table.schema.remove_metadata()
    rows = pa.Table.from_pylist([{k.lower(): v for k, v in _values(n).items()} for n in range(first, first + ROWS)])
    note = {"run": commit_id, "rows": ROWS}
    if table.feed.type == "table":
        writer = StagedWriter(table.staging_folder(commit_id), schema, partition=str(number + 1))
        change = Change(current_version=number + 1, note=note | {"kind": "snapshot", "version": number + 1})
    else:
        start_ms = int(now.timestamp() * 1000)
        places = {"rowtime": range(start_ms, start_ms + ROWS), "rowpartition": [0] * ROWS}
        for name, values in (places | {"rowoffset": range(first, first + ROWS)}).items():
            rows = rows.append_column(name, pa.array(values, schema.field(name).type))
        writer = StagedWriter(table.staging_folder(commit_id), schema, date_column="rowtime")
        ends = {"from": {"0": first}, "to": {"0": first + ROWS}, "gaps": {}}
        marks = {0: Bookmark(first + ROWS, start_ms + ROWS - 1)}
        note |= {"kind": "stream", "outcome": "exact", **ends}
        change = Change(bookmarks=marks, partitions=1, note=note)
    for batch in rows.select(schema.names).cast(schema).to_batches():
        writer.add(batch)
    table.commit(commit_id, replace(change, adds=writer.finish()), now)
