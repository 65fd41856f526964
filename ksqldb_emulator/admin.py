"""Answers to admin statements: SHOW, DESCRIBE and SHOW QUERIES EXTENDED, as entities of `/ksql`."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ksqldb_emulator.cluster import repartition_topic
from ksqldb_emulator.dataset import Query, Source
from ksqldb_emulator.sql import Describe, Other, Refused, Select, Show, parse, split
from ksqldb_emulator.state import LiveQuery, State

_STATISTICS = (
    "The statistics field is deprecated and will be removed in a future version of ksql. "
    "Please update your client to the latest version and use statisticsMap instead.\n"
)


def run_statements(state: State, text: str) -> list[dict[str, Any]]:
    """Carries out the statements of a request and returns their entities; with a bad statement none is carried out."""
    statements = [(part, parse(part)) for part in split(text)]
    for part, statement in statements:
        if isinstance(statement, Select):
            raise Refused(
                "The following statement types should be issued to the websocket endpoint '/query':\n\t* PRINT\n"
                "\t* SELECT",
                40002,
                part,
            )
        if isinstance(statement, Describe) and state.find(statement.name) is None:
            raise Refused(f"Could not find STREAM/TABLE '{statement.name}' in the Metastore", statement=part)
        if isinstance(statement, Other) or (isinstance(statement, Show) and _unknown(statement)):
            raise Refused("This emulator does not carry out this statement", statement=part)
    return [_entity(state, part, statement) | {"warnings": []} for part, statement in statements]


def _unknown(statement: Show) -> bool:
    return (statement.what, statement.extended) not in (
        ("STREAMS", False),
        ("TABLES", False),
        ("QUERIES", True),
        ("QUERIES", False),
        ("TOPICS", False),
    )


def _entity(state: State, text: str, statement: Any) -> dict[str, Any]:
    if isinstance(statement, Describe):
        source = state.find(statement.name)
        assert source is not None
        described = _description(state, source, statement.extended)
        return {"@type": "sourceDescription", "statementText": text, "sourceDescription": described}
    if statement.what == "QUERIES":
        return _queries(state, text, statement.extended)
    if statement.what == "TOPICS":
        topics = {source.topic: source for source in state.sources if not source.topic_deleted}
        on_kafka = [{"name": name, "replicaInfo": [1] * max(1, topics[name].partitions)} for name in sorted(topics)]
        return {"@type": "kafka_topics", "statementText": text, "topics": on_kafka}
    kind = statement.what[:-1]
    listed = [
        {
            "type": kind,
            "name": source.name,
            "topic": source.topic,
            "keyFormat": source.key_format,
            "valueFormat": source.value_format,
            "isWindowed": source.window_type is not None,
        }
        for source in state.sources
        if source.kind == kind
    ]
    return {"@type": statement.what.lower(), "statementText": text, statement.what.lower(): listed}


def _running(query: Query, statuses: Iterable[str] = ("RUNNING",)) -> dict[str, Any]:
    return {
        "queryString": query.text,
        "sinks": list(query.sinks),
        "sinkKafkaTopics": list(query.sink_topics),
        "id": query.id,
        "statusCount": dict(Counter(statuses)),
        "queryType": "PERSISTENT",
        "state": "RUNNING",
    }


def _description(state: State, source: Source, extended: bool) -> dict[str, Any]:
    fields = [
        {"name": column.name, "schema": column.type.described()}
        | ({} if column.role == "VALUE" else {"type": column.role})
        | ({"headerKey": column.header_key} if column.header_key else {})
        for column in source.columns
    ]
    return {
        "name": source.name,
        "windowType": source.window_type,
        "readQueries": [_running(query) for query in source.read_queries],
        "writeQueries": [_running(source.write_query)] if source.write_query else [],
        "fields": fields,
        "type": source.kind,
        "timestamp": source.timestamp,
        "statistics": _STATISTICS if extended else "",
        "errorStats": "",
        "extended": extended,
        "keyFormat": source.key_format,
        "valueFormat": source.value_format,
        "topic": source.topic,
        "partitions": 0 if source.topic_deleted else source.partitions,
        "replication": 1,
        "statement": source.statement,
        "queryOffsetSummaries": _offset_summaries(state, source) if extended else [],
        "sourceConstraints": [sink for query in source.read_queries for sink in query.sinks],
        "clusterStatistics": [],
        "clusterErrorStats": [],
    }


def _offset_summaries(state: State, source: Source) -> list[dict[str, Any]]:
    query = source.write_query
    if query is None:
        return []
    topics = [{"kafkaTopic": topic, "offsets": _offsets(state, topic, source.lag)} for topic in query.topics]
    if query.repartition:
        name = repartition_topic(state.dataset.service_id, query)
        counts = Counter(record.partition for record in state.visible(source))
        at = [{"partition": p, "logStartOffset": 0, "logEndOffset": counts[p], "consumerOffset": counts[p]}
              for p in range(source.partitions)]  # fmt: skip
        topics.append({"kafkaTopic": name, "offsets": at})
    return [{"groupId": f"_confluent-ksql-{state.dataset.service_id}query_{query.id}", "topicSummaries": topics}]


def _offsets(state: State, topic: str, lag: int) -> list[dict[str, Any]]:
    described = []
    for partition, (start, end) in sorted(state.topic_bounds(topic).items()):
        consumed = max(start, end - lag)
        described.append(
            {"partition": partition, "logStartOffset": start, "logEndOffset": end, "consumerOffset": consumed}
        )
    return described


def _queries(state: State, text: str, extended: bool) -> dict[str, Any]:
    persistent = {source.write_query: source for source in state.sources if source.write_query}
    live = list(state.live.values())
    if not extended:
        listed = [_running(query, state.cluster.statuses().values()) for query in persistent]
        listed += [_running(Query(query.id, query.text, (), ())) | {"queryType": "PUSH"} for query in live]
        return {"@type": "queries", "statementText": text, "queries": listed}
    here, everywhere = {state.cluster.hosts[0]: "RUNNING"}, state.cluster.statuses()
    described = [
        _query_description(query.id, query.text, list(query.sinks), "PERSISTENT", tasks_of(state, source), everywhere)
        for query, source in persistent.items()
    ]
    described += [_query_description(query.id, query.text, [], "PUSH", _tasks(query), here) for query in live]
    return {"@type": "query_descriptions", "statementText": text, "queryDescriptions": described}


def _query_description(
    query_id: str, text: str, sinks: list[str], query_type: str, tasks: list[dict[str, Any]], hosts: dict[str, str]
) -> dict[str, Any]:
    return {
        "id": query_id,
        "statementText": text,
        "windowType": None,
        "fields": [],
        "sources": [],
        "sinks": sinks,
        "topology": "",
        "executionPlan": "",
        "overriddenProperties": {},
        "ksqlHostQueryStatus": hosts,
        "queryType": query_type,
        "queryErrors": [],
        "tasksMetadata": tasks,
        "consumerGroupId": None,
        "state": "RUNNING",
    }


def tasks_of(state: State, source: Source) -> list[dict[str, Any]]:
    """The tasks of a persistent query on living nodes, in changing order and without progress."""
    query = source.write_query
    assert query is not None
    read = {topic: range(len(state.topic_bounds(topic)) or source.partitions) for topic in query.topics}
    if query.repartition:
        between = {repartition_topic(state.dataset.service_id, query): range(source.partitions)}
    inputs = [read, between] if query.repartition else [read]
    tasks = [
        _task(subtopology, partition, [topic for topic, there in topics.items() if partition in there])
        for subtopology, topics in enumerate(inputs)
        for partition in range(max(map(len, topics.values()), default=0))
        if state.cluster.lists_task(subtopology, partition)
    ]
    random.shuffle(tasks)
    return tasks


def _task(subtopology: int, partition: int, topics: list[str]) -> dict[str, Any]:
    offsets = [
        {
            "topicPartitionEntity": {"topic": topic, "partition": partition},
            "endOffset": -1,
            "committedOffset": -1,
        }
        for topic in topics
    ]
    return {"taskId": f"{subtopology}_{partition}", "topicOffsets": offsets, "timeCurrentIdlingStarted": None}


def _tasks(query: LiveQuery) -> list[dict[str, Any]]:
    tasks = [
        {
            "taskId": f"0_{partition}",
            "topicOffsets": [
                {
                    "topicPartitionEntity": {"topic": query.source.topic, "partition": partition},
                    "endOffset": fetched,
                    "committedOffset": committed,
                }
            ],
            "timeCurrentIdlingStarted": None,
        }
        for partition, (fetched, committed) in query.shown_positions(time.monotonic()).items()
    ]
    random.shuffle(tasks)
    return tasks
