"""One table of a lake copied to another place: its data files, then its log, and the proof that both are the same.

A log names no file that is not there, so a crash leaves the table absent, as an earlier copy left it, or whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import LakeDamaged, NotACopy
from pipeline.fingerprint import ContentHash
from pipeline.lake.file_proof import content_of, has_file
from pipeline.lake.files import DataFile, stage_bytes, stage_copy
from pipeline.lake.head import read_head
from pipeline.lake.log import (
    HISTORY,
    LAST_CHECKPOINT,
    checkpoints,
    entry_numbers,
    history,
    names_until,
    number_in,
    removed_files,
)
from pipeline.lake.metadata import Totals
from pipeline.lake.names import checksum_in
from pipeline.lake.store import LOG, Hold, Store, Tell, disk_errors, parse_json
from pipeline.lake.table import LakeTable
from pipeline.progress import Meter

_AT_ONCE, _AT_ONCE_BYTES = 16, 256 * 2**20
"""The most files, and about the most bytes, that are on their way at the same time."""


def copy_table(table: LakeTable, place: Store, hold: Hold, meter: Meter, tell: Tell) -> Totals:
    """Copies to `place` what is not there; returns what that was, of data files.

    Raises LakeDamaged for a file that the version needs and that is not what was written. One that only earlier
    versions need is left out, and `tell` says so.
    """
    names, files, older = log_of(table), table.files, older_files(table)
    meter.begin("copying", sum(f.row_count for f in files), sum(f.size_bytes for f in [*files, *older]))
    with place.scratch() as scratch:
        copied = _copy_files(table, place, files, scratch, meter)
        for file in older:
            try:
                copied += _copy_files(table, place, [file], scratch, meter)
            except LakeDamaged as error:
                tell(f"{table.feed.name}: a file of an older version is left out: {error.message}")
        _copy_log(table.store, place, names, scratch, hold)
    return copied


def log_of(table: LakeTable) -> list[str]:
    """The names of the log's files that the table's version and earlier ones need."""
    return names_until(table.store.names(LOG), table.delta_version) if table.exists else []


def older_files(table: LakeTable) -> list[DataFile]:
    """The files that only earlier versions have, and that were not deleted yet. Their rows are not counted."""
    if not table.exists:
        return []
    now, found = {file.path for file in table.files}, list[DataFile]()
    for path in sorted(removed_files(table.store, log_of(table)).keys() - now):
        size = table.store.size(path) if checksum_in(path.rpartition("/")[2]) else None
        if size is not None:
            found.append(DataFile(path, None, 0, size, table.head.committed_at, {}))
    return found


def _copy_files(table: LakeTable, place: Store, files: Sequence[DataFile], scratch: Path, meter: Meter) -> Totals:
    """Copies those that are not there with the bytes that were written. Raises LakeDamaged for a damaged one."""
    copied, moves, size = list[DataFile](), dict[str, Path | str](), 0
    for file in files:
        if not has_file(place, file):
            name = file.path.rpartition("/")[2]
            moves[file.path] = stage_copy(table.store, table.feed.name, file, scratch / name, file.partition).path
            copied.append(file)
            size += file.size_bytes
        if len(moves) >= _AT_ONCE or size >= _AT_ONCE_BYTES:
            place.take_in(moves)
            moves, size = {}, 0
        meter.add(file.row_count, file.size_bytes)
    place.take_in(moves)
    return Totals.of(copied)


def _copy_log(source: Store, place: Store, names: Sequence[str], scratch: Path, hold: Hold) -> None:
    """Copies what is not there yet, in order, then removes what the source has dropped.

    The information on dropped entries is read after the log and written before it, so no commit is missing in it.
    """
    there = set(place.names(LOG))
    with disk_errors(source.uri(), "read"):
        new = {name: stage_bytes(source.read(f"{LOG}/{name}"), scratch / name) for name in names if name not in there}
        dropped = source.read(HISTORY) if source.size(HISTORY) is not None else None
        hint = source.read(f"{LOG}/{LAST_CHECKPOINT}") if LAST_CHECKPOINT in source.names(LOG) else b"{}"
    if dropped is not None:
        place.replace(HISTORY, dropped)
    for name, staged in new.items():
        try:
            place.put_new(f"{LOG}/{name}", staged, hold.check)
        except FileExistsError:
            raise not_empty(place.uri(f"{LOG}/{name}"), "was written by another program meanwhile") from None
    if parse_json(hint, source.uri(LAST_CHECKPOINT)).get("version") in checkpoints(names):
        place.replace(f"{LOG}/{LAST_CHECKPOINT}", hint)
    elif LAST_CHECKPOINT in there:
        place.delete(f"{LOG}/{LAST_CHECKPOINT}")
    first = number_in(names[0])
    if gone := [f"{LOG}/{name}" for name in names_until(place.names(LOG), first - 1)]:
        place.delete(*gone)


def proved(table: LakeTable, copy: LakeTable, meter: Meter) -> ContentHash:
    """The rows, which are the same on both sides, and what the log says they are.

    Raises LakeDamaged where anything differs, also a file that only earlier versions have.
    """
    rows = ContentHash()
    if (
        _without_nulls(vars(copy.head)) != _without_nulls(vars(table.head))
        or copy.files != table.files
        or copy.bookmarks() != table.bookmarks()
    ):
        raise _differs(copy, "its log is another one")
    meter.begin("comparing", sum(f.row_count for f in table.files), sum(f.size_bytes for f in table.files))
    for file in table.files:
        ours = content_of(table.store, table.feed.name, file)
        with _named_as_copy(copy):
            theirs = content_of(copy.store, table.feed.name, file)
        if ours.hexdigest() != theirs.hexdigest():
            raise _differs(copy, f"{copy.uri(file.path)} has other rows")
        rows.merge(ours)
        meter.add(file.row_count, file.size_bytes)
    for file in older_files(table):  # a damaged one was left out
        if copy.store.size(file.path) is not None and not has_file(copy.store, file):
            raise _differs(copy, f"{copy.uri(file.path)} is not what was written")
    return rows


def _without_nulls(value: Any) -> Any:
    """A checkpoint has all fields that Delta knows, an entry only those that are set; either may be read."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return value


