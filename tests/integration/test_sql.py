"""SQL over the lake, as it is and as it was: exact answers, nothing changed, and errors that a person understands."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.lake.lake import Lake, Upkeep
from pipeline.lake.retention import expire_feed
from pipeline.query import When, answering
from tests.integration.commands import command, ran
from tests.lake.small_tables import DAY_MS, NOW, add_rows, add_version, stream_feed, table_feed
from tests.support import PATIENCE_S, ROOT, lake_at, wait_until
from tests.terminal import run_on_terminal

START_MS = int(NOW.timestamp() * 1000)
STREAM, TABLE = stream_feed(), table_feed(retention_versions=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of two commits, and a table of three versions, the oldest of which has expired and is gone."""
    root = tmp_path_factory.mktemp("sql") / "lake"
    lake = lake_at(root, grace_hours=0)
    for feed in (STREAM, TABLE):
        lake.feeds.add(feed)
    with lake.writing(STREAM, {}) as table:
        add_rows(table, 1, [(START_MS, 0, 0, 'é, "x"\n'), (START_MS - DAY_MS, 0, 1, "\x1b[31m")])
        add_rows(table, 2, [(START_MS, 0, 2, "later")])
    with lake.writing(TABLE, {}) as table:
        for version, keys in ((1, ["a"]), (2, ["a", "b"]), (3, ["a", "b", "c"])):
            add_version(table, version, keys, days=version)
    now = NOW + dt.timedelta(days=4)
    expire_feed(Upkeep(lake, {}, "20261124T060000Z-00000009", now, 1), TABLE)
    with lake.writing(TABLE, {}):  # removes what has expired
        pass
    return root


def answer(root: Path, query: str, *options: str) -> Any:
    return json.loads(ran(root, "metadata_utils", "sql", query, "--format", "json", *options).stdout)["rows"]


