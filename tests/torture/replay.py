"""A disk that loses power: recorded steps are replayed, and the trees that a power cut could leave are made.

What is assumed of the file system, which is what POSIX promises and no more, but for the last two points:

- `fsync` of a file makes its bytes and its length durable, not its name; `fsync` of a folder makes the names in it
  durable: what was created, linked, renamed or deleted there. Without it each of them may be on disk or not, in any
  order, however much later the power fails; changes of one name keep their order.
- Bytes that were written and not synced may be on disk whole, in part, as zeros or not at all, also when a name that
  came later is there.
- A rename is one change, also between two folders, and durable with the folder that it moved to. ext4, XFS and Btrfs do
  so; a file that was synced before it is never seen in part under its new name.
- What was synced stays: disks that lie about it are not covered.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Tree = dict[str, bytes | None]
"""Paths relative to the root: a file's bytes, or None for a folder."""


@dataclass(frozen=True)
class Step:
    """One recorded call; see steps.c. Paths are relative to the root, which is itself "."."""

    call: str
    path: str
    source: str = ""
    at: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class _Names:
    """Names that change together: (folder, name) to what it is then called for, None for nothing."""

    folder: int
    changes: Mapping[tuple[int, str], int | None]


@dataclass(frozen=True)
class _Bytes:
    """Bytes written into a file, or with `length` its new length."""

    file: int
    at: int = 0
    data: bytes = b""
    length: int | None = None


_Pending = _Names | _Bytes


def read_record(record: Path, root: Path) -> list[Step]:
    """The steps that steps.c recorded below `root`, in their order."""
    data, at, steps = record.read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        call, offset, *lengths = data[at:end].decode().split()
        at, parts = end + 1, []
        for length in map(int, lengths):
            parts.append(data[at : at + length])
            at += length
        path, source = (os.path.relpath(part.decode(), root) if part else "" for part in parts[:2])
        steps.append(Step(call, path, source, int(offset), parts[2]))
    return steps


def read_tree(root: Path) -> Tree:
    paths = sorted(root.rglob("*"))
    return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in paths}


def write_tree(tree: Tree, root: Path) -> None:
    """Makes the tree in an empty or missing folder."""
    root.mkdir(parents=True, exist_ok=True)
    for path in sorted(tree):
        data = tree[path]
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)


