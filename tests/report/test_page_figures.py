"""The figures of the page are those of `--json`, for any lake, in both languages, and so is what a person reads."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from pipeline.lake.metadata import Totals
from pipeline.lake.runs import RunEntry
from pipeline.report.health import health_json
from pipeline.report.json_forms import lake_json
from pipeline.report.page.language import Lang, Language
from pipeline.report.page.page import page_html
from pipeline.report.page.words import WORDS
from pipeline.report.runs import runs_json
from pipeline.report.warehouse import history_json
from pipeline.text import size_text
from tests.examples import some
from tests.report.made_up_lakes import NOW, made_up_page, page_of, stream_facts, table_facts
from tests.report.read_page import Cell, Page, read_page

DAY = dt.timedelta(days=1)
LANGS: tuple[Lang, Lang] = ("en", "fr")


@pytest.mark.parametrize("seed", some(range(100)))
def test_the_figures_of_a_lake_are_those_of_json(seed: int) -> None:
    facts, lang = made_up_page(seed), LANGS[seed // 4 % 2]
    language = Language(lang)
    form = lake_json(facts.lake)

    page = read_page(page_html(facts, lang))

    figures_are_shown(page, lang)
    totals = {key: sum(feed["totals"][key] for feed in form["feeds"]) for key in ("rows", "bytes", "files")}
    assert page.tiles["feeds"].values == [len(form["feeds"])]
    assert page.tiles["rows"].values == [totals["rows"]]
    assert page.tiles["bytes"].values == [totals["bytes"], totals["files"]]
    rows = page.tables[language.say("feeds_caption")][1:]
    shown = [[cell for cells in row for cell in cells.values] for row in rows]
    assert shown == [[f["totals"]["rows"], f["totals"]["bytes"]] for f in (*form["feeds"], {"totals": totals})]
    for feed in form["feeds"]:
        partitions_are_shown(page, language, feed)
    form = health_json(facts.health)
    fresh = [row for row in page.tables[language.say("fresh_caption")][1:] if row[1].times]
    assert {row[0].text: [row[1].times, row[4].times, *(cell.values for cell in row[5:])] for row in fresh} == {
        one["feed"]: [[one["newest_at"]], [one["exported_at"]], *([one[key]] if one[key] is not None else []
                      for key in ("judged_rows", "min_rows", "lag_rows"))]
        for one in form["feeds"] if one["newest_at"] is not None
    }  # fmt: skip
    files = page.tables[language.say("files_caption")][1:]
    orphans = {one["feed"]: [one["orphan_files"]] for one in form["feeds"]}
    assert all(row[5].values == orphans[row[0].text] for row in files)
    assert page.tiles["free"].values == [form["free_bytes"]]
    runs = runs_json(facts.history.runs)["runs"]
    ledger = page.tables.get(language.say("runs_caption"), [[]])[1:]
    assert [row[0].times for row in ledger] == [[run["begun_at"]] for run in runs[:15]]
    assert [row[4].values for row in ledger] == [[run["rows"]] if run["rows"] is not None else [] for run in runs[:15]]
    if facts.warehouse is not None and facts.warehouse.snapshots:
        snapshots = history_json(facts.warehouse.snapshots)["snapshots"][:30]
        lines = page.tables[language.say("snapshots_caption")][1:]
        assert [(line[0].text, line[1].times, line[3].values, line[4].values) for line in lines] == [
            (str(s["version"]), [s["taken_at"]], [s["row_count"]], [s["rejected_count"]]) for s in snapshots
        ]


def partitions_are_shown(page: Page, language: Language, feed: dict[str, object]) -> None:
    """Each partition with its rows and bytes, or in a sum; all of them make the feed's totals."""
    name, partitions = feed["feed"], feed.get("partitions") or []
    assert isinstance(partitions, list)
    caption = language.say("days_caption" if feed["type"] == "stream" else "versions_caption", feed=str(name))
    if caption not in page.tables:
        days = [p["partition"] for p in partitions if re.fullmatch(r"\d{4}-\d\d-\d\d", p["partition"] or "")]
        assert not days if feed["type"] == "stream" else not partitions
        return
    lines = page.tables[caption][1:]
    current = language.say("current")
    amounts = {(line[0].times or [line[0].text.removesuffix(f" {current}")])[0]: sizes_of(line) for line in lines[:-1]}
    for partition in partitions:
        key = str(partition["partition"])
        if key in amounts:
            assert amounts[key] == (partition["rows"], partition["bytes"]), key
    totals = feed["totals"]
    assert isinstance(totals, dict)
    assert sizes_of(lines[-1]) == (totals["rows"], totals["bytes"])
    sums = [sizes_of(line) for line in lines[:-1]]
    assert (sum(rows for rows, _ in sums), sum(size for _, size in sums)) == sizes_of(lines[-1])


