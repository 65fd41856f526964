"""Each bad day of F8 and F9 by itself; `make torture` counts the same cases, and lets every write fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.private_mysql import PrivateServer
from ksqldb_emulator.faults import Fault
from tests.torture import broken_places, failing_disk, odd_sources
from tests.torture.figures import Figure
from tests.torture.trial import PROMISES, Case, Trial, try_case
from tests.torture.victim import COMMIT_READERS

pytestmark = pytest.mark.server


@pytest.fixture
def figure() -> Figure:
    return Figure("F", "one case", PROMISES)


# Left to `make torture` for its ten seconds; tests/ksqldb/test_stop_rule.py has the rule, on recorded progress.
QUICK = [case for case in odd_sources.CASES if case is not odd_sources.tasks_that_move_between_threads]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.__name__)
def test_what_a_server_does_is_recognised(case: Case, figure: Figure, tmp_path: Path) -> None:
    try_case(case, figure, tmp_path)

    assert figure.holds, figure


@pytest.mark.mysql
@pytest.mark.parametrize("case", broken_places.CASES, ids=lambda case: case.__name__)
def test_a_place_that_fails_is_told(case: Case, figure: Figure, tmp_path: Path, mariadb: PrivateServer) -> None:
    mysql = {"MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port), "MYSQL_USER": mariadb.user}

    try_case(case, figure, tmp_path, mysql=mysql)

    assert figure.holds, figure


@pytest.mark.long
@pytest.mark.mysql
def test_the_figures_count_cases_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odd_sources, "CASES", (odd_sources.duplicated_rows_of_a_stream,))
    monkeypatch.setattr(broken_places, "CASES", (broken_places.mysql_away,))
    monkeypatch.setattr(failing_disk, "WAYS", [failing_disk.WAYS[1], failing_disk.WAYS[-1]])

    sources = odd_sources.odd_sources(tmp_path)
    places = broken_places.broken_places(tmp_path, every=17)

    assert sources.holds, sources
    assert places.holds, places
    assert (sources.name, sources.tried, places.name) == ("F8", 1, "F9")
    assert places.tried >= 4
    assert re.fullmatch(r"mysql away; ENOSPC at \d+ steps of 2 commands, one in 17", places.details)


def test_a_case_that_is_not_handled_as_documented_is_counted(figure: Figure, tmp_path: Path) -> None:
    def shows_it_all(trial: Trial) -> None:
        trial.expect_done(trial.run("--all"))
        trial.stage.add_rows(2)
        trial.expect_complete()
        trial.stage.emulator.faults.add(Fault("push", idle_after=0))
        trial.expect_error(trial.run("--stream", "events", STALL_S="0.5"), 1, "no such words")
        trial.expect_done(trial.run("--stream", "nope"))
        trial.expect_hidden("POSSIBLE")
        (trial.folder / "said").write_text("IMPOSSIBLE", encoding="utf-8")
        trial.expect_hidden("POSSIBLE")

    try_case(shows_it_all, figure, tmp_path)

    assert {what: count for what, count in figure.wrong.items() if count} == {
        "lost rows": 2 * (len(COMMIT_READERS) + 1),
        "changed rows": 2,
        "reported wrongly": 3,
        "runs that did not resume": 1,
    }
