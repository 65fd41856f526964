"""Figures, times and tables of the page: as a person of its language reads them, and exactly, for programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from pipeline.report.page.elements import Content, Html, joined, tag
from pipeline.report.page.language import Language
from pipeline.text import rfc3339


def number(language: Language, value: int) -> Html:
    return tag("data", language.number(value), value=value)


def size(language: Language, size_bytes: int) -> Html:
    return tag("data", language.size(size_bytes), value=size_bytes)


def moment(language: Language, at: dt.datetime) -> Html:
    return tag("time", language.moment(at), datetime=rfc3339(at))


def day(language: Language, date: dt.date) -> Html:
    return tag("time", language.date(date), datetime=date.isoformat())


def ago(language: Language, at: dt.datetime, now: dt.datetime) -> Html:
    """How long ago; exactly, where one points at it."""
    return tag("time", language.ago(at, now), datetime=rfc3339(at), title=language.moment(at))


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Content]], class_: str = "", right: Iterable[int] = ()
) -> Html:
    """A table whose first column names its rows; the heads in `right` stand above figures. It scrolls where it must.

    `caption` is what it is called, which no other table of the page is.
    """
    aligned = set(right)
    heads = [tag("th", text, scope="col", class_="n" if place in aligned else None) for place, text in enumerate(head)]
    body = [tag("tr", tag("th", row[0]), *(tag("td", cell) for cell in row[1:])) for row in rows]
    made = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *body),
        class_=class_ or None,
    )
    return tag("div", made, class_="scroll", role="region", aria_label=caption, tabindex=0)


def section(name: str, title: str, *content: Content, lead: str | None = None) -> Html:
    """A section of the page, which its list of contents leads to."""
    head = tag("h2", title, id=f"{name}-title")
    return tag("section", head, tag("p", lead, class_="lead") if lead else None, *content, id=name,
               aria_labelledby=f"{name}-title")  # fmt: skip


def folded(summary: Content, *content: Content) -> Html:
    """What is read by those who want it."""
    return tag("details", tag("summary", summary), *content)


def name(text: str) -> Html:
    """A name, which may go on in the next line after an underscore; copied, it is as it was."""
    return Html("_<wbr>".join(joined(part) for part in text.split("_")))


def badge(state: str, text: str) -> Html:
    """A state, in a colour and in words: `good`, `care`, `bad` or `plain`."""
    return tag("span", text, class_=f"badge {state}")
