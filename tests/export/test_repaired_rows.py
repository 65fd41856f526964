"""Which rows a repair takes from the source again, and which it records as lost: only those that are surely so."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.columns import Column, SqlType, arrow_schema
from pipeline.errors import ReadInPart
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.columns import annotated_schema
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Upkeep
from pipeline.lake.writer import StagedWriter
from pipeline.limits import Limits
from pipeline.repair import repair_feed
from pipeline.source import Bookmark, Outcome, Plan, StreamRead, Task
from tests.export.toy_lake import rows_there, what_is_wrong
from tests.export.toy_run import DAY_MS, NOW, START_MS, STREAM, export, rows, toy
from tests.export.toy_source import STREAM_COLUMNS, Row, ToySource, ToyStream
from tests.lake.small_tables import commit_id
from tests.support import folder_of, lake_at


def lose(root: Path, which: Callable[[DataFile], bool], feed: Feed = STREAM) -> None:
    """Removes the data files of the feed that are chosen so."""
    table = lake_at(root).table(feed)
    for file in table.files:
        if which(file):
            (folder_of(table) / file.path).unlink()


def repair(root: Path, stream: ToyStream | None, feed: Feed = STREAM, number: int = 9) -> list[str]:
    upkeep = Upkeep(lake_at(root), {}, commit_id(number), NOW, 1)
    return repair_feed(upkeep, feed, stream and (lambda: nullcontext(ToySource(stream))), Limits())


def day(number: int) -> str:
    """The date of the toy's rows of that day."""
    return dt.datetime.fromtimestamp((START_MS + number * DAY_MS) / 1000, dt.UTC).date().isoformat()


@dataclass(frozen=True)
class Unsure(ToyStream):
    """Ends as its outcome and `proved` say, perhaps `without` the rows of a topic partition."""

    outcome: Outcome = "quiet"
    proved: bool = True
    without: int | None = None

    def read(self, task: Task, limits: Limits) -> StreamRead:
        whole = super().read(task, limits)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in whole.batches:
                yield batch.slice(0, 0) if batch["rowpartition"][0].as_py() == self.without else batch
            read.outcome, read.proved = self.outcome, self.proved

        read = StreamRead(batches())
        return read


@pytest.mark.parametrize(("outcome", "proved"), [("quiet", True), ("quiet", False), ("exact", False)])
def test_rows_that_may_still_come_are_not_recorded_as_lost(lake_root: Path, outcome: Outcome, proved: bool) -> None:
    export(lake_root, toy(9))
    before = lake_at(lake_root).table(STREAM).delta_version
    lose(lake_root, lambda _: True)

    with pytest.raises(ReadInPart, match="broke off before 4 rows had come; nothing was changed") as raised:
        repair(lake_root, Unsure(rows(9), outcome=outcome, proved=proved, without=1))

    assert "python metadata_utils.py repair toy --give-up --yes" in raised.value.hint
    assert lake_at(lake_root).table(STREAM).delta_version == before
    assert not list(lake_root.rglob("*.staged"))
    assert repair(lake_root, ToyStream(rows(9))) == ["took 6 files out of the log, 9 rows were read again"]


@pytest.mark.parametrize(("outcome", "proved"), [("quiet", True), ("exact", False)])
def test_where_all_rows_have_come_it_does_not_matter_how_the_read_ended(
    lake_root: Path, outcome: Outcome, proved: bool
) -> None:
    export(lake_root, toy(9))
    lose(lake_root, lambda _: True)

    done = repair(lake_root, Unsure(rows(9), outcome=outcome, proved=proved))

    assert done == ["took 6 files out of the log, 9 rows were read again"]
    assert rows_there(lake_root) == Counter(rows(9))


