"""Each row of a stream once: what is asked for from a bookmark, what is kept of the answer, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.testing import FOR_EVER_S
from pipeline.errors import AnswerIncomplete, PipelineError, TopicChanged
from pipeline.ksqldb.client import Client, Connection
from pipeline.ksqldb.describe import Description, describe
from pipeline.ksqldb.stream import WITNESSES, _Keeper, read_stream
from pipeline.source import ALL_ROWS, NEW_ROWS, OLD_ROWS, Bookmark, Limits, Offsets, Wanted
from tests.ksqldb.replay import ReplayServer, Scripted, replaying
from tests.vectors import in_both, recorded

SOURCE = Description("S", "stream", "s", 4, (), None, False, ())
Row = tuple[int, int, int]  # ROWTIME, ROWPARTITION, ROWOFFSET


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with replaying() as script:
        yield script


@pytest.fixture
def client(server: ReplayServer) -> Iterator[Client]:
    with Client(Connection(server.url, retry_s=0)) as client:
        yield client


def keeper(
    bookmarks: Mapping[int, Bookmark],
    accept_gap: bool = False,
    wanted: Wanted = NEW_ROWS,
    ends: Mapping[int, Offsets] | None = None,
) -> _Keeper:
    return _Keeper(SOURCE, bookmarks, ends, accept_gap, wanted)


def lets_through(predicate: str, row: Row) -> bool:
    """The predicate as the server reads it; only what we send is understood."""
    if not predicate:
        return True
    text = predicate.removeprefix(" WHERE ")
    assert re.fullmatch(r"[A-Z0-9 ()<>=-]+", text)
    code = re.sub(r"(?<![<>])=", "==", text).replace("AND", "and").replace("OR ", "or ")
    names = dict(zip(("ROWTIME", "ROWPARTITION", "ROWOFFSET"), row, strict=True))
    return bool(eval(code, {"__builtins__": {}}, names))  # our own words, checked above


@given(st.dictionaries(st.integers(0, 6), st.integers(0, WITNESSES + 5), max_size=4))
def test_the_server_is_asked_for_the_new_rows_and_some_witnesses_a_partition(next_offsets: dict[int, int]) -> None:
    predicate = keeper({p: Bookmark(n) for p, n in next_offsets.items()}).predicate()

    for partition in range(9):
        asked_for = [offset for offset in range(WITNESSES + 8) if lets_through(predicate, (0, partition, offset))]
        assert asked_for == list(range(max(0, next_offsets.get(partition, 0) - WITNESSES), WITNESSES + 8))


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-6, 6))
def test_old_rows_are_asked_for_whatever_their_offset(start: int, end: int, rowtime: int) -> None:
    asked = keeper({0: Bookmark(3)}, wanted=dataclasses.replace(OLD_ROWS, start_ms=start, end_ms=end)).predicate()

    assert keeper({0: Bookmark(3)}, wanted=OLD_ROWS).predicate() == ""
    assert lets_through(asked, (rowtime, 0, 1)) == (start <= rowtime < end)


@st.composite
def topics_read_before(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, Bookmark], list[Row]]:
    """Offsets that exist a partition (with gaps), bookmarks behind some of them, and an answer with replays."""
    topic = draw(st.dictionaries(st.integers(0, 3), st.sets(st.integers(0, 30), min_size=1).map(sorted), max_size=4))
    bookmarks, sent = {}, []
    for partition, offsets in topic.items():
        read = draw(st.integers(0, len(offsets)))
        if read:
            last = offsets[read - 1]
            bookmarks[partition] = Bookmark(last + 1, 1000 + last)
            offsets = offsets[read - 1 :]  # what the predicate lets through
        places = list(range(len(offsets)))
        if draw(st.booleans()):  # a task that starts over sends the rows since its last commit again
            again_at = draw(st.integers(0, len(offsets)))
            places = places[:again_at] + places[draw(st.integers(0, again_at)) :]
        sent.append([(1000 + offsets[place], partition, offsets[place]) for place in places])
    rows: list[Row] = []
    while any(sent):  # partitions interleave, each in its order
        rows.append(draw(st.sampled_from([queue for queue in sent if queue])).pop(0))
    return topic, bookmarks, rows


@given(topics_read_before(), st.integers(1, 7))
def test_every_new_row_is_kept_once_and_in_order_whatever_comes_again(
    read_before: tuple[dict[int, list[int]], dict[int, Bookmark], list[Row]], batch_rows: int
) -> None:
    topic, bookmarks, rows = read_before
    kept: list[Any] = []
    sieve = keeper(bookmarks)

    for start in range(0, len(rows), batch_rows):
        kept += sieve.keep(list(rows[start : start + batch_rows]))

    for partition, offsets in topic.items():
        first = bookmarks[partition].next_offset if partition in bookmarks else 0
        assert [row[2] for row in kept if row[1] == partition] == [offset for offset in offsets if offset >= first]
    assert sieve.replayed_rows == len(rows) - len(kept) - len(bookmarks)
    assert sieve.gaps == {}


@pytest.mark.parametrize(("wanted", "new"), [(OLD_ROWS, []), (ALL_ROWS, [(3, 0, 3), (9, 1, 1), (5, 2, 0)])])
def test_old_rows_are_kept_once_and_new_ones_when_all_are_wanted(wanted: Wanted, new: list[Row]) -> None:
    sieve = keeper({0: Bookmark(3, 2), 1: Bookmark(1, 9)}, wanted=wanted)
    rows: Sequence[Row] = [(0, 0, 0), (1, 0, 1), (0, 0, 0), (2, 0, 2), (3, 0, 3), (9, 1, 0), (9, 1, 1), (5, 2, 0)]

    assert sorted(sieve.keep(list(rows))) == sorted([(0, 0, 0), (1, 0, 1), (2, 0, 2), (9, 1, 0), *new])
    assert sieve.replayed_rows == 1


def test_a_witness_with_another_time_means_another_topic() -> None:
    with pytest.raises(TopicChanged, match="re-created: offset 9 of partition 1 has ROWTIME 7 now, and had 5"):
        keeper({1: Bookmark(10, 5)}).keep([(7, 1, 9), (8, 1, 10)])
    assert keeper({1: Bookmark(10, None)}).keep([(7, 1, 9), (8, 1, 10)]) == [(8, 1, 10)]
    assert keeper({1: Bookmark(10, 5)}).keep([(5, 1, 9), (8, 1, 10)]) == [(8, 1, 10)]


@pytest.mark.parametrize("wanted", [NEW_ROWS, ALL_ROWS])
def test_rows_lost_to_retention_are_an_error_unless_accepted(wanted: Wanted) -> None:
    rows: list[tuple[Any, ...]] = [(8, 0, 15), (9, 0, 16)]

    with pytest.raises(TopicChanged, match=r"now begins at offset 15, but the next row due for the lake is 10") as told:
        keeper({0: Bookmark(10, 5)}, wanted=wanted).keep(list(rows))
    assert "--accept-gap" in told.value.hint
    accepting = keeper({0: Bookmark(10, 5)}, accept_gap=True, wanted=wanted)
    assert accepting.keep(list(rows)) == rows
    assert accepting.gaps == {0: (10, 15)}
    with pytest.raises(TopicChanged, match="now begins at offset 12"):
        keeper({0: Bookmark(10, 5)}, wanted=wanted, ends={0: Offsets(12, 12, 0)})


def test_a_partition_that_brought_no_row_yet_has_no_witness_and_is_judged_by_where_its_topic_starts() -> None:
    """Offsets have gaps (records that cannot be read, marks of transactions): a first row further on proves nothing."""
    rows: list[tuple[Any, ...]] = [(8, 0, 15)]

    assert keeper({0: Bookmark(10)}, ends={0: Offsets(10, 16, 0)}).keep(list(rows)) == rows
    with pytest.raises(TopicChanged, match="may have lost rows"):
        keeper({0: Bookmark(10)}, ends={0: Offsets(11, 16, 0)})
    with pytest.raises(TopicChanged, match="may have lost rows"):
        keeper({0: Bookmark(10)}).keep(list(rows))


def test_a_partition_that_is_new_has_no_gap() -> None:
    sieve = keeper({0: Bookmark(10, 5)})

    assert sieve.keep([(8, 3, 40)]) == [(8, 3, 40)]
    assert sieve.gaps == {}


def say_ends(server: ReplayServer) -> Description:
    """CLICKS, whose topic ends at the offsets 14, 13 and 13; the next answer tells them."""
    server.say_recorded("own: DESCRIBE CLICKS", "own: DESCRIBE CLICK_COUNTS EXTENDED")
    with Client(Connection(server.url)) as client:
        return describe(client, "CLICKS")


def test_a_stream_that_was_read_to_its_end_is_not_asked_again(server: ReplayServer, client: Client) -> None:
    source = say_ends(server)

    read = read_stream(client, source, {0: Bookmark(14), 1: Bookmark(13), 2: Bookmark(13)}, Limits())

    assert (read.outcome, list(read.batches), read.row_count) == ("exact", [], 0)
    assert read.schema.names[:4] == ["rowtime", "rowpartition", "rowoffset", "page"]
    assert {asked.path for asked in server.asked} == {"/ksql"}


@pytest.mark.parametrize("bookmarks", [{0: Bookmark(15)}, {0: Bookmark(14), 3: Bookmark(1)}])
def test_a_topic_that_ends_before_the_bookmark_is_refused_before_it_is_read(
    server: ReplayServer, client: Client, bookmarks: dict[int, Bookmark]
) -> None:
    source = say_ends(server)

    with pytest.raises(TopicChanged, match="was re-created or cut"):
        read_stream(client, source, bookmarks, Limits())

    assert {asked.path for asked in server.asked} == {"/ksql"}


@pytest.mark.parametrize("name", in_both(["mixed-Case", "own: Mixed-Name"]))
def test_a_recorded_push_gives_its_rows_with_their_positions(server: ReplayServer, client: Client, name: str) -> None:
    own, name = name.startswith("own: ") * "own: ", name.removeprefix("own: ")
    server.say_recorded(f"{own}DESCRIBE {name}", f"{own}push {name} from earliest")
    source = describe(client, name)
    told = json.loads(recorded(f"{own}push {name} from earliest")["response"]["body"])
    wanted = [element["row"]["columns"] for element in told[1:-1]]

    read = read_stream(client, source, {}, Limits())
    rows: list[Any] = []
    with pytest.raises(AnswerIncomplete, match="ended by somebody else"):  # whoever recorded it closed it, not we
        for batch in read.batches:
            rows += [list(row.values()) for row in batch.to_pylist()]

    assert rows == wanted
    assert (read.row_count, read.replayed_rows, read.gaps) == (len(wanted), 0, {})
    assert read.schema.names[:3] == ["rowtime", "rowpartition", "rowoffset"]
    (asked,) = (request.body for request in server.asked if request.path == "/query-stream")
    assert asked["sql"].endswith(f"FROM `{name}` EMIT CHANGES;")
    assert asked["properties"]["auto.offset.reset"] == "earliest"


def test_a_server_that_will_not_show_how_far_it_is_ends_the_read() -> None:
    """Nobody else would end it: a push is silent for as long as no row comes."""
    refusal = b'{"@type":"generic_error","error_code":40300,"message":"not for you"}'
    header = b'[{"header":{"queryId":"q","schema":"`ROWTIME` BIGINT, `ROWPARTITION` INTEGER, `ROWOFFSET` BIGINT"}}'
    with replaying() as server, Client(Connection(server.url)) as client:
        server.say(Scripted(200, [header], idle_s=FOR_EVER_S), Scripted(403, [refusal]))

        with pytest.raises(PipelineError, match="not for you"):
            list(read_stream(client, SOURCE, {}, Limits(stall_s=FOR_EVER_S)).batches)
