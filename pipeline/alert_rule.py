"""When a person is alerted: something is wrong that they do not know of yet, or all is well again.

What is wrong are the problems of health.py after the run. One that the next run may solve, as when a server is away, is
reported when the last good run is older than the feed's `max_age_hours`, or than `patience` without one. What lasts is
sent again each day. Which alerts were sent is in the ledger of runs: exports, syncs and verifications that are runs of
their own alert of the same problems, each once.
"""

from __future__ import annotations

import datetime as dt

from pipeline.alert import INTERRUPTED, MAY_PASS, Alert
from pipeline.findings import Finding
from pipeline.health import EXPORT_FAILED, NOT_WELL, Health

_AGAIN_AFTER = dt.timedelta(hours=20)
"""Less than a day, so that a lasting problem is reported every night."""


def due_alert(health: Health, exit_code: int, patience: dt.timedelta) -> Alert | None:
    """The alert that is due after a run which ended with `exit_code`, and which is in the health's history."""
    if exit_code == INTERRUPTED:
        return None
    problems = [one for one in health.problems if not _can_wait(one, health, exit_code, patience)]
    about = {f"{one.feed}: {one.what}" if one.feed else one.what for one in problems}
    about |= {error.message for error in health.errors}
    if not about and exit_code not in (0, *MAY_PASS):
        about = {"the run failed"}
    sent = next((run.alert for run in health.history.runs if run.alert is not None), None)
    if not about:
        return Alert(()) if exit_code == 0 and health.is_well and sent is not None and sent.about else None
    is_known = sent is not None and about <= set(sent.about) and health.at - sent.at < _AGAIN_AFTER
    return None if is_known else Alert(tuple(sorted(about)), tuple(problems))


def _can_wait(problem: Finding, health: Health, exit_code: int, patience: dt.timedelta) -> bool:
    """Whether the next run that takes the step may solve the problem, and a good one is not too long ago.

    `exit_code` is that of the step where the ledger has no run of it.
    """
    steps = {what: step for step, what in NOT_WELL.items()} | {EXPORT_FAILED: "export"}
    taken = health.history.taken.get(steps[problem.what], []) if problem.what in steps else []
    code = taken[0].run.exit_code if taken else exit_code
    if problem.what not in steps or code not in MAY_PASS:
        return False
    good = next((one.run.ended_at for one in taken if not one.trouble and one.run.ended_at is not None), None)
    for feed in health.feeds:
        if feed.feed.name == problem.feed:
            good = feed.exported_at
            patience = dt.timedelta(hours=feed.feed.max_age_hours) if feed.feed.max_age_hours else patience
    good = good or min((one.run.begun_at for one in taken), default=health.at)
    return health.at - good <= patience
