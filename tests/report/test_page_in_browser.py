"""The page in a real browser: nothing on the console, nothing too wide, nothing that a screen reader could not say.

One browser for all of them; Chromium comes from Debian, axe-core from the package axe-playwright-python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from demo.browser import chromium
from demo.private_process import ServerMissing
from pipeline.lake.metadata import Totals
from pipeline.report.page.page import page_html
from tests.report.made_up_lakes import made_up_page, page_of, stream_facts
from tests.report.read_page import read_page
from tests.report.test_page_safety import hostile_page

pytestmark = pytest.mark.server
_SEEN = (
    "() => [...document.querySelectorAll('table')].map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        program = chromium()
    except ServerMissing as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Browser, folder: Path, html: str, width: int, scheme: str) -> tuple[Page, list[str]]:
    """The page in a window, and a list of what the browser complains of or asks for; the page's policy is in force."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type] # a word of it
    said = list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    return page, said


def rich_page(lang: str) -> str:
    """All sections with something in them; a long name is among it."""
    day, facts = Totals(1_234_567, 987_654_321, 24), made_up_page(36)
    limits = {"max_age_hours": 1, "min_rows_per_day": 2_000_000}
    stream = stream_facts("transaction_stream_anonymized_of_all_countries", [day] * 9, description="d" * 90, **limits)
    tables = [one for one in facts.feeds if one.state.feed.warehouse][::2]
    full = page_of(stream, *tables, runs=facts.history.runs[:9], warehouse=facts.warehouse)
    assert full.history.proofs
    assert tables
    assert full.warehouse is not None
    assert full.warehouse.snapshots
    return page_html(full, lang)  # type: ignore[arg-type] # a language


@pytest.mark.parametrize(
    ("width", "scheme", "lang"),
    [(360, "light", "fr"), (360, "dark", "en"), (1280, "light", "en"), (1280, "dark", "fr")],
)
def test_nothing_is_wrong_for_axe_the_console_or_a_narrow_screen(
    browser: Browser, tmp_path: Path, width: int, scheme: str, lang: str
) -> None:
    page, said = opened(browser, tmp_path, rich_page(lang), width, scheme)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    page.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type] # as above
    page = context.new_page()  # axe is a script, which the page's policy would not let run
    page.goto((tmp_path / "page.html").as_uri())
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_snapshot()
    context.close()


def test_the_browser_shows_the_cells_that_the_file_has(browser: Browser, tmp_path: Path) -> None:
    for seed in (1, 6, 38):
        html = page_html(made_up_page(seed), "fr")
        page, said = opened(browser, tmp_path, html, 1280, "light")

        seen = page.evaluate(_SEEN)

        written = [[[cell.text for cell in row] for row in rows] for rows in read_page(html).tables.values()]
        assert seen == written
        assert said == []
        page.close()


def test_a_hostile_text_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    page, said = opened(browser, tmp_path, hostile_page(), 360, "light")

    assert page.evaluate("document.scripts.length + document.images.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert said == []
    page.close()


def test_the_keyboard_reaches_what_can_be_opened_and_followed(browser: Browser, tmp_path: Path) -> None:
    page, _ = opened(browser, tmp_path, rich_page("en"), 1280, "light")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")
    page.close()


def test_the_page_can_be_printed(browser: Browser, tmp_path: Path) -> None:
    page, _ = opened(browser, tmp_path, rich_page("en"), 1280, "dark")

    page.emulate_media(media="print")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert re.fullmatch(r"rgb\(0, 0, 0\)", page.evaluate("getComputedStyle(document.body).color"))
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.close()
