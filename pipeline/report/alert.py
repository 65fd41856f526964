"""An alert as JSON: `subject` and `text` can be sent as they are, the rest is for programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.alert import Alert
from pipeline.text import plural, rfc3339


def alert_json(
    alert: Alert,
    now: dt.datetime,
    place: Mapping[str, str],
    exit_code: int,
    errors: Sequence[Mapping[str, str]],
    result: Any,
) -> dict[str, Any]:
    """`place` has host, lake, run and command; `errors` and `result` are those of the run."""
    problems = [vars(problem) | {"feed": problem.feed or None} for problem in alert.problems]
    return {
        "schema_version": 1,
        "alert": "wrong" if alert.is_wrong else "well again",
        "subject": _subject(alert, place, problems, errors),
        "text": "\n".join(_lines(alert, place, exit_code, errors)),
        "at": rfc3339(now),
        **place,
        "exit_code": exit_code,
        "problems": problems,
        "errors": list(errors),
        "result": result,
    }


def _subject(
    alert: Alert, place: Mapping[str, str], problems: Sequence[Any], errors: Sequence[Mapping[str, str]]
) -> str:
    if not alert.is_wrong:
        return f"data lake on {place['host']}: all is well again"
    return f"data lake on {place['host']}: {plural(max(len(problems), len(errors), 1), 'problem')}"


def _lines(alert: Alert, place: Mapping[str, str], exit_code: int, errors: Sequence[Mapping[str, str]]) -> list[str]:
    lines = [
        f"{f'{problem.feed}: ' if problem.feed else ''}{problem.what}: {problem.detail}" for problem in alert.problems
    ]
    for error in errors:
        lines += [f"error: {error['message']}", *([f"hint: {error['hint']}"] if error.get("hint") else [])]
    lines += [] if alert.is_wrong else ["All is well again."]
    lines += ["", f"{place['command']} ended with exit code {exit_code}", f"lake: {place['lake']}"]
    return [*lines, f"run: {place['run']}", "look: python metadata_utils.py health"]