def add(root: Path, number: int, rows: Sequence[Row]) -> None:
    """Commits rows, those of one day in one file, whichever topic partition they are of."""
    with lake_at(root).writing(STREAM, {}) as table:
        if not table.exists:
            table.create(annotated_schema(STREAM_COLUMNS), "toy")
        schema = table.schema.remove_metadata()
        writer = StagedWriter(table.staging_folder(commit_id(number)), schema, date_column="rowtime")
        writer.add(pa.RecordBatch.from_arrays(list(map(pa.array, zip(*rows, strict=True))), schema.names).cast(schema))
        marks = {partition: Bookmark(offset + 1, rowtime) for rowtime, partition, offset, _ in rows}
        table.commit(commit_id(number), Change(adds=writer.finish(), bookmarks=marks, partitions=2), NOW)


def test_expired_rows_of_other_days_stay_away_and_hide_no_lost_ones(lake_root: Path) -> None:
    """They are between the lost file's offsets, and the feed keeps its rows longer now."""
    add(lake_root, 1, rows(12))
    with lake_at(lake_root).writing(STREAM, {}) as table:
        old = [file for file in table.files if file.partition == day(0)]
        table.commit(commit_id(2), Change(removes=old, note={"kind": "expire", "partitions": [day(0)]}), NOW)
    lose(lake_root, lambda file: file.partition == day(2))
    left = ToyStream(tuple(row for row in rows(12) if row[3] not in ("v2", "v5")))

    done = repair(lake_root, left)

    assert done == ["took 1 file out of the log, 2 rows were read again, 2 rows are lost"]
    assert sorted(row[3] for row in rows_there(lake_root)) == ["v1", "v10", "v11", "v4", "v7", "v8"]
    assert what_is_wrong(lake_root, ToySource(left)) == []


def test_rows_of_one_day_that_were_given_up_before_hide_no_lost_ones_of_another(lake_root: Path) -> None:
    first = [*((START_MS, 0, n, "a") for n in range(6)), (START_MS, 1, 0, "a")]
    later = [(START_MS, 0, 6, "b"), *((START_MS, 1, n, "b") for n in range(1, 9))]
    other = [(START_MS + DAY_MS, 1, n, "c") for n in range(9, 12)]
    add(lake_root, 1, first)
    lose(lake_root, lambda _: True)
    given_up = repair(lake_root, None, number=2)
    add(lake_root, 3, later + other)
    lose(lake_root, lambda _: True)

    done = repair(lake_root, ToyStream((*first, *later, other[-1])), number=4)

    assert given_up == ["took 1 file out of the log, 7 rows are given up"]
    assert done == ["took 2 files out of the log, 15 rows were read again, 2 rows are lost"]
    assert lake_at(lake_root).table(STREAM).history()[0]["pipeline"]["lost_rows"] == 2


COLUMNS = (*STREAM_COLUMNS, Column("SOLD", SqlType("DATE")))


@dataclass(frozen=True)
class Sales(ToyStream):
    """Rows with a date that is ten days before that of ROWTIME."""

    def columns(self) -> tuple[Column, ...]:
        return COLUMNS

    def plan(self, whole: Task, _: Limits) -> Plan:
        return Plan(COLUMNS, (whole,))

    def read(self, task: Task, limits: Limits) -> StreamRead:
        whole, schema = super().read(task, limits), arrow_schema(COLUMNS)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in whole.batches:
                sold = [dt.date.fromisoformat(day(0)) - dt.timedelta(days=10)] * batch.num_rows
                yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(sold, pa.date32())], schema=schema)
            read.outcome = "exact"

        read = StreamRead(batches())
        return read


@pytest.mark.parametrize(("then", "now"), [("date", "date:sold"), ("date:sold", "date"), ("date:sold", "date:sold")])
def test_rows_come_back_whatever_their_feed_was_partitioned_by(lake_root: Path, then: str, now: str) -> None:
    old, new = (STREAM.model_copy(update={"partitioning": partitioning}) for partitioning in (then, now))
    there = rows(9)
    export(lake_root, ToySource(Sales(there)), old)
    files = len(lake_at(lake_root).table(old).files)
    lose(lake_root, lambda _: True, old)

    done = repair(lake_root, Sales(there), new)

    noun = "file" if files == 1 else "files"
    assert done == [f"took {files} {noun} out of the log, 9 rows were read again"]
    assert {row[:4] for row in rows_there(lake_root, new)} == set(there)
