"""Sources and feeds that change between runs in ways that once doubled rows, lost history or ended in a traceback."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow.compute as pc
import pytest

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import Feed
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.table import LakeTable
from tests.support import feed_for, run_script

pytestmark = pytest.mark.server
START_MS = 1_763_600_000_000
DAY_MS = 86_400_000


def columns(**types: str) -> tuple[Column, ...]:
    return tuple(
        Column(name, parse_type(text.removesuffix(" KEY")), "KEY" if text.endswith(" KEY") else "VALUE")
        for name, text in types.items()
    )


def events(count: int, first: int = 0, **values: Any) -> list[Record]:
    return [Record(0, n, START_MS + n, {"ID": n, "TEXT": f"v{n}"} | values) for n in range(first, first + count)]


def a_stream(records: list[Record], **more: str) -> Source:
    return Source("S", "STREAM", columns(ID="BIGINT", TEXT="STRING", **more), "s_topic", 1, records)


def export(root: Path, server: Emulator, feed: Feed, *arguments: str) -> Any:
    FeedStore(root).save(feed)
    env = {"LAKE_ROOT": str(root), "KSQLDB_URL": server.url, "QUIET_S": "0.5", "SNAPSHOT_RECHECK_S": "0"}
    return run_script("export_to_data_lake.py", f"--{feed.type}", feed.name, *arguments, env=env)


def rows(root: Path, feed: Feed) -> list[dict[str, Any]]:
    table = LakeTable(root, feed)
    return [row for batch in table.read_batches(table.files) for row in batch.to_pylist()]


def places(root: Path, feed: Feed) -> Counter[int]:
    return Counter(row["rowoffset"] for row in rows(root, feed))


def test_a_topic_that_the_server_cannot_describe_for_a_while_keeps_its_bookmark(lake_root: Path) -> None:
    source = a_stream(events(50))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.partitions = 0
        server.append("S", events(5, first=50))
        assert export(lake_root, server, feed).returncode == 0
        assert export(lake_root, server, feed).returncode == 0

    assert places(lake_root, feed) == Counter(range(55))


def test_a_version_is_replaced_while_a_column_becomes_wider(lake_root: Path) -> None:
    query = Query("CTAS_T", "CREATE ...", ("T",), ("t",), ("x",))
    records = [Record(0, n, START_MS, {"K": key, "N": n}) for n, key in enumerate("ab")]
    source = Source("T", "TABLE", columns(K="STRING KEY", N="INTEGER"), "t_topic", 1, records, write_query=query)
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        server.replace_source(dataclasses.replace(source, columns=columns(K="STRING KEY", N="BIGINT")))
        done = export(lake_root, server, feed, "--version", "1")

    assert done.returncode == 0, done.stderr
    assert sorted(row["k"] for row in rows(lake_root, feed)) == ["a", "b"]


def test_columns_in_another_order_are_the_same_columns(lake_root: Path) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        turned = dataclasses.replace(source, columns=tuple(reversed(source.columns)), records=events(9))
        server.replace_source(turned)
        done = export(lake_root, server, feed)

    assert done.returncode == 0, done.stderr
    assert {(row["id"], row["text"]) for row in rows(lake_root, feed)} == {(n, f"v{n}") for n in range(9)}


def test_a_day_is_not_replaced_when_its_rows_lie_under_other_dates(lake_root: Path) -> None:
    source = a_stream(events(5, CREATED=START_MS - 5 * DAY_MS), CREATED="TIMESTAMP")
    day = dt.datetime.fromtimestamp(START_MS / 1000, dt.UTC).date() - dt.timedelta(days=5)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed_for(source)).returncode == 0
        feed = feed_for(source, partitioning="date:created")
        done = export(lake_root, server, feed, "--date", day.isoformat())
        assert done.returncode == 1
        assert "5 rows of 2025-11-15 lie under other dates" in done.stderr
        assert export(lake_root, server, feed, "--full").returncode == 0
        assert export(lake_root, server, feed, "--date", day.isoformat()).returncode == 0

    assert places(lake_root, feed) == Counter(range(5))


def test_a_partitioning_that_rows_in_the_lake_do_not_fit_is_told_when_it_is_chosen(lake_root: Path) -> None:
    source = a_stream(events(5, CREATED=START_MS - 5 * DAY_MS), CREATED="TIMESTAMP")
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0

    def update(rule: str) -> Any:
        return run_script("manage_feeds.py", "update", "s", "--partitioning", rule, env={"LAKE_ROOT": str(lake_root)})

    missing, no_date, good = update("date:nope"), update("date:text"), update("date:created")

    assert (missing.returncode, no_date.returncode, good.returncode) == (2, 2, 0)
    assert "the column 'nope', which it does not have" in missing.stderr
    assert "the column 'text', which is neither TIMESTAMP nor DATE" in no_date.stderr
    assert "python export_to_data_lake.py --stream s --full" in good.stderr
    assert FeedStore(lake_root).get("s").partitioning == "date:created"


@pytest.mark.parametrize("way", [("--full",), ("--date", "2025-11-20")])
def test_a_topic_that_was_made_anew_does_not_replace_the_old_one(lake_root: Path, way: tuple[str, ...]) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:] = [Record(0, n, START_MS + 999 + n, {"ID": -n, "TEXT": "other"}) for n in range(8)]
        done = export(lake_root, server, feed, *way)

    assert done.returncode == 1
    assert "the topic s_topic was re-created" in done.stderr
    assert {row["text"] for row in rows(lake_root, feed)} == {f"v{n}" for n in range(5)}


@pytest.mark.parametrize("far_ms", [START_MS * 1000, -62_135_596_800_001])
def test_rows_of_far_years_are_kept_without_a_date_by_every_command(lake_root: Path, far_ms: int) -> None:
    source = a_stream(events(5) + [Record(0, n, far_ms, {"ID": n, "TEXT": f"v{n}"}) for n in (5, 6)])
    near, feed = Source("B", "STREAM", source.columns, "b_topic", 1, events(5)), feed_for(source, retention_days=9999)
    env = {"LAKE_ROOT": str(lake_root)}
    with running(Dataset([source, near])) as server:
        env["KSQLDB_URL"] = server.url
        for each in (feed, feed_for(near)):
            FeedStore(lake_root).add(each)
        first = run_script("export_to_data_lake.py", "--all", env=env)
        server.append("S", events(2, first=7))
        others = [export(lake_root, server, feed, *way) for way in ((), ("--date", "2025-11-20"), ("--full",))]
        proved = run_script("metadata_utils.py", "verify", "--source", env=env)
        told = run_script("metadata_utils.py", "--report", env=env)

    for done in (first, *others, proved, told):
        assert done.returncode == 0, done.stderr
    for done in (first, others[-1]):
        assert "2 rows without a date in the years 1 to 9999, in date=__HIVE_DEFAULT_PARTITION__" in done.stderr
    assert LakeTable(lake_root, feed_for(near)).exists
    assert places(lake_root, feed) == Counter(range(9))
    with duckdb.connect() as connection:
        connection.execute((lake_root / "views.sql").read_text(encoding="utf-8"))
        query = "SELECT rowoffset FROM s WHERE date IS NULL ORDER BY 1"
        assert connection.execute(query).fetchall() == [(5,), (6,)]
        assert connection.execute("SELECT count(*) FROM s WHERE date = DATE '2025-11-20'").fetchall() == [(7,)]
    table = deltalake.DeltaTable(lake_root / "streams" / "s").to_pyarrow_table()
    assert table.filter(pc.is_null(table["date"])).column("rowtime").to_pylist() == [far_ms] * 2


def test_rows_with_a_far_date_of_their_own_are_kept_without_one(lake_root: Path) -> None:
    dues = (0, 2_932_897, None, -719_163)
    source = a_stream([Record(0, n, START_MS, {"ID": n, "TEXT": "", "DUE": due}) for n, due in enumerate(dues)],
                      DUE="DATE")  # fmt: skip
    feed = feed_for(source, partitioning="date:due")
    with running(Dataset([source])) as server:
        done = export(lake_root, server, feed)

    assert done.returncode == 0, done.stderr
    assert {file.partition: file.row_count for file in LakeTable(lake_root, feed).files} == {"1970-01-01": 1, None: 3}
