"""What `sync_to_mysql.py --json` and its commands print, to the byte: a contract with whatever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.warehouse.server import Server
from tests.integration.test_json_forms import FORMS, form
from tests.support import lake_at
from tests.warehouse.history import make_history
from tests.warehouse.lakes import write_lake
from tests.warehouse.samples import FEEDS
from tests.warehouse.test_sync_command import command

pytestmark = pytest.mark.mysql


def test_the_form_is_what_it_was(warehouse: Server, lake_root: Path) -> None:
    for feed in FEEDS.values():
        lake_at(lake_root).feeds.add(feed)
    write_lake(lake_root, make_history(users=3)[:2])

    for name, words in (
        ("loads", "--source lake --all-versions --json"),
        ("load", "--source lake --dry-run --json"),
        ("snapshots", "history --json"),
        ("moves", "rollback --to-snapshot 1 --dry-run --json"),
        ("expiry", "expire --keep-snapshots 1 --dry-run --json"),
        ("redated", "redate --snapshot 2 --taken-at 2026-11-22T06:00:00Z --dry-run --json"),
    ):
        done = command(warehouse, lake_root, *words.split())

        assert done.exit_code == 0, done.output
        assert form(lake_root, done.stdout) == (FORMS / f"{name}.json").read_text(encoding="utf-8"), name
