"""What `--json` prints, to the byte: a contract with whatever reads it. Times and sizes differ from run to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import running
from tests.integration.commands import ran
from tests.integration.small_sources import DAY_MS, START_MS, a_stream, columns, reader_of
from tests.support import feed_for, lake_at

FORMS = Path(__file__).parent / "json_forms"
_VARIABLE = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r'("bytes"|"seconds"): [\d.]+', r"\1: 0"),
    (r"\d{8}T\d{6}Z-[0-9a-f]+", "RUN"),
    (r"-[0-9a-f]{32}-[0-9a-f]{16}\.parquet", "-HASH.parquet"),
    (r'("fingerprint": )"[0-9a-f]{32}"', r'\1"FINGERPRINT"'),
    (r'("entry_checksum": )"[0-9a-f]{16}"', r'\1"CHECKSUM"'),
    (r"http://127\.0\.0\.1:\d+", "SERVER"),
    (r"[\d.]+ GB free", "FREE"),
    (r'(all )\d+( are there|")', r"\1COUNT\2"),
    (r'("detail": )"3\.\d+\.\d+"', r'\1"PYTHON"'),
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A stream, a table and a feed that was never exported, and a server that has them."""
    root = tmp_path_factory.mktemp("json") / "lake"
    stream = a_stream([Record(0, n, START_MS + n * DAY_MS, {"ID": n, "TEXT": "é"}) for n in range(3)])
    rows = [Record(0, n, START_MS, {"ID": n, "TEXT": None}) for n in range(2)]
    table = Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, rows)
    with running(Dataset([stream, reader_of(stream), table])) as server:
        store, env = lake_at(root).feeds, {"KSQLDB_URL": server.url}
        for feed in (feed_for(stream), feed_for(table, retention_versions=7)):
            store.add(feed)
        ran(root, "export_to_data_lake", "--all", env=env)
        store.add(feed_for(table, name="unexported"))
        yield root, server.url


def form(root: Path, text: str) -> str:
    text = text.replace(str(root), "ROOT")
    for pattern, instead in _VARIABLE:
        text = re.sub(pattern, instead, text)
    return text


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("lake", "metadata_utils --json", 0),
        ("history-of-a-stream", "metadata_utils history s --json", 0),
        ("history-of-a-table", "metadata_utils history t --json", 0),
        ("history-of-nothing", "metadata_utils history unexported --json", 0),
        ("verify", "metadata_utils verify --source --json", 0),
        ("export", "export_to_data_lake --stream s --table t --dry-run --json", 0),
        ("feeds", "manage_feeds list --json", 0),
        ("sql", "metadata_utils sql 'SELECT id, text, date FROM s ORDER BY id LIMIT 2' --format json", 0),
        ("checks", "test_setup --no-mysql --json", 0),
    ],
)
def test_the_form_is_what_it_was(lake: tuple[Path, str], name: str, words: str, code: int) -> None:
    root, url = lake
    script, *arguments = shlex.split(words)

    done = ran(root, script, *arguments, code=code, env={"KSQLDB_URL": url})

    assert form(root, done.stdout) == (FORMS / f"{name}.json").read_text(encoding="utf-8")


def test_the_form_of_findings_and_errors_is_what_it_was(lake: tuple[Path, str], tmp_path: Path) -> None:
    root, _ = lake
    (away := min(root.glob("streams/s/date=*/*.parquet"))).rename(kept := tmp_path / "kept")

    try:
        done = ran(
            root, "metadata_utils", "verify", "--source", "--json", code=1, env={"KSQLDB_URL": "http://127.0.0.1:9"}
        )
    finally:
        kept.rename(away)

    assert form(root, done.stdout) == (FORMS / "findings.json").read_text(encoding="utf-8")
