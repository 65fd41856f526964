"""What a lake has of the toys, and runs that are killed at each of their commits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.testing import PATIENCE_S
from pipeline.feeds import Feed
from pipeline.limits import Limits
from pipeline.verify.files import check_files
from pipeline.verify.source import check_source
from tests.export.toy_run import KILLED, STREAM
from tests.export.toy_source import ToySource
from tests.forked import run_forked
from tests.support import ROOT, lake_at

TOY_RUN = ROOT / "tests" / "export" / "toy_run.py"


def rows_there(root: Path, feed: Feed = STREAM) -> Counter[tuple[Any, ...]]:
    table = lake_at(root).table(feed)
    return Counter(tuple(row.values()) for batch in table.read_batches(table.files) for row in batch.to_pylist())


def what_is_wrong(root: Path, source: ToySource, feed: Feed = STREAM) -> list[Any]:
    table = lake_at(root).table(feed)
    return [*check_files(table).findings, *check_source(source, table, Limits()).findings]


def runs_killed_at_commits(root: Path, count: int, ways: Iterable[str], workers: int = 1) -> int:
    """Runs until one comes to its end, each of the others killed before or after a commit; returns how many were."""
    for killed, when in enumerate(ways):
        arguments = [str(root), str(count), when, str(workers)]
        code = run_forked(TOY_RUN, arguments, os.environ, ROOT, PATIENCE_S).returncode
        assert code in (0, KILLED)
        if code == 0:
            return killed
    pytest.fail("the runs never came to an end")
