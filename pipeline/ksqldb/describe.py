"""The server's streams and tables, their columns and roles, and the positions that REST shows.

Names in SQL are checked against the server's grammar and back-quoted here, and nowhere else. Facts about DESCRIBE were
seen on 7.2, 7.6 and 8.3.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.columns import Column
from pipeline.errors import (
    AnswerMalformed,
    PipelineError,
    SourceNotReadable,
    SourceUnknown,
    TopicGone,
    TopicNotDescribed,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.sqltypes import described_type
from pipeline.printable import printable
from pipeline.source import Offsets, Source

_SOURCE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SOURCE_TABLE = re.compile(r"\s*CREATE\s+(OR\s+REPLACE\s+)?SOURCE\s+TABLE\b", re.IGNORECASE)


def quote(name: str) -> str:
    """A column or source name, back-quoted for SQL.

    Raises SourceNotReadable for a name with a back-quote: the server prints such names ambiguously.
    """
    if "`" in name or "\x00" in name or "${" in name:
        raise SourceNotReadable(
            f"the name {name!r} holds a character that cannot be quoted safely", "rename it in a derived stream"
        )
    return f"`{name}`"


@dataclass(frozen=True)
class Description(Source):
    """A stream or table as DESCRIBE shows it. `window` is None, TUMBLING, HOPPING or SESSION; `is_written` says
    whether a query writes it.

    `timestamp` is the column that gives ROWTIME, empty for the record's own time; `header_keys` are the columns of
    single headers, each with its header's key. `statement` has the properties that DESCRIBE shows nowhere else.
    """

    columns: tuple[Column, ...]
    window: str | None
    pullable: bool
    readers: tuple[str, ...]
    key_format: str = ""
    value_format: str = ""
    timestamp: str = ""
    statement: str = ""
    header_keys: tuple[tuple[str, str], ...] = ()
    is_written: bool = False


def list_sources(client: Client) -> dict[str, str]:
    """Every stream and table of the server: name to `stream` or `table`."""
    found: dict[str, str] = {}
    for kind in ("stream", "table"):
        with _understood(f"SHOW {kind.upper()}S;") as statement:
            for entry in _entity(client, statement, f"{kind}s")[f"{kind}s"]:
                found[printable(str(entry["name"]))] = kind  # a name that `printable` changes cannot be used in SQL
    return found


def find_source(client: Client, name: str) -> Description:
    """The source of exactly that name, or the only one whose name differs in case alone.

    Raises SourceUnknown naming similar sources.
    """
    names = list_sources(client)
    matches = [name] if name in names else [other for other in names if other.upper() == name.upper()]
    if len(matches) != 1:
        if matches:
            what, hint = "is ambiguous: the server has " + " and ".join(sorted(matches)), "give the exact name"
        else:
            what = "does not exist on the server"
            hint = "the server has: " + (", ".join(sorted(names)) or "no stream or table at all")
        raise SourceUnknown(f"the ksqlDB source {name!r} {what}", hint)
    return describe(client, matches[0])


def describe(client: Client, name: str) -> Description:
    """The source of exactly that name."""
    described = _description(client, name, extended=False)
    with _understood(f"DESCRIBE {name};"):
        columns = tuple(
            Column(str(entry["name"]), described_type(entry["schema"]), str(entry.get("type") or "VALUE"))
            for entry in described["fields"]
        )
        kind = str(described["type"]).lower()
        return Description(
            name=str(described["name"]),
            kind=kind,
            columns=columns,
            window=described.get("windowType") or None,
            topic=str(described["topic"]),
            partitions=int(described.get("partitions") or 0),
            pullable=kind == "table"
            and bool(described.get("writeQueries") or _SOURCE_TABLE.match(str(described.get("statement") or ""))),
            readers=tuple(sink for query in described.get("readQueries") or () for sink in query.get("sinks") or ()),
            key_format=str(described.get("keyFormat") or ""),
            value_format=str(described.get("valueFormat") or ""),
            timestamp=str(described.get("timestamp") or ""),
            statement=str(described.get("statement") or ""),
            header_keys=tuple((str(e["name"]), str(e["headerKey"])) for e in described["fields"] if e.get("headerKey")),
            is_written=bool(described.get("writeQueries")),
        )


def true_ends(client: Client, source: Description) -> dict[int, Offsets] | None:
    """The present start and end of each partition of the source's topic, where REST shows them.

    It does when a persistent query reads the source: DESCRIBE of that query's sink has the positions of its sources.
    Raises TopicNotDescribed, or TopicGone where the server lists the topics and it is not among them.
    """
    if not source.partitions:
        _refuse_gone(client, source)
        raise TopicNotDescribed(
            f"the server does not report how many partitions the topic {source.topic} has: it cannot ask Kafka for now",
            "look at the Kafka brokers, then run the same command again",
        )
    for sink in source.readers:
        offsets = _offsets_read_by(client, sink).get(source.topic)
        if offsets is not None and len(offsets) == source.partitions:
            return offsets
    return None


TableOffsets = Mapping[str, Mapping[int, Offsets]]


def table_offsets(client: Client, source: Description) -> TableOffsets:
    """By topic and partition the offsets that a table is made of: of its query's sources, or else of its own topic.

    Empty where the server does not show them. Raises TopicNotDescribed.
    """
    if source.pullable:
        return _offsets_read_by(client, source.name)
    ends = true_ends(client, source) or {}
    # The position of another query that reads the topic says nothing about the table's rows.
    return {source.topic: {p: Offsets(at.start, at.end, at.end) for p, at in ends.items()}} if ends else {}


def lag(offsets: TableOffsets) -> int | None:
    """Records of its sources that a table's own query has not read yet; None where they are not known."""
    entries = [entry for topic in offsets.values() for entry in topic.values()]
    return sum(max(0, entry.end - max(entry.consumed, entry.start)) for entry in entries) if entries else None