def sizes_of(line: list[Cell]) -> tuple[float, float]:
    values = [cell.values[0] for cell in line if cell.values]
    return values[0], values[-1]


def figures_are_shown(page: Page, lang: Lang) -> None:
    """What a person reads of each cell with one figure is that figure."""
    cells = [cell for rows in page.tables.values() for row in rows for cell in row if len(cell.values) == 1]
    cells = [cell for cell in cells if isinstance(cell.values[0], int)]  # times are no counts
    for cell in cells:
        (value,) = cell.values
        if re.search(r"[BMko]$", cell.text):
            written = size_text(value).replace("B", "o").replace(".", ",") if lang == "fr" else size_text(value)
            assert cell.text.replace("\u00a0", " ") == written
        else:
            digits = re.sub(r"[,\u202f]" if lang == "fr" else ",", "", cell.text)
            assert digits.translate({0x2212: "-", 0xB1: "", ord("+"): ""}) == str(value)


def test_days_without_rows_are_shown_as_such() -> None:
    some = Totals(5, 500, 1)
    page = read_page(page_html(page_of(stream_facts("s", [some, Totals(), some])), "en"))

    lines = page.rows("Days of s")
    assert [line[0].text.replace("\u00a0", " ") for line in lines.values()] == [
        "29 Nov 2026", "28 Nov 2026", "27 Nov 2026", "In all",
    ]  # fmt: skip
    assert [sizes_of(line) for line in lines.values()] == [(5, 500), (0, 0), (5, 500), (10, 1000)]


def test_what_changed_from_version_to_version_is_shown() -> None:
    versions = [Totals(10, 1, 1), Totals(7, 1, 1), Totals(7, 1, 1), Totals(12, 1, 1)]
    page = read_page(page_html(page_of(table_facts("t", versions)), "fr"))

    changes = [line[3].text for line in page.tables["Versions de t"][1:-1]]
    assert changes == ["+5", "\u00b10", "\u22123", ""]


@pytest.mark.long
@pytest.mark.parametrize(("feeds", "days", "days_shown"), [(20, 400, 45), (150, 60, 30)])
def test_a_page_of_many_streams_of_many_days_is_below_300_kb(feeds: int, days: int, days_shown: int) -> None:
    day = Totals(1_234_567, 987_654_321, 24)
    described = {"description": "Transactions without personal data, amounts in EUR too", "owner": "payments"}
    streams = [stream_facts(f"transaction_stream_anonymized_{n}", [day] * days, **described) for n in range(feeds)]
    facts = page_of(*streams, runs=made_up_page(36).history.runs)

    for lang in LANGS:
        html = page_html(facts, lang)
        page, language = read_page(html), Language(lang)

        assert len(html.encode()) < 300_000
        assert page.tiles["rows"].values == [feeds * days * 1_234_567]
        assert page.tables[language.say("feeds_caption")][-1][2].values == [feeds * days * 1_234_567]
        shown = [name for name in page.tables if name.startswith(("Days of", "Jours de"))]
        assert len(shown) >= 12
        assert len(page.tables[shown[0]]) >= days_shown


