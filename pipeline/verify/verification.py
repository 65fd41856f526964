"""What `verify` does: checks each feed's files against its log, then compares with the source and the warehouse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import PipelineError
from pipeline.feeds import Feed
from pipeline.findings import Finding
from pipeline.lake.lake import Lake
from pipeline.limits import Limits
from pipeline.progress import Progress
from pipeline.source import OpenSources, Sources
from pipeline.verify.files import check_files
from pipeline.verify.source import check_source
from pipeline.verify.verdict import Verdict, check_each
from pipeline.verify.warehouse import check_warehouse
from pipeline.warehouse.connection import Connection

FilesRead = Literal["no", "new", "all"]
Warehouse = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Verification:
    """The verdicts of all readable feeds, the errors of the others, and which files were read."""

    verdicts: tuple[Verdict, ...]
    unreadable: tuple[PipelineError, ...] = ()
    read: FilesRead = "all"

    @property
    def findings(self) -> list[Finding]:
        return [finding for verdict in self.verdicts for finding in verdict.findings]

    @property
    def errors(self) -> list[tuple[str | None, PipelineError]]:
        """Each error with its feed's name, or None for a file among the feeds that cannot be read."""
        of_feeds = [(verdict.feed.name, error) for verdict in self.verdicts for error in verdict.errors]
        return [*of_feeds, *((None, error) for error in self.unreadable)]

    @property
    def file_count(self) -> int:
        """Of the files that were proved against the log."""
        return sum(verdict.file_count for verdict in self.verdicts)

    @property
    def row_count(self) -> int:
        return sum(verdict.row_count for verdict in self.verdicts)

    @property
    def damaged(self) -> list[str]:
        """The names of the feeds with damage, for `repair`."""
        return [verdict.feed.name for verdict in self.verdicts if verdict.damaged]


def verify_feeds(
    lake: Lake,
    feeds: Sequence[Feed],
    unreadable: Iterable[PipelineError],
    limits: Limits,
    source: OpenSources | None = None,
    warehouse: Warehouse | None = None,
    read_since: str | None = "",
    progress: Progress | None = None,
) -> Verification:
    """A verdict for each feed. Only feeds that were exported are compared, and with the warehouse only mapped ones.

    `read_since` is the name of a run whose files, and those of later ones, are read; empty for all files, None for no
    file. `progress` counts.
    """
    progress = progress or Progress()

    def with_files(lake: Lake, feed: Feed) -> Verdict:
        with progress.at(feed.name, "verifying") as meter:
            return check_files(lake.table(feed), read_since, meter)

    def with_source(sources: Sources, feed: Feed) -> Verdict:
        with progress.at(feed.name, "comparing") as meter:
            return check_source(sources, lake.table(feed), limits, meter)

    def with_warehouse(connection: Connection, feed: Feed) -> Verdict:
        with progress.at(feed.name, "comparing") as meter:
            return check_warehouse(connection, lake.table(feed), meter)

    verdicts = check_each(feeds, lambda: nullcontext(lake), with_files)
    exported = [verdict.feed for verdict in verdicts if verdict.exported]
    if source is not None:
        verdicts = _joined(verdicts, check_each(exported, source, with_source))
    if warehouse is not None:
        mapped = [feed for feed in exported if feed.warehouse is not None]
        verdicts = _joined(verdicts, check_each(mapped, warehouse, with_warehouse))
    return Verification(
        tuple(verdicts), tuple(unreadable), "no" if read_since is None else "new" if read_since else "all"
    )


def _joined(verdicts: Iterable[Verdict], others: Iterable[Verdict]) -> list[Verdict]:
    by_feed = {other.feed.name: other for other in others}
    return [verdict.joined(by_feed.get(verdict.feed.name)) for verdict in verdicts]
