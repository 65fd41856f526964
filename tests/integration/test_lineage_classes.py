"""Each event fits the classes that openlineage-python has of OpenLineage's specification, to the last field.

These are generated from its JSON Schema, 2-0-2 for events; the schema itself is in no package.
"""

from __future__ import annotations

import enum
import json
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import attr
import openlineage.client.generated as generated
import pytest
from openlineage.client.event_v2 import RunEvent
from openlineage.client.facet_v2 import InputDatasetFacet
from openlineage.client.generated.base import BaseFacet
from openlineage.client.serde import Serde

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import running
from pipeline.feeds import parse_feed
from pipeline.lineage import PRODUCER, Command, Places, end_events
from tests.integration.commands import ran
from tests.integration.small_sources import a_stream, events
from tests.integration.test_lineage import NOW, told_to
from tests.lake.small_tables import add_version, table_feed
from tests.support import feed_for, lake_at

OWN = {"ksqldbLake_offsets": {"topic": str, "ranges": list}}
"""Facets of our own, with their fields."""


def facets_of_the_specification() -> dict[str, type[BaseFacet]]:
    """By the address of their schema."""
    found = {}
    for module in pkgutil.iter_modules(generated.__path__, f"{generated.__name__}."):
        for one in vars(__import__(module.name, fromlist=["x"])).values():
            if isinstance(one, type) and issubclass(one, BaseFacet):
                found[one._get_schema()] = one
    return found


FACETS = facets_of_the_specification()


def made(value: Any, kind: Any) -> Any:
    """The value as an instance of `kind`. Raises TypeError, or what the class raises, where it does not fit."""
    of, within = typing.get_origin(kind), typing.get_args(kind)
    if of in (Union, types.UnionType):
        return None if value is None else made(value, next(one for one in within if one is not type(None)))
    if of is list:
        return [made(one, within[0]) for one in value]
    if of is dict:
        return {name: facet(name, one) for name, one in value.items()}
    if attr.has(kind):
        return of_class(value, kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if kind is not Any and not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value


def of_class(value: Mapping[str, Any], kind: type[Any]) -> Any:
    hints = typing.get_type_hints(kind)
    given = {name: made(one, hints[name]) for name, one in value.items() if name not in ("schemaURL", "_schemaURL")}
    return kind(**{name.lstrip("_"): one for name, one in given.items()})


def facet(name: str, value: Mapping[str, Any]) -> Any:
    assert value["_producer"] == PRODUCER
    if name not in OWN:
        return of_class(value, FACETS[value["_schemaURL"]])
    fields = {field: one for field, one in value.items() if not field.startswith("_")}
    assert {field: type(one) for field, one in fields.items()} == OWN[name]
    of_ours: Any = InputDatasetFacet(producer=value["_producer"])
    return of_ours.with_additional_properties(**fields)


def told(folder: Path) -> Iterator[dict[str, Any]]:
    """Events of an export that is well, of one with a failed feed, of one without a server, and of a sync."""
    root, file, stream = folder / "lake", folder / "events.jsonl", a_stream(events(3))
    lake_at(root).feeds.add(feed_for(stream))
    with running(Dataset([stream])) as server:
        for code in (0, 1):
            env = {"KSQLDB_URL": server.url, "OPENLINEAGE_URL": str(file), "KAFKA_BOOTSTRAP_SERVERS": ""}
            ran(root, "export_to_data_lake", "--all", code=code, env=env)
            yield from told_to(file)
            if not code:
                lake_at(root).feeds.add(parse_feed({"name": "gone", "type": "stream", "source": "GONE"}, "gone"))
    ran(root, "export_to_data_lake", "--all", code=75, env=env)
    yield from told_to(file)
    mapping = {"fact": "fact_totals", "keys": ["k"], "columns": {"k": "k"},
               "dimension": {"table": "dim_k", "key": "k", "columns": {"k": "k"}}}  # fmt: skip
    lake_at(root).feeds.add(table_feed(warehouse=mapping))
    add_version(lake_at(root).table(table_feed()), 1, ["a"], now=NOW, state={"totals_topic": {"0": [9, 11]}})
    fact = {"feed": "totals", "fact": "fact_totals", "rows": 7, "new_dimension_members": 2, "lake_version": 1}
    one = {"feed": "totals", "status": "ok", "rows": 1, "files": 1, "bytes": 9, "commits": 1, "error": None}
    result = {"feeds": [one], "facts": [fact]}
    for script in ("sync_to_mysql", "export_to_data_lake"):
        command, places = Command(script, "RUN", NOW), Places("ours", "ksqldb:8088", "kafka:9092", "mysql:3306", "star")
        for event in end_events(lake_at(root), command, places, NOW, 0, result, []):
            yield json.loads(Serde.to_json(event))


@pytest.fixture(scope="module")
def all_events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return list(told(tmp_path_factory.mktemp("lineage")))


def test_an_event_becomes_the_specifications_classes_and_is_the_same_again(all_events: list[dict[str, Any]]) -> None:
    for event in all_events:
        assert json.loads(Serde.to_json(of_class(event, RunEvent))) == event
    assert {event["eventType"] for event in all_events} == {"START", "COMPLETE", "FAIL"}
    assert len(all_events) > 15


@pytest.mark.parametrize(
    ("change", "error"),
    [(lambda event: event["run"].update(runId="7"), ValueError), (lambda event: event.update(more=1), KeyError),
     (lambda event: event["job"].pop("name"), TypeError), (lambda event: event.update(eventTime="2026"), ValueError),
     (lambda event: event["job"]["facets"]["jobType"].update(integration=1), TypeError)],
)  # fmt: skip
def test_what_does_not_fit_is_seen(all_events: list[dict[str, Any]], change: Any, error: type[Exception]) -> None:
    event = json.loads(json.dumps(all_events[0]))
    change(event)
    with pytest.raises(error):
        of_class(event, RunEvent)
