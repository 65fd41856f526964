"""Begins a run on the lake that is named, as a script does, and kills its own process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipeline.cli import new_run_id, utc_now
from tests.support import lake_at

now = utc_now()
lake_at(Path(sys.argv[1])).runs.begin(new_run_id(now), "export_to_data_lake.py --all", now)
os.kill(os.getpid(), signal.SIGKILL)
