"""What arrives after a bad night: in the mail, the log, the ledger of runs, health and the page."""

from __future__ import annotations

import email
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.policy import default
from pathlib import Path

import pytest

from pipeline.feeds import parse_feed
from tests.integration.commands import FAST, ran
from tests.integration.one_stream import lake, server
from tests.integration.receivers import Sent, Smtp, receiving
from tests.integration.small_sources import a_stream
from tests.report.read_page import read_page
from tests.support import PATIENCE_S, ROOT, feed_for, lake_at, log_of

__all__ = ["lake", "server"]

NIGHT = ("export_to_data_lake", "--all", "--then-verify")
AWAY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Told:
    """What each place says, and the subject of the mail."""

    subject: str
    mail: str
    log: str
    ledger: str
    health: str
    page: str

    def everywhere(self, words: str) -> list[str]:
        """The places that do not say so."""
        return [place for place, text in vars(self).items() if place != "subject" and words not in text]


@pytest.fixture
def mails() -> Iterator[tuple[str, list[Sent]]]:
    """An alert command, and the mails that it sent."""
    with receiving(Smtp) as (port, found):
        words = [sys.executable, str(ROOT / "samples" / "alert_mail.py"), "--to", "ops@example.com"]
        yield shlex.join([*words, "--sender", "lake@example.com", "--server", f"127.0.0.1:{port}"]), found


def looked_at(lake: Path, found: list[Sent], health_code: int) -> Told:
    (mail,) = [email.message_from_bytes(one.body, policy=default) for one in found]
    places = (
        mail.get_content(),
        log_of(lake, "export_to_data_lake"),
        ran(lake, "metadata_utils", "runs", "--failed", "--json").stdout,
        ran(lake, "metadata_utils", "health", "--json", code=health_code).stdout,
        read_page(ran(lake, "metadata_utils", "--html", "-").stdout).text,
    )
    return Told(mail["Subject"], *places)


def test_a_broken_feed(lake: Path, server: str, mails: tuple[str, list[Sent]]) -> None:
    lake_at(lake).feeds.add(parse_feed({"name": "gone", "type": "stream", "source": "GONE"}, "gone"))
    ran(lake, *NIGHT, code=1, env={"KSQLDB_URL": server, "ALERT_COMMAND": mails[0]})

    told = looked_at(lake, mails[1], 1)
    assert told.subject.endswith(": 1 problem")
    assert told.everywhere("the ksqlDB source 'GONE' does not exist on the server") == []
    assert told.everywhere("gone") == []
    assert "hint: the server has: S" in told.mail
    assert "what is new is verified: 1 file, 3 rows" in told.log


def test_a_server_that_is_away_for_long(lake: Path, mails: tuple[str, list[Sent]]) -> None:
    for hours in ("30", "0"):  # the first night may be mended by the next one
        ran(lake, *NIGHT, code=75, env={"KSQLDB_URL": AWAY, "ALERT_COMMAND": mails[0], "ALERT_AFTER_HOURS": hours})

    told = looked_at(lake, mails[1], 1)
    assert told.everywhere("ksqlDB at http://127.0.0.1:9") == []
    assert "ended with exit code 75" in told.mail


_NO_NAMESPACES = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0


@pytest.mark.server
@pytest.mark.skipif(_NO_NAMESPACES, reason="this user may not mount a small disk of its own")
def test_a_full_disk(lake: Path, server: str, tmp_path: Path, mails: tuple[str, list[Sent]]) -> None:
    """On a disk of 300 kB, which is seen by these processes only."""
    ran(lake, "export_to_data_lake", "--all", env={"KSQLDB_URL": server})
    lake_at(lake).feeds.add(feed_for(a_stream([])).model_copy(update={"name": "again"}))
    disk, python = tmp_path / "disk", shlex.quote(sys.executable)
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size=300k tmpfs {disk} && cp -a {lake}/. {disk}/ && cat /dev/zero >{disk}/other 2>/dev/null
        {python} export_to_data_lake.py --all; echo "code $?" >{tmp_path}/code
        {python} metadata_utils.py health --json >{tmp_path}/health
        {python} metadata_utils.py --html {tmp_path}/page.html
        {python} metadata_utils.py runs --json >{tmp_path}/runs
    """
    env = os.environ | FAST | {"KSQLDB_URL": server, "LAKE_ROOT": str(disk), "ALERT_COMMAND": mails[0]}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip

    said = "the disk is full"
    assert (tmp_path / "code").read_text() == "code 1\n"
    assert said in done.stderr
    (mail,) = [email.message_from_bytes(one.body, policy=default) for one in mails[1]]
    assert said in mail.get_content()
    assert "free space (see 'df -h" in mail.get_content()
    assert "_staging" not in mail.get_content().partition("df -h")[2].partition("'")[0]
    assert " MB at " not in mail.get_content()
    health = json.loads((tmp_path / "health").read_text())
    assert "little room is left" in [one["what"] for one in health["problems"]]
    assert "Only 0 B are free where the lake is" in (tmp_path / "page.html").read_text().replace("\u00a0", " ")
    newest = json.loads((tmp_path / "runs").read_text())["runs"][0]
    assert newest["state"] == "failed"  # the ledger's last block had room for its lines
    assert said in newest["errors"][0]["message"]
