"""What a run read and wrote, as OpenLineage events: one run for the command, and below it one for each feed and fact.

The events of a feed are made of the command's result, as `--json` has it, and of the notes in the feed's log, which
have the offsets of each commit. Needs the package openlineage-python.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    InputDatasetFacet,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    storage_dataset,
    symlinks_dataset,
)
from openlineage.client.generated.base import set_producer
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider
from openlineage.client.uuid import generate_static_uuid

from pipeline import VERSION
from pipeline.errors import NoticeNotSent
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.text import rfc3339

PRODUCER = "https://openlineage.io/producer/ksqldb-lake"
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Places:
    """How datasets are called: `host:port` of ksqlDB, of a Kafka broker (empty where it is not known) and of MySQL."""

    namespace: str
    ksqldb: str
    kafka: str
    mysql: str
    database: str


@dataclass(frozen=True)
class Command:
    """A run of a script. `name` is the script's, without `.py`."""

    name: str
    run_id: str
    begun_at: dt.datetime

    def run_of(self, part: str) -> str:
        """The OpenLineage id of the run, or of the part of it that has this name; always the same."""
        return str(generate_static_uuid(self.begun_at, f"{self.run_id}/{part}".encode()))


def begin_event(command: Command, places: Places) -> RunEvent:
    set_producer(PRODUCER)  # of the facets of all events that follow
    return _event(RunState.START, command.begun_at, command.run_of(""), command.name, places, {})


def end_events(
    lake: Lake,
    command: Command,
    places: Places,
    ended_at: dt.datetime,
    exit_code: int,
    result: Any,
    errors: Sequence[Mapping[str, str]],
) -> Iterator[RunEvent]:
    """The events of feeds and facts, each with its beginning, and that of the command's end, which is the last.

    `result` is the command's result in the form of `--json`, `errors` are its messages.
    """
    found = result if isinstance(result, dict) else {}
    for part, state, inputs, outputs, message in [*_feeds(lake, places, command, found), *_facts(lake, places, found)]:
        run_id, facets = command.run_of(part), {"parent": _parent(command, places)} | _failure(message)
        yield _event(RunState.START, command.begun_at, run_id, part, places, {"parent": facets["parent"]})
        yield _event(state, ended_at, run_id, part, places, facets, inputs, outputs)
    state = RunState.COMPLETE if exit_code == 0 else RunState.ABORT if exit_code in (130, 143) else RunState.FAIL
    message = errors[0]["message"] if errors and exit_code else ""
    yield _event(state, ended_at, command.run_of(""), command.name, places, _failure(message))


_Part = tuple[str, RunState, list[InputDataset], list[OutputDataset], str]
"""The name of the job, how it ended, what it read and wrote, and why it failed."""


def _feeds(lake: Lake, places: Places, command: Command, result: Mapping[str, Any]) -> Iterator[_Part]:
    known = {feed.name: feed for feed in lake.feeds.choose()[0]}
    for one in result.get("feeds", ()) if command.name == "export_to_data_lake" else ():
        error, feed = one["error"] or {}, known.get(one["feed"])
        state = RunState.FAIL if one["status"] == "failed" else RunState.COMPLETE
        inputs, outputs = list[InputDataset](), list[OutputDataset]()
        if feed is not None:
            table = lake.table(feed)
            inputs.append(_source(feed, table, places, command.run_id if one["commits"] else ""))
            if table.exists:
                outputs.append(_lake_output(table, one))
        yield f"export_to_data_lake.{one['feed']}", state, inputs, outputs, error.get("message", "")


def _facts(lake: Lake, places: Places, result: Mapping[str, Any]) -> Iterator[_Part]:
    """The facts of a sync, be it a command of its own or the step of an export."""
    known = {feed.name: feed for feed in lake.feeds.choose()[0]}
    for load in (result, result.get("sync") or {}, *result.get("loads", ())):
        for fact in load.get("facts", ()):
            feed = known.get(fact["feed"])
            inputs = [_read_by(feed, lake, places, fact["lake_version"])] if feed is not None else []
            outputs = [_warehouse_output(places, fact["fact"], fact["rows"])]
            if feed is not None and feed.warehouse is not None and feed.warehouse.dimension is not None:
                members = fact["new_dimension_members"]
                outputs.append(_warehouse_output(places, feed.warehouse.dimension.table, members))
            yield f"sync_to_mysql.{fact['fact']}", RunState.COMPLETE, inputs, outputs, ""


def _source(feed: Feed, table: LakeTable, places: Places, run_id: str) -> InputDataset:
    """The ksqlDB object, which is the topic behind it by another name, and what was read of it."""
    topic, ranges = _read_ranges(table, run_id) if run_id and table.exists else ("", {})
    facets: dict[str, Any] = {}
    if (topic := topic or (table.topic if table.exists else "")) and places.kafka:
        other = symlinks_dataset.Identifier(f"kafka://{places.kafka}", topic, "TOPIC")
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet([other])
    read = [{"partition": p, "firstOffset": first, "endOffset": end} for p, (first, end) in sorted(ranges.items())]
    offsets: Any = InputDatasetFacet().with_additional_properties(topic=topic, ranges=read)
    found = {"ksqldbLake_offsets": offsets} if read else {}
    return InputDataset(f"ksqldb://{places.ksqldb}", feed.source, facets=facets, inputFacets=found)


