"""Which alerts are sent, and when: each new trouble once, a lasting one each day, and once that all is well again."""

from __future__ import annotations

import datetime as dt
import email
import json
import shlex
import sys
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from pipeline.alert import Alert, send
from pipeline.alert_rule import due_alert
from pipeline.errors import NoticeNotSent
from pipeline.feeds import parse_feed
from pipeline.health import look_at
from pipeline.lake.lake import Lake
from pipeline.lake.runs import SentAlert
from tests.integration.commands import command, ran
from tests.integration.one_stream import lake, server
from tests.integration.receivers import Smtp, Webhook, receiving
from tests.lake.small_tables import add_version, table_feed
from tests.support import ROOT, lake_at, wait_until

__all__ = ["lake", "server"]

AWAY = "http://127.0.0.1:9"
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def add_a_feed_without_source(root: Path) -> None:
    lake_at(root).feeds.add(parse_feed({"name": "gone", "type": "stream", "source": "GONE"}, "gone"))


class Inbox:
    """A command that keeps what it gets, one file an alert."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        script = f"import sys, uuid; open({str(folder)!r} + '/' + uuid.uuid4().hex, 'w').write(sys.stdin.read())"
        self.command = shlex.join([sys.executable, "-Sc", script])

    def taken(self) -> list[dict[str, Any]]:
        found = []
        for path in self._folder.iterdir():
            found.append(json.loads(path.read_bytes()))
            path.unlink()
        return found


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "inbox")


def night(root: Path, url: str, code: int, *words: str, **env: str) -> str:
    return ran(root, "export_to_data_lake", "--all", *words, code=code, env={"KSQLDB_URL": url} | env).stderr


def test_a_trouble_is_told_once_and_its_end_is_told_once(lake: Path, server: str, inbox: Inbox) -> None:
    told = []
    add_a_feed_without_source(lake)
    for code, words in ((1, ()), (1, ()), (0, ("disable", "gone")), (0, ())):
        if words:
            ran(lake, "manage_feeds", *words)
        night(lake, server, code, "--alert-command", inbox.command)
        told.append([(alert["alert"], alert["exit_code"]) for alert in inbox.taken()])

    assert told == [[("wrong", 1)], [], [("well again", 0)], []]


def test_the_summary_says_what_happened_and_what_to_do(lake: Path, server: str, inbox: Inbox) -> None:
    add_a_feed_without_source(lake)
    night(lake, server, 1, ALERT_COMMAND=inbox.command)

    (alert,) = inbox.taken()
    (run,) = lake_at(lake).runs.newest(1)
    assert (alert["run"], alert["lake"], alert["result"]) == (run.id, str(lake), run.result)
    assert [(one["feed"], one["what"]) for one in alert["problems"]] == [("gone", "the last export failed")]
    assert alert["errors"] == list(run.errors)
    assert alert["errors"][0]["hint"] in alert["text"]
    assert alert["subject"].endswith(": 1 problem")
    assert run.alert is not None
    assert run.alert.about == ("gone: the last export failed",)
    assert '"alerted_at": "20' in ran(lake, "metadata_utils", "runs", "--json").stdout


def test_what_the_next_run_may_solve_is_told_when_it_lasts(lake: Path, inbox: Inbox) -> None:
    env = {"ALERT_COMMAND": inbox.command}
    night(lake, AWAY, 75, **env)
    assert inbox.taken() == []

    night(lake, AWAY, 75, ALERT_AFTER_HOURS="0", **env)
    assert [alert["exit_code"] for alert in inbox.taken()] == [75]


def test_settings_that_cannot_be_used_are_told_each_time(lake: Path, inbox: Inbox) -> None:
    for _ in range(2):
        night(lake, AWAY, 1, ALERT_COMMAND=inbox.command, QUIET_S="never")
        (alert,) = inbox.taken()
        assert "QUIET_S must be a number" in alert["text"]


def test_a_fault_of_this_program_is_told(
    lake: Path, server: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.export.run.export_feeds", lambda *_: 1 / 0)
    done = command(lake, "export_to_data_lake", "--all", env={"KSQLDB_URL": server, "ALERT_COMMAND": inbox.command})

    assert isinstance(done.exception, ZeroDivisionError)
    assert "a fault of this program (ZeroDivisionError)" in inbox.taken()[0]["text"]


@pytest.mark.parametrize("words", [("--stream", "s"), ("--all", "--dry-run")])
def test_a_person_at_a_shell_is_not_told_by_mail(lake: Path, inbox: Inbox, words: tuple[str, ...]) -> None:
    command(lake, "export_to_data_lake", *words, env={"KSQLDB_URL": AWAY, "ALERT_COMMAND": inbox.command})

    assert inbox.taken() == []


def test_a_command_that_fails_changes_nothing_and_the_next_run_tells(lake: Path, server: str, inbox: Inbox) -> None:
    add_a_feed_without_source(lake)

    for bad, said in (("sh -c 'echo no mail today >&2; exit 3'", "ended with 3 and said: no mail today"),
                      ("/nowhere/mail", "/nowhere/mail cannot be run"), ("'", "it is no command line")):  # fmt: skip
        assert f"warning: the alert command failed: {'sh ' * bad.startswith('sh')}{said}" in night(
            lake, server, 1, ALERT_COMMAND=bad
        )
    night(lake, server, 1, ALERT_COMMAND=inbox.command)
    assert len(inbox.taken()) == 1


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(NoticeNotSent, match=r"took longer than 0\.5 s and was killed"):
        send(f"sh -c 'sleep 600 & echo $! > {pid}; wait'", {}, limit_s=0.5)

    stat = Path("/proc", pid.read_text().strip(), "stat")
    wait_until(lambda: not stat.exists() or stat.read_text().split()[2] == "Z", "the end of the child")


@pytest.fixture
def quiet_lake(lake_root: Path) -> Lake:
    """A lake with a table whose last good export was three days ago."""
    found = lake_at(lake_root)
    found.feeds.add(table_feed())
    add_version(found.table(table_feed()), 1, ["a"], now=NOW - 3 * DAY)
    recorded(found, 3 * DAY, 0)
    return found


def recorded(lake: Lake, age: dt.timedelta, code: int, *about: str, told: bool = False) -> None:
    """An export of that age; a failed one has an error of its feed."""
    at, error = NOW - age, {"message": "no server", "hint": ""} if code else None
    run_id = f"{at:%Y%m%dT%H%M%SZ}-00000000"
    feed = {"feed": "totals", "status": "failed" if code else "ok", "error": error}
    lake.runs.begin(run_id, "export_to_data_lake.py --all", at)
    lake.runs.end(run_id, at, {"exit_code": code, "result": {"feeds": [feed]}, "errors": [error] if error else []})
    if told:
        lake.runs.alerted(run_id, SentAlert(at, about))


def due(lake: Lake, code: int, hours: int = 30) -> Alert | None:
    health = look_at(lake, *lake.feeds.choose(), NOW, 0)
    return due_alert(health, code, dt.timedelta(hours=hours))


FAILED = "totals: the last export failed"


@pytest.mark.parametrize(("max_age", "hours", "is_due"), [("none", 30, True), ("none", 80, False), ("80", 30, False)])
def test_the_feeds_own_limit_says_how_long_a_failure_may_last(
    quiet_lake: Lake, max_age: str, hours: int, is_due: bool
) -> None:
    ran(Path(str(quiet_lake)), "manage_feeds", "update", "totals", "--max-age-hours", max_age)
    recorded(quiet_lake, dt.timedelta(), 75)

    alert = due(quiet_lake, 75, hours)
    assert (alert is not None and FAILED in alert.about) == is_due


@pytest.mark.parametrize(
    ("about", "age", "is_due"),
    [((FAILED,), dt.timedelta(hours=3), False), ((FAILED,), DAY, True), (("else",), dt.timedelta(hours=3), True)],
)
def test_what_is_known_is_told_again_after_a_day(
    quiet_lake: Lake, about: tuple[str, ...], age: dt.timedelta, is_due: bool
) -> None:
    recorded(quiet_lake, age, 1, *about, told=True)
    recorded(quiet_lake, dt.timedelta(), 1)

    assert (due(quiet_lake, 1) == Alert((FAILED,), tuple(due_problems(quiet_lake)))) == is_due


def due_problems(lake: Lake) -> list[Any]:
    return list(look_at(lake, *lake.feeds.choose(), NOW, 0).problems)


@pytest.mark.parametrize(("code", "is_due"), [(0, True), (75, False), (130, False)])
def test_well_again_is_said_after_a_good_run_only(quiet_lake: Lake, code: int, is_due: bool) -> None:
    recorded(quiet_lake, DAY, 1, FAILED, told=True)
    recorded(quiet_lake, dt.timedelta(), code)

    assert (due(quiet_lake, code, 80) == Alert(())) == is_due


def test_a_mail_arrives() -> None:
    with receiving(Smtp) as (port, mails):
        words = [sys.executable, str(ROOT / "samples" / "alert_mail.py"), "--to", "ops@example.com",
                 "--sender", "lake@example.com", "--server", f"127.0.0.1:{port}"]  # fmt: skip
        send(shlex.join(words), {"subject": "data lake on é: 1 problem", "text": "gone: the last export failed: ü"})

    mail = email.message_from_bytes(mails[0].body, policy=default)
    assert (mail["Subject"], mail["To"]) == ("data lake on é: 1 problem", "ops@example.com")
    assert mail.get_content().strip() == "gone: the last export failed: ü"


def test_a_webhook_is_called(lake: Path) -> None:
    with receiving(Webhook) as (port, bodies):
        post = f"curl -fsS -H 'Content-Type: application/json' --data-binary @- http://127.0.0.1:{port}/hook"
        night(lake, AWAY, 75, ALERT_COMMAND=post, ALERT_AFTER_HOURS="0")

    assert json.loads(bodies[0].body)["alert"] == "wrong"
