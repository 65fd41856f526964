"""Whether the main job can run on this machine: checks of disk, server, feeds and warehouse. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.export.engine import Engine
from pipeline.export.preview import preview
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.prerequisites import Check, ok
from pipeline.source import OpenSources, Sources
from pipeline.text import plural, size_text
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import list_migrations, refuse_changed
from pipeline.warehouse.server import Server
from pipeline.warehouse.target import GALERA, ServerFacts, server_facts, target_columns

FREE_BYTES = 1_000_000_000


def check_lake_root(lake: Lake) -> Check:
    space = lake.space()
    if not space.is_writable:
        return Check("lake", "failed", f"{space.place} cannot be written", "set LAKE_ROOT to a folder of this user's")
    return ok("lake", f"{lake}" + ("" if space.place == str(lake) else " (will be made)"))


def check_disk(lake: Lake) -> Check:
    space = lake.space()
    if space.free_bytes is None:
        return ok("disk", "as much as the store gives")
    free = size_text(space.free_bytes)
    if space.free_bytes < FREE_BYTES:
        return Check("disk", "warning", f"only {free} are free", f"free space on the disk of {space.place}")
    return ok("disk", f"{free} free")


def check_puts(lake: Lake, name: str) -> Iterator[Check]:
    """An object store's answer to two writers of one name; writes an object of this name, and deletes it."""
    try:
        if lake.check_puts(name):
            yield ok("conditional writes", "of two writers of one name the second is refused")
    except PipelineError as error:
        yield Check("conditional writes", "failed", error.message, error.hint)


def check_sources(name: str, server: OpenSources, lake: Lake) -> Iterator[Check]:
    """The server, under its name, then each enabled feed's source."""
    try:
        with server() as sources:
            yield ok(name, sources.place)
            found = lake.feeds.list()
            feeds = [feed for feed in found.feeds if feed.enabled]
            for lost in found.broken:
                yield Check(f"feed {lost.name}", "failed", lost.error.message, lost.error.hint)
            if not feeds and not found.broken:
                yield Check("feeds", "failed", "there are none", "python manage_feeds.py sync")
            for feed in feeds:
                yield guarded(f"feed {feed.name}", lambda feed=feed: _check_feed(sources, lake, feed))  # type: ignore[misc] # bound at once
    except PipelineError as error:
        yield Check(name, "failed", error.message, error.hint)


def _check_feed(sources: Sources, lake: Lake, feed: Feed) -> Check:
    """The source exists, can be read, and has the columns that the warehouse mapping names."""
    preview(sources, lake.table(feed))
    found = sources.find(feed.source, feed.read_from)
    columns, name = found.columns(), found.source.name
    there = {column.lake_name for column in columns}
    mapped = set(feed.warehouse.columns.values()) if feed.warehouse else set()
    if feed.warehouse and feed.warehouse.dimension:
        mapped |= set(feed.warehouse.dimension.columns.values())
    if missing := sorted(mapped - there):
        return Check(
            f"feed {feed.name}",
            "failed",
            f"{name} lacks {', '.join(missing)}",
            f"correct 'warehouse' in the feed (manage_feeds.py show {feed.name}), or the source",
        )
    return ok(f"feed {feed.name}", f"{feed.type} {name}, {len(columns)} columns")


def check_spark(engine: Engine) -> Check:
    """Whether Spark starts here, as an export would start it; which takes some seconds. Raises SparkUnusable."""
    with contextlib.closing(engine):
        return ok("spark", f"starts, and has room for {plural(engine.workers, 'task')} at once")


def check_mysql(server: Server, lake: Lake, sql: Path) -> Iterator[Check]:
    """The server, the account's rights, the schema of the files in `sql`, and the bulk path."""
    try:
        with Connection(server, with_database=False) as connection:
            facts = server_facts(connection)
    except PipelineError as error:
        yield Check("mysql", "failed", error.message, error.hint)
        return
    yield from _check_facts(server, facts)
    yield guarded("mysql schema", lambda: _check_schema(server, lake, sql), failed="warning")
    yield ok("mysql local_infile", "on" if facts.local_infile else "off: rows go in by INSERT")


def _check_facts(server: Server, facts: ServerFacts) -> Iterator[Check]:
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


def _check_schema(server: Server, lake: Lake, sql: Path) -> Check:
    """The files of `sql` are applied, all and unchanged, and the tables that the feeds' mappings name are there."""
    with Connection(server) as connection:
        files = list_migrations(connection, sql)
        refuse_changed(files)
        missing = [file.name for file in files if file.state == "missing"]
        mappings = [feed.warehouse for feed in lake.feeds.list().feeds if feed.warehouse]
        tables = {"etl_snapshots"} | {mapping.fact for mapping in mappings}
        for table in sorted(tables):
            target_columns(connection, table)
    if missing:
        detail = f"{server.database} lacks, or was made without a record of, {', '.join(missing)}"
        return Check("mysql schema", "warning", detail, "python sync_to_mysql.py --init-schema")
    return ok("mysql schema", f"{server.database} with {len(files)} files and {len(tables)} tables of the mappings")


def guarded(name: str, check: Callable[[], Check], failed: str = "failed") -> Check:
    """The check's result; an error that it raised becomes a check of the state `failed`."""
    try:
        return check()
    except PipelineError as error:
        return Check(name, failed, error.message, error.hint)
