"""F13: table snapshots while a node of the ksqlDB cluster dies; and the cases of it that F8 has.

The minute after a death is the recorded one of a real cluster with its times scaled down, and with them the limits of
the exports: what is short is short for as many pauses as with the real times.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ksqldb_emulator.cluster import BadMinute, Phase, Pull
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import Feed, parse_feed
from tests.expected import expected_rows, lake_rows
from tests.support import lake_at
from tests.torture.figures import Figure
from tests.torture.trial import Case, Done, Trial
from tests.torture.victim import Scene, stopwatch

SCALE = 0.03
_LIMITS = {
    "SNAPSHOT_RECHECK_S": str(5 * SCALE),
    "SNAPSHOT_WAIT_S": str(180 * SCALE),
    "KSQLDB_TIMEOUT_S": "2",
    "KSQLDB_RETRY_S": "2",
}
_FOR_EVER = 1e9
_LIVES = 5
"""Snapshots of a table in one lake before the next lake begins, with a first one."""


def node_dying_before_the_first_snapshot(trial: Trial) -> None:
    _two_nodes(trial).cluster.kill_node(BadMinute(scale=SCALE))
    trial.expect_done(trial.run("--all", **_LIMITS | {"SNAPSHOT_WAIT_S": "60"}))
    trial.expect_complete()


def node_dying_before_a_later_snapshot(trial: Trial) -> None:
    emulator = _two_nodes(trial)
    trial.expect_done(trial.run("--all", **_LIMITS))
    emulator.cluster.kill_node(BadMinute(scale=SCALE))
    trial.expect_done(trial.run(*TABLE, **_LIMITS | {"SNAPSHOT_WAIT_S": "60"}))
    trial.expect_complete()


def node_that_stays_dead(trial: Trial) -> None:
    """Nobody takes over its tasks: nothing is published, neither in place of nothing nor of the last snapshot."""
    emulator = _two_nodes(trial)
    dead = BadMinute(seen_s=0, returning_s=_FOR_EVER, moved_s=_FOR_EVER, restored_s=_FOR_EVER, scale=SCALE)
    for attempt in ("the first", "a later"):
        emulator.cluster.kill_node(dead)
        done = trial.run(*TABLE, **_LIMITS)
        trial.expect_error(done, 75, "could not be read whole within", "127.0.0.1:8089 is UNRESPONSIVE")
        if "shrink" in done.err:
            trial.wrong("reported wrongly", f"{attempt} snapshot: a loss is proposed: {done.err[-500:]!r}")
        emulator.cluster.start_nodes(2)
        trial.expect_done(trial.run("--all", **_LIMITS))
        trial.expect_complete()


def table_whose_query_is_paused(trial: Trial) -> None:
    emulator = _two_nodes(trial)
    trial.expect_done(trial.run("--all", **_LIMITS))
    emulator.cluster.paused = True
    trial.expect_error(trial.run(*TABLE, **_LIMITS), 1, "which writes the table, is paused", "RESUME CTAS_LATEST_1;")
    trial.expect_complete()
    emulator.cluster.paused = False
    trial.expect_done(trial.run(*TABLE, **_LIMITS))


TABLE = ("--table", "latest")
CASES: tuple[Case, ...] = (
    node_dying_before_the_first_snapshot,
    node_dying_before_a_later_snapshot,
    node_that_stays_dead,
    table_whose_query_is_paused,
)


def _two_nodes(trial: Trial) -> Emulator:
    trial.stage.emulator.cluster.start_nodes(2)
    source = trial.stage.emulator.source("LATEST")
    assert source.write_query is not None
    grouped = replace(source.write_query, repartition="Aggregate-GroupBy-repartition")
    trial.stage.emulator.replace_source(replace(source, partitions=3, write_query=grouped))
    return trial.stage.emulator


def dying_nodes(folder: Path, snapshots: int, seed: int) -> Figure:
    """Exports four tables in turn, each time with a node that dies at a random moment before, in or after the read.

    In half of them it dies under the first or the second pull; one death in ten lasts longer than an export waits.
    """
    promises = ("wrong snapshots", "exit codes other than 0 and 75", "losses that a hint proposes")
    figure = Figure("F13", "snapshots of four tables, a node of the cluster dying at random", promises)
    figure.unit, started, draw = "snapshots", time.monotonic(), random.Random(seed)
    with running(_dataset()) as emulator:
        emulator.cluster.random = random.Random(seed)
        feeds = [_feed(source) for source in emulator.tables()]
        codes = Counter[int]()
        firsts = 0
        for number in range(snapshots):
            feed, life = feeds[number % len(feeds)], number // (len(feeds) * _LIVES)
            root = folder / f"lake-{life}"
            if not (root / "feeds").exists():
                for each in feeds:
                    lake_at(root).feeds.add(each)
            firsts += not lake_at(root).table(feed).exists
            _change_rows(emulator.source(feed.source), draw)
            emulator.cluster.start_nodes(2)
            stage = Scene(root, emulator, feed, feed)
            codes[_export(stage, feed, folder, figure, number, draw)] += 1
        pulls, looks = emulator.cluster.pulls, emulator.cluster.looks
    figure.tried = snapshots
    lacking, hung = pulls[Pull.SHORT] + pulls[Pull.EMPTY], pulls[Pull.HANGING] + pulls[Pull.SILENT]
    figure.details = (
        f"{firsts} first ones; {codes[75]} refused with exit code 75; {looks.total() - looks[Phase.WHOLE]} of "
        f"{looks.total()} looks and {pulls.total() - pulls[Pull.WHOLE]} of {pulls.total()} pulls met the dying node: "
        f"{lacking} lacked rows with status 200, {pulls[Pull.FAILING]} ended with an error, {hung} hung"
    )
    figure.seconds = stopwatch(started)
    return figure


def _export(stage: Scene, feed: Feed, folder: Path, figure: Figure, number: int, draw: random.Random) -> int:
    """Exports one table, and counts what it published wrongly; returns the exit code."""
    before, when = lake_at(stage.root).table(feed).current_version, f"snapshot {number} of {feed.name}"
    output = folder / "output"
    asked = len(stage.emulator.requests)
    process = stage.start("--table", feed.name, output=output, **_LIMITS)
    while process.is_alive() and len(stage.emulator.requests) == asked:
        time.sleep(0.002)
    minute = _minute(draw, lasting=number % 10 == 9)
    if number // 4 % 2:
        stage.emulator.cluster.kill_node(minute, at_pull=draw.randint(1, 2))
    else:
        stage.emulator.cluster.kill_node(minute, in_s=draw.uniform(-55, 12) * SCALE)
    process.join()
    done = Done.read(int(process.exitcode or 0), output)
    published = lake_at(stage.root).table(feed).current_version != before
    if done.code not in (0, 75) or published != (done.code == 0):
        figure.count("exit codes other than 0 and 75", f"{when}: {done.code}, published {published}: {done.err[-800:]}")
    if "--allow-shrink" in done.err:
        figure.count("losses that a hint proposes", f"{when}: {done.err[-800:]}")
    if published:
        wanted, seen = expected_rows(stage.emulator.source(feed.source)), lake_rows(stage.root, feed)
        figure.count("wrong snapshots", f"{when}: {seen.total()} of {wanted.total()} rows", int(wanted != seen))
    return done.code


def _minute(draw: random.Random, lasting: bool) -> BadMinute:
    """As long as the deaths that were seen: 45 to 60 s, seen within half a second, a second of restoring at its end."""
    moved_s = draw.uniform(45, 58) + (600 if lasting else 0)
    return BadMinute(
        seen_s=draw.uniform(0, 0.5),
        returning_s=moved_s - draw.uniform(2, 12),
        moved_s=moved_s,
        restored_s=moved_s + draw.uniform(0, 1.5),
        scale=SCALE,
    )


def _dataset() -> Dataset:
    """One stream and four tables that queries write from it: with 1, 2, 3 and 6 partitions, two of them regrouped."""
    columns = (
        Column("K", parse_type("STRING"), "KEY"),
        Column("N", parse_type("BIGINT")),
        Column("TEXT", parse_type("STRING")),
    )
    records = [Record(n % 3, n // 3, n, {"K": f"k{n}", "N": n, "TEXT": "x"}) for n in range(120)]
    sources, queries = [], []
    for name, partitions, between in (
        ("ONE", 1, "Aggregate-GroupBy-repartition"),
        ("TWO", 2, ""),
        ("THREE", 3, "Aggregate-GroupBy-repartition"),
        ("SIX", 6, ""),
    ):
        topic = f"events_{partitions}"
        query = Query(f"CTAS_{name}_1", f"CREATE TABLE {name} ...", (name,), (name.lower(),), (topic,), between)
        rows = [replace(record, partition=n % partitions, offset=n // partitions) for n, record in enumerate(records)]
        stream = Source(f"EVENTS_{partitions}", "STREAM", columns, topic, partitions, rows, read_queries=(query,))
        table = Source(name, "TABLE", columns, name.lower(), partitions, list(rows), write_query=query)
        sources += [stream, table]
        queries.append(query)
    return Dataset(sources)


def _feed(source: Source) -> Feed:
    name = source.name.lower()
    return parse_feed({"name": name, "type": "table", "source": source.name, "retention_versions": 3}, name)


def _change_rows(source: Source, draw: random.Random) -> None:
    """Other values for some keys, and now and then a new key: a table of another size in each snapshot."""
    for _ in range(draw.randrange(4)):
        last = source.records[-1]
        key = draw.randrange(120 + draw.randrange(12))
        values = {"K": f"k{key}", "N": draw.randrange(10**6), "TEXT": "y"}
        source.records.append(replace(last, offset=last.offset + 1, values=values))
