"""Whether the query that writes a table is running on every host, with all of its tasks.

A table is pulled from the hosts that run its query. When one of them dies the others answer without its part, with
status 200 and without a sign, until its tasks have moved: 45 to 60 s with default settings. SHOW QUERIES EXTENDED
shows it within half a second: the host is UNRESPONSIVE, its tasks are missing (seen on 7.6 with two hosts, at 531 of
533 short answers; the other two came within a second after the tasks had moved, while their state was restored).
DESCRIBE does not show it: it covers only the host that is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.errors import AnswerMalformed, TableQueryPaused
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import Description, TableOffsets
from pipeline.source import Look

_TASK = re.compile(r"(?:.*__)?(\d+)_(\d+)")  # subtopology, partition; where queries share a runtime, after its name
_NOT_PLAIN = re.compile(r"[^\w.:\[\]-]")
_SHOWN = 5


def look_at_query(client: Client, source: Description, offsets: TableOffsets) -> Callable[[], Look] | None:
    """A function that looks at the query that writes the table; None where the server lists no such query.

    `offsets` are those that the query reads: each of these topic partitions must be among its tasks.
    """
    if not _own(_listed(client), source.name):
        return None
    due = {(topic, partition) for topic, by_partition in offsets.items() for partition in by_partition}
    most: set[str] = set()

    def look() -> Look:
        queries = _own(_listed(client), source.name)
        try:
            state = tuple(sorted((str(query["id"]), _hosts(query), _task_ids(query)) for query in queries))
            trouble = _trouble(queries, due, most)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnswerMalformed(
                f"the server's list of queries cannot be read: something is missing of {source.name}'s",
                "report this with the server's version",
            ) from error
        if not trouble:
            most.update(*(ids for _, _, ids in state))
        return Look(state, trouble)

    return look


def _listed(client: Client) -> list[Mapping[str, Any]]:
    entities = client.ksql("SHOW QUERIES EXTENDED;")
    return [query for entity in entities for query in entity.get("queryDescriptions") or ()]


def _own(queries: Iterable[Mapping[str, Any]], table: str) -> list[Mapping[str, Any]]:
    """The queries that write the table; for a CREATE SOURCE TABLE the query without a sink that reads only it."""
    persistent = [query for query in queries if query.get("queryType") == "PERSISTENT"]
    writers = [query for query in persistent if table in (query.get("sinks") or ())]
    return writers or [query for query in persistent if not query.get("sinks") and query.get("sources") == [table]]


def _hosts(query: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(host), str(status)) for host, status in query["ksqlHostQueryStatus"].items()))


def _task_ids(query: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(str(task["taskId"]) for task in query["tasksMetadata"]))


def _trouble(queries: list[Mapping[str, Any]], due: set[tuple[str, int]], most: set[str]) -> str:
    if not queries:
        return "the server no longer lists the query that writes it"
    for query in queries:
        hosts = _hosts(query)
        if {status for _, status in hosts} == {"PAUSED"}:
            raise TableQueryPaused(
                f"the query {_plain(str(query['id']))}, which writes the table, is paused",
                f"resume it in ksqlDB (RESUME {_plain(str(query['id']))};), then run the same command again",
            )
        bad = [f"{_plain(host)} is {_plain(status)}" for host, status in hosts if status != "RUNNING"]
        if bad or not hosts:
            return "the query that writes it does not run on every host: " + (", ".join(bad[:_SHOWN]) or "none")
    gone = most - {task for query in queries for task in _task_ids(query)}
    missing = sorted({*_missing_tasks(queries), *gone})
    if missing:
        return f"of the query that writes it tasks are missing: {', '.join(_plain(task) for task in missing[:_SHOWN])}"
    covered = {place for query in queries for place in _read_by(query)}
    if covered and not due <= covered:
        topic, partition = min(due - covered)
        return f"nothing of the query that writes it reads partition {partition} of the topic {_plain(topic)}"
    return ""


def _missing_tasks(queries: list[Mapping[str, Any]]) -> list[str]:
    """The tasks missing from the numbers of each subtopology; `0_0` where there is no task at all."""
    missing = []
    for query in queries:
        found: dict[int, set[int]] = {}
        for task in _task_ids(query):
            number = _TASK.fullmatch(task)
            if number is None:
                raise ValueError("a task has no number")
            found.setdefault(int(number[1]), set()).add(int(number[2]))
        for subtopology in range(max(found, default=0) + 1):
            partitions = found.get(subtopology, set())
            due = range(max(partitions, default=0) + 1)
            missing += [f"{subtopology}_{partition}" for partition in due if partition not in partitions]
    return missing


def _read_by(query: Mapping[str, Any]) -> set[tuple[str, int]]:
    return {
        (str(at["topicPartitionEntity"]["topic"]), int(at["topicPartitionEntity"]["partition"]))
        for task in query["tasksMetadata"]
        for at in task.get("topicOffsets") or ()
    }


def _plain(text: str) -> str:
    """A name from the server without control characters."""
    return _NOT_PLAIN.sub("?", text)[:100]
