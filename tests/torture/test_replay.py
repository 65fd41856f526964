"""The replayed disk keeps what was synced, and loses, tears or keeps what was not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.torture.crash_points import compile_layer
from tests.torture.replay import Disk, Step, Tree, read_record, read_tree, write_tree

WRITTEN = [Step("open", "new", at=os.O_CREAT), Step("write", "new", data=b"one\ntwo\n")]
FILE, FOLDER = Step("fsync", "new"), Step("fsync", ".")


def cut_after(*steps: Step, tree: Tree | None = None) -> dict[str, Tree]:
    """What a power cut can leave, by what it kept."""
    disk = Disk(tree or {})
    for step in steps:
        disk.apply(step)
    return dict(disk.after_power_cut(random.Random(1)))


def test_without_a_sync_bytes_and_names_are_lost_or_torn() -> None:
    left = cut_after(*WRITTEN)

    assert left["only what was synced"] == {}
    assert left["names without bytes"] == {"new": b""}
    assert left["names, zeros for bytes"] == {"new": bytes(8)}
    assert left["names, half of the bytes"] == {"new": b"one\n"}
    assert left["names, bytes up to a line"] == {"new": b"one\n"}
    assert left["everything"] == {"new": b"one\ntwo\n"}


def test_a_synced_file_keeps_its_bytes_and_not_its_name() -> None:
    assert cut_after(*WRITTEN, FILE)["only what was synced"] == {}
    assert cut_after(*WRITTEN, FILE)["names without bytes"] == {"new": b"one\ntwo\n"}
    assert cut_after(*WRITTEN, FOLDER)["only what was synced"] == {"new": b""}
    assert cut_after(*WRITTEN, FILE, FOLDER)["only what was synced"] == {"new": b"one\ntwo\n"}


def test_a_rename_is_one_change_that_the_new_folder_makes_durable() -> None:
    before: Tree = {"a": None, "a/x": b"new", "b": None, "b/x": b"old"}
    move = Step("rename", "b/x", source="a/x")
    moved: Tree = {"a": None, "b": None, "b/x": b"new"}

    assert cut_after(move, Step("fsync", "a"), tree=before)["only what was synced"] == before
    assert cut_after(move, Step("fsync", "b"), tree=before)["only what was synced"] == moved


def test_a_name_keeps_the_order_of_its_changes() -> None:
    before: Tree = {"x": b"1"}
    steps = [Step("rename", "y", source="x"), Step("unlink", "y"), Step("mkdir", "y")]

    seen = list[Tree]()
    for seed in range(20):
        disk = Disk(before)
        for step in steps:
            disk.apply(step)
        seen += [tree for _, tree in disk.after_power_cut(random.Random(seed))]

    possible: list[Tree] = [{"x": b"1"}, {"y": b"1"}, {}, {"y": None}]
    assert [tree for tree in seen if tree not in possible] == []
    assert [tree for tree in possible if tree not in seen] == []


def test_what_was_deleted_and_not_synced_comes_back() -> None:
    before: Tree = {"d": None, "d/x": b"1"}
    steps = [Step("unlink", "d/x"), Step("rmdir", "d")]

    assert cut_after(*steps, tree=before)["only what was synced"] == before
    assert cut_after(*steps, Step("fsync", "."), tree=before)["only what was synced"] == {}


def test_what_any_program_does_is_recorded_and_replayed(tmp_path: Path) -> None:
    program = """
import os, pathlib, shutil, sys
root = pathlib.Path(sys.argv[1])
(root / "kept").rename(root / "moved")
(root / "a" / "b").mkdir(parents=True)
(root / "a" / "b" / "long").write_text("x" * 100_000)
with (root / "a" / "log").open("ab", buffering=0) as file:
    file.write(b"one"); file.write(b"two"); os.truncate(file.fileno(), 4)
    os.writev(file.fileno(), [b"three", b"four"])
with (root / "a" / "log").open("r+b", buffering=0) as file:
    os.pwrite(file.fileno(), b"!", 2)
shutil.copyfile(root / "a" / "log", root / "copy")
os.link(root / "copy", root / "second")
with open(root / "copy", "r+b") as file:
    file.write(b"changed in both")
(root / "a" / "gone").mkdir()
(root / "a" / "gone" / "file").touch()
shutil.rmtree(root / "a" / "gone")
os.chdir(root / "a"); open("here", "w").close(); os.replace("here", "b/there")
print("done")
"""
    root, record = tmp_path / "root", tmp_path / "record"
    before: Tree = {"kept": b"1"}
    write_tree(before, root)
    env = os.environ | {
        "LD_PRELOAD": str(compile_layer(tmp_path)),
        "STEPS_ROOT": str(root),
        "STEPS_RECORD": str(record),
    }
    subprocess.run([sys.executable, "-c", program, str(root)], env=env, check=True, stdout=subprocess.DEVNULL)

    disk, steps = Disk(before), read_record(record, root)
    for step in steps:
        disk.apply(step)

    assert disk.seen() == read_tree(root)
    assert b"".join(step.data for step in steps if step.call == "say") == b"done\n"
