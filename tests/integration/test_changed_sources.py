"""Sources and feeds that change between runs in ways that once doubled rows, lost history or ended in a traceback."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ksqldb_emulator.dataset import Dataset, Query, Record, Source
from ksqldb_emulator.testing import running
from tests.integration.small_sources import DAY_MS, START_MS, a_stream, columns, events, export, places, reader_of, rows
from tests.support import feed_for, lake_at, run_script

pytestmark = pytest.mark.server


def test_a_topic_that_the_server_cannot_describe_for_a_while_keeps_its_bookmark(lake_root: Path) -> None:
    source = a_stream(events(50))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.partitions = 0
        server.append("S", events(5, first=50))
        refused = export(lake_root, server, feed)
        assert refused.returncode == 75
        assert "it cannot ask Kafka for now" in refused.stderr
        source.partitions = 1
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


@pytest.mark.parametrize(
    ("then", "now", "shown"),
    [
        ("TIME", "STRING", "STRING"),
        ("ARRAY<STRUCT<`TIME` TIME, `AT` TIMESTAMP>>", "ARRAY<STRUCT<`TIME` STRING, `AT` TIMESTAMP>>", None),
        ("STRING", "TIME", "STRING"),
    ],
)
def test_metadata_tell_a_type_that_all_rows_have(lake_root: Path, then: str, now: str, shown: str | None) -> None:
    source = a_stream([Record(0, 0, START_MS, {"ID": 0, "TEXT": "v", "X": None})], X=then)
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        records = [*source.records, Record(0, 1, START_MS, {"ID": 1, "TEXT": "v", "X": None})]
        server.replace_source(a_stream(records, X=now))
        for _ in range(2):
            done = export(lake_root, server, feed)
            assert done.returncode == 0, done.stderr

    metadata = json.loads((lake_root / "streams" / "s" / "_metadata.json").read_text(encoding="utf-8"))
    assert {column["name"]: column["ksqldb_type"] for column in metadata["columns"]}["x"] == (shown or now)
    assert places(lake_root, feed) == Counter(range(2))
    kinds = [entry.get("pipeline", {}).get("kind") for entry in lake_at(lake_root).table(feed).history()]
    assert kinds.count("widen") == (now != "TIME")


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
    assert lake_at(lake_root).feeds.get("s").partitioning == "date:created"


@pytest.mark.parametrize("way", [("--full",), ("--date", "2025-11-20")])
def test_a_topic_that_was_recreated_does_not_replace_the_old_one(lake_root: Path, way: tuple[str, ...]) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:] = [Record(0, n, START_MS + 999 + n, {"ID": -n, "TEXT": "other"}) for n in range(8)]
        done = export(lake_root, server, feed, *way)

    assert done.returncode == 1
    assert "the topic s_topic was recreated" in done.stderr
    assert {row["text"] for row in rows(lake_root, feed)} == {f"v{n}" for n in range(5)}


@pytest.mark.parametrize("column", ["INTEGER", "STRING"])
def test_a_dry_run_meets_what_the_export_would_meet(lake_root: Path, column: str) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        server.replace_source(dataclasses.replace(source, columns=columns(ID=column, TEXT="STRING"), records=[]))
        dry = export(lake_root, server, feed, "--dry-run")

    assert dry.returncode == 1
    assert f"id was int64 and is {'int32' if column == 'INTEGER' else 'string'}" in dry.stderr


def test_a_dry_run_knows_which_versions_are_history(lake_root: Path) -> None:
    query = Query("CTAS_T", "CREATE ...", ("T",), ("t",), ("x",))
    records = [Record(0, 0, START_MS, {"K": "a", "N": 1})]
    source = Source("T", "TABLE", columns(K="STRING KEY", N="INTEGER"), "t_topic", 1, records, write_query=query)
    with running(Dataset([source])) as server:
        for _ in range(2):
            assert export(lake_root, server, feed_for(source)).returncode == 0
        dry = export(lake_root, server, feed_for(source), "--version", "1", "--dry-run")

    assert dry.returncode == 2
    assert "version 1 of t is history: 2 is the newest" in dry.stderr


def test_a_recreated_topic_is_noticed_though_its_rows_have_the_old_times(lake_root: Path) -> None:
    """As with event times of a day's grain. Reading all again is the way on where the topic is the same one."""
    source = a_stream([Record(0, n, START_MS, {"ID": n, "TEXT": "old"}) for n in range(5)])
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:] = [Record(0, n, START_MS, {"ID": n, "TEXT": "new"}) for n in range(8)]
        refused = export(lake_root, server, feed)
        assert refused.returncode == 1
        assert "offset 4 of partition 0 has other values than in the lake (text)" in refused.stderr
        assert {row["text"] for row in rows(lake_root, feed)} == {"old"}
        assert export(lake_root, server, feed, "--full").returncode == 0
        assert export(lake_root, server, feed).returncode == 0

    assert [row["text"] for row in rows(lake_root, feed)] == ["new"] * 8


def recreated_variants() -> list[Any]:
    """What a topic of nine rows, read up to offset 9, may hold when it was recreated with the same length."""
    null = {"TEXT": None}
    old = events(9)
    last_is_null = [*old[:8], dataclasses.replace(old[8], values={"ID": None, **null})]
    other = [dataclasses.replace(record, values={"ID": -record.offset - 1, "TEXT": "new"}) for record in old]
    gap_at_the_end = [*other[:8], dataclasses.replace(other[8], values=None)]
    return [
        pytest.param(last_is_null, other, id="the last row was NULL"),
        pytest.param(old, gap_at_the_end, id="no row where the last one was"),
        pytest.param(last_is_null, gap_at_the_end, id="both"),
        pytest.param([r for r in old if r.offset % 2 == 0], [r for r in other if r.offset % 2], id="between the rows"),
    ]


