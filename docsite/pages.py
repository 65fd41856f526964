"""The pages of the documentation, in the order in which the site shows them; each is there in English and in French."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from docsite.words import typeset

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FRENCH_ONLY = ("correspondance", "glossaire")
"""Where the documents that the project began with are now, and which French word stands for which English one."""
GENERATED = ("reference/commands", "reference/settings", "reference/errors", "reference/json")


@dataclass(frozen=True)
class Section:
    english: str
    french: str
    pages: Sequence[str]


SECTIONS = (
    Section("Start", "Commencer", ("index", "quickstart-lake", "quickstart-warehouse", *FRENCH_ONLY)),
    Section("Understand", "Comprendre", ("lake", "warehouse-design", "data-flow", "architecture", "metadata")),
    Section("Choose", "Choisir", ("decision-guide", "feeds", "ksqldb", "kafka", "readers")),
    Section("Operate", "Exploiter", ("operations", "upkeep", "object-stores", "spark", "warehouse")),
    Section("Proof", "Preuves", ("reliability", "performance")),
    Section("Reference", "Référence", ("commands", *GENERATED)),
    Section(
        "Decisions",
        "Décisions",
        ("decisions/index", *sorted(f"decisions/{path.stem}" for path in DOCS.glob("decisions/0*.md"))),
    ),
)
_FIGURES = re.compile(r"<!-- (figures[^>]*): written by [^>]*-->.*?<!-- end of figures -->", re.DOTALL)
FENCE = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def path_of(page: str, language: str) -> Path:
    return (DOCS / "fr" if language == "fr" else DOCS) / f"{page}.md"


def pages_in(language: str) -> list[str]:
    """Those that are there in a language."""
    return [page for section in SECTIONS for page in section.pages if path_of(page, language).is_file()]


def blocks(text: str) -> list[tuple[str, str]]:
    """The code of a page: language and text of each block."""
    return FENCE.findall(text)


def with_code_of(english: str, french: str) -> str:
    """A French page with the code of the English one, block by block; diagrams have their own words and stay."""
    code = iter([block for block in FENCE.finditer(english) if block[1] != "mermaid"])
    return FENCE.sub(lambda block: block[0] if block[1] == "mermaid" else next(code, block)[0], french)


def finish_french() -> list[Path]:
    """Writes the code of the English pages into the French ones, and sets their spaces; returns those that changed."""
    changed = []
    for page in pages_in("fr"):
        path, english = path_of(page, "fr"), path_of(page, "en")
        if page not in GENERATED:
            text = path.read_text(encoding="utf-8")
            wanted = typeset(with_code_of(english.read_text(encoding="utf-8"), text) if english.is_file() else text)
            if wanted != text:
                path.write_text(wanted, encoding="utf-8")
                changed.append(path)
    return changed


def titles(text: str) -> list[str]:
    """The headings of a page, without those that are comments in its code."""
    return re.findall(r"^(#+) (?=\S)", FENCE.sub("", text), re.MULTILINE)


def text_for_the_site(page: str, language: str) -> str:
    """A page with the link to its other language; the figures that commands write stand in English, and are put in."""
    text = path_of(page, language).read_text(encoding="utf-8")
    english = path_of(page, "en")
    if language == "fr" and english.is_file():
        written = {found[1]: found[0] for found in _FIGURES.finditer(english.read_text(encoding="utf-8"))}
        text = _FIGURES.sub(lambda found: written[found[1]], text)
    up = "../" * page.count("/")
    if language == "fr":  # a page that is there in English only is beside the French site
        link = rf'<a href="{up}../\2.html" hreflang="en">\1</a>'
        text = re.sub(rf"\[([^]]+)\]\({re.escape(up)}\.\./([\w/-]+)\.md\)", link, text)
    other, word, place = ("fr", "Français", f"{up}fr/") if language == "en" else ("en", "English", f"{up}../")
    if path_of(page, other).is_file():
        text = f'<p><a href="{place}{page}.html" hreflang="{other}" lang="{other}">{word}</a></p>\n\n{text}'
    return text
