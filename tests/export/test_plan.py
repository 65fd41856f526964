"""Which source a feed reads, and which of its rows are due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import deltalake
import pyarrow.parquet as pq
import pytest

from pipeline.errors import LogDamaged, SourceUnknown, TopicChanged
from pipeline.export.plan import plan_read, stream_of, table_of
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.change import PARTITIONS, Change
from pipeline.lake.table import LakeTable
from pipeline.limits import Limits
from pipeline.source import (
    ALL_ROWS,
    NEW_ROWS,
    OLD_ROWS,
    UNKNOWN,
    Bookmark,
    Offsets,
    Plan,
    Source,
    StreamRead,
    Task,
    Wanted,
)
from tests.export.toy_lake import rows_there, what_is_wrong
from tests.export.toy_run import NOW, START_MS, STREAM, TABLE, export, rows, toy
from tests.export.toy_source import STREAM_COLUMNS, ToySource, ToyStream, ToyTable
from tests.support import lake_at


class Kafka(ToySource):
    """Finds its stream and its table by another reader alone."""

    def find(self, name: str, read_from: str = "") -> ToyStream | ToyTable:
        assert read_from == "kafka"
        return super().find(name)


@dataclass(frozen=True)
class Toy(ToyStream):
    """A stream that can say another topic, its id, and that its ends cannot be known."""

    topic: str = "toy"
    topic_id: str = ""
    ends_known: bool = True

    @property
    def source(self) -> Source:
        return Source("TOY", self.kind, self.topic, 2, topic_id=self.topic_id)

    def ends(self) -> Mapping[int, Offsets]:
        return super().ends() if self.ends_known else None  # type: ignore[return-value] # as the protocol allows

    def plan(self, whole: Task, limits: Limits) -> Plan:
        """A source may read already, within the limits."""
        assert limits.quiet_s > 0
        return super().plan(whole, limits)


def table_for(root: Path, feed: Feed = STREAM) -> LakeTable:
    return lake_at(root).table(feed)


def test_a_feed_is_looked_for_where_it_is_to_be_read_from(lake_root: Path) -> None:
    source = Kafka(ToyStream(rows(2)))

    stream = stream_of(source, table_for(lake_root, STREAM.model_copy(update={"read_from": "kafka"})))
    table = table_of(source, TABLE.model_copy(update={"read_from": "kafka"}))

    assert (stream, table) == (source.stream, source.table)


def test_a_table_is_no_stream_and_a_stream_no_table(lake_root: Path) -> None:
    source = toy(2)
    of_table = parse_feed({"name": "a", "type": "stream", "source": "TOYS"}, "a")
    of_stream = parse_feed({"name": "b", "type": "table", "source": "TOY"}, "b")

    with pytest.raises(SourceUnknown) as not_a_stream:
        stream_of(source, table_for(lake_root, of_table))
    with pytest.raises(SourceUnknown) as not_a_table:
        table_of(source, of_stream)

    assert not_a_stream.value.message == "TOYS is a table on the server, but the feed a is for a stream"
    assert not_a_stream.value.hint == "python manage_feeds.py delete a --confirm, then add it with --type table"
    assert not_a_table.value.message == "TOY is a stream on the server, but the feed b is for a table"
    assert not_a_table.value.hint == "python manage_feeds.py delete b --confirm, then add it with --type stream"


def test_a_stream_that_reads_another_topic_now_is_refused(lake_root: Path) -> None:
    assert stream_of(ToySource(Toy(rows(9), topic="later")), table_for(lake_root)).source.topic == "later"
    export(lake_root, toy(9))

    with pytest.raises(TopicChanged) as caught:
        stream_of(ToySource(Toy(rows(9), topic="later")), table_for(lake_root))

    assert caught.value.message == "TOY now reads the topic later; the lake's rows are from toy"
    assert caught.value.hint == "python manage_feeds.py archive toy, then add a new feed for it"


def test_a_topic_that_has_another_id_now_is_refused(lake_root: Path) -> None:
    """A source that does not know the id is believed."""
    known = Toy(rows(9), topic_id="EQN9ZOj2T3-lHPdWjN4ZPg")
    export(lake_root, toy(5))
    assert export(lake_root, ToySource(known), number=1).error is None

    for same in (known, ToyStream(rows(9))):
        assert stream_of(ToySource(same), table_for(lake_root)) == same
    with pytest.raises(TopicChanged) as caught:
        stream_of(ToySource(Toy(rows(9), topic_id="AAAAZOj2T3-lHPdWjN4ZPg")), table_for(lake_root))

    assert caught.value.message == "the topic toy was recreated: it has another id than that of the lake's rows"
    assert caught.value.hint == "keep the history under its feed (manage_feeds.py archive toy) and add a new one"


@pytest.mark.parametrize("wanted", [NEW_ROWS, ALL_ROWS])
@pytest.mark.parametrize("accept_gap", [False, True])
def test_new_rows_are_due_from_the_bookmarks_to_the_ends(lake_root: Path, wanted: Wanted, accept_gap: bool) -> None:
    export(lake_root, toy(9))
    stream, marks = Toy(rows(13), seeks=True), table_for(lake_root).bookmarks()

    plan = plan_read(stream, table_for(lake_root), Limits(), wanted, accept_gap)

    whole = Task("toy", "toy", marks, stream.ends(), wanted, accept_gap)
    assert (plan.columns, plan.tasks, plan.ends) == (STREAM_COLUMNS, (whole,), stream.ends())
    assert [mark.next_offset for mark in marks.values()] == [9, 7]


def test_old_rows_are_due_from_the_start_of_the_topic_to_the_bookmarks(lake_root: Path) -> None:
    export(lake_root, toy(9))
    stream = ToyStream(rows(13), seeks=True, begins_at=2)

    plan = plan_read(stream, table_for(lake_root), Limits(), OLD_ROWS)

    assert [task.ends for task in plan.tasks] == [{0: Offsets(2, 9, 0), 1: Offsets(2, 7, 0)}]
    assert plan.ends == stream.ends()


def test_the_start_of_a_topic_may_be_unknown(lake_root: Path) -> None:
    export(lake_root, toy(9))

    plan = plan_read(Toy(rows(9), seeks=True, ends_known=False), table_for(lake_root), Limits(), OLD_ROWS)

    assert [task.ends for task in plan.tasks] == [{0: Offsets(UNKNOWN, 9, 0), 1: Offsets(UNKNOWN, 7, 0)}]
    assert plan.ends is None


def test_rows_that_the_topic_has_lost_after_a_bookmark_are_missed_before_the_read(lake_root: Path) -> None:
    export(lake_root, toy(9))
    stream, table = ToyStream(rows(21), begins_at=14), table_for(lake_root)

    with pytest.raises(TopicChanged, match="may have lost rows: partition 0 now begins at offset 14"):
        plan_read(stream, table, Limits())

    assert plan_read(stream, table, Limits(), accept_gap=True).tasks


def test_a_topic_that_ends_before_the_bookmark_is_refused_before_it_is_read(lake_root: Path) -> None:
    export(lake_root, toy(13))

    with pytest.raises(TopicChanged, match="was recreated or cut"):
        plan_read(ToyStream(rows(9)), table_for(lake_root), Limits())


def test_a_table_that_lost_its_bookmarks_is_read_again_in_whole_or_not_at_all(lake_root: Path) -> None:
    """Another engine's checkpoint left them out, by a property of the table that was taken back later."""
    export(lake_root, toy(13))
    marks, folder = lake_at(lake_root).table(STREAM).bookmarks(), lake_root / "streams" / "toy"
    deltalake.DeltaTable(folder).create_checkpoint()
    (checkpoint,) = folder.glob("_delta_log/*.checkpoint.parquet")
    rows_of_log = pq.read_table(checkpoint)
    pq.write_table(rows_of_log.filter(rows_of_log["txn"].is_null()), checkpoint)
    assert lake_at(lake_root).table(STREAM).bookmarks() == {}

    refused = export(lake_root, toy(13), number=1)
    assert isinstance(refused.error, LogDamaged)
    assert refused.error.message == "the feed toy has rows, and its log has lost the bookmarks: they would come twice"
    assert refused.error.hint == "have each row replaced: python export_to_data_lake.py --stream toy --full"
    assert rows_there(lake_root) == Counter(rows(13))

    assert export(lake_root, toy(13), number=2, full=True).error is None
    assert lake_at(lake_root).table(STREAM).bookmarks() == marks
    assert what_is_wrong(lake_root, toy(13)) == []


