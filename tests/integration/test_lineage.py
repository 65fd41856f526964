"""OpenLineage events: what a run read, by offsets, and what it wrote; a receiver that is away stops nothing."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.event_v2 import RunEvent

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import running
from pipeline.feeds import parse_feed
from pipeline.lineage import Command, Places, end_events
from tests.integration.commands import ran
from tests.integration.one_stream import lake, server
from tests.integration.receivers import Webhook, receiving
from tests.integration.small_sources import a_stream, events
from tests.lake.small_tables import add_version, table_feed
from tests.support import lake_at

__all__ = ["lake", "server"]

PLACES = Places("ours", "ksqldb:8088", "kafka:9092", "mysql:3306", "warehouse")
NOW = dt.datetime(2026, 11, 28, 2, tzinfo=dt.UTC)


def export(root: Path, url: str, code: int = 0, **env: str) -> str:
    return ran(root, "export_to_data_lake", "--all", code=code, env={"KSQLDB_URL": url} | env).stderr


def told_to(path: Path) -> list[dict[str, Any]]:
    """The events in a file, which is removed."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.unlink()
    return found


def test_each_export_says_which_offsets_became_which_rows(lake: Path, tmp_path: Path) -> None:
    file, stream = tmp_path / "events.jsonl", a_stream(events(3))
    told = []
    with running(Dataset([stream])) as emulator:
        for more in (events(2, first=3), []):
            export(lake, emulator.url, OPENLINEAGE_URL=str(file), KAFKA_BOOTSTRAP_SERVERS="", COMMIT_ROWS="2")
            told.append(told_to(file))
            stream.records += more

    for run, (first, end) in zip(told, ((0, 3), (3, 5)), strict=True):
        assert [(one["job"]["name"], one["eventType"]) for one in run] == [
            ("export_to_data_lake", "START"),
            ("export_to_data_lake.s", "START"),
            ("export_to_data_lake.s", "COMPLETE"),
            ("export_to_data_lake", "COMPLETE"),
        ]
        (read,), (wrote,) = run[2]["inputs"], run[2]["outputs"]
        offsets = read["inputFacets"]["ksqldbLake_offsets"]
        assert (read["namespace"], read["name"]) == (emulator.url.replace("http", "ksqldb"), "S")
        assert offsets["topic"] == "s_topic"
        assert offsets["ranges"] == [{"partition": 0, "firstOffset": first, "endOffset": end}]
        assert (wrote["namespace"], wrote["name"]) == ("file", str(lake / "streams" / "s"))
        assert wrote["outputFacets"]["outputStatistics"]["rowCount"] == end - first
        assert {"id", "text", "rowoffset"} <= {one["name"] for one in wrote["facets"]["schema"]["fields"]}
        parent = run[2]["run"]["facets"]["parent"]
        assert parent["run"]["runId"] == run[0]["run"]["runId"] == run[3]["run"]["runId"]
        assert run[1]["run"]["runId"] == run[2]["run"]["runId"]


def test_a_receiver_gets_them_with_the_key(lake: Path, server: str) -> None:
    with receiving(Webhook) as (port, sent):
        export(lake, server, OPENLINEAGE_URL=f"http://127.0.0.1:{port}", OPENLINEAGE_API_KEY="key")

    assert [(one.path, one.authorization) for one in sent] == [("/api/v1/lineage", "Bearer key")] * 4
    assert json.loads(sent[3].body)["eventType"] == "COMPLETE"