def test_feeds_of_all_ages_are_shown_the_oldest_first() -> None:
    day = Totals(1, 1, 1)
    feeds = [stream_facts(f"s{age}", [day], NOW.date() - dt.timedelta(days=age)) for age in (1, 40, 3)]

    page = read_page(page_html(page_of(*feeds), "en"))

    lines = page.tables["Freshness of each feed"][1:]
    assert [(line[0].text, line[2].text.replace("\u00a0", " ")) for line in lines] == [
        ("s40", "39 d ago"), ("s3", "2 d ago"), ("s1", "18 h ago"),
    ]  # fmt: skip


def test_a_feed_past_its_own_limit_is_said_to_be_late() -> None:
    day = Totals(1, 1, 1)
    feeds = [stream_facts(f"s{limit}", [day], max_age_hours=limit) for limit in (1, 48)]

    page = read_page(page_html(page_of(*feeds, now=NOW + dt.timedelta(hours=9)), "en"))

    assert "The newest data of s1 is older than 1\u00a0h: 3\u00a0h ago." in page.text
    assert "The newest data of s48" not in page.text
    assert page.rows("Freshness of each feed")["s48"][3].text == "2\u00a0d"


def test_what_health_finds_wrong_is_at_the_pages_beginning() -> None:
    """Each problem of it, in words of the page."""
    few = stream_facts("few", [Totals(5, 500, 1)] * 2, NOW.date() - DAY, min_rows_per_day=1000, max_age_hours=9)
    gone = table_facts("gone", [Totals(5, 500, 1)], min_rows=6)
    feeds = [{"feed": "few", "status": "ok"}, {"feed": "gone", "status": "failed", "error": {"message": "no server"}}]
    runs = (
        RunEntry("2", "export_to_data_lake.py --all", NOW, "failed", NOW, 1, 1.0, (), {"feeds": [feeds[1]]}),
        RunEntry("1", "export_to_data_lake.py --all", NOW, "ok", NOW - DAY, 0, 1.0, (), {"feeds": feeds[:1]}),
    )
    facts = page_of(few, gone, runs=runs, free_bytes=5)

    text = read_page(page_html(facts, "en")).text.replace("\u00a0", " ")

    assert len(facts.health.problems) == 6
    for said in (
        "7 things to look at",
        "The newest data of few is older than 9 h: 18 h ago.",
        "The last good export of few is older than 9 h: 1 d ago.",
        "few has 5 rows of yesterday (UTC), fewer than 1,000.",
        "The last export of gone failed: no server",
        "The current version of gone has 5 rows, fewer than 6.",
        "Only 5 B are free where the lake is; it should have 1.0 GB.",
        "The lake has never been verified.",
    ):
        assert said in text


def test_a_verification_at_the_end_of_an_export_counts() -> None:
    verified = {"feeds": ["s"], "findings": [{"feed": "s", "what": "lost", "detail": "a file"}], "errors": []}
    run = RunEntry(
        "1", "export_to_data_lake.py --all --then-verify", NOW, "failed", NOW, 1, 1.0, (), {"verify": verified}
    )

    page = read_page(page_html(page_of(runs=(run,)), "en"))

    assert [row[3].text for row in page.tables["Last checks"][1:]] == [
        "not checked python metadata_utils.py verify --deep",
        "1 problem",
        "not checked python metadata_utils.py verify --source",
        "not checked python metadata_utils.py verify --warehouse",
    ]
    assert "s: lost: a file" in page.text


@pytest.mark.parametrize("lang", LANGS)
def test_no_two_parts_of_the_page_have_the_same_name(lang: Lang) -> None:
    for seed in (0, 11, 36):
        facts = made_up_page(seed)
        page = read_page(page_html(facts, lang))
        titles = [WORDS[key][LANGS.index(lang)] for key in WORDS if key.endswith("_title")]
        assert not set(titles) & set(page.tables)
