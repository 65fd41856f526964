"""Publishing feeds as Iceberg tables, from the shell: the tables have the rows that the lake's views show."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
from pathlib import Path

import duckdb
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import StaticTable
from pyiceberg.utils.config import Config

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import running
from pipeline.lake.lake import Upkeep
from pipeline.lake.rewrite import roll_back_feed
from tests.integration.commands import ran
from tests.integration.small_sources import START_MS, a_stream, columns, reader_of
from tests.lake.by_ducklake import read_by_ducklake
from tests.support import feed_for, lake_at

ROWS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of a stream and a table."""
    root = tmp_path_factory.mktemp("published") / "lake"
    records = [Record(0, n, START_MS + n, {"ID": n, "TEXT": f"text {n}"}) for n in range(ROWS)]
    stream = a_stream(records)
    table = Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, records)
    with running(Dataset([stream, reader_of(stream), table])) as server:
        for source in (stream, table):
            lake_at(root).feeds.add(feed_for(source))
        ran(root, "export_to_data_lake", "--all", env={"KSQLDB_URL": server.url})
    return root


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog in a file; pyiceberg reads its configuration when it is imported, once for a command."""
    monkeypatch.setenv("PYICEBERG_CATALOG__OURS__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__OURS__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__AWAY__URI", "http://127.0.0.1:9")
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())


def rows_of(root: Path, view: str) -> list[dict[str, object]]:
    with duckdb.connect() as connection:
        connection.execute((root / "views.sql").read_text(encoding="utf-8"))
        return connection.sql(f"SELECT * FROM {view}").to_arrow_table().to_pylist()


def test_every_feed_is_a_table_with_the_rows_of_its_view(root: Path) -> None:
    said = ran(root, "metadata_utils", "publish", "--iceberg").stdout.splitlines()
    again = ran(root, "metadata_utils", "publish", "--iceberg", "--json").stdout

    assert [line.partition(";")[0] for line in said] == [
        "s: Delta version 1, 1 new snapshot of 1",
        "t: Delta version 1, 1 new snapshot of 1",
    ]
    for feed in json.loads(again)["feeds"]:
        assert feed["new_snapshots"] == 0
        shown = StaticTable.from_metadata(feed["location"]).scan().to_arrow().to_pylist()
        view = {"s": "s", "t": "t_history"}[feed["feed"]]
        assert sorted(map(str, shown)) == sorted(map(str, rows_of(root, view)))
    assert len(shown) == ROWS


def test_duckdb_reads_every_feed_from_a_ducklake_catalog(root: Path) -> None:
    said = ran(root, "metadata_utils", "publish", "--ducklake").stdout.splitlines()
    both = json.loads(ran(root, "metadata_utils", "publish", "--ducklake", "--iceberg", "--json").stdout)["feeds"]

    assert [line.partition(";")[0] for line in said] == [
        "s: Delta version 1, 2 new snapshots of 2",
        "t: Delta version 1, 2 new snapshots of 2",
    ]
    assert [(one["feed"], one["format"]) for one in both] == [
        ("s", "iceberg"), ("s", "ducklake"), ("t", "iceberg"), ("t", "ducklake"),
    ]  # fmt: skip
    for feed, view in (("s", "s"), ("t", "t_history")):
        (catalog,) = (one["location"] for one in both if (one["feed"], one["format"]) == (feed, "ducklake"))
        shown = read_by_ducklake(catalog, f"FROM lake.{feed}")[0].to_pylist()
        assert sorted(map(str, shown)) == sorted(map(str, rows_of(root, view)))


@pytest.mark.usefixtures("ours")
def test_a_catalog_shows_what_was_published_last(root: Path) -> None:
    publish = ("publish", "--iceberg", "--catalog", "ours", "--namespace", "night")
    for _ in range(2):
        ran(root, "metadata_utils", *publish)

    assert load_catalog("ours").load_table(("night", "s")).scan().to_arrow().num_rows == ROWS

    feed = lake_at(root).feeds.get("t")
    upkeep = Upkeep(lake_at(root), {}, "20361129T000000Z-00000001", dt.datetime.now(dt.UTC), 1)
    roll_back_feed(upkeep, feed, 1)
    done = json.loads(ran(root, "metadata_utils", *publish, "--json").stdout)
    for feed in done["feeds"]:
        table = load_catalog("ours").load_table(("night", feed["feed"]))
        assert table.metadata_location == feed["metadata_location"]


@pytest.mark.usefixtures("ours")
def test_what_is_missing_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = ran(root, "metadata_utils", "publish", "--iceberg", "--catalog", "away", code=1).stderr
    unknown = ran(root, "metadata_utils", "publish", "--iceberg", "--catalog", "nobody", code=1).stderr
    neither = ran(root, "metadata_utils", "publish", code=2).stderr
    no_iceberg = ran(root, "metadata_utils", "publish", "--ducklake", "--catalog", "ours", code=2).stderr
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyiceberg" else real(name))
    missing = ran(root, "metadata_utils", "publish", "--iceberg", code=1).stderr

    assert "give --iceberg or --ducklake" in neither
    assert "--catalog needs --iceberg" in no_iceberg
    assert "the catalog 'away': " in away
    assert "the catalog 'nobody': " in unknown
    assert "PYICEBERG_CATALOG__NOBODY__URI" in unknown
    assert "the package pyiceberg is not installed" in missing
    assert "pip install -c requirements.lock '.[iceberg]'" in missing
