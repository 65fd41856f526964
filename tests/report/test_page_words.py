"""The words of the page: all of them in both languages, and numbers, sizes and dates as each language writes them."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from pipeline.report.page.language import Language
from pipeline.report.page.words import WORDS
from tests.support import ROOT

EN, FR = Language("en"), Language("fr")
NOW = dt.datetime(2026, 11, 29, 6, 30, tzinfo=dt.UTC)
CODE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "pipeline/report/page").glob("*.py")))


def test_a_text_has_the_same_places_in_both_languages() -> None:
    for key, texts in WORDS.items():
        parts = [[set(re.findall(r"\{(\w+)\}", part)) for part in text.split("|")] for text in texts]
        assert parts[0] == parts[1], key
        assert len(parts[0]) in (1, 2), key
        assert all(text.strip() == text and text for text in texts), key


def test_french_is_set_as_it_is_printed() -> None:
    """No-break spaces before two-part signs, and no straight apostrophe."""
    for _, french in WORDS.values():
        assert not re.search(r"[^\u00a0\s][:;?!](?=\s|$)| [:;?!]", french), french
        assert "'" not in french


def test_each_text_is_used() -> None:
    families = {"to", "state", "check", "found_wrong", "rows", "ksqldb"}  # their keys are put together
    used = set(re.findall(r'"([a-z_]+(?: [a-z ]+)?)"', CODE.partition("WORDS:")[0] + CODE.rpartition("# fmt: skip")[2]))
    unused = [key for key in WORDS if CODE.count(f'"{key}"') < 2 and key not in used]

    assert not [key for key in unused if re.split("[ _]", key)[0] not in families and key.split(" ")[0] not in families]


def test_numbers_and_sizes() -> None:
    assert (EN.number(1234567), FR.number(1234567)) == ("1,234,567", "1\u202f234\u202f567")
    assert (EN.size(1_440_000), FR.size(1_440_000)) == ("1.4\u00a0MB", "1,4\u00a0Mo")
    assert (EN.size(12), FR.size(12)) == ("12\u00a0B", "12\u00a0o")
    assert [FR.change(number) for number in (1234, -1, 0)] == ["+1\u202f234", "\u22121", "\u00b10"]


def test_dates_and_times() -> None:
    day = dt.date(2026, 8, 1)
    assert (EN.date(day), FR.date(day)) == ("1\u00a0Aug\u00a02026", "1er\u00a0août\u00a02026")
    paris = NOW.astimezone(dt.timezone(dt.timedelta(hours=1)))
    assert EN.moment(paris) == "29\u00a0Nov\u00a02026, 06:30\u00a0UTC"
    assert FR.moment(paris) == "29\u00a0nov.\u00a02026 à 06:30\u00a0UTC"


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0.04, "0.0 s", "0,0 s"),
        (9.6, "9.6 s", "9,6 s"),
        (59.7, "1 min", "1 min"),
        (83, "1 min 23 s", "1 min 23 s"),
        (3600, "1 h", "1 h"),
        (90_061, "1 d 1 h", "1 j 1 h"),
    ],
)
def test_durations(seconds: float, english: str, french: str) -> None:
    assert EN.duration(seconds).replace("\u00a0", " ") == english
    assert FR.duration(seconds).replace("\u00a0", " ") == french


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (20, "just now", "à l’instant"),
        (-20, "just now", "à l’instant"),
        (119, "1 min ago", "il y a 1 min"),
        (50 * 3600, "2 d ago", "il y a 2 j"),
        (-7200, "in 2 h", "dans 2 h"),
    ],
)
def test_ages(seconds: int, english: str, french: str) -> None:
    then = NOW - dt.timedelta(seconds=seconds)
    assert EN.ago(then, NOW).replace("\u00a0", " ") == english
    assert FR.ago(then, NOW).replace("\u00a0", " ") == french


def test_nothing_is_many_in_english_and_one_in_french() -> None:
    assert [EN.count("files_n", number) for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [FR.count("files_n", number) for number in (0, 1, 2)] == ["0 fichier", "1 fichier", "2 fichiers"]
