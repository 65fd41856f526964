"""Whatever stands in a name, a description or a message is text on the page; the page loads and runs nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pipeline.errors import LakeDamaged
from pipeline.lake.metadata import Totals
from pipeline.lake.runs import RunEntry
from pipeline.report.page.elements import Html, joined, tag
from pipeline.report.page.page import page_html
from tests.report.made_up_lakes import NOW, page_of, stream_facts, table_facts
from tests.report.read_page import read_page

HOSTILE = "</td></script><script>alert('1')</script><img src=x onerror=alert(2)>\"'&amp;\u202e\x00\x1b[31m\u2028"
SHOWN = "</td></script><script>alert('1')</script><img src=x onerror=alert(2)>\"'&amp;\\u202e\\x00\\x1b[31m "


def hostile_page(lang: str = "en") -> str:
    day = Totals(1, 1, 1)
    stream = stream_facts("s", [day], description=HOSTILE, owner=HOSTILE, tags=(HOSTILE,))
    table = stream.state.table
    assert table is not None
    state = replace(stream.state, table=replace(table, topic=HOSTILE))
    stream = replace(stream, health=replace(stream.health, state=state))
    stream = replace(stream, files=replace(stream.files, newest=HOSTILE))
    other = replace(table_facts("t", [day, day], description=HOSTILE), change=LakeDamaged(HOSTILE))
    finding = {"feed": HOSTILE, "what": HOSTILE, "detail": HOSTILE}
    error = {"message": HOSTILE, "hint": HOSTILE}
    verified = {"feeds": ["s"], "findings": [finding], "errors": [error, "no object"]}
    runs = (
        RunEntry("1", f"metadata_utils.py verify {HOSTILE}", NOW, "failed", NOW, 1, 1.0, (error,), verified),
        RunEntry("2", "metadata_utils.py verify", NOW, "ok", NOW, 0, 1.0, (), {"feeds": 7, "findings": "no list"}),
    )
    facts = page_of(stream, other, runs=runs, root=HOSTILE, errors=(LakeDamaged(HOSTILE, HOSTILE),))
    return page_html(facts, lang)  # type: ignore[arg-type] # a language


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_hostile_text_is_shown_as_it_is(lang: str) -> None:
    page = read_page(hostile_page(lang))

    names = {name for name, _ in page.elements}
    assert not names & {"script", "img", "iframe", "object", "embed", "base", "form", "input"}
    assert not {key for _, attributes in page.elements for key in attributes if key.startswith("on")}
    assert page.text.count(SHOWN) >= 8
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\u2028]", page.text)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    html = hostile_page()
    page = read_page(html)

    links = [attributes.get(key) or "" for _, attributes in page.elements for key in ("href", "src", "action", "data")]
    assert not [link for link in links if link and not link.startswith(("#", "data:,"))]
    assert "url(" not in html
    assert "@import" not in html
    policies = [a["content"] for name, a in page.elements if name == "meta" and a.get("http-equiv")]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'; ")


def test_each_id_is_there_once_and_each_link_leads_to_one() -> None:
    page = read_page(hostile_page())

    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"] for name, a in page.elements if name == "a"}
    assert links <= {f"#{one}" for one in ids}
    labelled = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert labelled <= set(ids)


def test_what_is_no_markup_is_escaped() -> None:
    assert joined("<b>", Html("<i>"), None, 5, ["a", ["&"]]) == "&lt;b&gt;<i>5a&amp;"
    assert tag("p", "x", title='"<>', hidden=True, lang=None) == '<p title="&quot;&lt;&gt;" hidden>x</p>'
    assert tag("a", href="#feed-s") == "<a href=#feed-s></a>"
    assert tag("a", href="a b=`c") == '<a href="a b=`c"></a>'
    assert tag("a", href="") == '<a href=""></a>'


def test_a_long_text_is_cut() -> None:
    assert len(joined("x" * 10_000)) < 400


def test_numbers_keep_the_blanks_that_hold_them_together() -> None:
    assert joined("1\u202f234\u00a0Mo") == "1\u202f234\u00a0Mo"