# --- partitions that were added to the topic since the last commit


@dataclass(frozen=True)
class Grown(Toy):
    """Has a partition 2 with offsets from 50 on, of `late` rows; it was not there when the lake was read into first."""

    late: int = 0
    first: int = 50

    @property
    def source(self) -> Source:
        return Source("TOY", self.kind, self.topic, 3)

    def ends(self) -> Mapping[int, Offsets]:
        known = {p: at for p, at in ToyStream.ends(self).items() if p < 2}
        there = known | {2: Offsets(self.first, self.first + self.late, 0)}
        return there if self.ends_known else None  # type: ignore[return-value] # as the protocol allows


def grown(late: int = 0, seeks: bool = True, first: int = 50) -> ToySource:
    more = tuple((START_MS + n, 2, n, f"late {n}") for n in range(first, first + late))
    return ToySource(Grown((*rows(9), *more), seeks, late=late, first=first))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("late", [0, 10])
@pytest.mark.parametrize("seeks", [False, True])
def test_a_new_partition_that_has_lost_its_first_rows_is_a_gap(
    lake_root: Path, seeks: bool, late: int, full: bool
) -> None:
    """Whether rows come after them or not."""
    export(lake_root, toy(9))
    source = grown(late, seeks)

    refused = export(lake_root, source, number=1, full=full)
    accepted = export(lake_root, source, number=2, full=full, accept_gap=True)
    after = export(lake_root, source, number=3, full=full)

    assert isinstance(refused.error, TopicChanged)
    assert "may have lost rows: partition 2 now begins at offset 50" in refused.error.message
    assert (accepted.error, after.error) == (None, None)
    assert "partition 2: offsets 0 to 49 are lost" in accepted.exported.notes
    assert rows_there(lake_root) == Counter(source.stream.rows)
    notes = [entry["pipeline"] for entry in table_for(lake_root).history() if "pipeline" in entry]
    assert [gap for gap in (note.get("gaps") for note in notes) if gap and gap != {"2": [0, 50]}] == []
    assert any(note.get("gaps") for note in notes)