@dataclass
class Disk:
    """A tree as its processes see it, and what of it is on disk. `tree` is on disk when it begins."""

    tree: Tree
    _names: dict[tuple[int, str], int] = field(init=False, default_factory=dict)
    _safe_names: dict[tuple[int, str], int] = field(init=False, default_factory=dict)
    _safe_bytes: dict[int, bytes] = field(init=False, default_factory=dict)
    _folders: set[int] = field(init=False, default_factory=lambda: {0})
    _pending: list[_Pending] = field(init=False, default_factory=list)
    _next: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        for path in sorted(self.tree):
            data = self.tree[path]
            self._names[self._place(path)] = self._new(data is None, data or b"")
        self._safe_names = dict(self._names)

    def apply(self, step: Step) -> None:
        """Does what the recorded process did."""
        if step.call == "say" or step.path.endswith(" (deleted)"):
            return
        if step.call == "fsync":
            self._sync(self._find(step.path))
        elif step.call == "open":
            if self._names.get(self._place(step.path)) is None:
                self._rename({self._place(step.path): self._new(False)})
            elif step.at & os.O_TRUNC:
                self._pending.append(_Bytes(self._find(step.path), length=0))
        elif step.call == "mkdir":
            self._rename({self._place(step.path): self._new(True)})
        elif step.call in ("unlink", "rmdir"):
            self._rename({self._place(step.path): None})
        elif step.call == "link":
            self._rename({self._place(step.path): self._find(step.source)})
        elif step.call == "rename":
            self._rename({self._place(step.path): self._find(step.source), self._place(step.source): None})
        elif step.call == "ftruncate":
            self._pending.append(_Bytes(self._find(step.path), length=step.at))
        elif step.call == "write":
            self._pending.append(_Bytes(self._find(step.path), step.at, step.data))
        else:
            raise ValueError(f"the replay does not know the call {step.call}")

    def seen(self) -> Tree:
        """What the processes see."""
        return self._make(self._pending)

    def after_power_cut(self, rng: random.Random) -> Iterator[tuple[str, Tree]]:
        """Trees that a power cut now could leave, each with what it kept: the extremes, and two of those between."""
        names = [change for change in self._pending if isinstance(change, _Names)]
        yield "only what was synced", self._make([])
        yield "names without bytes", self._make(names)
        yield "names, zeros for bytes", self._make(self._torn(lambda data: bytes(len(data))))
        yield "names, half of the bytes", self._make(self._torn(lambda data: data[: len(data) // 2]))
        yield "names, bytes up to a line", self._make(self._torn(_but_last_line))
        yield "some of both", self._make(self._some(rng, names_in_order=False))
        yield "the first names, some bytes", self._make(self._some(rng, names_in_order=True))
        yield "everything", self.seen()

    def _new(self, is_folder: bool, data: bytes = b"") -> int:
        node, self._next = self._next, self._next + 1
        if is_folder:
            self._folders.add(node)
        else:
            self._safe_bytes[node] = data
        return node

    def _place(self, path: str) -> tuple[int, str]:
        return self._find(str(Path(path).parent)), Path(path).name

    def _find(self, path: str) -> int:
        node = 0
        for name in Path(path).parts:
            node = self._names[node, name]
        return node

    def _rename(self, changes: dict[tuple[int, str], int | None]) -> None:
        self._pending.append(_Names(next(iter(changes))[0], changes))
        _apply(self._names, changes)

    def _sync(self, node: int) -> None:
        if node in self._folders:
            due = self._needed(
                index
                for index, change in enumerate(self._pending)
                if isinstance(change, _Names) and change.folder == node
            )
        else:
            due = {i for i, change in enumerate(self._pending) if isinstance(change, _Bytes) and change.file == node}
        for index in sorted(due):
            change = self._pending[index]
            if isinstance(change, _Names):
                _apply(self._safe_names, change.changes)
            else:
                self._safe_bytes[node] = _written(self._safe_bytes[node], change)
        self._pending = [change for index, change in enumerate(self._pending) if index not in due]

    def _needed(self, wanted: Iterable[int]) -> set[int]:
        """These changes of names and the earlier ones of the same names, which are on disk before them."""
        needed, places = set(wanted), set[tuple[int, str]]()
        for index in range(len(self._pending) - 1, -1, -1):
            change = self._pending[index]
            if isinstance(change, _Names) and (index in needed or places & change.changes.keys()):
                needed.add(index)
                places |= change.changes.keys()
        return needed

    def _torn(self, cut: Callable[[bytes], bytes]) -> list[_Pending]:
        return [
            _Bytes(change.file, change.at, cut(change.data), change.length) if isinstance(change, _Bytes) else change
            for change in self._pending
        ]

    def _some(self, rng: random.Random, names_in_order: bool) -> list[_Pending]:
        """Some changes of names, by their order or not, and of each file the first so many changes of bytes."""
        names = [index for index, change in enumerate(self._pending) if isinstance(change, _Names)]
        chosen = names[: rng.randint(0, len(names))] if names_in_order else [n for n in names if rng.random() < 0.5]
        kept = self._needed(chosen)
        ended: set[int] = set()
        for index, change in enumerate(self._pending):
            if isinstance(change, _Bytes) and change.file not in ended:
                if rng.random() < 0.7:
                    kept.add(index)
                else:
                    ended.add(change.file)
        return [change for index, change in enumerate(self._pending) if index in kept]

    def _make(self, kept: Sequence[_Pending]) -> Tree:
        names, data = dict(self._safe_names), dict(self._safe_bytes)
        for change in kept:
            if isinstance(change, _Names):
                _apply(names, change.changes)
            else:
                data[change.file] = _written(data[change.file], change)
        children: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), node in names.items():
            children.setdefault(folder, []).append((name, node))
        tree: Tree = {}
        waiting = [("", 0)]
        while waiting:
            above, folder = waiting.pop()
            for name, node in children.get(folder, ()):
                tree[above + name] = None if node in self._folders else data[node]
                if node in self._folders:
                    waiting.append((f"{above}{name}/", node))
        return tree


def _apply(names: dict[tuple[int, str], int], changes: Mapping[tuple[int, str], int | None]) -> None:
    for place, node in changes.items():
        if node is None:
            names.pop(place, None)
        else:
            names[place] = node


def _written(data: bytes, change: _Bytes) -> bytes:
    if change.length is not None:
        return data[: change.length].ljust(change.length, b"\0")
    return data[: change.at].ljust(change.at, b"\0") + change.data + data[change.at + len(change.data) :]


def _but_last_line(data: bytes) -> bytes:
    return data[: data.rstrip(b"\n").rfind(b"\n") + 1]
