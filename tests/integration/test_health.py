"""`metadata_utils.py health`: fresh and large enough by a feed's own limits, what the ledger of runs says, metrics."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import running
from pipeline import cli
from pipeline.lake.runs import RunLedger
from pipeline.report.metrics import METRICS
from tests.integration.commands import ran
from tests.integration.small_sources import a_stream, events, reader_of
from tests.lake.small_tables import add_rows, add_version, commit_id, stream_feed, table_feed
from tests.report.read_page import read_page
from tests.support import PATIENCE_S, feed_for, folder_of, lake_at

NOW = dt.datetime.now(dt.UTC)
YESTERDAY_MS = int((NOW - dt.timedelta(days=1)).timestamp() * 1000)


def recorded(ledger: RunLedger, number: int, command: str, result: dict[str, Any], code: int = 0, **more: Any) -> None:
    """A run that began so many minutes ago."""
    at = NOW - dt.timedelta(minutes=number)
    run_id = f"{at:%Y%m%dT%H%M%SZ}-{number:08x}"
    ledger.begin(run_id, command, at)
    ledger.end(run_id, at, {"exit_code": code, "seconds": 2.5, "errors": [], "result": result} | more)


def exported(status: str = "ok", **errors: dict[str, str] | None) -> dict[str, Any]:
    feeds = [{"feed": name, "status": status, "error": errors.get(name)} for name in ("events", "totals")]
    return {"schema_version": 1, "feeds": feeds}


@pytest.fixture
def lake(lake_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stream with two rows of yesterday, a table of three rows, and a good export of both; it stays today."""
    monkeypatch.setattr(cli, "utc_now", lambda: NOW)
    found = lake_at(lake_root)
    for feed in (stream_feed(max_age_hours=26, min_rows_per_day=2), table_feed(max_age_hours=26, min_rows=3)):
        found.feeds.add(feed)
    add_rows(found.table(stream_feed()), 1, [(YESTERDAY_MS, 0, n, "x") for n in range(2)], now=NOW)
    add_version(found.table(table_feed()), 1, ["a", "b", "c"], now=NOW)
    recorded(found.runs, 20, "export_to_data_lake.py --all", exported())
    return lake_root


def health(root: Path, code: int, *words: str, **env: str) -> dict[str, Any]:
    done = ran(root, "metadata_utils", "health", "--json", *words, code=code, env=env)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def problems(root: Path, **env: str) -> list[tuple[str | None, str]]:
    return [(one["feed"], one["what"]) for one in health(root, 1, **env)["problems"]]


def test_a_lake_that_keeps_its_limits_is_well(lake: Path) -> None:
    found = health(lake, 0)

    assert (found["healthy"], found["problems"], found["errors"]) == (True, [], [])
    stream, table = found["feeds"]
    assert (stream["judged_rows"], stream["min_rows"], table["judged_rows"]) == (2, 2, 3)
    assert stream["exported_at"] == f"{NOW - dt.timedelta(minutes=20):%Y-%m-%dT%H:%M:%S.000Z}"
    assert ran(lake, "metadata_utils", "health").stdout.endswith("nothing is wrong\n")


def test_what_is_old_or_small_or_failed_is_a_problem(lake: Path) -> None:
    ran(lake, "manage_feeds", "update", "events", "--max-age-hours", "1", "--min-rows-per-day", "3")
    ran(lake, "manage_feeds", "update", "totals", "--max-age-hours", "none", "--min-rows", "4")
    recorded(lake_at(lake).runs, 9, "export_to_data_lake.py --all", exported("failed", totals={"message": "gone"}), 1)

    assert problems(lake) == [
        ("events", "the newest row is too old"),
        ("events", "too few rows"),
        ("totals", "the last export failed"),
        ("totals", "too few rows"),
    ]
    shown = ran(lake, "metadata_utils", "health", code=1).stdout
    assert "totals: the last export failed: gone" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_disabled_feed_is_nobodys_problem_and_one_that_was_never_exported_is(lake: Path) -> None:
    lake_at(lake).feeds.add(stream_feed(name="idle", max_age_hours=1))
    new = problems(lake)
    ran(lake, "manage_feeds", "disable", "idle")

    assert new == [("idle", "the last good export is missing"), ("idle", "the newest row is missing")]
    assert health(lake, 0)["problems"] == []


def test_a_run_that_exported_nothing_and_a_killed_one_are_problems(lake: Path) -> None:
    away = {"message": "no server", "hint": ""}
    recorded(lake_at(lake).runs, 9, "export_to_data_lake.py --all", {"feeds": []}, 75, errors=[away])
    nothing = health(lake, 1)["problems"]

    assert [(one["what"], one["detail"]) for one in nothing] == [
        ("the last export did not end well", "again later: no server")
    ]


