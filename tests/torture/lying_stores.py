"""F11: commits to an object store whose answers are lost, late, cut or invented."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import pyarrow as pa

from pipeline.errors import CommitStands, CommitUnknown, PipelineError
from pipeline.lake import bucket, object_store
from pipeline.lake.change import Change
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.source import Bookmark
from pipeline.verify.files import check_files
from tests.lake.small_tables import DAY_MS, NOW, SCHEMA, stream_feed
from tests.lying_store import DONE, NOT_DONE, Fault, LyingStore, lying_store
from tests.private_seaweedfs import running_seaweedfs
from tests.torture.figures import Figure
from tests.torture.victim import stopwatch

STREAM = stream_feed()
_FAULTS: tuple[Fault, ...] = (*DONE, *NOT_DONE, "late")
_STORM: tuple[Fault, ...] = (*NOT_DONE, "late")
_OF_ENTRIES, _OF_OTHERS, _STORMS = 0.6, 0.02, 0.2
"""The shares of requests that go wrong: those that write log entries, and all others; and of runs in a storm, in which
no entry is written in time.
"""
_LATE_S = (0.1, 0.3, 1)
"""How late a request arrives: while its run asks again, or after that run has given up and another has begun."""
_SHORT = {"init_backoff": dt.timedelta(milliseconds=10)}
Claim = Literal["done", "denied", "unknown"]


@dataclass
class Claims:
    """What each commit was said to be."""

    of: dict[str, Claim] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new_id(self) -> str:
        with self.lock:
            name = f"20261120T060000Z-{len(self.of) + 1:08x}"
            self.of[name] = "denied"
        return name


def lying_stores(folder: Path, commits: int, seed: int) -> Figure:
    """So many commits, by runs that hold the feed and by runs that do not and race each other."""
    what = "commits to S3 (SeaweedFS) behind a proxy that loses, delays, cuts and invents answers"
    promises = ("lost rows", "doubled rows", "rows from nowhere", "commits denied that stand")
    figure = Figure("F11", what, (*promises, "commits claimed that do not stand", "findings"), unit="commits")
    started, rng, claims = time.monotonic(), random.Random(seed), Claims()
    with (
        patch.object(object_store, "_PAUSES_S", (0.01,) * 5),
        patch.dict(bucket._RETRIES, {"max_retries": 9, "backoff": bucket._RETRIES["backoff"] | _SHORT}),
        running_seaweedfs(folder) as server,
        lying_store(server.url) as proxy,
    ):
        true = Lake("s3://lakes/f11", lambda _: None, 0, access=server.access)
        with true.writing(STREAM, {}) as table:
            table.create(SCHEMA, "topic")
        lake = Lake("s3://lakes/f11", lambda _: None, 0, access=proxy.access(server.access))
        while len(claims.of) < commits:
            proxy.decide, proxy.late_s = _faults(rng, rng.random() < _STORMS), rng.choice(_LATE_S)
            rng.choice((_hold, _race))(lake, claims)
        proxy.decide = lambda _method, _path: ""
        proxy.wait_for_late()
        with true.writing(STREAM, {}) as table:
            _compare(figure, table, claims)
            figure.details = _details(table, claims, proxy)
    figure.tried, figure.seconds = len(claims.of), stopwatch(started)
    return figure


def _faults(rng: random.Random, is_storm: bool) -> Callable[[str, str], Fault]:
    lock = threading.Lock()

    def decide(method: str, path: str) -> Fault:
        is_entry = method == "PUT" and "/_delta_log/" in path
        with lock:
            if is_entry and is_storm:
                return rng.choice(_STORM)
            return rng.choice(_FAULTS) if rng.random() < (_OF_ENTRIES if is_entry else _OF_OTHERS) else ""

    return decide


def _hold(lake: Lake, claims: Claims) -> None:
    """A run that holds the feed, cleans it, and commits three times."""
    with suppress(PipelineError), lake.writing(STREAM, {}) as table:
        for _ in range(3):
            _commit(table, claims)


def _race(lake: Lake, claims: Claims) -> None:
    """Three runs that hold nothing, as if each had lost the feed to another and did not know."""

    def run() -> None:
        with suppress(PipelineError):
            _commit(lake.table(STREAM), claims)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(run) for _ in range(3)]:
            done.result()


def _commit(table: LakeTable, claims: Claims) -> None:
    """Commits the next rows of the source: two of each partition, of which each value follows from its place."""
    name = claims.new_id()
    marks = {partition: table.bookmarks().get(partition, (0, None))[0] for partition in range(2)}
    places = [(partition, mark + n) for partition, mark in marks.items() for n in range(2)]
    rows = [dict(zip(SCHEMA.names, _row(*place), strict=True)) for place in places]
    writer = StagedWriter(table.staging_folder(name), SCHEMA, date_column="rowtime")
    writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    change = Change(
        adds=writer.finish(),
        bookmarks={partition: Bookmark(mark + 2, _row(partition, mark + 1)[0]) for partition, mark in marks.items()},
        partitions=2,
        note={"kind": "stream", "commit": name},
    )
    claim: Claim = "denied"
    try:
        table.commit(name, change, NOW)
        claim = "done"
    except CommitStands:
        claim = "done"
    except CommitUnknown:
        claim = "unknown"
        raise
    finally:
        claims.of[name] = claim


def _row(partition: int, offset: int) -> tuple[int, int, int, str]:
    return (offset // 100 * DAY_MS, partition, offset, f"{partition}/{offset}")


def _compare(figure: Figure, table: LakeTable, claims: Claims) -> None:
    """The lake, read truly, with the source and with what was said of each commit."""
    there = _commits_in(table)
    for name, claim in claims.of.items():
        figure.count("commits denied that stand", name, int(claim == "denied" and name in there))
        figure.count("commits claimed that do not stand", name, int(claim == "done" and name not in there))
    readable = [file for file in table.files if table.store.size(file.path) is not None]
    found = Counter(tuple(row.values()) for batch in table.read_batches(readable) for row in batch.to_pylist())
    due = {_row(partition, n) for partition, mark in table.bookmarks().items() for n in range(mark.next_offset)}
    figure.count("lost rows", "at the end", len(due - found.keys()))
    figure.count("doubled rows", "at the end", sum(found.values()) - len(found))
    figure.count("rows from nowhere", "at the end", len(found.keys() - due))
    for finding in check_files(table).findings:
        figure.count("findings", finding.detail)


def _commits_in(table: LakeTable) -> set[str]:
    return {(entry.get("pipeline") or {}).get("commit", "") for entry in table.history()}


def _details(table: LakeTable, claims: Claims, proxy: LyingStore) -> str:
    unknown = {name for name, claim in claims.of.items() if claim == "unknown"}
    claimed = Counter(claims.of.values())
    wrong = sum(proxy.counted[fault] for fault in _FAULTS)
    asked = sum(proxy.counted[method] for method in ("GET", "HEAD", "PUT", "POST", "DELETE"))
    outcomes = ", ".join(f"{claimed[claim]:,} {claim}" for claim in ("done", "denied", "unknown"))
    outcomes += f" ({len(unknown & _commits_in(table)):,} of them stand)"
    return f"{outcomes}; {wrong:,} of {asked:,} requests went wrong, in {len(_FAULTS)} ways"
