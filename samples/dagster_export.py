"""Runs the export for Dagster; needs the package dagster-pipes.

Reports each feed that was committed, and then the export's exit code as its message.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from dagster_pipes import open_dagster_pipes

FOLDER = Path(__file__).resolve().parent.parent


def main() -> None:
    command = [sys.executable, "export_to_data_lake.py", "--all", "--then-sync", "--then-verify", "--json"]
    with open_dagster_pipes() as pipes:
        done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, check=False)
        for feed in json.loads(done.stdout)["feeds"] if done.stdout else ():
            if feed["status"] == "failed":
                pipes.log.error(f"{feed['feed']}: {feed['error']['message']}")
                continue
            metadata = {name: feed[name] for name in ("rows", "files", "bytes", "seconds")}
            pipes.report_asset_materialization(metadata, asset_key=feed["feed"])
        pipes.report_custom_message(done.returncode)


if __name__ == "__main__":
    main()
