"""A server's answers never make the export write outside the lake or run SQL, and secrets never show."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from demo.private_mysql import PrivateServer
from ksqldb_emulator.dataset import Column, Source
from ksqldb_emulator.sqltypes import parse_type
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server
from tests.torture.figures import Figure
from tests.torture.trial import PROMISES, Trial
from tests.torture.victim import scene

pytestmark = pytest.mark.server
NAMES = (
    'quo"te"; DROP VIEW canary; --',
    "it's'); DROP VIEW canary; --",
    "../../../outside",
    "/etc/passwd",
    "semi;colon, comma",
    "$HOME $(touch outside) %s {0}",
    "date=2026-01-01/x",
    "tab\tand\nnewline",
    "<script>",
)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with scene(tmp_path, rows=300) as stage:
        yield Trial("hostile", stage, Figure("F", "hostile", PROMISES), tmp_path)


def rename(trial: Trial, name: str, columns: dict[str, str]) -> None:
    """Gives a source more columns, with their own names as values."""
    source = trial.stage.emulator.source(name)
    new = tuple(Column(column, parse_type("STRING")) for column in columns)
    records = [replace(r, values={**(r.values or {}), **columns}) for r in source.records]
    trial.stage.emulator.replace_source(replace(source, columns=(*source.columns, *new), records=records))


def test_column_names_and_values_of_any_kind_stay_names_and_values(trial: Trial, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir()) | set(tmp_path.parent.iterdir())
    for source in ("EVENTS", "LATEST"):
        rename(trial, source, {name: f"{name}!" for name in NAMES})

    trial.expect_done(trial.run("--all"))
    trial.expect_done(trial.run("--report", script="metadata_utils"))
    trial.expect_done(trial.run("verify", "--deep", "--source", script="metadata_utils"))

    with duckdb.connect() as connection:
        connection.execute("CREATE VIEW canary AS SELECT 1")
        connection.execute((trial.stage.root / "views.sql").read_text(encoding="utf-8"))
        for view in ("events", "latest_current", "latest_history"):
            found = connection.sql(f"SELECT * FROM {view} LIMIT 1")
            row = dict(zip(found.columns, found.fetchall()[0], strict=True))
            assert {name: row[name] for name in NAMES} == {name: f"{name}!" for name in NAMES}
        assert connection.sql("SELECT * FROM canary").fetchall() == [(1,)]
    assert not any(trial.figure.wrong.values()), trial.figure
    said = {path for path in tmp_path.iterdir() if path.name.startswith("run-")}
    assert set(tmp_path.iterdir()) | set(tmp_path.parent.iterdir()) == before | said | {trial.stage.root}


@pytest.mark.parametrize("name", ["back`tick", "${KSQLDB_PASSWORD}"])
def test_a_column_name_that_cannot_be_quoted_safely_is_refused(trial: Trial, name: str) -> None:
    rename(trial, "EVENTS", {name: "x"})

    done = trial.run("--stream", "events")

    trial.expect_error(done, 1, "holds a character that cannot be quoted safely")
    assert not any(trial.figure.wrong.values()), trial.figure
    sent = [r["body"] for r in trial.stage.emulator.requests if r["path"] == "/query-stream"]
    assert sent == []


def test_source_names_that_are_no_names_get_no_feed(trial: Trial, tmp_path: Path) -> None:
    names = ["../../evil", "/etc/evil", "x; DROP STREAM EVENTS;", 'qu"ote', "${x}", "a b", "..", ".", "con`tick"]
    columns = trial.stage.emulator.source("EVENTS").columns
    for name in names:
        trial.stage.emulator.replace_source(Source(name, "STREAM", columns, f"../{name}", 1))

    done = trial.run("sync", "--discover", script="manage_feeds")

    trial.expect_done(done, *(f"skipped {name}" for name in names))
    asked = [json.loads(r["body"]).get("ksql", "") for r in trial.stage.emulator.requests if r["body"]]
    assert not any(name in statement for statement in asked for name in names)
    assert not list(tmp_path.rglob("*evil*")) + list(tmp_path.parent.glob("*evil*"))
    assert not any(trial.figure.wrong.values()), trial.figure


@pytest.mark.mysql
def test_values_stay_values_in_the_warehouse(trial: Trial, mariadb: PrivateServer) -> None:
    keys = [f"{name}\\" for name in NAMES] + ["'); DROP TABLE fact_product_purchase_counts; --", "\\N", "a\0b"]
    last = trial.stage.emulator.source("LATEST").records[-1]
    trial.stage.emulator.append("LATEST", [replace(last, values={**(last.values or {}), "K": key}) for key in keys])
    trial.mysql = {"MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port), "MYSQL_USER": mariadb.user}

    trial.expect_done(trial.run("--all"))
    trial.expect_done(trial.sync("--init-schema"))

    server = Server(host=mariadb.host, port=mariadb.port, user=mariadb.user, database=trial.name)
    with Connection(server) as connection:
        found = {row[0] for row in connection.rows("SELECT product_id FROM fact_product_purchase_counts")}
    assert found >= set(keys)
    assert len(found) == 50 + len(keys)
    assert not any(trial.figure.wrong.values()), trial.figure


@pytest.mark.mysql
def test_passwords_show_nowhere(trial: Trial, mariadb: PrivateServer) -> None:
    trial.stage.emulator.options.user, trial.stage.emulator.options.password = "reader", "s3cret-k"
    trial.stage.add_rows(3000)
    trial.stage.emulator.options.poll_pause_s = 0.3
    with Connection(Server(host=mariadb.host, port=mariadb.port, user=mariadb.user), with_database=False) as root:
        root.run("CREATE USER IF NOT EXISTS 'loader'@'%' IDENTIFIED BY 's3cret-m'")
        root.run("GRANT ALL ON hostile.* TO 'loader'@'%'")
    secrets = {"KSQLDB_USER": "reader", "KSQLDB_PASSWORD": "s3cret-k", "MYSQL_PASSWORD": "s3cret-m"}
    trial.mysql = {"MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port), "MYSQL_USER": "loader"} | secrets

    running = trial.start("--all", **secrets)
    trial.wait_for_query()
    assert "s3cret" not in every_command_line()
    trial.expect_done(running())
    trial.expect_done(trial.sync("--init-schema"))
    trial.expect_done(trial.run("verify", "--deep", "--source", script="metadata_utils", **secrets))
    trial.run("--json", script="test_setup", **trial.mysql)
    for broken in ({"KSQLDB_URL": "http://127.0.0.1:9"}, {"KSQLDB_URL": f"{trial.stage.emulator.url}/nowhere"}):
        assert trial.run("--all", **(secrets | broken)).code != 0
    assert trial.sync(MYSQL_PORT="9").code != 0
    assert trial.sync(MYSQL_DATABASE="mysql").code != 0

    trial.expect_hidden("s3cret")
    assert not any(trial.figure.wrong.values()), trial.figure


def every_command_line() -> str:
    """What `ps` shows of every process."""
    shown = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if process.name.isdigit():
                shown.append((process / "cmdline").read_bytes().decode(errors="replace"))
    assert any("forkserver" in line for line in shown)
    return "\n".join(shown)