def test_a_failed_feed_and_a_failed_run_say_why(lake: Path, server: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lake_at(lake).feeds.add(parse_feed({"name": "gone", "type": "stream", "source": "GONE"}, "gone"))
    export(lake, server, 1, OPENLINEAGE_URL=file.as_uri())
    failed = [one for one in told_to(file) if one["eventType"] == "FAIL"]
    export(lake, "http://127.0.0.1:9", 75, OPENLINEAGE_URL=str(file))
    away = told_to(file)

    assert [one["job"]["name"] for one in failed] == ["export_to_data_lake.gone", "export_to_data_lake"]
    assert all("GONE" in one["run"]["facets"]["errorMessage"]["message"] for one in failed)
    assert [one["eventType"] for one in away] == ["START", "FAIL"]
    assert "127.0.0.1:9" in away[1]["run"]["facets"]["errorMessage"]["message"]


@pytest.mark.parametrize("place", ["http://127.0.0.1:9", "/nowhere/events.jsonl"])
def test_a_receiver_that_is_away_stops_nothing(lake: Path, server: str, place: str) -> None:
    stderr = export(lake, server, OPENLINEAGE_URL=place)

    assert stderr.count("warning: no lineage was sent") == 1
    assert lake_at(lake).runs.newest(1)[0].state == "ok"


def test_a_missing_package_is_said(lake: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pipeline.lineage")
    for name in [name for name in sys.modules if name.split(".")[0] == "openlineage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openlineage", None)

    assert "the package openlineage.client is missing; python -m pip install" in export(
        lake, server, OPENLINEAGE_URL="/tmp/never"
    )


def test_a_warehouse_that_is_set_up_wrongly_keeps_no_export_from_running(lake: Path, server: str) -> None:
    wrong = {"MYSQL_PASSWORD": "a", "MYSQL_PASSWORD_COMMAND": "b"}

    assert "warning" not in export(lake, server, **wrong)
    assert export(lake, server, OPENLINEAGE_URL="/tmp/never", **wrong).count("warning: ") == 1


def test_a_password_in_the_address_is_refused(lake: Path) -> None:
    assert "give OPENLINEAGE_API_KEY" in export(lake, "http://127.0.0.1:9", 1, OPENLINEAGE_URL="http://a:b@c")


def told(root: Path, result: dict[str, Any], script: str = "sync_to_mysql") -> list[RunEvent]:
    return list(end_events(lake_at(root), Command(script, "RUN", NOW), PLACES, NOW, 0, result, []))


@pytest.mark.parametrize("nested", [lambda load: load, lambda load: {"loads": [load]}, lambda load: {"sync": load}])
def test_a_sync_says_which_version_became_which_table(lake_root: Path, nested: Any) -> None:
    dimension = {"table": "dim_k", "key": "k", "columns": {"k": "k"}}
    mapping = {"fact": "fact_totals", "keys": ["k"], "columns": {"k": "k"}, "dimension": dimension}
    lake_at(lake_root).feeds.add(table_feed(warehouse=mapping))
    add_version(lake_at(lake_root).table(table_feed()), 1, ["a"], now=NOW)
    fact = {"feed": "totals", "fact": "fact_totals", "rows": 7, "new_dimension_members": 2, "lake_version": 1}

    begun, ended, whole = told(lake_root, nested({"facts": [fact]}))
    (read,) = ended.inputs or []
    assert (begun.job.name, whole.job.name) == ("sync_to_mysql.fact_totals", "sync_to_mysql")
    assert (read.namespace, read.name) == ("file", str(lake_root / "tables" / "totals"))
    assert [(one.namespace, one.name) for one in ended.outputs or []] == [
        ("mysql://mysql:3306", "warehouse.fact_totals"),
        ("mysql://mysql:3306", "warehouse.dim_k"),
    ]


def test_a_table_read_from_kafka_has_the_offsets_of_its_snapshot_and_the_topics_name(lake_root: Path) -> None:
    lake_at(lake_root).feeds.add(table_feed())
    table = lake_at(lake_root).table(table_feed())
    add_version(table, 1, ["a"], now=NOW, run="RUN000", state={"totals_topic": {"1": [9, 11]}})
    one = {"feed": "totals", "status": "ok", "rows": 1, "files": 1, "bytes": 9, "commits": 1, "error": None}

    _, ended, _ = told(lake_root, {"feeds": [one]}, "export_to_data_lake")
    (read,) = ended.inputs or []
    facets: Any = {**(read.facets or {}), **(read.inputFacets or {})}
    assert facets["ksqldbLake_offsets"].ranges == [{"partition": 1, "firstOffset": 0, "endOffset": 9}]
    assert [(name.namespace, name.name) for name in facets["symlinks"].identifiers] == [
        ("kafka://kafka:9092", "totals_topic")
    ]