@pytest.mark.parametrize("seeks", [False, True])
def test_an_empty_new_partition_is_known_from_the_next_commit_on(lake_root: Path, seeks: bool) -> None:
    """So that a commit that counts it does not hide that its first rows are due."""
    export(lake_root, toy(9))
    more = ToySource(Grown(rows(13), seeks, first=0))
    assert export(lake_root, more, number=1).error is None
    assert table_for(lake_root).bookmarks()[2] == (0, None)

    refused = export(lake_root, grown(10, seeks), number=2)

    assert isinstance(refused.error, TopicChanged)


def test_all_rows_of_a_new_partition_are_due_where_no_end_is_known(lake_root: Path) -> None:
    export(lake_root, toy(9))
    unknown = Grown(grown(10).stream.rows, seeks=True, ends_known=False)

    plan = plan_read(unknown, table_for(lake_root), Limits())

    assert [task.start.get(2) for task in plan.tasks] == [Bookmark(0)]


class Quiet(Grown):
    """Ends where the server stands still: it is not known whether the new partition is empty."""

    def read(self, task: Task, limits: Limits) -> StreamRead:
        read = super().read(task, limits)
        read.proved = False
        return read


def test_a_partition_that_was_there_at_the_first_commit_and_had_no_row_may_begin_anywhere(lake_root: Path) -> None:
    """Commits without rows do not forget that it was there."""
    export(lake_root, ToySource(Quiet(rows(9))))
    table = table_for(lake_root)
    table.commit("20261120T000000Z-0000000b", Change(note={"kind": "retention"}), NOW)
    assert (table.head.transactions[PARTITIONS], sorted(table.bookmarks())) == (3, [0, 1])

    assert export(lake_root, grown(10, seeks=False), number=1).error is None
