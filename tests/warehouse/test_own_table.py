"""A table that the project does not know: discovered, proposed, applied, loaded, without a line of code."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import export_to_data_lake
import manage_feeds
import metadata_utils
import sync_to_mysql
import test_setup as setup_check
from data_lake_config import PROJECT_ROOT
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import parse_feed
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from tests.support import lake_at
from tests.warehouse.samples import rows_of

HOUR = 3_600_000
DAY = dt.date(2026, 11, 20)
AT = dt.datetime(2026, 11, 20, 6, 30, 0, 123000)
_EPOCH = dt.datetime(1970, 1, 1)
COLUMNS = (
    ("REGION", "STRING", "KEY"), ("ORDER", "DATE", "KEY"), ("Grand Total", "DECIMAL(38, 10)"), ("AT", "TIMESTAMP"),
    ("OPENS", "TIME"), ("IS_OPEN", "BOOLEAN"), ("SHARE", "DOUBLE"), ("N", "BIGINT"), ("SEAL", "BYTES"),
    ("BEST", "STRUCT<`NAME` STRING, `PRICES` ARRAY<DECIMAL(12, 2)>, `SEEN` TIMESTAMP, `TIMES` INTEGER>"),
    ("TAGS", "MAP<STRING, STRING>"), ("EXACT", "STRUCT<`SUM` DECIMAL(38, 10)>"), ("SNAPSHOT_DATE", "STRING"),
)  # fmt: skip


def full_row(region: str) -> dict[str, Any]:
    return {
        "REGION": region, "ORDER": (DAY - _EPOCH.date()).days,
        "Grand Total": Decimal("-1234567890123456789012345678.1"),
        "AT": (AT - _EPOCH) // dt.timedelta(milliseconds=1), "OPENS": 8 * HOUR + 1, "IS_OPEN": True, "SHARE": 0.1,
        "N": 2**63 - 1, "SEAL": b"\x00\xff", "TAGS": {"é": "x", "none": None}, "SNAPSHOT_DATE": "so '\\ called",
        "BEST": {"NAME": "a \"b\"", "PRICES": [Decimal("0.10"), None], "SEEN": 1, "TIMES": 2},
        "EXACT": {"SUM": Decimal("1234567890123456789012345678.1234567891")},
    }  # fmt: skip


LOADED = (
    Decimal("-1234567890123456789012345678.1"), AT, dt.timedelta(hours=8, milliseconds=1), 1, 0.1, 2**63 - 1,
    b"\x00\xff", {"name": 'a "b"', "prices": [0.1, None], "seen": "1970-01-01T00:00:00.001000Z", "times": 2},
    {"é": "x", "none": None}, '{"sum": 1234567890123456789012345678.1234567891}', "so '\\ called",
)  # fmt: skip
ALL = "region, `order`, Grand_Total, `at`, opens, is_open, share, n, seal, best, tags, exact, snapshot_date_2"


def table(name: str, columns: tuple[tuple[str, ...], ...], records: list[Record], window: str | None = None) -> Source:
    typed = tuple(Column(column, parse_type(type_), *role) for column, type_, *role in columns)
    query = Query(
        f"CTAS_{name}", f"CREATE TABLE {name} AS SELECT 1;", (name,), (name.lower(),), (f"{name.lower()}_events",)
    )
    return Source(name, "TABLE", typed, name.lower(), 1, records, write_query=query, window_type=window)


def invoked(command: click.Command, env: dict[str, str], *arguments: str, code: int = 0) -> Result:
    """Runs a script's command in this process, which is much faster."""
    done = CliRunner().invoke(command, arguments, env=env | {"SNAPSHOT_RECHECK_S": "0"})
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    rows = [full_row("north"), full_row("South"), {name: None for name, *_ in COLUMNS} | {"REGION": "", "ORDER": 0}]
    orders = [Record(0, offset, AT.day, row) for offset, row in enumerate(rows)]
    hours = [
        Record(0, hour, 0, {"CITY": "Lyon", "N": hour}, window=(hour * HOUR, (hour + 1) * HOUR)) for hour in range(3)
    ]
    windowed = table("CITY_HOURS", (("CITY", "STRING", "KEY"), ("N", "BIGINT")), hours, "TUMBLING")
    with running(Dataset([table("ORDER_TOTALS", COLUMNS, orders), windowed])) as server:
        yield server