def test_the_last_verification_counts_and_one_of_new_files_hides_no_older_finding(lake: Path) -> None:
    ledger = lake_at(lake).runs
    finding = {"feed": "events", "what": "file is missing", "detail": "x"}
    feeds = ["events", "totals"]
    recorded(ledger, 9, "metadata_utils.py verify", {"feeds": feeds, "findings": [finding], "errors": []}, 1)
    recorded(ledger, 8, "metadata_utils.py verify events", {"feeds": ["events"], "findings": [], "errors": []})
    recorded(
        ledger, 7, "export_to_data_lake.py --all --then-verify", exported() | {"verify": {"findings": [], "errors": []}}
    )
    wrong = problems(lake)
    recorded(ledger, 6, "metadata_utils.py verify --since 2026-11-28", {"feeds": feeds, "findings": [finding]}, 1)
    new = problems(lake)
    recorded(ledger, 5, "metadata_utils.py verify", {"feeds": feeds, "findings": [], "errors": []})
    well = health(lake, 0)

    assert wrong == [(None, "the last verification found problems")]
    assert new == wrong * 2
    assert (well["last_verify"]["findings"], well["last_verify_of_new"]["findings"]) == (0, 1)


def test_a_disk_that_is_nearly_full_is_a_problem_and_orphans_are_counted(lake: Path) -> None:
    folder = folder_of(lake_at(lake).table(table_feed()))
    (kept,) = folder.glob("version=1/*.parquet")
    (folder / "version=1" / kept.name.replace(commit_id(1), commit_id(2))).write_bytes(kept.read_bytes())

    assert problems(lake, HEALTH_MIN_FREE_MB="999999999") == [(None, "little room is left")]
    assert [feed["orphan_files"] for feed in health(lake, 0)["feeds"]] == [0, 1]


def test_a_feed_that_cannot_be_read_is_named_and_the_metrics_are_written_all_the_same(lake: Path) -> None:
    next(lake.glob("streams/events/_delta_log/*1.json")).write_text("{")
    done = ran(lake, "metadata_utils", "health", "--prometheus", str(lake / "lake.prom"), code=1)

    assert "the feed events cannot be read" in done.stderr
    assert samples(lake / "lake.prom")["ksqldb_lake_healthy", ""] == 0


def test_the_lake_at_a_glance(lake: Path) -> None:
    ledger = lake_at(lake).runs
    recorded(
        ledger, 12, "metadata_utils.py rollback x", {}, 2, errors=[{"message": "there is no feed 'x'", "hint": ""}]
    )
    ran(lake, "manage_feeds", "update", "totals", "--min-rows", "4", "--max-age-hours", "none")

    shown = ran(lake, "metadata_utils").stdout

    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line}
    rows, _, _, hours, *rest = lines["events"][1:]
    assert (rows, rest) == ("2", ["h", "ago", "26", "h", "ok"])
    assert 24 <= float(hours) < 26  # a busy machine takes its time
    assert lines["totals"][-1] == "wrong"
    assert lines["1"][:5] == ["1", "stream,", "1", "table", "5"]
    assert "  totals: too few rows: 3 in the current version; min_rows is 4\n" in shown
    assert re.search(r"^last run: [-\d]+ [:\d]+ UTC manage_feeds.py update totals .*", shown, re.MULTILINE)
    assert re.search(r"^last error: [-\d]+ [:\d]+ UTC there is no feed 'x'$", shown, re.MULTILINE)


def test_a_glance_at_long_names_and_large_figures_fits_into_80_columns(lake: Path) -> None:
    long = "n" * 30
    lake_at(lake).feeds.add(stream_feed(name=long, max_age_hours=999))
    recorded(
        lake_at(lake).runs,
        1,
        f"export_to_data_lake.py --stream {'x' * 60}",
        exported("failed", events={"message": "y " * 60}),
        1,
    )

    shown = ran(lake, "metadata_utils").stdout.splitlines()

    assert max(map(len, shown[1:])) <= 80
    assert any(long in line for line in shown)
    damaged = next(lake.glob("streams/events/_delta_log/*1.json"))
    damaged.write_text("{")
    assert "the feed events cannot be read" in ran(lake, "metadata_utils", code=1).stderr


def test_a_ledger_that_cannot_be_read_is_an_error_beside_what_the_feeds_say(lake: Path) -> None:
    (lake / "runs" / "2099-01.jsonl").mkdir()
    found = health(lake, 1)

    assert [one["feed"] for one in found["feeds"]] == ["events", "totals"]
    assert "2099-01.jsonl" in found["errors"][0]["message"]
    assert "2099-01.jsonl" in read_page(ran(lake, "metadata_utils", "--html", "-", code=1).stdout).text


