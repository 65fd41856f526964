"""How the lake is, as metrics for the textfile collector of Prometheus' node exporter.

A figure that is not known has no sample; `METRICS` lists all names.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.health import FeedHealth, Health
from pipeline.run_history import Proof

_OF_FEED = {
    "feed_healthy": "1 when nothing is wrong with the feed",
    "feed_enabled": "1 when the feed is exported",
    "feed_last_export_timestamp_seconds": "when its last good export ended",
    "feed_newest_row_timestamp_seconds": "newest ROWTIME of a stream; when the current version of a table was taken",
    "feed_max_age_seconds": "its max_age_hours",
    "feed_rows": "rows in the lake",
    "feed_size_bytes": "bytes of its data files",
    "feed_files": "its data files",
    "feed_judged_rows": "rows of the last day that is over (streams), or of the current version (tables)",
    "feed_min_rows": "its min_rows_per_day or min_rows",
    "feed_lag_rows": "offsets that the source has and the lake has not (with --source)",
    "feed_orphan_files": "files that no commit names; the next export removes them",
}
_OF_LAKE = {
    "healthy": "1 when nothing is wrong",
    "health_timestamp_seconds": "when this was looked at",
    "problems": "what a person has to see to",
    "free_bytes": "free where the lake is",
    "min_free_bytes": "HEALTH_MIN_FREE_MB",
    "last_run_timestamp_seconds": "when the last export ended",
    "last_run_exit_code": "its exit code",
    "last_run_duration_seconds": "how long it took",
    "last_verify_timestamp_seconds": "when all files were verified last",
    "last_verify_findings": "problems that it found",
    "last_verify_of_new_timestamp_seconds": "when some files were verified last: new ones, or of named feeds",
    "last_verify_of_new_findings": "problems that it found",
}
METRICS = frozenset(f"ksqldb_lake_{name}" for name in (*_OF_FEED, *_OF_LAKE))
_Value = float | None


def metrics_text(health: Health) -> str:
    """The metrics in the form of the textfile collector."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_HealthCollector(health))
    return generate_latest(registry).decode()


class _HealthCollector(Collector):
    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        of_feeds = [(one, _values_of_feed(self._health, one)) for one in self._health.feeds]
        for name, text in _OF_FEED.items():
            metric = GaugeMetricFamily(f"ksqldb_lake_{name}", text, labels=["feed", "type"])
            for one, values in of_feeds:
                if (value := values[name]) is not None:
                    metric.add_metric([one.feed.name, one.feed.type], value)
            yield metric
        of_lake = _values_of_lake(self._health)
        for name, text in _OF_LAKE.items():
            if (value := of_lake[name]) is not None:
                yield GaugeMetricFamily(f"ksqldb_lake_{name}", text, value=value)


def _values_of_feed(health: Health, one: FeedHealth) -> dict[str, _Value]:
    feed, totals = one.feed, one.state.totals
    return {
        "feed_healthy": not health.problems_of(feed.name),
        "feed_enabled": feed.enabled,
        "feed_last_export_timestamp_seconds": one.exported_at.timestamp() if one.exported_at else None,
        "feed_newest_row_timestamp_seconds": one.newest_at.timestamp() if one.newest_at else None,
        "feed_max_age_seconds": feed.max_age_hours * 3600 if feed.max_age_hours else None,
        "feed_rows": totals.row_count,
        "feed_size_bytes": totals.size_bytes,
        "feed_files": totals.file_count,
        "feed_judged_rows": one.judged_rows,
        "feed_min_rows": one.min_rows,
        "feed_lag_rows": one.lag_rows,
        "feed_orphan_files": one.orphans.file_count,
    }


def _values_of_lake(health: Health) -> dict[str, _Value]:
    run = health.history.last_run
    return {
        "healthy": health.is_well,
        "health_timestamp_seconds": health.at.timestamp(),
        "problems": len(health.problems) + len(health.errors),
        "free_bytes": health.space.free_bytes,
        "min_free_bytes": health.min_free_bytes,
        "last_run_timestamp_seconds": run.ended_at.timestamp() if run and run.ended_at else None,
        "last_run_exit_code": run.exit_code if run else None,
        "last_run_duration_seconds": run.seconds if run else None,
        **_values_of_proof("last_verify", health.history.proofs.get("files")),
        **_values_of_proof("last_verify_of_new", health.history.proofs.get("new files")),
    }


def _values_of_proof(name: str, last: Proof | None) -> dict[str, _Value]:
    return {
        f"{name}_timestamp_seconds": last.at.timestamp() if last else None,
        f"{name}_findings": len(last.findings) if last else None,
    }
