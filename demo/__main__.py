"""`python -m demo`: the whole job on this machine, from an emulated ksqlDB to queries on the lake and the warehouse.

Runs the five scripts as a person would, one command after the other, and shows their output. The lake stays in
`build/demo/data_lake` afterwards; the servers are private and stopped at the end.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from demo.dataset import build_demo
from demo.private_mysql import PrivateServer, running_mariadb
from demo.private_process import ServerMissing, free_port
from demo.story import ROOT, query_lake, run, say

_SECONDS_OF_ARRIVALS = 60


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "build" / "demo")
@click.option("--transactions", envvar="DEMO_TRANSACTIONS", default=5000, show_default=True)
def main(folder: Path, transactions: int) -> None:
    """Run the whole job on sample data."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    today = dt.datetime.now(dt.UTC).date()
    say("Sample data: 14 days of payment transactions, run through the pipeline of demo/pipeline.sql")
    dataset = build_demo(transactions, today, seed=7, arriving=transactions // 50, over_s=_SECONDS_OF_ARRIVALS)
    dataset.save(folder / "dataset.json")
    lake = folder / "data_lake"
    with contextlib.ExitStack() as servers:
        port = servers.enter_context(emulator(folder / "dataset.json"))
        env = os.environ | {
            "LAKE_ROOT": str(lake),
            "KSQLDB_URL": f"http://127.0.0.1:{port}",
            "SNAPSHOT_RECHECK_S": "1",
            "QUIET_S": "1",
        }
        warehouse = servers.enter_context(_warehouse())
        if warehouse is not None:
            env |= {"MYSQL_HOST": warehouse.host, "MYSQL_PORT": str(warehouse.port), "MYSQL_DATABASE": "data_warehouse"}
        _tell_the_story(env, lake, warehouse is not None)
        if warehouse is not None:
            _show_warehouse(env)
        page = _write_page(env, folder, warehouse is not None)
    say(f"Done. The lake is in {lake}; look around:")
    click.echo(f"  LAKE_ROOT={lake} {sys.executable} metadata_utils.py --report")
    click.echo(f"  {page.as_uri()}  in a browser")
    click.echo(f"  python -c \"import duckdb; db = duckdb.connect(); db.sql(open('{lake}/views.sql').read()); ...\"")


def _tell_the_story(env: Mapping[str, str], lake: Path, with_warehouse: bool) -> None:
    say("1. Which feeds: four streams, four tables")
    run(env, "manage_feeds.py", "sync")
    say("2. Is everything ready?")
    run(env, "test_setup.py", *([] if with_warehouse else ["--no-mysql"]))
    say("3. Everything that ksqlDB has, into the lake")
    run(env, "export_to_data_lake.py", "--all")
    if with_warehouse:
        say("4. The table snapshots, into the warehouse")
        run(env, "sync_to_mysql.py", "--init-schema", "--source", "lake")
    say("5. Events went on arriving: only new rows are added, and one version a table")
    run(env, "export_to_data_lake.py", "--all")
    if with_warehouse:
        run(env, "sync_to_mysql.py", "--source", "lake")
    say("6. What is in the lake, and is it what was written?")
    run(env, "metadata_utils.py", "--stats")
    run(env, "metadata_utils.py", "verify", "--deep", *(["--warehouse"] if with_warehouse else []))
    say("7. A query on the lake: DuckDB over data_lake/views.sql")
    query_lake(
        lake,
        "SELECT date, count(*) AS transactions, sum(amount_eur) AS eur\n"
        "FROM transaction_stream_anonymized\nGROUP BY date ORDER BY date DESC LIMIT 5",
    )
    query_lake(
        lake,
        "SELECT version, count(*) AS users_and_types, sum(total_amount) AS total\n"
        "FROM user_transaction_summary_history\nGROUP BY version ORDER BY version",
    )


def _write_page(env: Mapping[str, str], folder: Path, with_warehouse: bool) -> Path:
    say("9. A page of all this, for people who would rather look")
    page = (folder / "lake.html").absolute()
    run(env, "metadata_utils.py", "--html", str(page), *(["--warehouse"] if with_warehouse else []))
    return page


def _show_warehouse(env: Mapping[str, str]) -> None:
    say("8. A query on the warehouse: MySQL")
    sql = (
        "SELECT m.payment_method_id, m.is_known, p.transaction_count, p.total_amount\n"
        "FROM current_payment_method_totals AS p\n"
        "JOIN dim_payment_methods AS m ON m.payment_method_id = p.payment_method_id\n"
        "ORDER BY p.transaction_count DESC"
    )
    click.echo(sql)
    client = shutil.which("mariadb") or shutil.which("mysql") or "mysql"
    command = [client, "--no-defaults", "-h", env["MYSQL_HOST"], "-P", env["MYSQL_PORT"], "-u", "root", "--table"]
    subprocess.run([*command, env["MYSQL_DATABASE"], "-e", sql], check=True)


@contextlib.contextmanager
def emulator(data: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "ksqldb_emulator", "--port", str(port), "--data", str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        click.echo(process.stdout.readline().rstrip())  # it prints its address once it listens
        try:
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def _warehouse() -> Iterator[PrivateServer | None]:
    with tempfile.TemporaryDirectory(prefix="ksqldb-lake-demo-") as folder:
        try:
            with running_mariadb(Path(folder)) as server:
                click.echo(f"private MariaDB at {server.host}:{server.port}")
                yield server
        except ServerMissing as error:
            click.echo(f"without the warehouse: {error}", err=True)
            yield None


if __name__ == "__main__":
    main()
