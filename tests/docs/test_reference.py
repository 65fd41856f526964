"""The reference is what the code says: a command, an option, a setting or an error that is not in it fails here."""

from __future__ import annotations

import pytest

from data_lake_config import Settings
from docsite import reference
from docsite.pages import path_of
from docsite.words import Words, french

_NOT_SHOWN = {"history-of-nothing"}
"""Forms that another one of the reference has with more in it."""


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_reference_is_what_the_code_says(language: str) -> None:
    written = {page: path_of(page, language).read_text(encoding="utf-8") for page in reference.pages(Words(language))}

    assert written == reference.pages(Words(language)), "run: python -m docsite --reference"


def test_every_sentence_of_the_code_is_there_in_french_and_no_other_one() -> None:
    words = Words("fr")
    reference.pages(words)

    assert not words.missing, "give docsite/french.json the French of these"
    assert french().keys() == words.used


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{words} {option.opts[-1]}"
        for name, script in reference.scripts().items()
        for words, command in reference.commands(name, script)
        for option in reference.options_of(command)
        if not option.help
    ]

    assert not silent


def test_the_reference_has_every_command_option_and_setting() -> None:
    """By the names alone, so that a page that is written wrongly does not pass for being what was written."""
    page = path_of("reference/commands", "en").read_text(encoding="utf-8")
    settings = path_of("reference/settings", "en").read_text(encoding="utf-8")
    for name, script in reference.scripts().items():
        for words, command in reference.commands(name, script):
            assert f" {words}\n" in page
            assert not [option for option in reference.options_of(command) if f"`{option.opts[-1]}`" not in page]

    assert not [name for name in Settings.model_fields if f"`{name.upper()}`" not in settings]


def test_every_form_of_json_is_in_the_reference() -> None:
    assert {path.stem for path in reference.FORMS.glob("*.json")} == reference.FORM_OF.keys() | _NOT_SHOWN