@pytest.mark.parametrize(("then", "now"), recreated_variants())
def test_a_recreated_topic_of_the_same_length_is_noticed_by_the_rows_before_the_last(
    lake_root: Path, then: list[Record], now: list[Record]
) -> None:
    source = a_stream(list(then))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        before = rows(lake_root, feed)
        source.records[:] = [*now, Record(0, 9, START_MS + 9, {"ID": 9, "TEXT": "later"})]
        refused = export(lake_root, server, feed)

    assert refused.returncode == 1, refused.stderr
    assert "the topic s_topic was recreated" in refused.stderr
    assert rows(lake_root, feed) == before


def test_rows_that_compaction_or_a_gap_took_before_the_bookmark_are_no_other_topic(lake_root: Path) -> None:
    source = a_stream(events(9))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:] = [r for r in events(12) if r.offset in (2, 5) or r.offset >= 9]
        done = export(lake_root, server, feed)

    assert done.returncode == 0, done.stderr
    assert places(lake_root, feed) == Counter(range(12))


@pytest.mark.parametrize("starts_at", [0, 45])
def test_what_compaction_took_around_the_bookmark_is_no_gap_and_what_retention_took_is_one(
    lake_root: Path, starts_at: int
) -> None:
    source = a_stream(events(40))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:] = [*events(15), *events(15, first=45)]
        source.log_start[0] = starts_at
        done = export(lake_root, server, feed)

    assert (done.returncode, "may have lost rows" in done.stderr) == ((1, True) if starts_at else (0, False))
    assert places(lake_root, feed) == Counter([*range(40), *(() if starts_at else range(45, 60))])


def test_the_witness_may_have_columns_that_came_later(lake_root: Path) -> None:
    source = a_stream(events(5, MORE=7, LIST={"b": 1, "a": 2}), LIST="MAP<STRING, INTEGER>")
    feed = feed_for(source)
    wider = columns(ID="BIGINT", TEXT="STRING", LIST="MAP<STRING, BIGINT>", MORE="INTEGER")
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        later = events(9, MORE=7, LIST={"a": 2, "b": 1})
        server.replace_source(dataclasses.replace(source, columns=wider, records=later))
        done = export(lake_root, server, feed)

    assert done.returncode == 0, done.stderr
    assert {(row["rowoffset"] < 5, row["more"]) for row in rows(lake_root, feed)} == {(True, None), (False, 7)}


@pytest.mark.parametrize("far_ms", [START_MS * 1000, -62_135_596_800_001])
def test_rows_of_far_years_are_kept_without_a_date_by_every_command(lake_root: Path, far_ms: int) -> None:
    source = a_stream(events(5) + [Record(0, n, far_ms, {"ID": n, "TEXT": f"v{n}"}) for n in (5, 6)])
    near, feed = Source("B", "STREAM", source.columns, "b_topic", 1, events(5)), feed_for(source, retention_days=9999)
    env = {"LAKE_ROOT": str(lake_root)}
    with running(Dataset([source, near])) as server:
        env["KSQLDB_URL"] = server.url
        for each in (feed, feed_for(near)):
            lake_at(lake_root).feeds.add(each)
        first = run_script("export_to_data_lake.py", "--all", env=env)
        server.append("S", events(2, first=7))
        others = [export(lake_root, server, feed, *way) for way in ((), ("--date", "2025-11-20"), ("--full",))]
        proved = run_script("metadata_utils.py", "verify", "--deep", "--source", env=env)
        reported = run_script("metadata_utils.py", "--report", env=env)

    for done in (first, *others, proved, reported):
        assert done.returncode == 0, done.stderr
    for done in (first, others[-1]):
        assert "2 rows without a date in the years 1 to 9999, in date=__HIVE_DEFAULT_PARTITION__" in done.stderr
    assert lake_at(lake_root).table(feed_for(near)).exists
    assert places(lake_root, feed) == Counter(range(9))
    with duckdb.connect() as connection:
        connection.execute((lake_root / "views.sql").read_text(encoding="utf-8"))
        query = "SELECT rowoffset FROM s WHERE date IS NULL ORDER BY 1"
        assert connection.execute(query).fetchall() == [(5,), (6,)]
        assert connection.execute("SELECT count(*) FROM s WHERE date = DATE '2025-11-20'").fetchall() == [(7,)]
    files = [file for file in lake_at(lake_root).table(feed).files if file.partition is None]
    assert {file.bounds["rowtime"] for file in files} == {(far_ms, far_ms)}


def test_rows_with_a_far_date_of_their_own_are_kept_without_one(lake_root: Path) -> None:
    dues = (0, 2_932_897, None, -719_163)
    source = a_stream([Record(0, n, START_MS, {"ID": n, "TEXT": "", "DUE": due}) for n, due in enumerate(dues)],
                      DUE="DATE")  # fmt: skip
    feed = feed_for(source, partitioning="date:due")
    with running(Dataset([source])) as server:
        done = export(lake_root, server, feed)

    assert done.returncode == 0, done.stderr
    assert {file.partition: file.row_count for file in lake_at(lake_root).table(feed).files} == {
        "1970-01-01": 1,
        None: 3,
    }
