#!/usr/bin/env python
"""Is this machine ready for the main job? One line a check, and a hint where something is missing.

Changes nothing: no file, no row. The exit code says whether export and sync would run.
"""

from __future__ import annotations

if __name__ == "__main__":  # before anything that may be missing is imported
    import sys
    from pathlib import Path

    from pipeline import start

    start.guard("python -m pip install --force-reinstall -r requirements.txt -c requirements.lock")
    start.refuse(Path(__file__).resolve().parent, sys.argv[1:])

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from data_lake_config import PROJECT_ROOT, Settings, load_settings
from pipeline import cli
from pipeline.columns import lake_name
from pipeline.errors import PipelineError
from pipeline.export.preview import preview
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import find_source
from pipeline.ksqldb.source import KsqldbSource
from pipeline.lake.feed_store import BrokenFeed, ignored
from pipeline.lake.lake import Lake
from pipeline.start import Check, check_packages, check_python, line, ok, report
from pipeline.text import size_text
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import list_migrations, refuse_changed
from pipeline.warehouse.option_file import password_is_open
from pipeline.warehouse.server import Server
from pipeline.warehouse.target import GALERA, server_facts, target_columns

__test__ = False  # a command, whatever its name makes test runners think

FREE_BYTES = 1_000_000_000


def run_checks(with_mysql: bool) -> Iterator[Check]:
    """Every check, in the order in which a person would mend what they find."""
    yield check_python()
    yield from check_packages((PROJECT_ROOT / "requirements.txt").read_text(encoding="utf-8"))
    unknown: list[str] = []
    try:
        settings = load_settings(unknown.append)
    except PipelineError as error:
        yield Check("settings", "failed", error.message, error.hint)
        return
    for sentence in unknown:
        yield Check("settings", "warning", sentence, "python data_lake_config.py lists all settings")
    try:
        lake = settings.lake(cli.tell)
    except PipelineError as error:
        yield Check("lake", "failed", error.message, error.hint)
        return
    yield check_lake_root(Path(str(lake)))
    yield check_disk(Path(str(lake)))
    yield from check_ksqldb(settings, lake)
    if with_mysql:
        yield from check_mysql(settings, lake)


def check_lake_root(root: Path) -> Check:
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check("lake", "failed", f"{there} cannot be written", "set LAKE_ROOT to a folder of this user's")
    return ok("lake", f"{root}" + ("" if there == root else " (will be made)"))


def check_disk(root: Path) -> Check:
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES:
        return Check("disk", "warning", f"only {size_text(free)} are free", f"free space on the disk of {there}")
    return ok("disk", f"{size_text(free)} free")


def check_ksqldb(settings: Settings, lake: Lake) -> Iterator[Check]:
    """The server, then each enabled feed's source."""
    try:
        with Client(settings.ksqldb_connection()) as client:
            yield ok("ksqldb", f"{client.server_version()} at {settings.ksqldb_url}")
            broken = list[BrokenFeed]()
            feeds = [feed for feed in lake.feeds.list(broken=broken.append) if feed.enabled]
            for lost in broken:
                yield Check(f"feed {lost.name}", "failed", lost.error.message, lost.error.hint)
            if not feeds and not broken:
                yield Check("feeds", "failed", "there are none", "python manage_feeds.py sync")
            for feed in feeds:
                yield _guarded(f"feed {feed.name}", lambda feed=feed: _check_feed(client, lake, feed))  # type: ignore[misc] # bound at once
    except PipelineError as error:
        yield Check("ksqldb", "failed", error.message, error.hint)