def commits_of(lake: Lake, name: str) -> list[str]:
    """When each commit with rows was made, oldest first, as `--as-of` takes it."""
    found = lake.table(lake.feeds.get(name)).history()
    entries = [entry for entry in found if entry.get("pipeline", {}).get("kind") in ("stream", "snapshot")]
    times = [dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC) for entry in reversed(entries)]
    return [f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z" for moment in times]


def test_values_are_exact_in_csv_and_json(root: Path) -> None:
    query = "SELECT v, NULL AS n, amount, [amount] AS l, date, version FROM events, totals_current WHERE k = 'a'"
    query += " AND rowoffset = 0"

    as_csv = ran(root, "metadata_utils", "sql", query, "--format", "csv").stdout

    assert as_csv == ('v,n,amount,l,date,version\n"é, ""x""\n",,1.0000000001,[1.0000000001],2026-11-20,3\n')
    assert answer(root, query) == [
        {"v": 'é, "x"\n', "n": None, "amount": 1.0000000001, "l": [1.0000000001], "date": "2026-11-20", "version": 3}
    ]


@pytest.fixture
def another_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("another_zone")
def test_times_are_in_utc_whatever_the_zone_of_the_machine(root: Path) -> None:
    query = "SELECT make_timestamptz(1795500000000000) AS a, a::TIMESTAMP AS plain, '10:00'::TIME AS t"

    assert answer(root, query) == [{"a": "2026-11-24T06:00:00Z", "plain": "2026-11-24T06:00:00", "t": "10:00:00"}]
    assert "2026-11-24 06:00:00+00" in ran(root, "metadata_utils", "sql", query).stdout


def test_a_version_of_a_table(root: Path) -> None:
    query = "SELECT (SELECT count(*) FROM totals_current) AS now, count(*) AS all FROM totals_history"

    assert answer(root, query) == [{"now": 3, "all": 5}]
    assert answer(root, query, "--at-version", "2") == [{"now": 2, "all": 2}]
    gone = command(root, "metadata_utils", "sql", query, "--at-version", "1")
    assert (gone.exit_code, gone.stderr.splitlines()[1]) == (2, "hint: retained versions: 2, 3")
    stream = command(root, "metadata_utils", "sql", "SELECT * FROM events", "--at-version", "1")
    assert (stream.exit_code, stream.stderr.splitlines()[0]) == (2, "error: events is a stream: it has no versions")


def test_what_was_committed_at_a_time(root: Path) -> None:
    first, second = commits_of(lake_at(root), "events")[:2]

    assert answer(root, "SELECT count(*) AS n FROM events", "--as-of", first) == [{"n": 2}]
    assert answer(root, "SELECT count(*) AS n FROM events", "--as-of", second) == [{"n": 3}]
    early = command(root, "metadata_utils", "sql", "FROM events", "--as-of", "2026-01-01")
    assert early.exit_code == 2
    assert "events had no data at 2026-01-01T00:00:00.000Z: its first commit is of " in early.stderr


def test_a_table_at_a_time_of_which_only_its_version_is_left(root: Path) -> None:
    first, second, third = commits_of(lake_at(root), "totals")[:3]
    query = "SELECT k FROM totals_current ORDER BY k"

    assert [row["k"] for row in answer(root, query, "--as-of", second)] == ["a", "b"]
    assert [row["k"] for row in answer(root, query, "--as-of", third)] == ["a", "b", "c"]
    for old_query, moment in ((query, first), ("FROM totals_history", second)):
        gone = command(root, "metadata_utils", "sql", old_query, "--as-of", moment)
        assert (gone.exit_code, "any more" in gone.stderr) == (2, True)


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{root}/x.csv'", "CREATE TABLE t AS SELECT 1", "ATTACH '{root}/x.db'", "INSTALL httpfs",
        "SELECT 1; COPY (SELECT 1) TO '{root}/x.csv'", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/x.csv'", "",
        "EXPORT DATABASE '{root}/x'", "SET threads = 1",
    ],
)  # fmt: skip
def test_what_is_not_one_select_is_refused(root: Path, query: str) -> None:
    before = sorted(root.rglob("*"))

    done = command(root, "metadata_utils", "sql", query.format(root=root))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a query is one SELECT: this command changes nothing\n")
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("query", "code", "message", "hint"),
    [
        ("SELECT * FROM event", 2, "Table with name event does not exist!", "views: events, totals_current, totals_h"),
        ("SELECT w FROM events", 2, 'Referenced column "w" not found', "DESCRIBE NAME"),
        ("SELEC 1", 2, "syntax error at or near", "DESCRIBE NAME"),
        ("SELECT 'a'::INTEGER", 2, "Could not convert string 'a' to INT32", "DESCRIBE NAME"),
        ("SELECT * FROM read_parquet('/nowhere')", 1, "No files found", "verify"),
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_duckdbs_error_is_one_sentence_with_a_hint(
    root: Path, query: str, code: int, message: str, hint: str, form: str
) -> None:
    done = command(root, "metadata_utils", "sql", query, "--format", form)

    error, said = done.stderr.splitlines()
    assert done.exit_code == code
    assert error.startswith("error: ") and message in error
    assert said.startswith("hint: ") and hint in said


def test_two_columns_of_one_name_are_refused_in_json_only(root: Path) -> None:
    assert command(root, "metadata_utils", "sql", "SELECT 1 a, 2 a", "--format", "json").exit_code == 2
    assert ran(root, "metadata_utils", "sql", "SELECT 1 a, 2 a", "--format", "csv").stdout == "a,a\n1,2\n"


def test_only_the_feeds_that_are_named_are_opened(root: Path) -> None:
    (broken := root / "feeds" / "active" / "broken.json").write_text("{")
    try:
        assert answer(root, "SELECT count(*) AS n FROM events") == [{"n": 3}]
        named = command(root, "metadata_utils", "sql", "SELECT * FROM broken")
    finally:
        broken.unlink()
    assert named.exit_code == 1
    assert "broken.json" in named.stderr


def test_a_feed_without_data_says_how_to_export_it(root: Path) -> None:
    lake_at(root).feeds.add(stream_feed(name="later"))
    try:
        done = command(root, "metadata_utils", "sql", "SELECT * FROM later")
    finally:
        lake_at(root).feeds.delete("later")

    assert done.exit_code == 1
    assert "hint: python export_to_data_lake.py --stream later" in done.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT amount.n FROM (SELECT 1 AS n) AS amount",
        "WITH amount AS (SELECT 1 AS n) SELECT n FROM amount",
        "SELECT count(DISTINCT amount) AS n FROM totals_current",
        "SELECT 1 AS n WHERE 'amount' <> 'select' -- amount\n",
        "select 1 AS n",
    ],
)
@pytest.mark.parametrize("options", [(), ("--at-version", "2")])
def test_a_word_that_stands_for_no_table_opens_no_feed(root: Path, query: str, options: tuple[str, ...]) -> None:
    (broken := root / "feeds" / "active" / "n.json").write_text("{")
    lake_at(root).feeds.add(stream_feed(name="amount"))
    lake_at(root).feeds.add(stream_feed(name="select"))
    try:
        assert answer(root, query, *options) == [{"n": 1}]
    finally:
        lake_at(root).feeds.delete("amount")
        lake_at(root).feeds.delete("select")
        broken.unlink()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT amount FROM Amount",
        'SELECT count(*) FROM totals_current WHERE k IN (SELECT v FROM "amount")',
        "WITH a AS (SELECT * FROM main.amount) SELECT * FROM a JOIN totals_current ON k = v",
        "DESCRIBE amount",
    ],
)
def test_a_feed_that_is_read_says_why_it_cannot_be(root: Path, query: str) -> None:
    lake_at(root).feeds.add(stream_feed(name="amount"))
    try:
        done = command(root, "metadata_utils", "sql", query)
    finally:
        lake_at(root).feeds.delete("amount")

    assert (done.exit_code, done.stderr.splitlines()[0]) == (1, "error: the feed amount has no data in the lake yet")


