"""Which rows a repair takes from the source again, and which it records as lost: only those that are surely so."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import ReadInPart
from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Upkeep
from pipeline.limits import Limits
from pipeline.repair import repair_feed
from pipeline.source import Outcome, StreamRead, Task
from tests.export.toy_lake import rows_there
from tests.export.toy_run import DAY_MS, NOW, START_MS, STREAM, export, rows, toy
from tests.export.toy_source import ToySource, ToyStream
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