def _check_feed(client: Client, lake: Lake, feed: Feed) -> Check:
    """The source exists, can be read, and has the columns that the warehouse mapping names."""
    preview(KsqldbSource(client), lake.table(feed))
    source = find_source(client, feed.source)
    there = {lake_name(column.name) for column in source.columns}
    mapped = set(feed.warehouse.columns.values()) if feed.warehouse else set()
    if feed.warehouse and feed.warehouse.dimension:
        mapped |= set(feed.warehouse.dimension.columns.values())
    if missing := sorted(mapped - there):
        return Check(
            f"feed {feed.name}",
            "failed",
            f"{source.name} lacks {', '.join(missing)}",
            f"correct 'warehouse' in the feed (manage_feeds.py show {feed.name}), or the source",
        )
    return ok(f"feed {feed.name}", f"{feed.type} {source.name}, {len(source.columns)} columns")


def check_mysql(settings: Settings, lake: Lake) -> Iterator[Check]:
    """The server, the account's rights, the schema, and the bulk path."""
    server = settings.mysql_server()
    if password_is_open(settings.mysql_option_file):
        path = settings.mysql_option_file
        yield Check("mysql option file", "warning", f"others can read the password in {path}", f"chmod 600 {path}")
    try:
        with Connection(server, with_database=False) as connection:
            facts = server_facts(connection)
    except PipelineError as error:
        yield Check("mysql", "failed", error.message, error.hint)
        return
    where = f"{facts.product} {facts.version} at {server.place}"
    if facts.is_old:
        yield Check("mysql", "failed", f"{where} is too old", "use MySQL 8.0 or MariaDB 10.6, or newer")
    else:
        yield ok("mysql", where)
    if facts.is_galera:
        yield Check("mysql galera", "warning", GALERA, "set MYSQL_HOST to a server that replicates from one primary")
    if facts.missing_rights:
        lacking = ", ".join(facts.missing_rights)
        grant = f"GRANT {lacking} ON {server.database}.* TO {server.user}"
        yield Check("mysql rights", "failed", f"{server.user} lacks {lacking}", grant)
    else:
        yield ok("mysql rights", f"{server.user} may load {server.database}")
    yield _guarded("mysql schema", lambda: _check_schema(server, lake), failed="warning")
    infile = "on" if facts.local_infile else "off: rows go in by INSERT"
    yield ok("mysql local_infile", infile)


def _check_schema(server: Server, lake: Lake) -> Check:
    """The files of sql/ are applied, all and unchanged, and the tables that the feeds' mappings name are there."""
    with Connection(server) as connection:
        files = list_migrations(connection, PROJECT_ROOT / "sql")
        refuse_changed(files)
        missing = [file.name for file in files if file.state == "missing"]
        mappings = [feed.warehouse for feed in lake.feeds.list(broken=ignored) if feed.warehouse]
        tables = {"etl_snapshots"} | {mapping.fact for mapping in mappings}
        for table in sorted(tables):
            target_columns(connection, table)
    if missing:
        detail = f"{server.database} lacks, or was made without a record of, {', '.join(missing)}"
        return Check("mysql schema", "warning", detail, "python sync_to_mysql.py --init-schema")
    return ok("mysql schema", f"{server.database} with {len(files)} files and {len(tables)} tables of the mappings")


def _guarded(name: str, check: Callable[[], Check], failed: str = "failed") -> Check:
    try:
        return check()
    except PipelineError as error:
        return Check(name, failed, error.message, error.hint)


@click.command()
@click.option("--no-mysql", is_flag=True, help="Leave out the warehouse.")
@click.option("--json", "json_output", is_flag=True, help="Print as JSON.")
@cli.boundary
def main(no_mysql: bool, json_output: bool) -> None:
    """Check whether the main job would run here. Exit codes: 0 yes (warnings allowed), 1 no."""
    checks = []
    for check in run_checks(not no_mysql):
        checks.append(check)
        if not json_output:
            click.echo(line(check), nl=False)
    told = report(checks, json_output)
    click.echo(told if json_output else told.splitlines()[-1], nl=not json_output)
    raise SystemExit(1 if any(check.state == "failed" for check in checks) else 0)


if __name__ == "__main__":
    cli.run(main)
