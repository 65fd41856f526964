"""A commit is done, refused, or unknown until the log is read again: what is claimed is what the lake has."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import CommitStands, CommitUnknown, LakeDamaged
from pipeline.lake import local_store
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import add_rows, glob, stream_feed, values
from tests.support import cleaned, lake_at

Fault = Callable[..., None]


def broken(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def broken_afterwards(real: Fault) -> Fault:
    def call(*arguments: object) -> None:
        real(*arguments)
        broken()

    return call


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    return table


def only_in_the_log(monkeypatch: pytest.MonkeyPatch, name: str, fault: Callable[[Fault], Fault]) -> None:
    """Lets a step fail for the table's log and for nothing else."""
    real = getattr(local_store, name)

    def call(*paths: Path) -> None:
        is_log = "_delta_log" in str(paths[-1]) and "_staging" not in str(paths[-1])
        (fault(real) if is_log else real)(*paths)

    monkeypatch.setattr(local_store, name, call)


@pytest.mark.parametrize(
    ("step", "fault"),
    [("sync_folder", lambda _: broken), ("link_file", broken_afterwards)],
    ids=["the sync after the name", "the answer to the name"],
)
def test_a_commit_that_stands_is_not_denied(
    table: LakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: Callable[[Fault], Fault]
) -> None:
    with monkeypatch.context() as patched:
        only_in_the_log(patched, step, fault)
        with pytest.raises(CommitStands, match=r"version 2 of .* is committed.*Input/output error") as raised:
            add_rows(table, 2, [(0, 0, 1, "b")])

    assert raised.value.exit_code == 1
    again = cleaned(tmp_path, stream_feed(), grace_hours=1)
    assert values(again) == ["a", "b"]
    assert again.bookmarks() == {0: (2, 0)}


def test_a_commit_that_failed_is_not_claimed_and_its_files_stay_for_the_next_run(
    table: LakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        only_in_the_log(patched, "link_file", lambda _: broken)
        with pytest.raises(LakeDamaged, match="Input/output error"):
            add_rows(table, 2, [(0, 0, 1, "b")])

    assert values(lake_at(tmp_path).table(stream_feed())) == ["a"]
    assert len(glob(table)) == 2
    again = cleaned(tmp_path, stream_feed(), grace_hours=1)
    assert len(glob(again)) == 1
    add_rows(again, 3, [(0, 0, 1, "b")])
    assert values(again) == ["a", "b"]


def test_what_cannot_be_known_is_called_so_and_deletes_nothing(
    table: LakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_bytes

    def unreadable(path: Path) -> bytes:
        if path.name == f"{2:020}.json" and "_staging" not in str(path):
            broken()
        return real(path)

    with monkeypatch.context() as patched:
        only_in_the_log(patched, "sync_folder", lambda _: broken)
        patched.setattr(Path, "read_bytes", unreadable)
        with pytest.raises(CommitUnknown, match="is not known: it cannot be read: Input/output error"):
            add_rows(table, 2, [(0, 0, 1, "b")])

    assert len(glob(table)) == 2
    assert values(cleaned(tmp_path, stream_feed(), grace_hours=1)) == ["a", "b"]


def test_a_name_that_was_given_although_the_answer_says_it_was_there_is_ours(
    table: LakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system that sends a request again says that the name is taken: by the first one."""

    def twice(real: Fault) -> Fault:
        def call(*arguments: object) -> None:
            real(*arguments)
            real(*arguments)

        return call

    only_in_the_log(monkeypatch, "link_file", twice)
    add_rows(table, 2, [(0, 0, 1, "b")])

    assert values(lake_at(tmp_path).table(stream_feed())) == ["a", "b"]
