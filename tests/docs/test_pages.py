"""The pages: each is on the site, says the same in both languages, and names only what the commands really have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from docsite import reference
from docsite.pages import DOCS, FENCE, FRENCH_ONLY, blocks, pages_in, path_of, text_for_the_site, titles
from tests.support import ROOT

_PAIRS = sorted(set(pages_in("en")) & set(pages_in("fr")))
_COMMAND = re.compile(r"\b([a-z_]+\.py)((?: +[^\s`|;&>()]+)*)")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.md")}


def test_every_page_is_on_the_site() -> None:
    assert {name for name in files(DOCS) if not name.startswith("fr/")} == set(pages_in("en"))
    assert files(DOCS / "fr") == set(pages_in("fr"))


def test_every_page_is_there_in_french_but_for_the_single_decisions() -> None:
    missing = set(pages_in("en")) - set(pages_in("fr"))

    assert not [page for page in missing if not re.match(r"decisions/\d", page)]


@pytest.mark.parametrize("page", pages_in("fr"))
def test_french_has_its_own_spaces_before_double_signs_and_inside_quotes(page: str) -> None:
    text = re.sub(r"^```.*?^```|`[^`]*`", "`code`", path_of(page, "fr").read_text(encoding="utf-8"), flags=re.M | re.S)

    assert not re.findall(r".{0,20}(?:(?<!\|) [:;?!»](?!\w)|« ).{0,20}", text)
    assert not re.findall(r".{0,20}\w[;?!»].{0,20}", text), "a space that does not break stands before it"
    assert not re.findall(r".{0,20}\n[:;?!»].{0,20}", text), "a sign that ends a phrase does not begin a line"
    assert not re.findall(r".{0,20}\d[ \n](?:%|\d{3}(?!\d)).{0,20}", text), "a number stays on one line"


def test_a_link_to_a_page_that_is_there_in_english_only_leads_to_it() -> None:
    for page in pages_in("fr"):
        places = re.findall(r'href="([\w./-]+)\.html" hreflang="en">', text_for_the_site(page, "fr"))
        for place in places:
            up, _, english = place.rpartition("../")
            assert (english in pages_in("en"), up.count("../")) == (True, page.count("/")), f"{page}: {place}"


def shape(text: str) -> list[tuple[int, int, int]]:
    """How many paragraphs, points of lists and rows of tables each part of a page has, without its code."""
    parts = re.split(r"^#+ ", FENCE.sub("(code)", text), flags=re.MULTILINE)
    return [
        (
            len(re.findall(r"\n\n+(?=\S)", part)),
            len(re.findall(r"^\s*- ", part, re.M)),
            len(re.findall(r"^\|", part, re.M)),
        )
        for part in parts
    ]


@pytest.mark.parametrize("page", _PAIRS)
def test_a_page_has_the_same_titles_and_code_in_both_languages(page: str) -> None:
    """So commands that are run from the English page are those of the French one; only labels of diagrams differ."""
    english, french = (text_for_the_site(page, language) for language in ("en", "fr"))

    assert titles(french) == titles(english)
    assert [kind for kind, _ in blocks(french)] == [kind for kind, _ in blocks(english)]
    assert [code for kind, code in blocks(french) if kind != "mermaid"] == [
        code for kind, code in blocks(english) if kind != "mermaid"
    ]
    assert shape(french) == shape(english), (
        "paragraphs, points and rows of tables: something is there in one language only"
    )


def commands_named(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each script of a text with the words behind it, in code, in tables and in sentences."""
    without_diagrams = re.sub(r"^```mermaid\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for script, words in _COMMAND.findall(without_diagrams):
        try:
            yield script, shlex.split(words, comments=True)
        except ValueError:  # a quotation that ends after what is looked at
            yield script, words.split()


def unknown_words(script: click.Command, words: list[str]) -> list[str]:
    """The options among the words, and the command, that the script does not have."""
    below = next((script.commands[word] for word in words if word in script.commands), None) if isinstance(
        script, click.Group
    ) else None  # fmt: skip
    known = {
        name
        for command in (script, below)
        if command is not None
        for option in reference.options_of(command)
        for name in [*option.opts, *option.secondary_opts]
    }
    given = [word.partition("=")[0].rstrip(".,:") for word in words if re.match(r"--?[a-z]", word)]
    return [word for word in given if word not in known]


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_a_page_names_only_commands_and_options_that_are_there(path: Path) -> None:
    found = reference.scripts()
    named = [one for one in commands_named(path.read_text(encoding="utf-8")) if one[0] in found]

    assert not [(script, words) for script, words in named if unknown_words(found[script], words)]


def test_what_only_french_has_is_there_in_french_only() -> None:
    assert not [page for page in FRENCH_ONLY if path_of(page, "en").is_file()]


_SETTING = re.compile(
    r"\b(?:(?:LAKE|KSQLDB|MYSQL|SCHEMA_REGISTRY|SNAPSHOT(?!_DATE)|EXPIRE|EXPORT|COMPACT|HEALTH|SCD2)_[A-Z0-9_]*[A-Z0-9]"
    r"|KAFKA_(?!TOPIC\b)[A-Z_]*[A-Z])\b"
)


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_a_page_names_only_settings_that_are_there(path: Path) -> None:
    reference_page = path_of("reference/settings", "en").read_text(encoding="utf-8")
    known = set(re.findall(r"`([A-Z0-9_]+)`", reference_page))

    assert set(_SETTING.findall(path.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "demo/README.md"])
def test_a_link_beside_the_site_leads_to_a_file(name: str) -> None:
    """Links within the site are checked when it is built."""
    path = ROOT / name
    links = re.findall(r"\]\(([^):#]+)[^)]*\)", path.read_text(encoding="utf-8"))

    assert not [link for link in links if not (path.parent / link).exists()]
