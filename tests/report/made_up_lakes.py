"""Lakes that are made up: what a page can have to show of one, with all that is rare in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from pipeline.errors import LakeDamaged, PipelineError, WarehouseBusy
from pipeline.feeds import DimensionMapping, Feed, WarehouseMapping
from pipeline.health import feed_health, lake_health
from pipeline.lake.metadata import FeedState, PartitionState, TableState, Totals, sum_of
from pipeline.lake.runs import RunEntry
from pipeline.lake.store import Space
from pipeline.report.page.facts import FeedFacts, FileFacts, PageFacts, WarehouseFacts
from pipeline.run_history import History
from pipeline.verify.versions import Differences
from pipeline.warehouse.ledger import SnapshotEntry

NOW = dt.datetime(2026, 11, 29, 6, 30, tzinfo=dt.UTC)
TODAY = NOW.date()
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
STATES = ("ok", "failed", "again later", "stopped", "killed", "running", "no end known")


def stream_facts(name: str, days: Sequence[Totals], last: dt.date = TODAY, **fields: object) -> FeedFacts:
    """A stream with these days in a row, the last of them on `last`."""
    first = last - dt.timedelta(days=len(days) - 1)
    dates = [first + dt.timedelta(days=n) for n in range(len(days))]
    partitions = [
        _partition(day.isoformat(), totals, _noon_ms(day))
        for day, totals in zip(dates, days, strict=True)
        if totals.file_count
    ]
    feed = Feed.model_validate({"name": name, "type": "stream", "source": name.upper()} | fields)
    return _facts(feed, partitions, None)


def table_facts(name: str, versions: Sequence[Totals], **fields: object) -> FeedFacts:
    """A table with these versions."""
    partitions = [_partition(str(number), totals, None) for number, totals in enumerate(versions, 1)]
    feed = Feed.model_validate({"name": name, "type": "table", "source": name.upper()} | fields)
    return _facts(feed, partitions, len(versions))


def _noon_ms(day: dt.date) -> int:
    return (day - EPOCH.date()).days * 86_400_000 + 43_200_000


def _partition(name: str | None, totals: Totals, rowtime_ms: int | None) -> PartitionState:
    return PartitionState(name, totals, NOW, None if rowtime_ms is None else (rowtime_ms - 60_000, rowtime_ms))


def _facts(feed: Feed, partitions: Sequence[PartitionState], version: int | None) -> FeedFacts:
    totals = sum_of(partition.totals for partition in partitions)
    table = TableState(
        delta_version=7,
        entry_checksum="0" * 16,
        created_at=NOW - dt.timedelta(days=100),
        last_commit_at=NOW - dt.timedelta(minutes=5),
        columns=(),
        partitions=tuple(partitions),
        totals=totals,
        current_version=version,
        topic=f"topic_{feed.name}" if feed.type == "stream" else None,
        bookmark={0: totals.row_count} if feed.type == "stream" else {},
        state=None if feed.type == "stream" else {"topic_a": {"0": (1, 2)}},
    )
    size = totals.size_bytes // max(1, totals.file_count)
    files = FileFacts((size,) * totals.file_count, f"date=2026-11-29/{feed.name}-0.parquet")
    return FeedFacts(feed_health(FeedState(feed, table), History(), NOW), files)


def page_of(
    *feeds: FeedFacts,
    runs: Sequence[RunEntry] = (),
    errors: Sequence[PipelineError] = (),
    warehouse: WarehouseFacts | None = None,
    now: dt.datetime = NOW,
    root: str = "/srv/lake",
    free_bytes: int = 10**10,
) -> PageFacts:
    """The facts of the page for a lake of these feeds; their health is as it is at that time, by these runs."""
    history = History.of(runs, now)
    judged = [feed_health(one.state, history, now, one.health.orphans, one.health.lag_rows) for one in feeds]
    shown = tuple(replace(one, health=health) for one, health in zip(feeds, judged, strict=True))
    health = lake_health(root, now, judged, history, Space(root, True, free_bytes), 10**9, errors)
    return PageFacts(health, shown, warehouse)


def made_up_page(seed: int) -> PageFacts:
    """A lake of up to eight feeds: empty ones, gaps, dates of times to come, no date, versions that came back."""
    random = Random(seed)
    feeds = [_looked_at(_any_feed(f"feed_{number}", random), random) for number in range(random.randint(0, 8))]
    errors = tuple(LakeDamaged(f"{n} cannot be read", "repair it") for n in range(random.choice((0, 0, 0, 2))))
    runs = tuple(_any_run(number, random) for number in range(random.choice((0, 1, 30))))
    return page_of(*feeds, runs=runs, errors=errors, warehouse=_any_warehouse(random))


def _looked_at(one: FeedFacts, random: Random) -> FeedFacts:
    """With what only a look at the disk and the source can tell."""
    orphans, lag_rows = Totals(0, 9000, random.choice((0, 3))), random.choice((None, 0, 12_345))
    return replace(one, health=replace(one.health, orphans=orphans, lag_rows=lag_rows))


def _any_totals(random: Random) -> Totals:
    if random.random() < 0.2:
        return Totals()
    rows = random.choice((random.randint(1, 9), random.randint(1, 10**6), random.randint(1, 10**12)))
    return Totals(rows, random.randint(1, 10**11), random.randint(1, 40))


def _any_feed(name: str, random: Random) -> FeedFacts:
    retention = random.choice((None, 1, 365))
    if random.random() < 0.1:
        empty = FeedState(Feed(name=name, type="stream", source=name, enabled=random.random() < 0.5), None)
        return FeedFacts(feed_health(empty, History(), NOW))
    if random.random() < 0.5:
        days = [_any_totals(random) for _ in range(random.choice((0, 1, 5, 70)))]
        last = NOW.date() + dt.timedelta(days=random.choice((-400, -1, 0, 0, 3)))
        made = stream_facts(name, days, last, retention_days=retention, min_rows_per_day=random.choice((None, 1)))
        odd = [_partition(odd, Totals(3, 10, 1), None) for odd in (None, "0001-01-01", "9999-12-31", "soon")]
        partitions = (*made.state.table.partitions, *random.sample(odd, random.randint(0, 2)))  # type: ignore[union-attr]
        return _facts(made.state.feed, partitions, None)
    versions = [_any_totals(random) for _ in range(random.choice((0, 1, 2, 7, 40)))]
    mapping, least = _any_mapping(name, random), random.choice((None, 10**6))
    made = table_facts(name, versions, retention_versions=retention, warehouse=mapping, min_rows=least)
    change = Differences(name, 1, 2, {"new": 3, "gone": 0, "changed": 1}, 1000, ()) if len(versions) > 1 else None
    return replace(made, change=change)


def _any_mapping(name: str, random: Random) -> WarehouseMapping | None:
    if random.random() < 0.3:
        return None
    columns = {f"column_{n}": f"c{n}" for n in range(random.choice((1, 3, 40)))}
    table = random.choice(("dim_a", "dim_b", None))
    dimension = DimensionMapping(table=table, key="k", columns={"k": "c0", "name": "n"}) if table else None
    return WarehouseMapping(fact=f"fact_{name}", keys=("column_0",), columns=columns, dimension=dimension)


def _any_run(number: int, random: Random) -> RunEntry:
    state, begun = random.choice(STATES), NOW - dt.timedelta(hours=number, minutes=random.randint(0, 50))
    words = ("metadata_utils.py verify --source", "export_to_data_lake.py --all", "sync_to_mysql.py 'a b")
    command = random.choice(words)
    findings = [{"feed": "feed_0", "what": "lost", "detail": "a file"}] * random.choice((0, 0, 3))
    result = {"feeds": ["feed_0"], "findings": findings, "errors": []} if "verify" in command else None
    result = {"feeds": [{"rows": random.randint(0, 10**7)}]} if "--all" in command else result
    errors = ({"message": f"error {number}", "hint": ""},) if state == "failed" else ()
    code = {"ok": 0, "failed": 1, "again later": 75}.get(state)
    return RunEntry(f"run-{number}", command, begun, state, NOW, code, 12.5, errors, result)


def _any_warehouse(random: Random) -> WarehouseFacts | None:
    kind = random.choice(("none", "away", "empty", "some"))
    if kind == "none":
        return None
    if kind == "away":
        return WarehouseFacts(error=WarehouseBusy("MySQL is away", "start it"))
    snapshots = [
        SnapshotEntry(n, NOW - dt.timedelta(days=9 - n), NOW, "lake", "complete", random.randint(0, 10**9), n % 2, ())
        for n in range(random.choice((1, 40)), 0, -1)
    ]
    return WarehouseFacts(tuple(snapshots) if kind == "some" else ())
