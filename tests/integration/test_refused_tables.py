"""Tables that cannot be trusted: each command names what is wrong with which feed, and none goes on with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import deltalake
import pytest

from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import running
from tests.support import run_script

pytestmark = pytest.mark.server
COMMANDS = (
    "export_to_data_lake.py --all",
    "metadata_utils.py verify",
    "metadata_utils.py --stats",
    "test_setup.py --no-mysql",
)


def lose_log(folder: Path) -> None:
    shutil.rmtree(folder / "_delta_log")


def let_bookmarks_go(folder: Path) -> None:
    properties = {"delta.setTransactionRetentionDuration": "interval 1 days"}
    deltalake.DeltaTable(folder).alter.set_table_properties(properties, raise_if_not_exists=False)


def delete_rows_by_vectors(folder: Path) -> None:
    deltalake.DeltaTable(folder).alter.add_feature(deltalake.TableFeatures.DeletionVectors, True)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lose_log, "_delta_log is lost"),
        (let_bookmarks_go, "delta.setTransactionRetentionDuration"),
        (delete_rows_by_vectors, "deletion vectors"),
    ],
)
def test_every_command_refuses_the_table_by_name(tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    with running(Dataset([events()])) as server:
        root = tmp_path / "lake"
        env = {"LAKE_ROOT": str(root), "KSQLDB_URL": server.url}
        added = run_script(
            *["manage_feeds.py", "add", "--name", "events", "--type", "stream", "--source", "EVENTS"], env=env
        )
        first = run_script(*COMMANDS[0].split(), env=env)
        assert (added.returncode, first.returncode) == (0, 0), added.stderr + first.stderr
        harm(root / "streams" / "events")
        files = sorted(root.rglob("*.parquet"))

        for command in COMMANDS:
            done = run_script(*command.split(), env=env)
            assert done.returncode == 1, (command, done.stdout, done.stderr)
            assert said in " ".join((done.stdout + done.stderr).split()), (command, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr

        assert sorted(root.rglob("*.parquet")) == files


def events() -> Source:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("N", parse_type("BIGINT")))
    records = [Record(0, n, 1_790_000_000_000 + n, {"K": "k", "N": n}) for n in range(3)]
    return Source("EVENTS", "STREAM", columns, "events", 1, records)


def test_a_place_that_some_reader_cannot_read_is_a_failed_check(tmp_path: Path) -> None:
    env = {"LAKE_ROOT": str(tmp_path / "what?"), "KSQLDB_URL": "http://127.0.0.1:9"}
    for command in COMMANDS:
        done = run_script(*command.split(), env=env)
        assert done.returncode == 1, (command, done.stdout, done.stderr)
        assert "it has ?" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
