"""What F4 must see: a lake that kept less than it had to, or that shows more than it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.figures import Figure
from tests.torture.power_loss import PROMISES, WAYS, Crash, try_crash
from tests.torture.replay import Tree, read_tree
from tests.torture.victim import Scene, scene

pytestmark = pytest.mark.server
ENTRY = "streams/events/_delta_log/00000000000000000001.json"


def wrong_with(stage: Scene, whole: Tree, left: Tree) -> set[str]:
    figure = Figure("F4", "a tree that no disk may leave", PROMISES)
    contents = {"views.sql": (whole["views.sql"],)}
    try_crash(stage, figure, WAYS[0], Crash(left, "made up", frozenset({ENTRY}), contents), whole)
    return {what for what, count in figure.wrong.items() if count}


def test_trees_that_break_a_promise_are_counted(tmp_path: Path) -> None:
    with scene(tmp_path, rows=60, days=1) as stage:
        assert stage.run("--all") == 0
        whole = read_tree(stage.root)
        entry, file = whole[ENTRY], next(path for path in whole if path.endswith(".parquet") and "streams" in path)
        assert entry is not None

        lost = wrong_with(stage, whole, {path: data for path, data in whole.items() if path != ENTRY})
        assert "acknowledged commits lost" in lost
        assert {"acknowledged commits lost", "torn commits"} <= wrong_with(stage, whole, whole | {ENTRY: entry[:9]})
        assert "damaged tables" in wrong_with(stage, whole, whole | {file: b""})
        assert "files torn or too old" in wrong_with(stage, whole, whole | {"views.sql": b""})
