"""What tests use again and again: running a script as a person does, and feeds for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_lake_config import DEFAULT_FEEDS
from ksqldb_emulator.dataset import Source
from ksqldb_emulator.testing import PATIENCE_S, comes_true
from pipeline import cli
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.lake import Lake
from pipeline.lake.lock import hold_feed
from pipeline.lake.table import LakeTable
from tests.forked import run_forked

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {path.stem: path for path in sorted(ROOT.glob("*.py"))} | {
    f"commands.{path.stem}": path for path in sorted((ROOT / "commands").glob("[!_]*.py"))
}
FAST = {
    "QUIET_S": "0.6",
    "STALL_S": "20",
    "SNAPSHOT_RECHECK_S": "0.05",
    "KSQLDB_RETRY_S": "3",
    "KSQLDB_TIMEOUT_S": "10",
}


def lake_at(root: Path, grace_hours: int = 168) -> Lake:
    """The lake in a folder."""
    return Lake(str(root), cli.tell, grace_hours)


def folder_of(table: LakeTable) -> Path:
    """Where a table of a lake on a local disk is."""
    return Path(table.uri())


def cleaned(root: Path, feed: Feed, grace_hours: int = 168) -> LakeTable:
    """A feed's table after a run that removed what earlier ones left, which have ended; the feed is free again."""
    with hold_feed(root / feed.kind_folder / feed.name, feed.name, {}):
        pass
    with lake_at(root, grace_hours).writing(feed, {}) as table:
        return table


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Returns as soon as `happened` says so."""
    assert comes_true(happened), f"this never came: {what}"


def run_script(
    script: str, *arguments: str, env: Mapping[str, str], cwd: Path = ROOT, timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Runs a script of the project in a process of its own, with short waits."""
    return run_forked(ROOT / script, arguments, os.environ | FAST | dict(env), cwd, timeout_s)


def log_of(root: Path, script: str) -> str:
    """What the runs of a script logged, in a lake or any folder that has `logs/`."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(root.glob(f"logs/{script}_*.log")))


def add_default_feeds(root: Path) -> None:
    store = lake_at(root).feeds
    for feed in DEFAULT_FEEDS:
        store.add(feed)


def feed_for(source: Source, **fields: Any) -> Feed:
    """A feed for a source, named like it in lower case."""
    name = source.name.lower()
    return parse_feed({"name": name, "type": source.kind.lower(), "source": source.name} | fields, name)
