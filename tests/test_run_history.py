"""What the ledger of runs stands for: which verification counts, and which of the runs at once is the last one."""

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


def export_of(words: str, begun: int, ended: int | None, code: int, **errors: str) -> RunEntry:
    """An export from one minute to another of the feeds `f` and `g`, or of those named; without an end it goes on."""
    feeds = [name for name in ("f", "g") if words == "--all" or f" {name}" in words]
    told = [
        {"feed": name, "status": "failed" if name in errors else "ok", "error": error_of(errors.get(name))}
        for name in feeds
    ]
    times = [NOW + dt.timedelta(minutes=minute) if minute is not None else None for minute in (begun, ended)]
    state = "running" if ended is None else {0: "ok", 75: "again later"}.get(code, "failed")
    said = tuple(one for name in errors if (one := error_of(errors[name])) is not None)
    command, result = f"export_to_data_lake.py {words}", {"feeds": told} if ended is not None else None
    assert times[0] is not None
    code_of_end = code if ended is not None else None
    return RunEntry(f"{begun}", command, times[0], state, times[1], code_of_end, 1.0, said, result)


def error_of(message: str | None) -> dict[str, str] | None:
    return None if message is None else {"message": message, "hint": ""}


def failed(*runs: RunEntry) -> tuple[dict[str, str], str]:
    """The feeds whose last export failed, with the reason, and what is wrong with the last export as a whole."""
    found = History.of(sorted(runs, key=lambda run: run.begun_at, reverse=True), NOW + dt.timedelta(hours=2))
    taken = found.taken.get("export", [])
    return {name: error["message"] for name, error in found.errors.items()}, taken[0].trouble if taken else ""


def test_of_runs_at_once_the_one_that_ended_last_says_how_the_export_was() -> None:
    whole, failed_before = export_of("--all", 0, 60, 0), export_of("--stream f", 10, 20, 1, f="gone")

    assert failed(whole, failed_before) == ({}, "")
    assert failed(export_of("--all", 0, 60, 1, f="gone"), export_of("--stream f", 10, 20, 0)) == ({"f": "gone"}, "")
    assert failed(whole, export_of("--stream f", 10, 70, 1, f="gone")) == ({"f": "gone"}, "")


def test_a_run_that_was_only_postponed_hides_none_that_ended_well_meanwhile() -> None:
    held = export_of("--stream f", 10, 70, 75, f="held by another run")

    assert failed(export_of("--all", 0, 60, 0), held) == ({}, "")
    assert failed(export_of("--all", 0, None, 0), held) == ({}, "")
    assert failed(export_of("--stream g", 0, None, 0), held)[0] == {"f": "held by another run"}
    assert failed(export_of("--all", 0, 5, 0), held)[0] == {"f": "held by another run"}
    assert failed(export_of("--all", 0, 60, 1, f="gone"), held)[0] == {"f": "held by another run"}


def test_a_second_run_of_all_feeds_at_once_is_no_trouble_unless_the_first_one_was_not_of_all() -> None:
    second = RunEntry(
        "2", "export_to_data_lake.py --all", NOW + dt.timedelta(minutes=10), "again later",
        NOW + dt.timedelta(minutes=70), 75, 1.0, ({"message": "held", "hint": ""},),
    )  # fmt: skip

    assert failed(export_of("--all", 0, 60, 0), second) == ({}, "")
    assert failed(export_of("--all", 0, None, 0), second) == ({}, "")
    assert failed(export_of("--stream f", 0, 60, 0), second) == ({}, "again later: held")


def test_a_command_that_was_refused_says_nothing_of_the_last_export_or_sync() -> None:
    good, bad = export_of("--all", 0, 5, 0), export_of("--all", 0, 5, 1, f="gone")
    refused = export_of("--table f --version 2000000001", 10, 11, 2, f="no version")
    sync = RunEntry(
        "3", "sync_to_mysql.py --source lake --at x", NOW + dt.timedelta(minutes=20), "failed",
        NOW + dt.timedelta(minutes=20), 2, 1.0, ({"message": "no such time", "hint": ""},),
    )  # fmt: skip
    partly = export_of("--stream f --stream g --date 2026-11-20", 10, 11, 2, f="has no rows to replace yet")

    assert failed(good, refused) == ({}, "")
    assert failed(bad, refused) == ({"f": "gone"}, "")
    assert failed(bad, partly) == ({"f": "gone"}, "")
    assert set(History.of([sync, good], NOW + dt.timedelta(hours=2)).taken) == {"export"}
    assert History.of([partly], NOW + dt.timedelta(hours=2)).exported_at.keys() == {"g"}