@pytest.mark.mysql
def test_a_new_table_syncs_without_a_code_change(
    empty_server: Server, emulator: Emulator, lake_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sql"
    shutil.copytree(PROJECT_ROOT / "sql", folder)
    env = {
        "LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url, "MYSQL_HOST": empty_server.host,
        "MYSQL_PORT": str(empty_server.port), "MYSQL_USER": empty_server.user,
        "MYSQL_PASSWORD": empty_server.password, "MYSQL_DATABASE": empty_server.database,
    }  # fmt: skip

    def run(command: click.Command, *arguments: str) -> str:
        return invoked(command, env, *arguments).stdout

    run(manage_feeds.main, "sync", "--discover")
    feeds = ["order_totals", "city_hours"]
    for feed in feeds:
        sql = run(manage_feeds.main, "ddl", feed, "--save-mapping")
        (folder / f"10_fact_{feed}.sql").write_text(sql, encoding="utf-8")
    init_schema(empty_server, folder)
    names = [argument for feed in feeds for argument in ("--table", feed)]
    run(export_to_data_lake.main, *names)
    run(sync_to_mysql.main, *names, "--source", "lake")
    emulator.append("ORDER_TOTALS", [Record(0, 3, 0, full_row("West"))])
    run(sync_to_mysql.main, *names)
    run(metadata_utils.main, "verify", *feeds, "--warehouse")

    for version, regions in ((1, ["South", "north"]), (2, ["South", "West", "north"])):
        found = rows_of(
            empty_server,
            f"SELECT {ALL} FROM fact_order_totals WHERE snapshot_version = {version} ORDER BY region",
        )
        empty = ("", _EPOCH.date(), *[None] * 11)
        assert [_plain(row) for row in found] == [empty, *[(region, DAY, *LOADED) for region in regions]]
    hours = rows_of(empty_server, "SELECT city, windowstart, windowend, n FROM current_city_hours ORDER BY n")
    assert hours == [("Lyon", n * HOUR, (n + 1) * HOUR, n) for n in range(3)]


def test_a_feed_that_is_mapped_by_the_bounds_of_windows_is_ready(lake_root: Path, emulator: Emulator) -> None:
    env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}
    for arguments in ("add --name city_hours --type table --source CITY_HOURS", "ddl city_hours --save-mapping"):
        invoked(manage_feeds.main, env, *arguments.split())

    checked = invoked(setup_check.main, env, "--no-mysql")

    assert "feed city_hours: table CITY_HOURS, 4 columns" in checked.stdout


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """JSON columns as what they hold; whether text comes as bytes is the driver's affair."""
    *before, seal, best, tags, exact, last = row
    nested = [json.loads(_text(value)) if value is not None else None for value in (best, tags)]
    return (*before, None if seal is None else bytes(seal), *nested, _text(exact), _text(last))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes | bytearray) else value


def test_ddl_changes_a_feed_only_when_it_is_told_to(lake_root: Path, emulator: Emulator) -> None:
    def run(*arguments: str, code: int = 0) -> Result:
        env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}
        return invoked(manage_feeds.main, env, *arguments, code=code)

    def mapping() -> Any:
        return json.loads(run("show", "city_hours").stdout)["warehouse"]

    run("sync", "--discover")
    looked = run("ddl", "city_hours")
    assert mapping() is None
    assert "--save-mapping writes this mapping into it" in looked.stderr

    saved = run("ddl", "city_hours", "--save-mapping")
    assert mapping()["keys"] == ["city", "windowstart", "windowend"]
    assert saved.stdout == looked.stdout
    assert "python sync_to_mysql.py --init-schema --table city_hours" in saved.stderr

    file = lake_root / "feeds" / "active" / "city_hours.json"
    file.write_text(file.read_text(encoding="utf-8").replace("fact_city_hours", "fact_mine"), encoding="utf-8")
    kept = run("ddl", "city_hours", "--save-mapping")
    assert "keeps its mapping to fact_mine; --new-mapping proposes another" in kept.stderr
    assert "`fact_mine`" in kept.stdout
    assert "`fact_city_hours`" in run("ddl", "city_hours", "--new-mapping").stdout
    assert mapping()["fact"] == "fact_mine"
    run("ddl", "city_hours", "--new-mapping", "--save-mapping")
    assert mapping()["fact"] == "fact_city_hours"

    assert "is a stream" in run("ddl", "transaction_stream", code=2).stderr
    assert "there is no feed" in run("ddl", "nothing", code=2).stderr
    gone = {"name": "rates", "type": "table", "source": "EXCHANGE_RATES"}  # there when its feed was added
    lake_at(lake_root).feeds.add(parse_feed(gone, "rates"))
    assert "the server has: CITY_HOURS, ORDER_TOTALS" in run("ddl", "rates", code=1).stderr
