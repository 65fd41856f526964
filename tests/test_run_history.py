"""What verifications stand for: one that read no file hides nothing that was found in one."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pipeline.health import FOUND_WRONG, lake_health
from pipeline.lake.runs import RunEntry
from pipeline.lake.store import Space
from pipeline.run_history import History

NOW = dt.datetime(2026, 11, 20, 6, 0, tzinfo=dt.UTC)
NOTHING: dict[str, Any] = {"feeds": ["events", "totals"], "findings": [], "errors": []}
FOUND = NOTHING | {"findings": [{"feed": "events", "what": "file is missing", "detail": "x"}]}


def proved(*verified: tuple[str, dict[str, Any]]) -> History:
    """The history of these verifications, oldest first."""
    runs = []
    for number, (words, result) in enumerate(verified):
        at = NOW - dt.timedelta(hours=len(verified) - number)
        runs.append(RunEntry(str(number), f"metadata_utils.py verify{words}", at, "ok", at, 0, 1.0, (), result))
    return History.of(reversed(runs), NOW)


def problems(*verified: tuple[str, dict[str, Any]]) -> int:
    space = Space("lake", True, None)
    found = lake_health("lake", NOW, (), proved(*verified), space, 0).problems
    return sum(problem.what == FOUND_WRONG for problem in found)


def test_a_look_at_the_logs_hides_nothing_that_reading_found() -> None:
    deep, plain = FOUND | {"files_read": "all"}, NOTHING | {"files_read": "no"}

    assert problems((" --deep", deep), ("", plain)) == 1
    assert problems((" --deep", deep), (" --deep", NOTHING | {"files_read": "all"})) == 0


def test_what_a_look_at_the_logs_found_counts_until_all_is_looked_at_again() -> None:
    wrong, named = FOUND | {"files_read": "no"}, NOTHING | {"files_read": "no", "feeds": ["totals"]}

    assert problems(("", wrong), (" totals", named)) == 1
    assert problems(("", wrong), ("", NOTHING | {"files_read": "no"})) == 0
    assert problems(("", wrong), (" --deep", NOTHING | {"files_read": "all"})) == 0


def test_records_from_before_files_read_were_of_all_files() -> None:
    assert set(proved(("", NOTHING)).proofs) == {"files"}
    assert set(proved((" --since 2026-11-19", NOTHING)).proofs) == {"new files"}
    assert set(proved((" --source", NOTHING | {"files_read": "no"})).proofs) == {"logs", "source"}
