"""What is told of each feed after it was looked at; one that cannot be looked at keeps no other from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.errors import LogDamaged, PipelineError
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.findings import Finding
from pipeline.lake.table import LakeTable
from pipeline.verify.files import verify

_T = TypeVar("_T")


@dataclass
class Verdict:
    """What is told of one feed: what is wrong, what was compared, and the errors that kept us from comparing more."""

    feed: Feed
    table: LakeTable | None = None
    unsound: bool = False
    findings: list[Finding] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    errors: list[PipelineError] = field(default_factory=list)

    @property
    def exported(self) -> bool:
        """Whether an export has committed anything: a run that was killed early leaves an empty table."""
        table = self.table
        return table is not None and (table.current_version is not None or bool(table.bookmarks()))

    @property
    def damaged(self) -> bool:
        """Whether its files or its log are not what was written, which `repair` is for."""
        return self.unsound or any(isinstance(error, LogDamaged) for error in self.errors)


def judge(
    verdicts: Sequence[Verdict], opened: Callable[[], AbstractContextManager[_T]], look: Callable[[_T, Verdict], str]
) -> None:
    """Has `look` compare each feed with what is opened; it adds its findings and returns what it compared.

    An error stays with its feed, or with all where nothing can be opened: none keeps the others from being judged.
    """
    if not verdicts:
        return
    try:
        with opened() as other:
            for verdict in verdicts:
                try:
                    with contained(verdict.feed.name):
                        verdict.compared.append(look(other, verdict))
                except PipelineError as error:
                    verdict.errors.append(error)
    except PipelineError as error:
        for verdict in verdicts:
            verdict.errors.append(error)


def verify_feeds(root: Path, feeds: Sequence[Feed]) -> list[Verdict]:
    """Proves the files of each feed against its log."""
    verdicts = [Verdict(feed) for feed in feeds]
    judge(verdicts, lambda: nullcontext(root), _prove)
    return verdicts


def _prove(root: Path, verdict: Verdict) -> str:
    verdict.table = LakeTable(root, verdict.feed)
    verdict.findings += verify(verdict.table)
    verdict.unsound = bool(verdict.findings)
    return "ok" if verdict.exported else "not exported yet"
