"""A small, seeded run of each figure; `make torture` runs them at size."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.private_mysql import PrivateServer
from demo.private_process import ServerMissing
from pipeline.warehouse.server import Server
from tests.torture.answers import cut_answers
from tests.torture.bucket_kills import bucket_kills
from tests.torture.changed_cells import changed_cells
from tests.torture.clocks import wild_clocks
from tests.torture.crash_points import WAYS as COMMANDS
from tests.torture.crash_points import every_crash_point
from tests.torture.dying_nodes import dying_nodes
from tests.torture.exports import many_at_once, random_kills
from tests.torture.figures import Figure
from tests.torture.loads import killed_loads
from tests.torture.lying_stores import lying_stores
from tests.torture.page import write_row
from tests.torture.power_loss import WAYS, power_loss
from tests.torture.readers import check_complete
from tests.torture.three_ways import three_ways
from tests.torture.two_ways import two_ways
from tests.torture.values import check_lake, generate, generated_values
from tests.torture.victim import COMMIT_READERS, scene
from tests.torture.warehouse_values import check_warehouse

EXPERIMENTS: dict[str, Callable[[Path], Figure]] = {
    "F1": lambda folder: random_kills(folder, kills=6, seed=1),
    "F1-S3": lambda folder: random_kills(folder, kills=4, seed=1, place="bucket"),
    "F2": lambda folder: every_crash_point(folder, every=110),
    "F3": lambda _: cut_answers(rows=60, every=29),
    "F4": lambda folder: power_loss(folder, every=9, seed=1, ways=WAYS[:1]),
    "F5": lambda folder: many_at_once(folder, processes=4, rounds=1),
    "F5-S3": lambda folder: many_at_once(folder, processes=3, rounds=1, place="bucket"),
    "F6": lambda folder: killed_loads(folder, loads=4, seed=1),
    "F10": lambda folder: two_ways(folder, runs=6, seed=36, readers_every=9),
    "F11": lambda folder: lying_stores(folder, commits=60, seed=1),
    "F12": lambda folder: wild_clocks(folder, rounds=8, seed=1),
    "F13": lambda folder: dying_nodes(folder, snapshots=4, seed=1),
    "F14": lambda folder: bucket_kills(folder, every=40, processes=3, ways=COMMANDS[:1]),
    "F15": lambda folder: three_ways(folder, runs=1, seed=26),  # of Spark an executor is killed, then any run
    "F16": lambda folder: changed_cells(folder, cells=100, seed=1),
}


@pytest.mark.long
@pytest.mark.mysql
@pytest.mark.server
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.spark) if name == "F15" else name for name in EXPERIMENTS]
)
def test_figure_holds(name: str, tmp_path: Path) -> None:
    try:
        figure = EXPERIMENTS[name](tmp_path)
    except ServerMissing as error:
        pytest.skip(str(error))

    assert figure.holds, figure
    assert figure.name == name


@pytest.mark.server
def test_a_broken_promise_is_seen(tmp_path: Path) -> None:
    figure = Figure("F1", "a lake that lacks a file")
    with scene(tmp_path, rows=30) as stage:
        assert stage.run("--stream", "events") == 0
        source = stage.source_rows()
        check_complete(stage, figure, source, "before")
        assert not any(figure.wrong.values())
        source[(9, 9, 9)] = 1

        check_complete(stage, figure, source, "after")

    assert figure.wrong == {"lost rows": len(COMMIT_READERS) + 1, "duplicated rows": 0}  # by each reader
    assert not figure.holds


def test_the_page_keeps_the_rows_of_other_figures(tmp_path: Path) -> None:
    page, day = tmp_path / "page.md", dt.date(2026, 11, 20)
    page.write_text("before\n<!-- figures: written by the command -->\n\n<!-- end of figures -->\nafter\n")
    first, second, tenth = (Figure(name, "kills", ("lost rows",)) for name in ("F2-S3", "F2", "F10"))
    first.count("lost rows", "one", 3)

    for figure, full in ((tenth, True), (first, True), (second, True), (second, False)):
        write_row(page, figure, full, 7, day)

    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| F")]
    assert [(row[0], row[3], row[5]) for row in rows] == [
        ("| F2", "0 lost rows", "2026-11-20, small, seed 7, 0 s |"),
        ("| F2-S3", "3 lost rows", "2026-11-20, full, seed 7, 0 s |"),
        ("| F10", "0 lost rows", "2026-11-20, full, seed 7, 0 s |"),
    ]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")


@pytest.mark.mysql
@pytest.mark.server
def test_generated_values_are_the_same_at_every_reader_and_changed_ones_are_seen(
    tmp_path: Path, mariadb: PrivateServer
) -> None:
    figure = generated_values(tmp_path, 288, 1, {"MariaDB": lambda _: contextlib.nullcontext(mariadb)})

    assert figure.holds, figure
    assert (figure.name, figure.tried) == ("F7", 288)

    figure, (drawn,) = Figure("F7", "values that were changed"), generate(288, 1)
    other_way = dataclasses.replace(drawn, rows=drawn.rows[::-1])
    cells = zip(sum(drawn.rows, ()), sum(other_way.rows, ()), strict=True)
    changed = sum(repr(one) != repr(other) for one, other in cells)
    server = Server(host=mariadb.host, port=mariadb.port, user=mariadb.user, database="changed_values")

    check_lake(figure, tmp_path / "lake", other_way)
    check_warehouse(figure, "MariaDB", server, tmp_path / "lake", [other_way])

    assert changed > 200
    for reader in ("Parquet", "DuckDB", "pandas"):  # each of a stream and a table
        assert figure.wrong[f"differences in {reader}"] == 2 * changed
    assert figure.wrong["differences in MariaDB"] >= changed
