"""The site: the pages of both languages, built strictly by Zensical into a folder that needs no network to be read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docsite.pages import ROOT, SECTIONS, pages_in, text_for_the_site
from docsite.parts import MERMAID, SEARCH, fetched

SITE = ROOT / "build" / "site"
_STAGED = ROOT / "build" / "docs"
_ELSEWHERE = "https://unpkg.com/iframe-worker/shim"
_SETTINGS = """
[project]
site_name = {name}
site_description = {description}
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
nav = {nav}
extra_javascript = ["assets/mermaid.js"]

[project.theme]
language = {language}
font = false
features = ["navigation.sections", "navigation.top", "navigation.footer", "content.code.copy", "search.highlight"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"

[project.plugins.search]
[project.plugins.offline]

[project.validation]
invalid_links = true
invalid_link_anchors = true

[project.markdown_extensions.tables]
[project.markdown_extensions.md_in_html]
[project.markdown_extensions.toc]
permalink = true
[project.markdown_extensions.pymdownx.highlight]
[project.markdown_extensions.pymdownx.superfences]
custom_fences = [{{ name = "mermaid", class = "mermaid", format = "pymdownx.superfences.fence_code_format" }}]
"""
_NAMES = {
    "en": ("ksqlDB to a data lake and a star schema", "Every row exactly once, whatever fails."),
    "fr": ("De ksqlDB au lac de données et à l'entrepôt", "Chaque ligne une fois et une seule, quoi qu'il arrive."),
}


class SiteNotBuilt(Exception):
    """The site has a fault, such as a link that leads nowhere."""


def build(folder: Path = SITE, staged: Path = _STAGED) -> Path:
    """Builds both languages into `folder`, English at its top and French in `fr/`. Raises SiteNotBuilt, PartMissing."""
    parts = fetched(MERMAID), fetched(SEARCH)
    shutil.rmtree(folder, ignore_errors=True)
    for language, target in (("en", folder), ("fr", folder / "fr")):
        _build_one(language, target, staged / language, parts)
    return folder


def _build_one(language: str, folder: Path, staged: Path, parts: tuple[Path, Path]) -> None:
    shutil.rmtree(staged, ignore_errors=True)
    for page in pages_in(language):
        path = staged / "pages" / f"{page}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_for_the_site(page, language), encoding="utf-8")
    assets = staged / "pages" / "assets"
    assets.mkdir()
    for part, name in zip(parts, ("mermaid.js", "iframe-worker.js"), strict=True):
        shutil.copy(part, assets / name)
    (staged / "zensical.toml").write_text(_settings(language), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=staged, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SiteNotBuilt(done.stdout + done.stderr)
    for path in (staged / "site").rglob("*.html"):
        _without_network(path, staged / "site")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staged / "site", folder)


def _settings(language: str) -> str:
    there = set(pages_in(language))
    nav = []
    for section in SECTIONS:
        pages = [f"{page}.md" for page in section.pages if page in there]
        title = section.french if language == "fr" else section.english
        nav.append(f"{{ {_text(title)} = {_text(pages)} }}")
    name, description = _NAMES[language]
    return _SETTINGS.format(
        name=_text(name),
        description=_text(description),
        nav=f"[{', '.join(nav)}]",
        language=_text(language),
    )


def _text(value: object) -> str:
    """As TOML writes it, which for texts and lists of them is as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def _without_network(path: Path, folder: Path) -> None:
    """The search's script comes from the site, and the one that draws is loaded only where there is a diagram."""
    html = path.read_text(encoding="utf-8")
    up = "../" * (len(path.relative_to(folder).parts) - 1)
    html = html.replace(_ELSEWHERE, f"{up}assets/iframe-worker.js")
    if 'class="mermaid"' not in html:
        html = re.sub(r'<script src="[^"]*assets/mermaid\.js"></script>', "", html)
    path.write_text(html, encoding="utf-8")
