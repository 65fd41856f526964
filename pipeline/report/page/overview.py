"""The page's beginning: is all well, the lake at a glance, its feeds, and how fresh each is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence

from pipeline.findings import Finding
from pipeline.health import (
    EXPORT_FAILED,
    LAST_EXPORT,
    LITTLE_ROOM,
    NEWEST,
    NOT_WELL,
    TOO_FEW,
    TOO_OLD,
    FeedHealth,
    Health,
)
from pipeline.lake.metadata import FeedState, sum_of
from pipeline.lake.runs import RunEntry
from pipeline.report.page import charts, figures
from pipeline.report.page.days import days_of
from pipeline.report.page.elements import Content, Html, joined, tag
from pipeline.report.page.facts import FeedFacts, PageFacts
from pipeline.report.page.language import Language
from pipeline.run_history import History, steps_of

_DAYS, _CONCERNS = 60, 20
GOOD_STATES = ("ok", "running")


def state_of_affairs(facts: PageFacts, language: Language) -> Html:
    """Whether a person must look at something, and at what."""
    concerns = list(_concerns(facts, language))
    if not concerns:
        title, content, state = language.say("all_well"), tag("p", language.say("all_well_means")), "good"
    else:
        title = language.count("to_look_at", len(concerns))
        shown, rest = concerns[:_CONCERNS], len(concerns) - _CONCERNS
        shown += [language.count("and_more", rest)] if rest > 0 else []
        content, state = tag("ul", *(tag("li", concern) for concern in shown)), "care"
    return tag("section", tag("h2", title, id="state-title"), content, id="state", class_=f"state {state}",
               aria_labelledby="state-title")  # fmt: skip


def _concerns(facts: PageFacts, language: Language) -> Iterator[Content]:
    health = facts.health
    for error in health.errors:
        yield [error.message, tag("span", error.hint, class_="hint") if error.hint else None]
    for one in health.feeds:
        if one.state.table is None and one.feed.enabled:
            yield language.say("never_exported", feed=one.feed.name)
        elif one.feed.enabled:
            yield from (problem_text(problem, one, health, language) for problem in health.problems_of(one.feed.name))
    what_is_wrong = {problem.what for problem in health.problems_of("")}
    for run in _runs_not_well(facts.history, what_is_wrong):
        reason = run.errors[0].get("message", "") if run.errors else ""
        yield [
            language.say("run_ended", command=run.command, state=language.say(f"state {run.state}")),
            f" {reason}" if reason else None,
        ]
    for scope, proof in facts.history.proofs.items():
        if proof.findings:
            yield language.count("found_wrong", len(proof.findings), check=language.say(f"check {scope}"))
    if not facts.history.proofs and any(state.table for state in facts.lake.feeds):
        yield [language.say("never_verified"), tag("span", "python metadata_utils.py verify --deep", class_="hint")]
    if LITTLE_ROOM in what_is_wrong:
        free, least = language.size(health.space.free_bytes or 0), language.size(health.min_free_bytes)
        yield language.say("little_room", free=free, least=least)
    if facts.warehouse is not None and facts.warehouse.error is not None:
        yield [language.say("warehouse_away"), f" {facts.warehouse.error.message}"]


def _runs_not_well(history: History, what_is_wrong: Collection[str]) -> Iterable[RunEntry]:
    """The last run of each step that did not end well, and of each other command."""
    steps = [history.taken[step][0].run for step, what in NOT_WELL.items() if what in what_is_wrong]
    others = (run for run in history.newest_of_each_command() if not any(steps_of(run)))
    found = [*steps, *(run for run in others if run.state not in GOOD_STATES)]
    return {run.id: run for run in found}.values()


def problem_text(problem: Finding, one: FeedHealth, health: Health, language: Language) -> str:
    """A problem of a feed, in the page's language."""
    name = one.feed.name
    if problem.what == EXPORT_FAILED:
        return language.say("export_failed", feed=name) + f" {problem.detail}"
    if problem.what == TOO_FEW:
        rows, least = language.number(one.judged_rows), language.number(one.min_rows or 0)
        key = "too_few_of_day" if one.feed.type == "stream" else "too_few_in_version"
        return language.say(key, feed=name, rows=rows, least=least)
    of_export = problem.what.startswith(LAST_EXPORT)
    at, limit = one.exported_at if of_export else one.newest_at, language.duration(3600 * (one.feed.max_age_hours or 0))
    if at is None:
        return language.say("no_moment", feed=name)
    key = "export_too_old" if of_export else "too_old"
    return language.say(key, feed=name, limit=limit, age=language.ago(at, health.at))


