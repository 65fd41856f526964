"""An export from the toy source; as a program one that is killed at a commit: ROOT ROWS before|after [WORKERS]."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.export.commit import Run
from pipeline.export.processes import Processes
from pipeline.export.run import ExportRequest, FeedResult, export_feeds
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.table import LakeTable
from pipeline.limits import Limits, ReadPolicy
from tests.export.toy_source import Row, ToySource, ToyStream
from tests.support import lake_at

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
START_MS, DAY_MS = 1_763_600_000_000, 86_400_000
STREAM = parse_feed({"name": "toy", "type": "stream", "source": "TOY"}, "toy")
TABLE = parse_feed({"name": "toys", "type": "table", "source": "TOYS"}, "toys")
KILLED = 9


def rows(count: int) -> tuple[Row, ...]:
    """In two topic partitions, over three days; offsets have gaps."""
    return tuple((START_MS + n % 3 * DAY_MS + n, n % 2, n // 2 * 2, f"v{n}") for n in range(count))


def toy(count: int) -> ToySource:
    return ToySource(ToyStream(rows(count)))


def a_run(number: int = 0, tell: Callable[[str], None] = lambda _: None, workers: int = 1) -> Run:
    policy = ReadPolicy(0, 5, 0.2, sleep=lambda _: None)
    return Run(
        f"20261120T000000Z-{number:08x}", NOW, Limits(), 4, policy, max_expire=1, tell=tell, engine=Processes(workers)
    )


def export(
    root: Path,
    source: ToySource,
    feed: Feed = STREAM,
    number: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    workers: int = 1,
    **request: Any,
) -> FeedResult:
    wanted, holder = ExportRequest(**request), {"command": "test", "pid": str(os.getpid())}
    run = replace(a_run(number, tell, workers), accept_gap=wanted.accept_gap)
    (result,) = export_feeds(source, lake_at(root, 0), [feed], run, wanted, holder, lambda _: None)
    return result


def _die_at_a_commit(when: str) -> None:
    commit = LakeTable.commit

    def and_die(*arguments: Any) -> int:
        if when == "after":
            commit(*arguments)
        os._exit(KILLED)

    LakeTable.commit = and_die  # type: ignore[method-assign] # this process is there to be killed


if __name__ == "__main__":
    _die_at_a_commit(sys.argv[3])
    processes = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    toy = ToySource(ToyStream(rows(int(sys.argv[2])), seeks=processes > 1))
    error = export(Path(sys.argv[1]), toy, number=os.getpid(), workers=processes).error
    sys.exit(0 if error is None else str(error))