@contextlib.contextmanager
def _named_as_copy(copy: LakeTable) -> Iterator[None]:
    try:
        yield
    except LakeDamaged as error:
        raise _differs(copy, error.message) from error


def _differs(copy: LakeTable, why: str) -> LakeDamaged:
    return LakeDamaged(
        f"the copy of {copy.feed.name} in {copy.uri()} is not what was copied: {why}",
        "run the same command again: it copies what is not right",
    )


def refuse_other_table(table: LakeTable, place: Store) -> None:
    """Raises NotACopy unless the place has the table as it was at this version or an earlier one, or not at all."""
    names = place.names(LOG)
    if not entry_numbers(names) and not checkpoints(names):
        return
    there = read_head(place, table.feed.name)
    if there is None or not table.exists or there.metadata["id"] != table.id:
        raise not_empty(place.uri(), "is another table of that name")
    entry = next((one for one in history(table.store) if one["version"] == there.version), {})
    if there.version > table.delta_version or (
        there.commit and {"timestamp": 0, **there.commit, "version": there.version} != entry
    ):
        raise not_empty(place.uri(), f"has commits of its own, up to version {there.version}: it is in use")


def not_empty(what: str, why: str, hint: str = "") -> NotACopy:
    """The error for a place that has something else; `hint` says what to do about it in an earlier copy."""
    return NotACopy(
        f"nothing is copied over what is there: {what} {why}",
        "; ".join(["name an empty place, or an earlier copy", *([hint] if hint else [])]),
    )
