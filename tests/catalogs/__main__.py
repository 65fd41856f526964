"""`python -m tests.catalogs`: registers a lake's feeds in each catalog, publishes more, registers again; writes the
table of docs/readers.md.

What each catalog needs is installed into build/ at the first use. Exits 1 when a catalog shows other rows.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from demo.environment import python_of
from pipeline.fingerprint import ContentHash
from pipeline.lake.iceberg import publish_iceberg
from pipeline.lake.local_store import LocalStore
from pipeline.lake.published import Published
from pipeline.lake.table import LakeTable
from tests.catalogs.servers import CATALOGS
from tests.lake.small_tables import DAY_MS, add_rows, stream_feed
from tests.readers.lake import hash_of
from tests.support import ROOT

PAGE = ROOT / "docs" / "readers.md"
_START, _END = "<!-- figures of catalogs: written by the command -->", "<!-- end of figures -->"


class Theirs:
    """A process of build/catalogs that speaks to one catalog."""

    def __init__(self, settings: Mapping[str, str], scratch: Path) -> None:
        named = {f"PYICEBERG_CATALOG__THEIRS__{name}": value for name, value in settings.items()}
        words = [str(python_of("catalogs")), str(Path(__file__).with_name("apart.py"))]
        self._out = scratch / "rows"
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | named
        )

    def ask(self, *words: object) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def seen(self, published: Published, schema: pa.Schema) -> str:
        """The hash of what the catalog shows after it was told of what was published; what went wrong."""
        answer = self.ask("register", vars(published))
        if answer == "done":
            answer = self.ask("read", published.feed, str(self._out))
        if answer != "done":
            return answer or "died"
        with pa.OSFile(str(self._out)) as file, pa.ipc.open_stream(file) as rows:
            return hash_of(rows.read_all(), schema)[1][:8]

    def close(self) -> None:
        self._process.communicate()


def seen_by(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """What a catalog shows after each of two publications, and what it has to show.

    A server that has ended has to be named by an error of ours.
    """
    folder.mkdir()
    table = LakeTable(LocalStore(folder / "lake"), stream_feed(), print)
    with CATALOGS[name](folder) as settings:
        theirs, seen, wanted = Theirs(settings, folder), list[str](), list[str]()
        for number in (1, 2):
            add_rows(table, number, [(DAY_MS * n, 0, 10 * number + n, f"row {n}") for n in range(5)])
            schema = pa.schema([column.remove_metadata() for column in table.schema])
            seen.append(theirs.seen(publish_iceberg(table), schema))
            content = ContentHash()
            for batch in table.read_batches(table.files):
                content.add_batch(batch)
            wanted.append(content.hexdigest()[:8])
        published = publish_iceberg(table)
    if name != "SQL (SQLite)":
        refused = theirs.ask("register", vars(published))
        assert refused.startswith("the catalog 'theirs': "), refused
    theirs.close()
    return seen, wanted


def main() -> int:
    rows, is_right = list[str](), True
    with tempfile.TemporaryDirectory(prefix="catalogs-") as scratch:
        for place, name in enumerate(CATALOGS):
            seen, wanted = seen_by(name, Path(scratch) / str(place))
            is_right = is_right and seen == wanted
            rows.append(f"| {name} | " + " | ".join(seen) + " |")
    head = [str(dt.datetime.now(dt.UTC).date()), "", "| | published | published again |", "|---|---|---|"]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_START)
    text = "\n".join([f"{before}{_START}", "", *head, *rows, "", f"{_END}{rest.partition(_END)[2]}"])
    PAGE.write_text(text, encoding="utf-8")
    print("\n".join(rows))  # noqa: T201
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
