"""Words of documents that came before these commands: they are understood, and mean one thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.commands import command, ran
from tests.lake.small_tables import stream_feed, table_feed
from tests.support import lake_at


@pytest.fixture
def lake(lake_root: Path) -> Path:
    for feed in (stream_feed(), table_feed()):
        lake_at(lake_root).feeds.add(feed)
    return lake_root


def test_a_feed_is_named_by_an_option_or_as_an_argument(lake: Path) -> None:
    ran(lake, "manage_feeds", "update", "--name", "events", "--owner", "finance")
    ran(lake, "manage_feeds", "disable", "--name", "totals")
    ran(lake, "manage_feeds", "update", "events", "--name", "events", "--tag", "eur")

    changed = json.loads(ran(lake, "manage_feeds", "show", "--name", "events").stdout)
    assert (changed["owner"], changed["tags"]) == ("finance", ["eur"])
    assert not lake_at(lake).feeds.get("totals").enabled
    recorded = json.loads(ran(lake, "metadata_utils", "runs", "--json").stdout)["runs"]
    assert [run["command"] for run in recorded[::-1]] == [
        "manage_feeds.py update events --owner finance",
        "manage_feeds.py disable totals",
        "manage_feeds.py update events --tag eur",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("update", "--owner", "x"), "error: no feed is named"),
        (("update", "events", "--name", "totals", "--owner", "x"), "error: two feeds are named: events and totals"),
        (("show", "--name", "nobody"), "error: there is no feed 'nobody'"),
    ],
)
def test_no_feed_and_two_feeds_are_refused(lake: Path, words: tuple[str, ...], message: str) -> None:
    done = command(lake, "manage_feeds", *words)

    assert (done.exit_code, message in done.stderr) == (2, True)


@pytest.mark.parametrize(("name", "mode"), [("events", "append"), ("totals", "Overwrite")])
def test_a_storage_mode_may_be_in_any_case(lake: Path, name: str, mode: str) -> None:
    ran(lake, "manage_feeds", "update", name, "--storage-mode", mode, "--owner", "x")

    assert lake_at(lake).feeds.get(name).storage_mode == mode.upper()


def test_all_feeds_are_listed_with_those_that_were_put_away(lake: Path) -> None:
    ran(lake, "manage_feeds", "disable", "events")
    ran(lake, "manage_feeds", "archive", "totals")

    lines = ran(lake, "manage_feeds", "list", "--all").stdout.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [["events", "stream", "off"], ["totals", "table", "archived"]]
    form = json.loads(ran(lake, "manage_feeds", "list", "--all", "--json").stdout)
    assert [[one["name"] for one in form[kind]] for kind in ("feeds", "archived")] == [["events"], ["totals"]]
    assert "archived" not in json.loads(ran(lake, "manage_feeds", "list", "--json").stdout)
    (lake / "feeds" / "archived" / "broken.json").write_text("{")
    assert "broken.json" in command(lake, "manage_feeds", "list", "--all").stderr
