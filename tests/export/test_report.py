"""The table at the end of an export: what a person looks for, within 80 columns."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from data_lake_config import DEFAULT_FEEDS
from ksqldb_emulator.dataset import Dataset, Record
from ksqldb_emulator.testing import running
from pipeline.errors import RetentionHeld, ServerUnreachable
from pipeline.export.commit import ExportResult
from pipeline.export.run import ExportRequest, FeedResult
from pipeline.report.export import export_json, export_lines
from tests.integration.commands import ran
from tests.integration.small_sources import DAY_MS, START_MS, a_stream, reader_of
from tests.support import feed_for, lake_at

NEWEST_MS = 1_795_500_000_000
NOW = dt.datetime(2026, 11, 29, 6, tzinfo=dt.UTC)
RESULTS = [
    FeedResult(
        "transaction_stream_blacklisted", "stream",
        ExportResult(99_999_999, 1_234, 9 * 10**11, 3, "time limit", newest_ms=NEWEST_MS, notes=["a word " * 30]),
        ["2025-11-23", "2025-11-24"], None, 12_345.6,
    ),
    FeedResult("totals", "table", ExportResult(7, 1, 1500, 1, version=12), error=RetentionHeld("wait"), seconds=1),
    FeedResult("odd", "stream", ExportResult(1, 1, 800, 1, "quiet", newest_ms=2**62), seconds=0.25),
    FeedResult("away", "stream", ExportResult(), error=ServerUnreachable("no server")),
]  # fmt: skip


def test_the_table_has_what_a_person_looks_for() -> None:
    lines = export_lines(RESULTS[1:], ExportRequest(), NOW)

    assert lines == [
        "feed    rows  files    size  newest UTC  end       s",
        "----------------------------------------------------",
        "totals     7      1  1.5 kB              v12     1.0",
        "odd        1      1   800 B              quiet   0.2",
        "away       0      0     0 B              failed  0.0",
        "2 feeds exported, 8 rows, 1 failed, the retention of 1 feed waits for a person",
    ]


def test_long_names_and_large_figures_fit_into_80_columns_and_none_is_cut() -> None:
    lines = export_lines(RESULTS, ExportRequest(), NOW)

    assert max(map(len, lines)) <= 80
    assert "transaction_stream_blacklisted" in lines
    assert lines[3].split() == ["99,999,999", "1,234", "900.0", "GB", "11-24", "06:00", "time", "limit", "12345.6"]
    assert "transaction_stream_blacklisted: expired 2025-11-23, 2025-11-24" in lines


def test_nothing_is_shown_as_done_in_a_dry_run() -> None:
    assert export_lines(RESULTS, ExportRequest(dry_run=True), NOW) == ["Nothing was changed."]


def test_the_feeds_of_the_reference_pipeline_have_a_line_each() -> None:
    done = ExportResult(9_999, 15, 192_500, 1, "exact", newest_ms=NEWEST_MS)
    results = [FeedResult(feed.name, feed.type, done, seconds=9.9) for feed in DEFAULT_FEEDS]

    lines = export_lines(results, ExportRequest(), NOW)

    assert [line.split()[0] for line in lines[2:10]] == [feed.name for feed in DEFAULT_FEEDS]
    assert "192.5 kB  11-24 06:00  exact  9.9" in lines[2]
    later = export_lines(results, ExportRequest(), NOW + dt.timedelta(days=200))
    assert "192.5 kB  2026-11-24  exact  9.9" in later[2]


def test_the_newest_event_is_null_where_no_date_has_it() -> None:
    forms = export_json(RESULTS, ExportRequest())["feeds"]

    assert [form["newest_event"] for form in forms] == ["2026-11-24T06:00:00.000Z", None, None, None]


def test_the_newest_event_is_that_of_the_new_rows_whatever_their_order(lake_root: Path) -> None:
    days = (2, 0, 1)
    stream = a_stream([Record(0, n, START_MS + day * DAY_MS, {"ID": n, "TEXT": "x"}) for n, day in enumerate(days)])
    lake_at(lake_root).feeds.add(feed_for(stream))
    with running(Dataset([stream, reader_of(stream)])) as server:
        env = {"KSQLDB_URL": server.url, "COMMIT_ROWS": "1"}
        first = ran(lake_root, "export_to_data_lake", "--all", env=env).stdout.splitlines()
        again = ran(lake_root, "export_to_data_lake", "--all", env=env).stdout.splitlines()

    assert first[2].split()[:2] == ["s", "3"]
    assert "2025-11-22  exact" in first[2]
    assert again[2].split()[:4] == ["s", "0", "0", "0"]
