"""Commands on a lake that has been harmed, and the harm."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ksqldb_emulator.testing import Emulator
from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from tests.integration.small_sources import rows
from tests.support import folder_of, lake_at, run_script

NEVER = "http://127.0.0.1:9"


def run(root: Path, server: Emulator | None, script: str, *arguments: str, code: int = 0) -> Any:
    env = {
        "LAKE_ROOT": str(root),
        "KSQLDB_URL": server.url if server else NEVER,
        "QUIET_S": "0.5",
        "KSQLDB_RETRY_S": "1",
    }
    done = run_script(f"{script}.py", *arguments, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def export(root: Path, server: Emulator, feed: Feed, code: int = 0) -> Any:
    lake_at(root).feeds.save(feed)
    return run(root, server, "export_to_data_lake", f"--{feed.type}", feed.name, code=code)


def repair(root: Path, server: Emulator | None, name: str, *arguments: str, code: int = 0) -> Any:
    return run(root, server, "metadata_utils", "repair", name, *arguments, code=code)


def harm(root: Path, feed: Feed, how: str, index: int = 0) -> DataFile:
    table = lake_at(root).table(feed)
    file = sorted(table.files, key=lambda file: file.path)[index]
    path = folder_of(table) / file.path
    if how == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return file


def places(root: Path, feed: Feed) -> Counter[tuple[int, int]]:
    return Counter((row["rowpartition"], row["rowoffset"]) for row in rows(root, feed))
