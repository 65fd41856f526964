"""Is the lake well: is each feed as fresh and as large as it has to be, and is there room? Changes nothing.

What a feed has comes from its log, what became of its exports and verifications from the ledger of runs. A feed has
limits of its own (`max_age_hours`, `min_rows_per_day`, `min_rows`); one without them is judged by its last export.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.export.plan import stream_of
from pipeline.faults import collected
from pipeline.feeds import Feed
from pipeline.findings import Finding
from pipeline.lake.lake import Lake
from pipeline.lake.leftovers import find_orphans
from pipeline.lake.metadata import FeedState, Totals, describe_feed
from pipeline.lake.store import Space
from pipeline.lake.table import LakeTable
from pipeline.progress import Progress
from pipeline.run_history import History, Proof, Step
from pipeline.source import OpenSources, Sources
from pipeline.text import moment_of, size_text

EXPORT_FAILED = "the last export failed"
NOT_WELL: Mapping[Step, str] = {
    "export": "the last export did not end well",
    "sync": "the last sync did not end well",
    "verification": "the last verification did not end well",
}
"""Problems of the last run that took a step; as the one before, the next one may solve them."""
LAST_EXPORT, NEWEST = "the last good export", {"stream": "the newest row", "table": "the current version"}
TOO_OLD, MISSING = " is too old", " is missing"
"""What may be wrong with the moments of a feed: the two before, followed by one of these."""
TOO_FEW, FOUND_WRONG, LITTLE_ROOM = "too few rows", "the last verification found problems", "little room is left"

_NOTHING = Totals()


@dataclass(frozen=True)
class FeedHealth:
    """How a feed is. `judged_rows` are those of the last day that is over (streams) or of the current version (tables).

    `exported_at` is when the last good export ended, `error` why the last one failed; `lag_rows` are offsets that the
    source has and the lake has not, None where nobody asked or the source cannot say.
    """

    state: FeedState
    exported_at: dt.datetime | None
    newest_at: dt.datetime | None
    judged_rows: int
    orphans: Totals
    error: Mapping[str, str] | None
    lag_rows: int | None = None

    @property
    def feed(self) -> Feed:
        return self.state.feed

    @property
    def min_rows(self) -> int | None:
        """The least that `judged_rows` may be, by the feed's own limit."""
        return self.feed.min_rows_per_day if self.feed.type == "stream" else self.feed.min_rows


@dataclass(frozen=True)
class Health:
    """How the lake is; `problems` are what a person has to see to, those of a feed with its name."""

    at: dt.datetime
    root: str
    feeds: tuple[FeedHealth, ...]
    problems: tuple[Finding, ...]
    space: Space
    min_free_bytes: int
    history: History
    errors: tuple[PipelineError, ...] = ()

    @property
    def is_well(self) -> bool:
        return not self.problems and not self.errors

    def problems_of(self, feed: str) -> list[Finding]:
        """What is wrong with a feed; with the name "" what is wrong with the lake."""
        return [problem for problem in self.problems if problem.feed == feed]


def look_at(
    lake: Lake,
    feeds: Sequence[Feed],
    unreadable: Iterable[PipelineError],
    now: dt.datetime,
    min_free_bytes: int,
    source: OpenSources | None = None,
    progress: Progress | None = None,
) -> Health:
    """Looks at all of it; a feed that cannot be read stops no other. A `source` is asked how far it is.

    `progress` shows the feed that is looked at.
    """
    errors, found, history, progress = list(unreadable), list[FeedHealth](), History(), progress or Progress()
    with collected("runs", errors):
        history = History.of(lake.runs.newest_first(), now)
    lags = _lags(lake, feeds, source, errors) if source is not None else {}
    for feed in feeds:
        with progress.at(feed.name, "looking"), collected(feed.name, errors):
            table = lake.table(feed)
            found.append(feed_health(describe_feed(table), history, now, _orphans_of(table), lags.get(feed.name)))
    return lake_health(str(lake), now, found, history, lake.space(), min_free_bytes, errors)


def feed_health(
    state: FeedState, history: History, now: dt.datetime, orphans: Totals = _NOTHING, lag_rows: int | None = None
) -> FeedHealth:
    """How a feed is by its state and what became of its exports."""
    feed, described = state.feed, state.table
    partitions = described.partitions if described else ()
    if feed.type == "stream":
        judged = str(_yesterday(now))
        newest = [moment for one in partitions if one.rowtime_ms and (moment := moment_of(one.rowtime_ms[1]))]
    else:
        judged = str(described.current_version) if described else ""
        newest = [one.added_at for one in partitions if one.partition == judged]
    return FeedHealth(
        state,
        history.exported_at.get(feed.name) or (described.last_commit_at if described else None),
        max(newest, default=None),
        sum(one.totals.row_count for one in partitions if one.partition == judged),
        orphans,
        history.errors.get(feed.name),
        lag_rows,
    )