@pytest.mark.parametrize("name", ["lake", "views", "sql", "relation", "query"])
def test_a_table_that_is_none_is_not_looked_for_elsewhere(root: Path, name: str) -> None:
    done = command(root, "metadata_utils", "sql", f"SELECT * FROM {name}")

    assert (done.exit_code, f"Table with name {name} does not exist!" in done.stderr) == (2, True)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_byte_that_is_not_utf_8_is_refused(root: Path, form: str) -> None:
    done = command(root, "metadata_utils", "sql", "SELECT 'Z\udcfcrich'", "--format", form)

    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "error: the query holds a byte that is not UTF-8",
        "hint: write the query in UTF-8, or the character as chr(NUMBER)",
    ]


def test_a_table_is_cut_to_a_terminal_and_whole_elsewhere(root: Path) -> None:
    query = "SELECT *, repeat('x', 100) AS long, 1 AS a, 2 AS b, 3 AS c, 4 AS d FROM events ORDER BY rowoffset"
    code, sent = run_on_terminal("metadata_utils.py", "sql", query, env={"LAKE_ROOT": str(root)})

    assert code == 0
    assert max(map(len, sent.splitlines())) <= 80
    assert r"\e[31m" in ran(root, "metadata_utils", "sql", "SELECT v FROM events").stdout
    assert "x" * 100 in ran(root, "metadata_utils", "sql", query).stdout


def cpu_s(process: int) -> float:
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(("by", "code", "form"), [(signal.SIGINT, 130, "table"), (signal.SIGTERM, 143, "csv")])
def test_a_signal_ends_a_query_that_takes_long(root: Path, by: signal.Signals, code: int, form: str) -> None:
    endless = "SELECT count(*) FROM range(100_000_000_000) AS a, range(1_000_000) AS b"
    asked = [sys.executable, "metadata_utils.py", "sql", endless, "--format", form]
    env = os.environ | {"LAKE_ROOT": str(root)}
    with subprocess.Popen(asked, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_until(lambda: cpu_s(process.pid) > 3, "a query that works")  # the start takes less
            process.send_signal(by)
            said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()

    assert (process.returncode, said[0]) == (code, b"" if form == "table" else b"count_star()\n")


def test_more_rows_than_fit_in_a_batch_come_in_order(root: Path) -> None:
    with answering(lake_at(root), "SELECT * FROM range(25_000) AS n(n)", When()) as found:
        assert [n for batch in found.batches() for n in batch.column(0).to_pylist()] == list(range(25_000))