def samples(path: Path) -> dict[tuple[str, str], float]:
    """What the file says, by metric and feed."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return {(one.name, one.labels.get("feed", "")): one.value for family in families for one in family.samples}


def of_json(found: dict[str, Any]) -> Iterator[tuple[tuple[str, str], float | None]]:
    """The figures of `--json` under the names of the metrics."""

    def seconds(text: str | None) -> float | None:
        return dt.datetime.fromisoformat(text).timestamp() if text else None

    for feed in found["feeds"]:
        name = feed["feed"]
        yield ("ksqldb_lake_feed_healthy", name), feed["healthy"]
        yield ("ksqldb_lake_feed_enabled", name), feed["enabled"]
        yield ("ksqldb_lake_feed_last_export_timestamp_seconds", name), seconds(feed["exported_at"])
        yield ("ksqldb_lake_feed_newest_row_timestamp_seconds", name), seconds(feed["newest_at"])
        yield ("ksqldb_lake_feed_max_age_seconds", name), feed["max_age_hours"] and feed["max_age_hours"] * 3600
        for metric, field in (
            ("rows", "rows"), ("size_bytes", "bytes"), ("files", "files"), ("judged_rows", "judged_rows"),
            ("min_rows", "min_rows"), ("lag_rows", "lag_rows"), ("orphan_files", "orphan_files"),
        ):  # fmt: skip
            yield (f"ksqldb_lake_feed_{metric}", name), feed[field]
    yield ("ksqldb_lake_healthy", ""), found["healthy"]
    yield ("ksqldb_lake_problems", ""), len(found["problems"]) + len(found["errors"])
    yield ("ksqldb_lake_min_free_bytes", ""), found["min_free_bytes"]
    yield ("ksqldb_lake_last_run_exit_code", ""), found["last_run"]["exit_code"]
    yield ("ksqldb_lake_last_run_duration_seconds", ""), found["last_run"]["seconds"]
    for name in ("last_verify", "last_verify_of_new"):
        last = found[name] or {}
        yield (f"ksqldb_lake_{name}_timestamp_seconds", ""), seconds(last.get("at"))
        yield (f"ksqldb_lake_{name}_findings", ""), last.get("findings")


def test_the_metrics_are_the_figures_of_json(lake: Path) -> None:
    verified = {"feeds": ["events", "totals"], "findings": [], "errors": []}
    recorded(lake_at(lake).runs, 9, "metadata_utils.py verify", verified)
    recorded(lake_at(lake).runs, 8, "metadata_utils.py verify --since 2026-11-28", verified)
    path = lake / "lake.prom"
    found = health(lake, 0, "--prometheus", str(path))

    written, wanted = samples(path), {key: float(value) for key, value in of_json(found) if value is not None}
    assert {key: written[key] for key in wanted} == pytest.approx(wanted)
    assert {name for name, _ in written.keys() - wanted.keys()} == {
        "ksqldb_lake_free_bytes",  # another moment, another figure
        "ksqldb_lake_health_timestamp_seconds",
        "ksqldb_lake_last_run_timestamp_seconds",
    }
    assert {name for name, _ in written} == METRICS - {"ksqldb_lake_feed_lag_rows"}
    assert all(f"# HELP {name} " in path.read_text(encoding="utf-8") for name, _ in written)


def test_how_far_the_lake_is_behind_its_source_is_asked_only_when_wanted(lake_root: Path) -> None:
    stream = a_stream(events(5))
    lake_at(lake_root).feeds.add(feed_for(stream))
    with running(Dataset([stream, reader_of(stream)])) as server:
        env = {"KSQLDB_URL": server.url}
        ran(lake_root, "export_to_data_lake", "--all", env=env)
        stream.records += events(3, first=5)
        (asked,) = health(lake_root, 0, "--source", **env)["feeds"]
        (silent,) = health(lake_root, 0, **env)["feeds"]
        page = read_page(ran(lake_root, "metadata_utils", "--html", "-", "--source", env=env).stdout)
    away = health(lake_root, 75, "--source", KSQLDB_URL="http://127.0.0.1:9")

    assert (asked["lag_rows"], silent["lag_rows"]) == (3, None)
    assert page.rows("Freshness of each feed")["s"][7].values == [3]
    assert (away["healthy"], away["problems"]) == (False, [])


@pytest.mark.parametrize(
    "words", [("totals", "--min-rows-per-day", "3"), ("events", "--min-rows", "3"), ("events", "--max-age-hours", "0")]
)
def test_a_limit_that_is_not_for_this_feed_is_refused(lake: Path, words: tuple[str, ...]) -> None:
    ran(lake, "manage_feeds", "update", *words, code=2)


def test_metrics_go_into_a_pipe_and_leave_it_one(lake: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        ran(lake, "metadata_utils", "health", "--prometheus", str(pipe))

        assert "ksqldb_lake_healthy 1.0\n" in read.result(PATIENCE_S)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_metrics_that_cannot_be_written_are_an_error(lake: Path) -> None:
    done = ran(lake, "metadata_utils", "health", "--prometheus", str(lake / "no" / "lake.prom"), code=1)

    assert "lake.prom could not be written: No such file or directory" in done.stderr
