"""Where each feed's rows come from and where they go: object of ksqlDB, files of the lake, table of the warehouse."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.report.page import charts, figures
from pipeline.report.page.elements import Content, Html, tag
from pipeline.report.page.facts import FeedFacts, PageFacts
from pipeline.report.page.language import Language

_TOPICS = 3


def lineage(facts: PageFacts, language: Language) -> Html:
    ways = [tag("li", *_way(one, language), class_="way") for one in facts.feeds]
    said = tag("ul", *ways, class_="ways") if ways else tag("p", language.say("none_yet"))
    return figures.section("lineage", language.say("lineage_title"), said, lead=language.say("lineage_lead"))


def _way(one: FeedFacts, language: Language) -> Iterator[Html]:
    feed = one.state.feed
    yield _stop("ksqldb", feed.source, language.say(f"ksqldb_{feed.type}"), _source_lines(one, language))
    yield charts.arrow()
    yield _stop("lake", f"{feed.kind_folder}/{feed.name}/", language.say("in_lake"), _lake_lines(one, language))
    yield charts.arrow()
    if feed.warehouse is None:
        views = ", ".join(feed.view_names)
        yield _stop("queries", views, language.say("in_queries"), [language.say("not_in_warehouse")])
        return
    dimension = feed.warehouse.dimension
    lines: list[Content] = [language.say("with_dimension", table=dimension.table)] if dimension else []
    yield _stop("warehouse", feed.warehouse.fact, language.say("in_warehouse"), lines)


def _stop(class_: str, name: str, kind: str, lines: list[Content]) -> Html:
    about = [tag("span", line, class_="about") for line in lines]
    return tag("div", tag("span", kind, class_="kind"), tag("strong", name), *about, class_=f"stop {class_}")


def _source_lines(one: FeedFacts, language: Language) -> list[Content]:
    table = one.state.table
    if table is None:
        return []
    if table.topic:
        return [language.count("topic", max(1, len(table.bookmark)), topic=table.topic)]
    topics = list(table.state or ())
    more = f", +{len(topics) - _TOPICS}" if len(topics) > _TOPICS else ""
    return [language.say("made_of", topics=", ".join(topics[:_TOPICS]) + more)] if topics else []


def _lake_lines(one: FeedFacts, language: Language) -> list[Content]:
    table, totals = one.state.table, one.state.totals
    if table is None:
        return [language.say("none_yet")]
    key = "days_of_rows" if one.state.feed.type == "stream" else "versions"
    parts = [
        language.count(key, len(table.partitions)),
        language.count("files_n", totals.file_count),
        language.size(totals.size_bytes),
    ]
    newest = [tag("span", language.say("newest_file"), " ", tag("code", one.files.newest))] if one.files.newest else []
    return [", ".join(parts), *newest]
