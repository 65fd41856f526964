"""Files below the lake's root: durable writes, and typed errors for what a disk can do.

The only module that syncs, renames or deletes. A file written here is either whole and on disk or not there; a
crash leaves at most a `*.tmp` that the next write of the same file replaces.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.errors import DiskFull, LakeDamaged, LakeNotWritable

LOCK = "_lock"
"""The lock file of a feed's folder; see `lock`."""
LOG = "_delta_log"
_NO_NAMES = frozenset("?*[]{}#%\\")


def lake_folder(root: str) -> Path:
    """The lake's root as a local folder: an absolute path or a `file://` URL.

    Raises LakeNotWritable for other URL schemes, and for characters that a reader of the lake takes for something else
    than a name: patterns of DuckDB, and what is decoded in a URL, by the Delta library once too often.
    """
    hint, path = "set LAKE_ROOT to the path of a local folder", root
    if root.startswith("file:"):
        parts = urlsplit(root)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.startswith("/"):
            raise LakeNotWritable(f"the lake's root {root!r} is no URL of a local folder", "write file:///path/to/lake")
    elif "://" in root:
        raise LakeNotWritable(f"the lake's root {root!r} is not on a local disk", hint)
    odd = sorted(set(path) & _NO_NAMES | {sign for sign in path if not sign.isprintable()})
    if odd:
        signs = " ".join(sign if sign.isprintable() else repr(sign) for sign in odd)
        raise LakeNotWritable(
            f"not every reader of the lake can read a folder {path!r}: it has {signs}",
            "set LAKE_ROOT to a folder without that in its path",
        )
    return Path(path).absolute()


@contextlib.contextmanager
def disk_errors(path: Path, wanted: str = "written") -> Iterator[None]:
    """Turns what the operating system says about `path` into one of this module's errors.

    `wanted` is `written` or `read`: what may not be done where rights are missing.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or str(path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk is full: {where}", f"free space (see 'df -h {path}'), then run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            right = "writable" if wanted == "written" else "readable"
            raise LakeNotWritable(
                f"the lake cannot be {wanted}: {where}: {os.strerror(error.errno)}",
                f"make {path} {right} for this user, or set LAKE_ROOT to another folder",
            ) from error
        raise LakeDamaged(f"the lake cannot be used: {where}: {error.strerror or error}", f"look at {path}") from error


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Makes renames into and out of the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes the folder and its parents, each durable in its own parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def refuse_links(*paths: Path) -> None:
    """Raises LakeDamaged for a path that is a symbolic link: none leads to what lies outside of the lake."""
    for path in paths:
        if path.is_symlink():
            raise LakeDamaged(
                f"{path} is a symbolic link: the lake follows none",
                "put the folder itself there, or mount the other disk there",
            )


def move_file(source: Path, target: Path) -> None:
    """Moves a synced file to its place; durable when the target's folder is synced."""
    source.rename(target)


def link_file(source: Path, target: Path) -> None:
    """Gives a file a second name; durable when the target's folder is synced. Raises FileExistsError."""
    os.link(source, target)


def write_file(path: Path, text: str) -> None:
    """Puts `text` in the place of the file, whole and on disk, in one step for readers; for one writer at a time."""
    make_folder(path.parent)
    temporary = path.with_name(path.name + ".tmp")
    delete_file(temporary)
    with temporary.open("x", encoding="utf-8") as file:  # a link of that name is not followed
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    move_file(temporary, path)
    sync_folder(path.parent)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_file(path, json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path, hint: str = "correct or remove that file") -> Any:
    """The parsed file.

    Raises LakeDamaged when it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise LakeDamaged(f"{path} is not valid JSON: line {error.lineno}, column {error.colno}", hint) from None
    except (ValueError, RecursionError):
        raise LakeDamaged(f"{path} is not valid JSON: it is not UTF-8, or nested too deeply", hint) from None


def delete_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def delete_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def delete_feed_data(folder: Path) -> None:
    """Deletes the folder of a feed that this process holds. What cannot be deleted stays, and is deleted the next time.

    The lock goes last: without it a second run would take the feed while its files are being deleted. The log goes just
    before it: files without a log are a damaged feed.
    """
    with disk_errors(folder):
        for path in sorted(folder.iterdir(), key=lambda path: path.name == LOG):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        delete_file(folder / LOCK)
        with contextlib.suppress(OSError):  # another run may be in it already; an empty folder is no data
            folder.rmdir()


def checksum(path: Path) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
