"""Prepares a run of exports from the settings and options: the run, and the steps that follow it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from commands import lineage_events
from pipeline import cli, scripts
from pipeline.errors import WrongUsage

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from data_lake_config import Settings
    from pipeline.export.commit import Run
    from pipeline.export.engine import Engine
    from pipeline.export.run import ExportRequest
    from pipeline.feeds import Feed
    from pipeline.lake.lake import Lake
    from pipeline.night import Steps

GROUPS = {
    "Which feeds": ("--all", "--stream", "--table"),
    "What is read": ("--full", "--date", "--version", "--allow-shrink", "--accept-gap"),
    "How it runs": ("--jobs", "--max-runtime", "--dry-run"),
    "What follows": ("--then-sync", "--then-verify", "--alert-command"),
    "Output": ("--json",),
}
"""The options of an export, as its help shows them."""
EXAMPLES = (
    "export_to_data_lake.py --all",
    "export_to_data_lake.py --all --then-sync --then-verify",
    "export_to_data_lake.py --stream transaction_stream --table rates",
    "export_to_data_lake.py --stream transaction_stream --date 2026-11-23",
)


def steps_after(
    settings: Settings, lake: Lake, feeds: Sequence[Feed], for_all: bool, then_sync: bool, then_verify: bool
) -> Steps | None:
    """The steps after the run, or None. Raises WrongUsage unless it is `for_all` feeds and no dry run."""
    if not (then_sync or then_verify):
        return None
    if not for_all:
        raise WrongUsage(
            "--then-sync and --then-verify go with --all, and not with --dry-run",
            "python sync_to_mysql.py --source lake --dry-run tries a load",
        )
    from pipeline.night import Steps, Warehouse

    warehouse = Warehouse.chosen(lake, settings.mysql_server(), settings.scd2_tables()) if then_sync else None
    return Steps(warehouse, feeds if then_verify else ())


def _engine(settings: Settings) -> Engine:
    """Raises SparkUnusable where Spark is wanted and cannot be here."""
    if settings.export_engine == "spark":
        from pipeline.export.spark import Spark

        return Spark(settings.export_workers)
    from pipeline.export.processes import Processes

    return Processes(settings.export_workers or os.cpu_count() or 1)


def new_run(settings: Settings, lake: Lake, request: ExportRequest, jobs: int | None, now: dt.datetime) -> Run:
    """The run; it is recorded unless it is a dry run."""
    from pipeline.export.commit import Run
    from pipeline.lake.compaction import Goal

    script, log_format = "export_to_data_lake", settings.lake_log_format
    recorded = None if request.dry_run else scripts.keep_record(lake, script, now, log_format)
    lineage_events.follow(settings, lake, script, now)
    return Run(
        id=recorded or cli.new_run_id(now),
        now=now,
        limits=settings.limits(),
        commit_rows=settings.commit_rows,
        policy=settings.read_policy(request.allow_shrink),
        max_expire=settings.expire_max_share,
        compact=Goal(settings.compact_target_bytes) if settings.compact_after_export else None,
        accept_gap=request.accept_gap,
        engine=_engine(settings),
        jobs=jobs or settings.export_jobs,
        scans=settings.ksqldb_scans,
        tell=cli.tell_from_threads(),
    )
