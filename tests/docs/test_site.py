"""The site is built strictly (a link that leads nowhere fails it), and a browser loads nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from demo.browser import chromium
from demo.private_process import ServerMissing
from docsite import site
from docsite.pages import ROOT, blocks, pages_in, path_of
from docsite.parts import MERMAID, Part, PartMissing, fetched

_LOADED = re.compile(r"<(?:script|img|iframe|link)[^>]*?(?:src|href)=\"?((?:https?:)?//[^\" >]*)")


@pytest.mark.server  # npm is asked for two scripts, once
def test_the_site_is_built_strictly_and_needs_no_network(tmp_path: Path) -> None:
    built = site.build(tmp_path / "site", tmp_path / "staged")

    pages = {path.relative_to(built).as_posix(): path.read_text(encoding="utf-8") for path in built.rglob("*.html")}
    for language, folder in (("en", ""), ("fr", "fr/")):
        for page in pages_in(language):
            html = pages[f"{folder}{page}.html"]
            assert not _LOADED.findall(html), page
            diagrams = [kind for kind, _ in blocks(path_of(page, language).read_text(encoding="utf-8"))].count(
                "mermaid"
            )
            assert html.count('class="mermaid"') == diagrams, page
            assert ("assets/mermaid.js" in html) == (diagrams > 0), page
            assert not re.findall(r"<p>[^<]*\n(?:- |\d+\. )", html), f"{page}: a list needs an empty line before it"
    assert (built / "assets" / "mermaid.js").read_bytes() == fetched(MERMAID).read_bytes()


@pytest.mark.server
def test_every_diagram_can_be_drawn() -> None:
    """A diagram with a fault builds: it is drawn by the reader's browser."""
    places = [path_of(page, language) for language in ("en", "fr") for page in pages_in(language)] + [
        ROOT / "README.md"
    ]
    found = [(path, code) for path in places for kind, code in blocks(path.read_text("utf-8")) if kind == "mermaid"]
    try:
        program = chromium()
    except ServerMissing as error:
        pytest.skip(str(error))
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.add_script_tag(path=fetched(MERMAID))
        faults = page.evaluate(
            """codes => Promise.all(codes.map((code, n) =>
              mermaid.render(`drawn${n}`, code).then(() => null, fault => String(fault))))""",
            [code for _, code in found],
        )

    assert not [(path.name, code, fault) for (path, code), fault in zip(found, faults, strict=True) if fault]


@pytest.mark.server
def test_a_link_that_leads_nowhere_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "text_for_the_site", lambda page, _: f"# {page}\n\n[gone](nowhere.md)\n")

    with pytest.raises(site.SiteNotBuilt, match="page does not exist"):
        site.build(tmp_path / "site", tmp_path / "staged")


@pytest.mark.server
def test_a_script_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("docsite.parts.FOLDER", tmp_path)

    with pytest.raises(PartMissing, match="is not what it was"):
        fetched(Part("iframe-worker", "1.0.4", "another", "package/shim/index.js", "iframe-worker.js"))
    assert not list(tmp_path.iterdir())
