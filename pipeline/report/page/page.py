"""The whole page: one file that needs no other, no network and no program of its own to be read."""

from __future__ import annotations

from pipeline import VERSION
from pipeline.report.page import data, figures, lineage, operations, overview, star
from pipeline.report.page.elements import Html, joined, tag
from pipeline.report.page.facts import PageFacts
from pipeline.report.page.language import Lang, Language
from pipeline.report.page.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""A browser loads nothing and runs nothing, whatever stood in a name."""


MOST_BYTES = 300_000
_SHOWN = ((100, 60), (60, 45), (40, 45), (40, 30), (25, 30), (12, 30), (6, 14), (3, 7), (0, 0))
"""So many feeds one by one, and so many days of each stream: the first of them with which the page is small enough."""


def page_html(facts: PageFacts, lang: Lang) -> str:
    """The page in a language, as text of an HTML file: below `MOST_BYTES`, however large the lake is."""
    language = Language(lang)
    for most_feeds, most_days in _SHOWN:
        page = _whole(facts.largest(most_feeds), language, most_days)
        if len(page.encode()) < MOST_BYTES:
            break
    return page


def _whole(facts: PageFacts, language: Language, most_days: int) -> str:
    sections = {
        "feeds": overview.feed_list(facts, language),
        "fresh": overview.freshness(facts, language),
        "streams": data.streams(facts, language, most_days),
        "tables": data.tables(facts, language),
        "files": data.files(facts, language),
        "runs": operations.runs(facts, language),
        "checks": operations.checks(facts, language),
        "warehouse": operations.warehouse(facts, language),
        "star": star.star(facts, language),
        "lineage": lineage.lineage(facts, language),
    }
    links = [tag("li", tag("a", language.say(f"to {name}"), href=f"#{name}")) for name in sections]
    body = tag(
        "body",
        tag("a", language.say("skip"), class_="skip", href="#main"),
        _header(facts, language),
        tag("nav", tag("ul", *links), aria_label=language.say("contents")),
        tag("main", overview.state_of_affairs(facts, language), overview.glance(facts, language), *sections.values(),
            id="main"),
        tag("footer", tag("p", language.say("footer", version=VERSION))),
    )  # fmt: skip
    return f"<!doctype html>\n{tag('html', _head(facts, language), body, lang=language.lang)}\n"


def _head(facts: PageFacts, language: Language) -> Html:
    policy = Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">')
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        policy,
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("link", rel="icon", href="data:,"),
        tag("title", language.say("title"), " \u2013 ", language.moment(facts.now)),
        tag("style", Html(STYLE)),
    )


def _header(facts: PageFacts, language: Language) -> Html:
    as_of = joined(language.say("as_of"), " ", figures.moment(language, facts.now))
    return tag("header", tag("h1", language.say("title")), tag("p", as_of), tag("p", facts.lake.root, class_="root"))
