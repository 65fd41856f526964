"""What the lake holds: the days of each stream, the snapshots of each table, and the files that they are in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.errors import PipelineError
from pipeline.lake.metadata import PartitionState, Totals, sum_of
from pipeline.report.page import charts, figures
from pipeline.report.page.days import Days, days_of
from pipeline.report.page.elements import Content, Html, joined, tag
from pipeline.report.page.facts import FeedFacts, FileFacts, PageFacts
from pipeline.report.page.language import Language

_VERSIONS = 30


def streams(facts: PageFacts, language: Language, most_days: int) -> Html:
    today, found = facts.now.date(), facts.of_type("stream")
    parts = [_stream(one, days_of(_partitions(one), today, most_days), language) for one in found]
    none = None if found else tag("p", language.say("no_streams"))
    return figures.section(
        "streams", language.say("streams_title"), none, _grid(parts), lead=language.say("streams_lead")
    )


def _partitions(one: FeedFacts) -> Sequence[PartitionState]:
    return one.state.table.partitions if one.state.table else ()


def _stream(one: FeedFacts, days: Days, language: Language) -> Html:
    feed, totals = one.state.feed, one.state.totals
    if not days.shown:
        said = language.say("none_yet") if not totals.row_count else language.count("rows_undated", totals.row_count)
        return _feed_block(one, tag("p", said))
    names = {"feed": feed.name, "first": language.date(days.shown[0].date), "last": language.date(days.shown[-1].date)}
    rows, sizes = [day.totals.row_count for day in days.shown], [day.totals.size_bytes for day in days.shown]
    pair = tag(
        "div",
        _chart(rows, language.say("chart_of_rows", **names), language.say("rows"), language.number(max(rows)), "rows"),
        _chart(sizes, language.say("chart_of_bytes", **names), language.say("size"), language.size(max(sizes)), "size"),
        _axis(names["first"], names["last"], rows),
        class_="charts",
    )
    head = [language.say(key) for key in ("day", "rows", "size")]
    caption = language.say("days_caption", feed=feed.name)
    table = figures.table(caption, head, _day_rows(days, totals, language), "days", right={1, 2})
    return _feed_block(one, pair, figures.folded(language.count("figures_of_days", len(days.shown)), table))


def _day_rows(days: Days, all_of_it: Totals, language: Language) -> Iterator[Sequence[Content]]:
    """The newest day first, and below them what the chart does not show, so that the sum is that of the feed."""
    for day in reversed(days.shown):
        yield figures.day(language, day.date), *_amounts(day.totals, language)
    for key, totals in (("days_after", days.after), ("days_before", days.before), ("days_undated", days.undated)):
        if totals.file_count:
            yield language.say(key), *_amounts(totals, language)
    yield language.say("in_all"), *_amounts(all_of_it, language)


def _amounts(totals: Totals, language: Language) -> tuple[Html, Html]:
    return figures.number(language, totals.row_count), figures.size(language, totals.size_bytes)


def tables(facts: PageFacts, language: Language) -> Html:
    found = facts.of_type("table")
    content = _grid([_table(one, language) for one in found]) if found else tag("p", language.say("no_tables"))
    return figures.section("tables", language.say("tables_title"), content, lead=language.say("tables_lead"))


def _table(one: FeedFacts, language: Language) -> Html:
    state = one.state
    if state.table is None or not state.table.partitions:
        return _feed_block(one, tag("p", language.say("none_yet")))
    shown = state.table.partitions[-_VERSIONS:]
    rows, feed = [version.totals.row_count for version in shown], state.feed.name
    first, last = (language.say("version_n", n=str(shown[place].partition)) for place in (0, -1))
    label = language.say("chart_of_versions", feed=feed, first=first, last=last)
    chart = tag(
        "div",
        _chart(rows, label, language.say("rows"), language.number(max(rows)), "rows"),
        _axis(first, last, rows),
        class_="charts",
    )
    head = [language.say(key) for key in ("version", "read_at", "rows", "change", "size")]
    caption = language.say("versions_caption", feed=feed)
    lines = list(_version_rows(one, shown, state.table.current_version, language))
    return _feed_block(one, chart, _changes(one, language), figures.table(caption, head, lines, "versions", {2, 3, 4}))


def _version_rows(
    one: FeedFacts, shown: Sequence[PartitionState], current: int | None, language: Language
) -> Iterator[Sequence[Content]]:
    all_of_them = _partitions(one)
    counts = [None, *(version.totals.row_count for version in all_of_them)][-len(shown) - 1 :]
    for version, before in reversed(list(zip(shown, counts, strict=False))):
        now = version.totals.row_count
        mark = [" ", figures.badge("good", language.say("current"))] if version.partition == str(current) else None
        change = "" if before is None else tag("data", language.change(now - before), value=now - before)
        amounts = _amounts(version.totals, language)
        yield [version.partition, mark], figures.moment(language, version.added_at), amounts[0], change, amounts[1]
    if older := all_of_them[: -len(shown)]:
        amounts = _amounts(sum_of(version.totals for version in older), language)
        yield language.count("older_versions", len(older)), "", amounts[0], "", amounts[1]
    amounts = _amounts(one.state.totals, language)
    yield language.say("in_all"), "", amounts[0], "", amounts[1]


def _changes(one: FeedFacts, language: Language) -> Html | None:
    """What became of the rows of the version before."""
    found = one.change
    if found is None:
        return None
    if isinstance(found, PipelineError):
        return tag("p", language.say("not_compared"), " ", found.message)
    counts = {**found.counts, "unchanged": found.unchanged}
    parts = [
        tag("li", figures.number(language, count), " ", language.count(f"rows_{kind}", count), data_change=kind)
        for kind, count in counts.items()
    ]
    title = language.say("since_version", old=str(found.old), new=str(found.new))
    return tag("div", tag("p", title), tag("ul", *parts, class_="changes"), class_="since")


def files(facts: PageFacts, language: Language) -> Html:
    rows = [_file_row(one, language) for one in facts.feeds if one.files.sizes]
    head = [
        language.say(key)
        for key in ("feed", "file_count", "smallest", "median", "largest", "of_no_commit", "compaction")
    ]
    table = figures.table(language.say("files_caption"), head, rows, "files", right={1, 2, 3, 4, 5})
    taken = sum(len(one.files.small) for one in facts.feeds)
    made = sum(one.files.made for one in facts.feeds)
    lead = language.say("compaction_lead", taken=language.count("files_n", taken), made=language.count("files_n", made))
    hint = tag("p", tag("code", "python metadata_utils.py compact"), class_="hint") if taken else None
    lead = lead if taken else language.say("nothing_to_compact")
    return figures.section("files", language.say("files_title"), table, hint, lead=lead)


def _file_row(one: FeedFacts, language: Language) -> list[Content]:
    sizes = one.files.sizes
    figure = [figures.size(language, size) for size in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]
    count = figures.number(language, len(sizes))
    orphans = figures.number(language, one.health.orphans.file_count)
    return [figures.name(one.state.feed.name), count, *figure, orphans, _gain(one.files, language)]


def _gain(found: FileFacts, language: Language) -> Content:
    if not found.small:
        return language.say("compact_nothing")
    text = language.say("compact_gain", taken=language.count("files_n", len(found.small)),
                        size=language.size(sum(found.small)), made=language.count("files_n", found.made))  # fmt: skip
    return joined(text, charts.share(found.after / len(found.sizes)))


def _grid(parts: Sequence[Html]) -> Html:
    return tag("div", *parts, class_="grid")


def _feed_block(one: FeedFacts, *content: Content) -> Html:
    feed = one.state.feed
    about = tag("p", feed.description, class_="about") if feed.description else None
    return tag("article", tag("h3", feed.name, id=f"feed-{feed.name}"), about, *content, class_="feed",
               aria_labelledby=f"feed-{feed.name}")  # fmt: skip


def _chart(values: Sequence[int], label: str, title: str, most: str, class_: str) -> Html:
    """The bars, with what they show and the highest of them as text above."""
    head = tag("figcaption", tag("span", title), tag("span", most, class_="most"))
    return tag("figure", head, charts.bars(values, label, f"bars {class_}"), class_="chart")


def _axis(first: str, last: str, values: Sequence[int]) -> Html:
    """What the first and the last bar are of; side by side where the bars are few and stand at the left."""
    ends = [first, last] if charts.is_full(values) else [first if first == last else f"{first} \u2013 {last}"]
    return tag("div", *(tag("span", end) for end in ends), class_="axis", aria_hidden="true")
