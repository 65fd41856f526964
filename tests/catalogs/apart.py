"""Runs in build/catalogs, where the packages of all catalogs are: registers what was published, and reads it back.

Asked line by line: `["register", Published]`, and `["read", FEED, OUT]`, which writes the table's rows to OUT as Arrow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa

NAMESPACE = "lake"


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from pipeline.errors import PipelineError
    from pipeline.lake.iceberg_catalog import open_catalog, register
    from pipeline.lake.published import Published

    catalog = open_catalog("theirs", NAMESPACE)
    for line in sys.stdin:
        asked, *words = json.loads(line)
        answer = "done"
        try:
            if asked == "register":
                register(catalog, NAMESPACE, Published(**words[0]))
            else:
                rows = catalog.load_table((NAMESPACE, words[0])).scan().to_arrow()
                with pa.OSFile(words[1], "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
                    writer.write_table(rows)
        except PipelineError as error:
            answer = error.message
        print(answer, flush=True)  # noqa: T201 # a command


if __name__ == "__main__":
    main()
