"""When a person is alerted: something is wrong that they do not know of yet, or all is well again.

What is wrong are the problems of health.py after the run. One that the next run may solve, as when a server is away, is
reported when the last good run is older than the feed's `max_age_hours`, or than `patience` without one. What lasts is
sent again each day. Which alerts were sent is in the ledger of runs.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.child_process import run_bounded
from pipeline.errors import NoticeNotSent
from pipeline.findings import Finding
from pipeline.health import EXPORT_FAILED, RUN_NOT_WELL, Health
from pipeline.run_history import is_export

LIMIT_S = 60.0
_AGAIN_AFTER = dt.timedelta(hours=20)
"""Less than a day, so that a lasting problem is reported every night."""
_INTERRUPTED, _MAY_PASS = 130, (75, 143)


@dataclass(frozen=True)
class Alert:
    """What a person is alerted of. `about` names what is wrong, by feed and kind; nothing where all is well again."""

    about: tuple[str, ...]
    problems: tuple[Finding, ...] = ()

    @property
    def is_wrong(self) -> bool:
        return bool(self.about)


def without_health(exit_code: int) -> Alert | None:
    """The alert of a run after which the lake cannot be looked at."""
    return None if exit_code in (0, _INTERRUPTED, *_MAY_PASS) else Alert(("the run failed",))


def due_alert(health: Health, exit_code: int, patience: dt.timedelta) -> Alert | None:
    """The alert that is due after a run which ended with `exit_code`, and which is in the health's history."""
    if exit_code == _INTERRUPTED:
        return None
    may_pass = exit_code in _MAY_PASS
    problems = [one for one in health.problems if not (may_pass and _can_wait(one, health, patience))]
    about = {f"{one.feed}: {one.what}" if one.feed else one.what for one in problems}
    about |= {error.message for error in health.errors}
    if not about and exit_code and not may_pass:
        about = {"the run failed"}
    sent = next((run.alert for run in health.history.runs if run.alert is not None), None)
    if not about:
        return Alert(()) if exit_code == 0 and sent is not None and sent.about else None
    is_known = sent is not None and about <= set(sent.about) and health.at - sent.at < _AGAIN_AFTER
    return None if is_known else Alert(tuple(sorted(about)), tuple(problems))


def _can_wait(problem: Finding, health: Health, patience: dt.timedelta) -> bool:
    """Whether the next run may solve the problem, and a good run is not too long ago."""
    if problem.what not in (EXPORT_FAILED, RUN_NOT_WELL):
        return False
    exports = [run for run in health.history.runs if is_export(run)]
    good = next((run.ended_at for run in exports if run.exit_code == 0), None)
    for one in health.feeds:
        if one.feed.name == problem.feed:
            good = one.exported_at
            patience = dt.timedelta(hours=one.feed.max_age_hours) if one.feed.max_age_hours else patience
    good = good or min((run.begun_at for run in exports), default=health.at)
    return health.at - good <= patience


def send(command: str, summary: Mapping[str, Any], limit_s: float = LIMIT_S) -> None:
    """Runs the command, without a shell, with the summary as JSON on its stdin.

    Raises NoticeNotSent when it cannot be run, fails, or is killed after `limit_s` seconds.
    """
    try:
        words = shlex.split(command)
        ended = run_bounded(words, limit_s, json.dumps(summary, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, IndexError):
        raise _failure("it is no command line") from None
    except OSError as error:
        raise _failure(f"{words[0]} cannot be run: {os.strerror(error.errno or 0)}") from None
    except subprocess.TimeoutExpired:
        raise _failure(f"{words[0]} took longer than {limit_s:g} s and was killed") from None
    if ended.exit_code:
        raise _failure(f"{words[0]} {ended}")


def _failure(what: str) -> NoticeNotSent:
    return NoticeNotSent(f"the alert command failed: {what}", "run it by hand with a line of JSON on its stdin")
