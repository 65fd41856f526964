"""How far a topic reaches and a table has read it, as the server tells, and whether the topic is still there."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pipeline.errors import (
    TopicGone,
    TopicNotDescribed,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import (
    Description,
    describe,
    lag,
    table_offsets,
    true_ends,
)
from pipeline.source import Offsets, TableState
from tests.ksqldb.descriptions import asked, described, say_described
from tests.ksqldb.replay import ReplayServer, Scripted
from tests.vectors import load_lines, needs_vectors


@needs_vectors
def test_the_true_ends_of_a_stream_are_those_of_its_topic(server: ReplayServer, client: Client) -> None:
    server.say_recorded("DESCRIBE TRANSACTION_STREAM", "DESCRIBE TRANSACTION_FLATTENED EXTENDED")
    events = load_lines("recorded/events.jsonl")
    produced = Counter(event["partition"] for event in events if event["topic"] == "transactions")

    ends = true_ends(client, describe(client, "TRANSACTION_STREAM"))

    assert ends == {partition: Offsets(0, count, count) for partition, count in produced.items()}
    assert asked(server)[-1] == "DESCRIBE `TRANSACTION_FLATTENED` EXTENDED;"


def test_another_reader_is_asked_when_the_first_does_not_tell_all(server: ReplayServer, client: Client) -> None:
    full = described("own: CLICK_COUNTS", extended=True)
    part = json.loads(json.dumps(full))
    part["queryOffsetSummaries"][0]["topicSummaries"][0]["offsets"].pop()
    source = Description("S", "stream", "clicks", 3, (), None, False, ("A", "B", "C"))

    say_described(server, described("own: NOTHING", extended=True), part, full)
    assert true_ends(client, source) == {0: Offsets(0, 14, 14), 1: Offsets(0, 13, 13), 2: Offsets(0, 13, 13)}
    say_described(server, part)
    assert true_ends(client, source) is None


def test_the_end_of_a_stream_that_nobody_reads_is_unknown(server: ReplayServer, client: Client) -> None:
    server.say_recorded("own: DESCRIBE NOTHING")
    source = describe(client, "NOTHING")

    assert source.readers == ()
    assert true_ends(client, source) is None


@needs_vectors
def test_how_far_a_table_is_behind_counts_every_topic_that_it_reads(server: ReplayServer, client: Client) -> None:
    answer = described("USER_TRANSACTION_SUMMARY", extended=True)
    table = Description("USER_TRANSACTION_SUMMARY", "table", "t", 3, (), None, True, ())
    say_described(server, answer)
    assert lag(table_offsets(client, table)) == 0

    first, second = answer["queryOffsetSummaries"][0]["topicSummaries"]
    first["offsets"][0]["consumerOffset"] -= 5
    second["offsets"][2] |= {"consumerOffset": 220, "logStartOffset": 200}  # of 260
    say_described(server, answer)
    assert lag(table_offsets(client, table)) == 45

    # Not started at all, in a topic whose first records retention has removed.
    first["offsets"][0] |= {"consumerOffset": -1, "logStartOffset": 100, "logEndOffset": 190}
    say_described(server, answer)
    assert lag(table_offsets(client, table)) == 90 + 40


def test_how_far_an_emulated_table_is_behind_counts_what_retention_left(server: ReplayServer, client: Client) -> None:
    answer = described("own: CLICK_COUNTS", extended=True)
    table = Description("CLICK_COUNTS", "table", "click_counts", 3, (), None, True, ())
    offsets = answer["queryOffsetSummaries"][0]["topicSummaries"][0]["offsets"]
    say_described(server, answer)
    assert lag(table_offsets(client, table)) == 0

    offsets[0]["consumerOffset"] -= 5
    offsets[1] |= {"consumerOffset": 3, "logStartOffset": 10}  # of 13
    offsets[2] |= {"consumerOffset": -1, "logStartOffset": 6}  # not started, of 13
    say_described(server, answer)
    assert lag(table_offsets(client, table)) == 5 + 3 + 7


def test_how_far_a_table_is_behind_may_be_unknown(server: ReplayServer, client: Client) -> None:
    server.say_recorded("own: DESCRIBE NOTHING EXTENDED")

    unread = Description("SOURCE_TABLE", "table", "t", 2, (), None, False, ())
    assert lag(table_offsets(client, unread)) is None
    assert TableState(table_offsets(client, unread)).note is None


@needs_vectors
def test_the_state_of_a_table_is_how_far_its_sources_were_read_and_reach(server: ReplayServer, client: Client) -> None:
    server.say_recorded("DESCRIBE PAYMENT_METHOD_TOTALS EXTENDED")
    table = Description("PAYMENT_METHOD_TOTALS", "table", "payment_method_totals", 3, (), None, True, ())

    answer = TableState(table_offsets(client, table)).note

    assert answer is not None
    assert answer["transaction_flattened"] == {"0": [190, 190], "1": [213, 213], "2": [197, 197]}
    assert len(answer) == 2
    assert json.loads(json.dumps(answer)) == answer


@needs_vectors
def test_the_state_of_a_table_that_nothing_writes_is_the_end_of_its_topic(server: ReplayServer, client: Client) -> None:
    server.say_recorded("DESCRIBE FILTERED_TABLE EXTENDED")
    table = Description("SOURCE_TABLE", "table", "source_table", 2, (), None, False, ("FILTERED_TABLE",))

    ends = true_ends(client, table)

    assert ends is not None
    assert TableState(table_offsets(client, table)).note == {
        "source_table": {str(partition): [at.end, at.end] for partition, at in ends.items()}
    }


def say_topics(server: ReplayServer, listed: Scripted) -> None:
    answer = described("own: CLICKS") | {"partitions": 0}
    entity = {"@type": "sourceDescription", "statementText": "", "sourceDescription": answer}
    server.say(Scripted(200, [json.dumps([entity]).encode()]), listed)


@pytest.mark.parametrize("topic", ["clicks", "other"])
def test_a_topic_that_is_not_described_is_gone_when_it_is_not_listed(
    server: ReplayServer, client: Client, topic: str
) -> None:
    entity = {"@type": "kafka_topics", "statementText": "", "topics": [{"name": topic, "replicaInfo": [1]}]}
    say_topics(server, Scripted(200, [json.dumps([entity]).encode()]))

    with pytest.raises(TopicNotDescribed if topic == "clicks" else TopicGone):
        true_ends(client, describe(client, "CLICKS"))

    assert asked(server)[-1] == "LIST TOPICS;"


@pytest.mark.parametrize("status", [403, 400, 503, 500])
def test_a_server_that_may_not_list_topics_leaves_open_whether_one_is_gone(
    server: ReplayServer, client: Client, status: int
) -> None:
    refusal = b'{"@type":"generic_error","error_code":40301,"message":"not for you"}'
    say_topics(server, Scripted(status, [refusal]))

    with pytest.raises(TopicNotDescribed):
        true_ends(client, describe(client, "CLICKS"))