def glance(facts: PageFacts, language: Language) -> Html:
    states, totals = facts.lake.feeds, sum_of(state.totals for state in facts.lake.feeds)
    streams = sum(state.feed.type == "stream" for state in states)
    kinds = f"{language.count('streams', streams)}, {language.count('tables', len(states) - streams)}"
    newest = max((one.newest_at for one in facts.health.feeds if one.newest_at is not None), default=None)
    proof, free = facts.history.proofs.get("files"), facts.health.space.free_bytes
    tiles = [
        _tile("feeds", language.say("feeds"), figures.number(language, len(states)), kinds),
        _tile("rows", language.say("rows"), figures.number(language, totals.row_count), language.say("rows_means")),
        _tile("bytes", language.say("size"), figures.size(language, totals.size_bytes),
              [figures.number(language, totals.file_count), " ", language.count("of_files", totals.file_count)]),
        _tile("newest", language.say("newest_event"), *_when(newest, facts.now, language)),
        _tile("run", language.say("last_run"), *_last_run(facts, language)),
        _tile("proof", language.say("last_proof"), *_when(proof.run.begun_at if proof else None, facts.now, language)),
    ]  # fmt: skip
    if free is not None:
        least = language.say("at_least", least=language.size(facts.health.min_free_bytes))
        tiles.append(_tile("free", language.say("free"), figures.size(language, free), least))
    return figures.section("glance", language.say("glance"), tag("dl", *tiles, class_="tiles"))


def _tile(name: str, title: str, value: Content, more: Content = None) -> Html:
    parts = tag("dt", title), tag("dd", value, class_="value"), tag("dd", more, class_="more") if more else None
    return tag("div", *parts, class_="tile", data_tile=name)


def _when(at: dt.datetime | None, now: dt.datetime, language: Language) -> tuple[Content, Content]:
    if at is None:
        return language.say("none_yet"), None
    return figures.ago(language, at, now), language.moment(at)


def _last_run(facts: PageFacts, language: Language) -> tuple[Content, Content]:
    if not facts.history.runs:
        return language.say("none_yet"), None
    run = facts.history.runs[0]
    return state_badge(run.state, language), [run.command, ", ", figures.ago(language, run.begun_at, facts.now)]


def state_badge(state: str, language: Language) -> Html:
    """How a run ended."""
    kind = "good" if state == "ok" else "plain" if state == "running" else "care" if state == "again later" else "bad"
    return figures.badge(kind, language.say(f"state {state}"))


def feed_list(facts: PageFacts, language: Language) -> Html:
    rows = [_feed_row(one, facts.now, language) for one in facts.feeds]
    if facts.left_out:
        rows.append([language.count("feeds_left_out", len(facts.left_out)), "", *_amounts(facts.left_out, language)])
    rows.append([language.say("in_all"), "", *_amounts(facts.lake.feeds, language)])
    head = [language.say(key) for key in ("feed", "kind", "rows", "size", "trend", "kept_for")]
    table = figures.table(language.say("feeds_caption"), head, rows, "feeds", right={2, 3})
    return figures.section("feeds", language.say("feeds"), table, lead=language.say("feeds_lead"))


