"""Completion in a shell, by the shells themselves: commands, options, and the names of the lake's feeds."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lake.small_tables import stream_feed, table_feed
from tests.programs import need
from tests.support import ROOT, lake_at, wait_until

_ASK = """
. samples/completion.sh
for words in "$@"; do
    read -r -a COMP_WORDS <<< "$words"
    [ "${words% }" = "$words" ] || COMP_WORDS+=("")
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    _ksqldb_lake
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture
def lake(lake_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for feed in (stream_feed(), table_feed(), table_feed(name="total_by_day")):
        lake_at(lake_root).feeds.add(feed)
    monkeypatch.setenv("LAKE_ROOT", str(lake_root))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return lake_root


@pytest.mark.usefixtures("lake")
def test_bash_completes_commands_options_and_feeds() -> None:
    asked = {
        "python metadata_utils.py ro": "rollback",
        f"{sys.executable} {ROOT}/metadata_utils.py sql --form": "--format",
        "python metadata_utils.py sql --format ": "table csv json",
        "python export_to_data_lake.py --table ": "total_by_day totals",
        "python export_to_data_lake.py --stream ": "events",
        "python manage_feeds.py update --name e": "events",
        "python metadata_utils.py verify total": "total_by_day totals",
        "python other.py ": "",
        "python metadata_util": "",
    }

    done = subprocess.run(["bash", "-c", _ASK, "bash", *asked], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert dict(zip(asked, done.stdout.splitlines(), strict=True)) == asked


def test_a_lake_that_is_not_there_completes_nothing_and_says_nothing(lake: Path) -> None:
    shutil.rmtree(lake)

    done = subprocess.run(
        ["bash", "-c", _ASK, "bash", "python metadata_utils.py verify "],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.usefixtures("lake")
@pytest.mark.server
def test_zsh_completes_what_is_typed() -> None:
    need("zsh", "zsh")
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=os.environ | {"TERM": "dumb"}
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = [""]

    def has(text: str) -> bool:
        try:
            shown[0] += os.read(ours, 65_536).decode(errors="replace")
        except BlockingIOError:
            return False
        return text in shown[0]

    try:
        os.write(ours, b". samples/completion.sh && echo rea''dy\n")
        wait_until(lambda: has("ready"), "a shell with completion")
        os.write(ours, b"python export_to_data_lake.py --str\t")
        wait_until(lambda: has("--stream"), "an option completed")
        os.write(ours, b"ev\t")
        wait_until(lambda: has("events"), "a feed completed")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