def lake_health(
    root: str,
    now: dt.datetime,
    feeds: Sequence[FeedHealth],
    history: History,
    space: Space,
    min_free_bytes: int,
    errors: Sequence[PipelineError] = (),
) -> Health:
    """How the lake is by all of it: what a person has to see to."""
    problems = [problem for one in feeds if one.feed.enabled for problem in _problems_of(one, now)]
    problems += _problems_of_lake(history, space, min_free_bytes)
    return Health(now, root, tuple(feeds), tuple(problems), space, min_free_bytes, history, tuple(errors))


def _yesterday(now: dt.datetime) -> dt.date:
    return now.date() - dt.timedelta(days=1)


def _orphans_of(table: LakeTable) -> Totals:
    if not table.exists:
        return Totals()
    paths = find_orphans(table.store, {file.path for file in table.files})
    return Totals(0, sum(table.store.size(path) or 0 for path in paths), len(paths))


def _lags(lake: Lake, feeds: Sequence[Feed], source: OpenSources, errors: list[PipelineError]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    with collected("the source", errors), source() as sources:
        for feed in feeds:
            if feed.type == "stream" and feed.enabled:
                with collected(feed.name, errors):
                    found[feed.name] = _lag(sources, lake.table(feed))
    return found


def _lag(sources: Sources, table: LakeTable) -> int | None:
    ends, marks = stream_of(sources, table).ends(), table.bookmarks()
    if ends is None:
        return None
    return sum(max(0, at.end - max(at.start, marks[p].next_offset if p in marks else 0)) for p, at in ends.items())


def _problems_of(one: FeedHealth, now: dt.datetime) -> list[Finding]:
    feed, found = one.feed, list[Finding]()
    if one.error is not None:
        found.append(Finding(feed.name, EXPORT_FAILED, one.error.get("message", "")))
    if feed.max_age_hours is not None:
        found += _too_old(feed.name, LAST_EXPORT, one.exported_at, feed.max_age_hours, now)
        found += _too_old(feed.name, NEWEST[feed.type], one.newest_at, feed.max_age_hours, now)
    if one.min_rows is not None and one.judged_rows < one.min_rows:
        of_day = feed.type == "stream"
        name, place = (
            ("min_rows_per_day", f"of {_yesterday(now)}") if of_day else ("min_rows", "in the current version")
        )
        found.append(Finding(feed.name, TOO_FEW, f"{one.judged_rows:,} {place}; {name} is {one.min_rows:,}"))
    return found


def _too_old(feed: str, what: str, moment: dt.datetime | None, limit_hours: int, now: dt.datetime) -> list[Finding]:
    limit = f"max_age_hours is {limit_hours:,}"
    if moment is None:
        return [Finding(feed, what + MISSING, limit)]
    age_hours = (now - moment).total_seconds() / 3600
    return [Finding(feed, what + TOO_OLD, f"{age_hours:,.1f} hours; {limit}")] if age_hours > limit_hours else []


def _problems_of_lake(history: History, space: Space, min_free_bytes: int) -> list[Finding]:
    last = {step: taken[0] for step, taken in history.taken.items()}
    found = [
        Finding("", NOT_WELL[step], last[step].trouble) for step in NOT_WELL if step in last and last[step].trouble
    ]
    for proof in _proofs_that_count(history):
        detail = f"{len(proof.findings)}, {proof.at:%Y-%m-%d %H:%M} UTC; see python metadata_utils.py verify --deep"
        found += [Finding("", FOUND_WRONG, detail)] if proof.findings else []
    if space.free_bytes is not None and space.free_bytes < min_free_bytes:
        limit = f"HEALTH_MIN_FREE_MB is {min_free_bytes // 10**6:,}"
        found.append(Finding("", LITTLE_ROOM, f"{size_text(space.free_bytes)} at {space.place}; {limit}"))
    return found


def _proofs_that_count(history: History) -> list[Proof]:
    """The last one of all files, and those of some files, or of logs alone, that are newer."""
    whole, others = history.proofs.get("files"), [history.proofs.get("new files"), history.proofs.get("logs")]
    newer = [one for one in others if one is not None and (whole is None or one.at > whole.at)]
    return [whole, *newer] if whole is not None else newer