def _read_ranges(table: LakeTable, run_id: str) -> tuple[str, dict[int, tuple[int, int]]]:
    """The topic, and by topic partition the first offset and the one after the last that the run's commits read."""
    topic, found = "", dict[int, tuple[int, int]]()
    for note in _notes_of(table, run_id):
        state = note.get("state") or {}
        if note.get("kind") == "stream":
            topic = table.topic
            new = {int(p): (first, note["to"][p]) for p, first in note["from"].items()}
        else:
            topic = next(iter(state), "")
            new = {int(p): (0, int(ends[0])) for p, ends in state.get(topic, {}).items()}
        for p, (first, end) in new.items():
            old = found.get(p, (first, end))
            found[p] = min(first, old[0]), max(end, old[1])
    return topic, found


def _notes_of(table: LakeTable, run_id: str) -> Iterable[Mapping[str, Any]]:
    """The notes of the run's commits, the newest first."""
    for entry in table.history():
        note = entry.get("pipeline") or {}
        if str(note.get("run", "")).startswith(run_id):
            yield note


def _lake_output(table: LakeTable, one: Mapping[str, Any]) -> OutputDataset:
    fields = [schema_dataset.SchemaDatasetFacetFields(field.name, str(field.type)) for field in table.schema]
    wrote = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(one["rows"], one["bytes"], one["files"])
    facets = {
        "schema": schema_dataset.SchemaDatasetFacet(fields),
        "storage": storage_dataset.StorageDatasetFacet("delta", "parquet"),
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(str(table.delta_version)),
    }
    return OutputDataset(*_lake_name(table), facets=facets, outputFacets={"outputStatistics": wrote})


def _lake_name(table: LakeTable) -> tuple[str, str]:
    """Namespace and name: `file` and a path, or `s3://BUCKET` and a key."""
    scheme, found, rest = table.uri().partition("://")
    if not found or scheme == "file":
        return "file", rest or scheme
    place, _, key = rest.partition("/")
    return f"{scheme}://{place}", key


def _read_by(feed: Feed, lake: Lake, places: Places, version: int | None) -> InputDataset:
    """What a sync read of a feed: a version in the lake, or the table at the server."""
    if version is None:
        return InputDataset(f"ksqldb://{places.ksqldb}", feed.source)
    facet = dataset_version_dataset.DatasetVersionDatasetFacet(f"version={version}")
    return InputDataset(*_lake_name(lake.table(feed)), facets={"version": facet})


def _warehouse_output(places: Places, table: str, rows: int) -> OutputDataset:
    wrote = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows)
    return OutputDataset(
        f"mysql://{places.mysql}", f"{places.database}.{table}", outputFacets={"outputStatistics": wrote}
    )


def _parent(command: Command, places: Places) -> parent_run.ParentRunFacet:
    job = parent_run.Job(places.namespace, command.name)
    return parent_run.ParentRunFacet(parent_run.Run(command.run_of("")), job)


def _failure(message: str) -> dict[str, Any]:
    return {"errorMessage": error_message_run.ErrorMessageRunFacet(message, "PYTHON")} if message else {}


def _event(
    state: RunState,
    at: dt.datetime,
    run_id: str,
    name: str,
    places: Places,
    facets: Mapping[str, Any],
    inputs: Sequence[InputDataset] = (),
    outputs: Sequence[OutputDataset] = (),
) -> RunEvent:
    engine = processing_engine_run.ProcessingEngineRunFacet(VERSION, "ksqldb-lake")
    kind = job_type_job.JobTypeJobFacet("BATCH", "KSQLDB_LAKE", "JOB")
    return RunEvent(
        eventType=state,
        eventTime=rfc3339(at),
        run=Run(run_id, {"processing_engine": engine, **facets}),
        job=Job(places.namespace, name, {"jobType": kind}),
        inputs=list(inputs),
        outputs=list(outputs),
        producer=PRODUCER,
    )


class Receiver:
    """Where events go: the address of an OpenLineage server, or the path of a file, a line an event."""

    def __init__(self, place: str, api_key: str) -> None:
        self._place = place
        if place.startswith(("http://", "https://")):
            auth = ApiKeyTokenProvider({"apiKey": api_key}) if api_key else TokenProvider({})
            retry = {"total": 1, "backoff_factor": 0.3, "allowed_methods": ["POST"]}
            config = HttpConfig(place, timeout=_TIMEOUT_S, auth=auth, retry=retry)
            self._transport: HttpTransport | FileTransport = HttpTransport(config)
        else:
            self._transport = FileTransport(FileConfig(place.removeprefix("file://"), append=True))

    def send(self, events: Iterable[RunEvent]) -> None:
        """Sends them in this order, until one cannot be sent. Raises NoticeNotSent."""
        try:
            for event in events:
                self._transport.emit(event)
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            raise NoticeNotSent(f"no lineage was sent to {self._place}: {error}", "see OPENLINEAGE_URL") from None
        finally:
            self._transport.close()
