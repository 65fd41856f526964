"""The verdict of checks on a feed: one shape for all checks. An error of one feed does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import LogDamaged, PipelineError
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.findings import Finding

_T = TypeVar("_T")


@dataclass(frozen=True)
class Verdict:
    """The result of one or several checks on one feed.

    `compared` has lines for people on what was compared and is equal, `errors` say why something could not be compared.
    `exported` is False before the first commit of rows, `damaged` True for damaged files or a damaged log.
    The counts are of the files that were checked against the log.
    """

    feed: Feed
    findings: tuple[Finding, ...] = ()
    compared: tuple[str, ...] = ()
    errors: tuple[PipelineError, ...] = ()
    exported: bool = True
    damaged: bool = False
    file_count: int = 0
    row_count: int = 0

    def joined(self, other: Verdict | None) -> Verdict:
        """The verdict of both checks."""
        if other is None:
            return self
        return Verdict(
            self.feed,
            self.findings + other.findings,
            self.compared + other.compared,
            self.errors + other.errors,
            self.exported and other.exported,
            self.damaged or other.damaged,
            self.file_count + other.file_count,
            self.row_count + other.row_count,
        )


def check_each(
    feeds: Sequence[Feed], connect: Callable[[], AbstractContextManager[_T]], check: Callable[[_T, Feed], Verdict]
) -> list[Verdict]:
    """Checks each feed with the connection that `connect` opens; if that fails, each feed gets the error."""
    verdicts = list[Verdict]()
    if not feeds:
        return verdicts
    try:
        with connect() as other:
            verdicts += [_checked(feed, other, check) for feed in feeds]
    except PipelineError as error:
        verdicts = verdicts or [_failed(feed, error) for feed in feeds]
    return verdicts


def _checked(feed: Feed, other: _T, check: Callable[[_T, Feed], Verdict]) -> Verdict:
    try:
        with contained(feed.name):
            return check(other, feed)
    except PipelineError as error:
        return _failed(feed, error)


def _failed(feed: Feed, error: PipelineError) -> Verdict:
    return Verdict(feed, errors=(error,), exported=False, damaged=isinstance(error, LogDamaged))