def _offsets_read_by(client: Client, sink: str) -> dict[str, dict[int, Offsets]]:
    summaries = _description(client, sink, extended=True).get("queryOffsetSummaries") or ()
    with _understood(f"DESCRIBE {sink} EXTENDED;"):
        return {
            str(topic["kafkaTopic"]): {
                int(entry["partition"]): Offsets(
                    int(entry["logStartOffset"]), int(entry["logEndOffset"]), int(entry["consumerOffset"])
                )
                for entry in topic["offsets"]
            }
            for summary in summaries
            for topic in summary["topicSummaries"]
        }


def _refuse_gone(client: Client, source: Description) -> None:
    """Raises TopicGone if the topic does not exist; not where the server may not list topics, or hides this one."""
    try:
        with _understood("LIST TOPICS;") as statement:
            listed = {str(topic["name"]) for topic in _entity(client, statement, "kafka_topics")["topics"]}
    except PipelineError:
        return
    if source.topic in listed or source.topic.startswith("_"):
        return
    raise TopicGone(
        f"the topic {source.topic} of {source.name} does not exist any more; the lake keeps the rows that it has",
        f"drop {source.name} on the server, and archive its feed (manage_feeds.py archive), or create the topic again",
    )


@contextlib.contextmanager
def _understood(statement: str) -> Iterator[str]:
    """Raises AnswerMalformed where the server's answer to the statement does not have the documented form."""
    try:
        yield statement
    except (KeyError, TypeError, ValueError, AttributeError):
        raise AnswerMalformed(
            f"the server's answer to {statement!r} is not understood", "report this with the server's version"
        ) from None


def _description(client: Client, name: str, extended: bool) -> Mapping[str, Any]:
    if not _SOURCE_NAME.fullmatch(name):
        raise SourceUnknown(f"{name!r} is not a name that a ksqlDB source can have", "use letters, digits, _ and -")
    statement = f"DESCRIBE {quote(name)}{' EXTENDED' if extended else ''};"
    with _understood(statement):
        described: Mapping[str, Any] = _entity(client, statement, "sourceDescription")["sourceDescription"]
        if not isinstance(described, dict):
            raise TypeError("no description")
        return described


def _entity(client: Client, statement: str, kind: str) -> Mapping[str, Any]:
    for entity in client.ksql(statement):
        if entity.get("@type") == kind:
            return entity
    raise AnswerMalformed(f"the server's answer to {statement!r} holds no {kind}", "report this with its version")
