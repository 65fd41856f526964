"""The scripts as a person meets them: what they print, what they leave, and how they end."""

from __future__ import annotations

import csv
import datetime as dt
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_lake_config import DEFAULT_FEEDS
from demo.definitions import build
from demo.events import generate
from demo.private_mysql import PrivateServer
from ksqldb_emulator.testing import Emulator, running
from pipeline.lake.lock import hold_feed
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server
from tests.expected import rows_of
from tests.support import add_default_feeds, lake_at, log_of, run_script


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(300, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


def script(root: Path, name: str, *arguments: str, code: int = 0, **env: str) -> Any:
    done = run_script(f"{name}.py", *arguments, env={"LAKE_ROOT": str(root)} | env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_settings_are_shown_with_secrets_masked(lake_root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n", encoding="utf-8")

    done = script(lake_root, "data_lake_config", KSQLDB_PASSWORD="hunter1", MYSQL_PASSWORD_FILE=str(secret))

    assert "hunter" not in done.stdout + done.stderr
    assert done.stdout.count("********") == 2
    assert (lake_root / "feeds" / "active").is_dir()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"MYSQL_PORT": "high"}, "MYSQL_PORT"),
        ({"MYSQL_PASSWORD_FILE": "/nowhere"}, "MYSQL_PASSWORD_FILE"),
        ({"KSQLDB_USER": "u", "KSQLDB_TOKEN": "t0ken"}, "exclude each other"),
        ({"KSQLDB_TOKEN": "t0ken\n"}, "KSQLDB_TOKEN holds a line break"),
        ({"KSQLDB_TOKEN": "t0ken\u20ac"}, "another character that HTTP cannot send"),
        ({"KSQLDB_URL": "http://me:t0ken@localhost:8088"}, "KSQLDB_URL holds a user or password"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(lake_root: Path, env: dict[str, str], said: str) -> None:
    done = script(lake_root, "data_lake_config", code=1, **env)

    assert said in done.stderr
    assert "t0ken" not in done.stderr + done.stdout


def test_feeds_from_default_to_deleted(lake_root: Path) -> None:
    assert "8 feeds added" in script(lake_root, "manage_feeds", "sync").stdout
    assert "0 feeds added" in script(lake_root, "manage_feeds", "sync").stdout
    add = ("add", "--name", "rates", "--type", "table", "--source", "EXCHANGE_RATES", "--description", "Rates")
    script(lake_root, "manage_feeds", *add, "--retention-versions", "3", "--tag", "fx", "--owner", "treasury")
    script(lake_root, "manage_feeds", *add, code=2)
    script(lake_root, "manage_feeds", "update", "rates", "--retention-versions", "9")
    script(lake_root, "manage_feeds", "update", "rates", code=2)
    script(lake_root, "manage_feeds", "disable", "rates")

    shown = json.loads(script(lake_root, "manage_feeds", "show", "rates").stdout)
    assert (shown["retention_versions"], shown["enabled"], shown["tags"], shown["owner"]) == (
        9,
        False,
        ["fx"],
        "treasury",
    )
    script(lake_root, "manage_feeds", "enable", "rates")
    script(lake_root, "manage_feeds", "archive", "rates")
    assert "rates" in script(lake_root, "manage_feeds", "list", "--archived").stdout
    assert " archived " in script(lake_root, "manage_feeds", "list", "--all").stdout
    assert len(json.loads(script(lake_root, "manage_feeds", "list", "--all", "--json").stdout)["archived"]) == 1
    listed = json.loads(script(lake_root, "manage_feeds", "list", "--json").stdout)
    assert {feed["name"] for feed in listed["feeds"]} == {feed.name for feed in DEFAULT_FEEDS}
    script(lake_root, "manage_feeds", "restore", "rates")
    assert "Nothing was changed." in script(lake_root, "manage_feeds", "delete", "rates").stdout
    script(lake_root, "manage_feeds", "delete", "rates", "--confirm")
    script(lake_root, "manage_feeds", "show", "rates", code=2)
    assert "properties" in json.loads(script(lake_root, "manage_feeds", "schema").stdout)


def test_discovered_feeds_export_without_a_code_change(lake_root: Path, emulator: Emulator) -> None:
    script(lake_root, "manage_feeds", "sync", "--discover", KSQLDB_URL=emulator.url)

    script(lake_root, "export_to_data_lake", "--stream", "transaction_products", "--table", "exchange_rates",
           KSQLDB_URL=emulator.url)  # fmt: skip

    store = lake_at(lake_root).feeds
    assert lake_at(lake_root).table(store.get("exchange_rates")).current_version == 1
    assert lake_at(lake_root).table(store.get("transaction_products")).files


def test_reports_tell_what_is_committed(lake_root: Path, emulator: Emulator, tmp_path: Path) -> None:
    add_default_feeds(lake_root)
    assert "not exported yet" in script(lake_root, "metadata_utils", "--report").stdout
    script(lake_root, "export_to_data_lake", "--all", KSQLDB_URL=emulator.url)
    file = tmp_path / "lake.csv"

    script(lake_root, "metadata_utils", "--csv", str(file))
    lake = json.loads(script(lake_root, "metadata_utils", "--json").stdout)
    report = script(lake_root, "metadata_utils", "--report").stdout
    stats = script(lake_root, "metadata_utils", "--stats").stdout
    history = json.loads(script(lake_root, "metadata_utils", "history", "transaction_stream", "--json").stdout)[
        "commits"
    ]

    rows = {row["feed"]: row for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())}
    for state in lake["feeds"]:
        on_disk = sum(f.stat().st_size for f in lake_root.glob(f"*/{state['feed']}/*/*.parquet"))
        assert state["totals"]["bytes"] == on_disk == int(rows[state["feed"]]["bytes"])
        (folder,) = lake_root.glob(f"*/{state['feed']}")
        described = json.loads((folder / "_metadata.json").read_text(encoding="utf-8"))
        assert described | {"description": state["description"]} == state | {"location": str(folder)}
    assert max(map(len, (report + stats).splitlines())) <= max(80, len(f"Data lake {lake_root}"))
    assert [entry.get("kind") for entry in history] == ["stream", "create table"]
    assert log_of(lake_root, "export_to_data_lake").count("Z ") >= 9


def test_upkeep_from_the_shell(lake_root: Path, emulator: Emulator) -> None:
    add_default_feeds(lake_root)
    for _ in range(2):
        script(lake_root, "export_to_data_lake", "--table", "payment_method_totals", KSQLDB_URL=emulator.url)

    rolled = script(lake_root, "metadata_utils", "rollback", "payment_method_totals", "--to-version", "1").stdout
    dry = script(lake_root, "metadata_utils", "expire", "--dry-run").stdout
    script(lake_root, "manage_feeds", "update", "payment_method_totals", "--retention-versions", "1")
    held = script(lake_root, "metadata_utils", "expire", "payment_method_totals", code=1).stderr
    wet = script(lake_root, "metadata_utils", "expire", "payment_method_totals", "--yes").stdout

    logged = log_of(lake_root, "metadata_utils")
    for said in (rolled, logged):
        assert "version 1 is published again as version 3" in said
    assert dry.endswith("Nothing was changed.\n")
    assert "hint: if they are to go: python metadata_utils.py expire payment_method_totals --yes" in held
    assert "expired 1, 2" in wet
    script(lake_root, "metadata_utils", "verify", "--deep", "payment_method_totals")
    next(lake_root.glob("tables/payment_method_totals/version=3/*.parquet")).unlink()
    broken = script(lake_root, "metadata_utils", "verify", "--deep", "payment_method_totals", "--json", code=1)
    assert json.loads(broken.stdout)["findings"][0]["what"] == "file is missing"
    script(lake_root, "metadata_utils", "rollback", "payment_method_totals", "--to-version", "77", code=2)


def test_expire_goes_on_after_a_feed_that_is_held_or_damaged(lake_root: Path, emulator: Emulator) -> None:
    add_default_feeds(lake_root)
    names = ("payment_method_totals", "product_purchase_counts", "user_transaction_summary")
    tables = [argument for name in names for argument in ("--table", name)]
    for _ in range(2):
        script(lake_root, "export_to_data_lake", *tables, KSQLDB_URL=emulator.url)
    for name in names:
        script(lake_root, "manage_feeds", "update", name, "--retention-versions", "1")

    with hold_feed(lake_root / "tables" / names[0], names[0], {"pid": "7"}):
        held = script(lake_root, "metadata_utils", "expire", *names[:2], "--yes", code=75)
        (lake_root / "tables" / names[1] / "_delta_log" / f"{0:020}.json").write_bytes(b"{")
        damaged = script(lake_root, "metadata_utils", "expire", *names, "--yes", code=1)

    assert held.stdout == f"{names[1]}: expired 1; 0 old files deleted\n"
    assert f"error: the feed {names[0]} is held by another run (pid 7)" in held.stderr
    assert damaged.stdout == f"{names[2]}: expired 1; 0 old files deleted\n"
    assert f"error: the feed {names[1]} cannot be read" in damaged.stderr

    for form in ("--stats", "--report", "--json"):
        done = script(lake_root, "metadata_utils", form, code=1)
        assert names[0] in done.stdout
        assert names[1] not in done.stdout
        assert f"error: the feed {names[1]} cannot be read" in done.stderr


def test_setup_says_what_is_missing(lake_root: Path, emulator: Emulator) -> None:
    script(lake_root, "test_setup", "--no-mysql", KSQLDB_URL=emulator.url, code=1)
    add_default_feeds(lake_root)

    ready = script(lake_root, "test_setup", "--no-mysql", KSQLDB_URL=emulator.url)
    down = script(lake_root, "test_setup", "--json", KSQLDB_URL="http://127.0.0.1:9", MYSQL_PORT="9", code=1)

    assert ready.stdout.endswith("ready\n")
    checks = {check["name"]: check for check in json.loads(down.stdout)["checks"]}
    assert checks["ksqldb"]["state"] == checks["mysql"]["state"] == "failed"
    assert checks["ksqldb"]["hint"]
    assert checks["python"]["state"] == "ok"


def test_setup_says_that_spark_is_not_installed_where_it_is_to_stage_rows(lake_root: Path, emulator: Emulator) -> None:
    report = script(lake_root, "test_setup", "--no-mysql", KSQLDB_URL=emulator.url, EXPORT_ENGINE="spark", code=1)

    assert "EXPORT_ENGINE is spark, and the package pyspark is not installed" in report.stdout
    assert "python -m pip install -c requirements.lock '.[spark]'" in report.stdout


def test_setup_changes_nothing(lake_root: Path, emulator: Emulator) -> None:
    script(lake_root, "test_setup", "--no-mysql", KSQLDB_URL=emulator.url, code=1)

    assert not lake_root.exists()


@pytest.mark.mysql
def test_the_warehouse_holds_exactly_the_rows_of_the_lake(
    lake_root: Path, emulator: Emulator, mariadb: PrivateServer
) -> None:
    add_default_feeds(lake_root)
    mysql = {
        "MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port), "MYSQL_USER": mariadb.user,
        "MYSQL_DATABASE": "equality", "KSQLDB_URL": emulator.url,
    }  # fmt: skip
    script(lake_root, "export_to_data_lake", "--all", KSQLDB_URL=emulator.url)

    lacking = script(lake_root, "sync_to_mysql", "--source", "lake", code=1, **mysql)
    script(lake_root, "sync_to_mysql", "--init-schema", "--source", "lake", **mysql)
    again = script(lake_root, "sync_to_mysql", "--source", "lake", "--json", **mysql)
    direct = script(lake_root, "sync_to_mysql", **mysql)
    dry = script(lake_root, "sync_to_mysql", "--dry-run", "--table", "payment_method_totals", **mysql)
    script(lake_root, "sync_to_mysql", "--lake-version", "1", code=2, **mysql)
    script(lake_root, "sync_to_mysql", "--source", "lake", "--lake-version", "9", code=2, **mysql)
    script(lake_root, "sync_to_mysql", "--table", "transaction_stream", code=2, **mysql)

    assert "python sync_to_mysql.py --init-schema" in lacking.stderr
    assert json.loads(again.stdout)["unchanged"] is True
    assert "nothing was changed" in direct.stdout
    assert dry.stdout.endswith("Nothing was changed.\n")
    server = Server(host=mariadb.host, port=mariadb.port, user=mariadb.user, database="equality")
    with Connection(server) as connection:
        for feed in DEFAULT_FEEDS:
            if feed.warehouse is None:
                continue
            table = lake_at(lake_root).table(feed)
            columns = feed.warehouse.columns
            names = ", ".join(f"`{name}`" for name in columns)
            found = connection.rows(f"SELECT {names} FROM {feed.warehouse.fact} WHERE snapshot_version = 1")
            (lake,) = (batch.select(list(columns.values())) for batch in table.read_batches(table.versions()[1]))
            loaded = [dict(zip(lake.schema.names, row, strict=True)) for row in found]
            assert rows_of(pa.RecordBatch.from_pylist(loaded, schema=lake.schema)) == rows_of(lake), feed.name
        users = connection.rows("SELECT count(*) FROM dim_users WHERE user_name IS NULL")
    assert users[0][0] > 0


def test_scripts_can_be_run_from_any_folder(lake_root: Path, tmp_path: Path) -> None:
    lake_root.mkdir()

    done = run_script("manage_feeds.py", "list", env={"LAKE_ROOT": str(lake_root)}, cwd=tmp_path)

    assert done.returncode == 0
    assert "no feeds yet" in done.stdout


def test_passwords_never_show(lake_root: Path, emulator: Emulator) -> None:
    add_default_feeds(lake_root)
    done = script(lake_root, "sync_to_mysql", "--source", "lake", "--mysql-password", "s3cr3t", code=2)
    assert "warning: others can see" in done.stderr
    script(
        lake_root, "export_to_data_lake", "--all", KSQLDB_URL=emulator.url, KSQLDB_USER="u", KSQLDB_PASSWORD="s3cr3t"
    )

    for path in lake_root.rglob("*"):
        if path.is_file():
            assert b"s3cr3t" not in path.read_bytes(), path
    assert "s3cr3t" not in done.stdout + done.stderr
    assert stat.S_ISDIR((lake_root / "logs").stat().st_mode)
