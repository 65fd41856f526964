"""`python dlt_way.py URL FOLDER`: an answer by dlt, as dicts, into Parquet; it runs where dlt is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import dlt  # type: ignore[import-not-found]  # only there
import requests


def rows(url: str) -> Iterator[dict[str, Any]]:
    answer = requests.post(f"{url}/query-stream", json={"sql": "SELECT * FROM BENCH;"}, stream=True, timeout=600)
    for line in answer.iter_lines(chunk_size=2**20):
        element = json.loads(line.strip(b"[],"))
        if "header" in element:
            continue
        if "row" in element:
            yield {f"column_{place}": value for place, value in enumerate(element["row"]["columns"])}


def main() -> None:
    url, folder = sys.argv[1:]
    target = dlt.destinations.filesystem(bucket_url=f"file://{folder}")
    pipeline = dlt.pipeline("bench", destination=target, dataset_name="lake", pipelines_dir=f"{folder}/state")
    events = dlt.resource(rows(url), name="events", max_table_nesting=0)
    pipeline.run(events, loader_file_format="parquet")


if __name__ == "__main__":
    main()
