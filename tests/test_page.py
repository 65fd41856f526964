"""The page of the map names what is there, the package shows its rooms, and no feature is spread over many files."""

from __future__ import annotations

import re

import pytest

import pipeline
from tests.support import ROOT
from tests.test_layout import NAME, section


def test_the_page_names_nothing_that_is_not_there() -> None:
    names = [name for row in section("Rooms") for name in NAME.findall(row[0])]
    names += [name for row in section("Who may touch what") for name in NAME.findall(" ".join(row[2:]))]
    names += [name for row in section("To add") for name in re.findall(r"`([a-z_/]+(?:/|\.py))`", row[1])]

    assert not {name for name in names if not is_there(name)}


def test_the_package_shows_the_rooms_of_the_page() -> None:
    shown = re.findall(r"^ {4}([a-z_/]+(?:, [a-z_/]+)*)(?= {2}|$)", pipeline.__doc__ or "", re.MULTILINE)

    rooms = [", ".join(name.removesuffix(".py") for name in NAME.findall(row[0])) for row in section("Rooms")]
    assert shown == rooms


def is_there(name: str) -> bool:
    return (ROOT / "pipeline" / name).exists() or (ROOT / name).exists()


@pytest.mark.parametrize(("feature", "files"), section("Five features, and the files that they touch"))
def test_a_feature_touches_six_files_at_most(feature: str, files: str) -> None:
    """Those that are there, and new ones, which a plus marks until they are there too."""
    named = re.findall(r"`([a-z_/0-9]+\.py)`(\+?)", files)

    assert 1 < len(named) <= 6, feature
    assert not [name for name, new in named if is_there(name) == bool(new)]
