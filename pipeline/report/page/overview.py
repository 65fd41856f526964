"""The page's beginning: is all well, the lake at a glance, its feeds, and how fresh each is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from pipeline.lake.metadata import FeedState, sum_of
from pipeline.report.page import charts, figures
from pipeline.report.page.days import days_of
from pipeline.report.page.elements import Content, Html, joined, tag
from pipeline.report.page.facts import FeedFacts, PageFacts
from pipeline.report.page.language import Language
from pipeline.report.page.recorded import newest_of_each_command, newest_proofs

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
    for error in facts.lake.errors:
        yield [error.message, tag("span", error.hint, class_="hint") if error.hint else None]
    for state in facts.lake.feeds:
        if state.table is None and state.feed.enabled:
            yield language.say("never_exported", feed=state.feed.name)
        elif is_late(state, facts.now) and (at := newest_row(state)) is not None:
            limit = language.duration(3600 * (state.feed.max_age_hours or 0))
            yield language.say("too_old", feed=state.feed.name, limit=limit, age=language.ago(at, facts.now))
    for run in newest_of_each_command(facts.runs):
        if run.state not in GOOD_STATES:
            reason = run.errors[0].get("message", "") if run.errors else ""
            yield [
                language.say("run_ended", command=run.command, state=language.say(f"state {run.state}")),
                f" {reason}" if reason else None,
            ]
    for scope, proof in newest_proofs(facts.runs).items():
        if proof.findings:
            yield language.count("found_wrong", len(proof.findings), check=language.say(f"check {scope}"))
    if not newest_proofs(facts.runs) and any(state.table for state in facts.lake.feeds):
        yield [language.say("never_verified"), tag("span", "python metadata_utils.py verify", class_="hint")]
    if facts.warehouse is not None and facts.warehouse.error is not None:
        yield [language.say("warehouse_away"), f" {facts.warehouse.error.message}"]


def glance(facts: PageFacts, language: Language) -> Html:
    states, totals = facts.lake.feeds, sum_of(state.totals for state in facts.lake.feeds)
    streams = sum(state.feed.type == "stream" for state in states)
    kinds = f"{language.count('streams', streams)}, {language.count('tables', len(states) - streams)}"
    newest = max((at for state in states if (at := newest_row(state)) is not None), default=None)
    proof = newest_proofs(facts.runs).get("files")
    tiles = [
        _tile("feeds", language.say("feeds"), figures.number(language, len(states)), kinds),
        _tile("rows", language.say("rows"), figures.number(language, totals.row_count), language.say("rows_means")),
        _tile("bytes", language.say("size"), figures.size(language, totals.size_bytes),
              [figures.number(language, totals.file_count), " ", language.count("of_files", totals.file_count)]),
        _tile("newest", language.say("newest_event"), *_when(newest, facts.now, language)),
        _tile("run", language.say("last_run"), *_last_run(facts, language)),
        _tile("proof", language.say("last_proof"), *_when(proof.run.begun_at if proof else None, facts.now, language)),
    ]  # fmt: skip
    return figures.section("glance", language.say("glance"), tag("dl", *tiles, class_="tiles"))


def _tile(name: str, title: str, value: Content, more: Content = None) -> Html:
    parts = tag("dt", title), tag("dd", value, class_="value"), tag("dd", more, class_="more") if more else None
    return tag("div", *parts, class_="tile", data_tile=name)


def _when(at: dt.datetime | None, now: dt.datetime, language: Language) -> tuple[Content, Content]:
    if at is None:
        return language.say("none_yet"), None
    return figures.ago(language, at, now), language.moment(at)


def _last_run(facts: PageFacts, language: Language) -> tuple[Content, Content]:
    if not facts.runs:
        return language.say("none_yet"), None
    run = facts.runs[0]
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
    states = sorted(facts.lake.feeds, key=lambda state: (newest_row(state) or never, state.feed.name))
    ages = [facts.now - at for state in states if (at := newest_row(state)) is not None]
    oldest = max(ages, default=dt.timedelta())
    rows = [_fresh_row(state, facts.now, oldest, language) for state in states[: len(facts.feeds)]]
    if facts.left_out:
        rows.append([language.count("fresh_left_out", len(facts.left_out)), "", "", ""])
    head = [language.say(key) for key in ("feed", "newest_row", "age", "limit", "last_commit")]
    table = figures.table(language.say("fresh_caption"), head, rows, "fresh")
    return figures.section("fresh", language.say("freshness"), table, lead=language.say("fresh_lead"))


def _fresh_row(state: FeedState, now: dt.datetime, oldest: dt.timedelta, language: Language) -> list[Content]:
    at = newest_row(state)
    if at is None or state.table is None:
        return [figures.name(state.feed.name), language.say("none_yet"), "", "", ""]
    part, limit = (now - at) / oldest if oldest else 0.0, state.feed.max_age_hours
    age = language.ago(at, now)
    return [
        figures.name(state.feed.name),
        figures.moment(language, at),
        joined(figures.badge("bad", age) if is_late(state, now) else age, charts.share(part)),
        language.duration(3600 * limit) if limit else "\u2013",
        figures.moment(language, state.table.last_commit_at),
    ]


def is_late(state: FeedState, now: dt.datetime) -> bool:
    """Whether the newest data of a feed is older than the feed's own limit; without one it never is."""
    limit, at = state.feed.max_age_hours, newest_row(state)
    return limit is not None and state.feed.enabled and at is not None and now - at > dt.timedelta(hours=limit)


def newest_row(state: FeedState) -> dt.datetime | None:
    """Of a stream the time of its newest event, of a table when its current version was read."""
    if state.table is None:
        return None
    if state.feed.type == "stream":
        times = [partition.rowtime_ms[1] for partition in state.table.partitions if partition.rowtime_ms]
        return _moment_of(max(times)) if times else None
    current = str(state.table.current_version)
    return next((one.added_at for one in state.table.partitions if one.partition == current), None)


def _moment_of(epoch_ms: int) -> dt.datetime | None:
    """None for a time beyond the calendar: a source may have any number there."""
    try:
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=epoch_ms)
    except OverflowError:
        return None
