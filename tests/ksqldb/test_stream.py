"""A stream of ksqlDB: what is asked for from a bookmark, what the answer gives, and what is refused before it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from functools import cache
from types import CodeType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.testing import FOR_EVER_S
from pipeline.errors import AnswerIncomplete, PipelineError, TopicChanged
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import Description, describe
from pipeline.ksqldb.stream import KsqldbStream, predicate
from pipeline.limits import Limits
from pipeline.once import WITNESSES, gaps_before
from pipeline.source import NEW_ROWS, OLD_ROWS, Bookmark, Plan, StreamRead, Task, Wanted
from tests.ksqldb.replay import ReplayServer, Scripted, replaying
from tests.vectors import in_both, recorded

SOURCE = Description("S", "stream", "s", 4, (), None, False, ())
Row = tuple[int, int, int]  # ROWTIME, ROWPARTITION, ROWOFFSET


def task(bookmarks: Mapping[int, Bookmark], wanted: Wanted = NEW_ROWS) -> Task:
    return Task("s", "s", bookmarks, wanted=wanted)


def read_all(client: Client, source: Description, bookmarks: Mapping[int, Bookmark]) -> tuple[Plan, StreamRead]:
    stream = KsqldbStream(client, source)
    plan = stream.plan(Task("s", source.topic, bookmarks, stream.ends()), Limits())
    return plan, stream.read(plan.tasks[0], Limits())


def lets_through(clause: str, row: Row) -> bool:
    """The predicate as the server reads it; only what we send is understood."""
    names = dict(zip(("ROWTIME", "ROWPARTITION", "ROWOFFSET"), row, strict=True))
    return bool(not clause or eval(as_python(clause), {"__builtins__": {}}, names))  # our own words, checked


@cache
def as_python(clause: str) -> CodeType:
    text = clause.removeprefix(" WHERE ")
    assert re.fullmatch(r"[A-Z0-9 ()<>=-]+", text)
    code = re.sub(r"(?<![<>])=", "==", text).replace("AND", "and").replace("OR ", "or ")
    return compile(code, "predicate", "eval")


@given(st.dictionaries(st.integers(0, 6), st.integers(0, WITNESSES + 5), max_size=4))
def test_the_server_is_asked_for_the_new_rows_and_some_witnesses_a_partition(next_offsets: dict[int, int]) -> None:
    asked = predicate(task({p: Bookmark(n) for p, n in next_offsets.items()}))

    for partition in range(9):
        asked_for = [offset for offset in range(WITNESSES + 8) if lets_through(asked, (0, partition, offset))]
        assert asked_for == list(range(max(0, next_offsets.get(partition, 0) - WITNESSES), WITNESSES + 8))


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-6, 6))
def test_old_rows_are_asked_for_whatever_their_offset(start: int, end: int, rowtime: int) -> None:
    asked = predicate(task({0: Bookmark(3)}, dataclasses.replace(OLD_ROWS, start_ms=start, end_ms=end)))

    assert predicate(task({0: Bookmark(3)}, OLD_ROWS)) == ""
    assert lets_through(asked, (rowtime, 0, 1)) == (start <= rowtime < end)


def say_ends(server: ReplayServer) -> Description:
    """CLICKS, whose topic ends at the offsets 14, 13 and 13; the next answer has them."""
    server.say_recorded("own: DESCRIBE CLICKS", "own: DESCRIBE CLICK_COUNTS EXTENDED")
    with Client(Connection(server.url)) as client:
        return describe(client, "CLICKS")


def test_a_stream_that_was_read_to_its_end_is_not_asked_again(server: ReplayServer, client: Client) -> None:
    source = say_ends(server)

    plan, read = read_all(client, source, {0: Bookmark(14), 1: Bookmark(13), 2: Bookmark(13)})

    assert (read.outcome, list(read.batches)) == ("exact", [])
    assert [column.lake_name for column in plan.columns[:4]] == ["rowtime", "rowpartition", "rowoffset", "page"]
    assert {asked.path for asked in server.asked} == {"/ksql"}


@pytest.mark.parametrize("bookmarks", [{0: Bookmark(15)}, {0: Bookmark(14), 3: Bookmark(1)}])
def test_a_topic_that_ends_before_the_bookmark_is_refused_before_it_is_read(
    server: ReplayServer, client: Client, bookmarks: dict[int, Bookmark]
) -> None:
    source = say_ends(server)

    with pytest.raises(TopicChanged, match="was recreated or cut"):
        gaps_before(Task("s", source.topic, bookmarks, KsqldbStream(client, source).ends()))

    assert {asked.path for asked in server.asked} == {"/ksql"}


@pytest.mark.parametrize("name", in_both(["mixed-Case", "own: Mixed-Name"]))
def test_a_recorded_push_gives_its_rows_with_their_positions(server: ReplayServer, client: Client, name: str) -> None:
    own, name = name.startswith("own: ") * "own: ", name.removeprefix("own: ")
    server.say_recorded(f"{own}DESCRIBE {name}", f"{own}push {name} from earliest")
    source = describe(client, name)
    answer = json.loads(recorded(f"{own}push {name} from earliest")["response"]["body"])
    wanted = [element["row"]["columns"] for element in answer[1:-1]]

    plan, read = read_all(client, source, {})
    rows: list[Any] = []
    with pytest.raises(AnswerIncomplete, match="ended by somebody else"):  # whoever recorded it closed it, not we
        for batch in read.batches:
            rows += [list(row.values()) for row in batch.to_pylist()]

    assert rows == wanted
    assert [column.lake_name for column in plan.columns[:3]] == ["rowtime", "rowpartition", "rowoffset"]
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
            list(KsqldbStream(client, SOURCE).read(task({}), Limits(stall_s=FOR_EVER_S)).batches)