def _feed_row(one: FeedFacts, now: dt.datetime, language: Language) -> list[Content]:
    state, feed = one.state, one.state.feed
    off = None if feed.enabled else [" ", figures.badge("plain", language.say("disabled"))]
    about = [
        text for text in (feed.description, language.say("owned_by", owner=feed.owner) if feed.owner else "") if text
    ]
    described = [tag("span", text, class_="about") for text in about]
    return [
        [tag("a", figures.name(feed.name), href=f"#feed-{feed.name}"), off, described],
        language.say(feed.type),
        figures.number(language, state.totals.row_count),
        figures.size(language, state.totals.size_bytes),
        _trend(state, now, language),
        retention(state, language),
    ]


def _amounts(states: Sequence[FeedState], language: Language) -> list[Content]:
    """What feeds have together, and what is left of such a row."""
    totals = sum_of(state.totals for state in states)
    return [figures.number(language, totals.row_count), figures.size(language, totals.size_bytes), "", ""]


def _trend(state: FeedState, now: dt.datetime, language: Language) -> Content:
    """Rows a day, or a version: the shape of it."""
    partitions = state.table.partitions if state.table else ()
    if state.feed.type == "stream":
        values = [day.totals.row_count for day in days_of(partitions, now.date(), _DAYS).shown]
        label = language.say("trend_of_stream", feed=state.feed.name)
    else:
        values = [one.totals.row_count for one in partitions[-_DAYS:]]
        label = language.say("trend_of_table", feed=state.feed.name)
    return charts.sparkline(values, label) if len(values) > 1 else "\u2013"


def retention(state: FeedState, language: Language) -> str:
    """How long rows are kept."""
    feed = state.feed
    parts = [language.count("days", feed.retention_days)] if feed.retention_days else []
    parts += [language.count("versions", feed.retention_versions)] if feed.retention_versions else []
    return ", ".join(parts) or language.say("for_ever")


def freshness(facts: PageFacts, language: Language) -> Html:
    """The feed with the oldest data first; without data before all."""
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    feeds = sorted(facts.health.feeds, key=lambda one: (one.newest_at or never, one.feed.name))
    ages = [facts.now - one.newest_at for one in feeds if one.newest_at is not None]
    oldest = max(ages, default=dt.timedelta())
    rows = [_fresh_row(one, facts.health, oldest, language) for one in feeds[: len(facts.feeds)]]
    if facts.left_out:
        rows.append([language.count("fresh_left_out", len(facts.left_out)), *[""] * 7])
    head = ["feed", "newest_row", "age", "limit", "last_export", "judged_rows", "least", "behind"]
    caption, titles = language.say("fresh_caption"), [language.say(key) for key in head]
    table = figures.table(caption, titles, rows, "fresh", right={5, 6, 7})
    return figures.section("fresh", language.say("freshness"), table, lead=language.say("fresh_lead"))


def _fresh_row(one: FeedHealth, health: Health, oldest: dt.timedelta, language: Language) -> list[Content]:
    at, now, name = one.newest_at, health.at, figures.name(one.feed.name)
    if at is None or one.state.table is None:
        return [name, language.say("none_yet"), *[""] * 6]
    part, limit = (now - at) / oldest if oldest else 0.0, one.feed.max_age_hours
    wrong, age = {problem.what for problem in health.problems_of(one.feed.name)}, language.ago(at, now)
    rows, is_late = figures.number(language, one.judged_rows), NEWEST[one.feed.type] + TOO_OLD in wrong
    return [
        name,
        figures.moment(language, at),
        joined(figures.badge("bad", age) if is_late else age, charts.share(part)),
        language.duration(3600 * limit) if limit else "\u2013",
        figures.moment(language, one.exported_at) if one.exported_at else "",
        tag("span", rows, class_="badge bad") if TOO_FEW in wrong else rows,
        "" if one.min_rows is None else figures.number(language, one.min_rows),
        "" if one.lag_rows is None else figures.number(language, one.lag_rows),
    ]
