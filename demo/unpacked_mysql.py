"""A private MySQL: Debian's unstable packages, unpacked into build/mysql and run by their own loader.

Debian stable has no MySQL. Nothing is installed on the machine: apt downloads into a folder below build/, with the
system's own mirror and keys and an empty package status, so that it downloads every library. The unpacked tree is kept;
an interrupted download is started again. The server does not sync to disk: its process may be killed, but not the
machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo.private_mysql import PrivateServer
from demo.private_process import ServerMissing, free_port

_ROOT = Path(__file__).resolve().parent.parent
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PACKAGES = ("mysql-server-core", "mysql-client-core")


@contextlib.contextmanager
def running_mysql(folder: Path, options: Sequence[str] = ()) -> Iterator[PrivateServer]:
    """A new, empty MySQL in `folder` until the block ends; `options` override ours."""
    tree = unpacked_mysql(_ROOT / "build" / "mysql")
    data, port = folder / "data", free_port()
    program = [
        str(next(tree.glob("usr/lib*/ld-linux-*.so.*"))), "--library-path", str(next(tree.glob("usr/lib/*-linux-gnu"))),
        str(tree / "usr/sbin/mysqld"), "--no-defaults", f"--basedir={tree / 'usr'}", f"--datadir={data}",
        f"--lc-messages-dir={tree / 'usr/share/mysql'}", f"--character-sets-dir={tree / 'usr/share/mysql/charsets'}",
        f"--plugin-dir={tree / 'usr/lib/mysql/plugin'}", *(["--user=root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    made = subprocess.run([*program, "--initialize-insecure"], stderr=subprocess.PIPE, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"MySQL could not make its data folder: {made.stderr[-2000:]}")
    command = [
        *program, f"--port={port}", f"--socket={folder / 'sql.sock'}", "--bind-address=127.0.0.1", "--mysqlx=OFF",
        "--skip-log-bin", "--innodb-buffer-pool-size=128M", "--innodb-redo-log-capacity=64M", "--local-infile=1",
        "--secure-file-priv=", "--innodb-flush-method=nosync", "--innodb-doublewrite=OFF",
        *options,
    ]  # fmt: skip
    server = PrivateServer(folder, command, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def unpacked_mysql(home: Path) -> Path:
    """The folder with MySQL's unpacked packages; downloads them (65 MB) where they are not there yet.

    Raises ServerMissing naming the remedy.
    """
    tree = home / "root"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(tree, ignore_errors=True)
            _download(home / "apt", tree)
            (home / "complete").touch()
    return tree


def _download(apt: Path, tree: Path) -> None:
    if not shutil.which("apt-get") or not _KEYS.exists():
        raise ServerMissing("no MySQL here: its packages come from Debian, so it takes a Debian machine")
    for name in ("lists/partial", "cache/archives/partial", "log"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sid.list").write_text(f"deb [signed-by={_KEYS}] {_mirror()} sid main\n")
    settings = {
        "Dir::Etc::sourcelist": apt / "sid.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null", "Dir::State::Lists": apt / "lists",
        "Dir::State::status": apt / "status", "Dir::Cache": apt / "cache", "Dir::Log": apt / "log",
        "Debug::NoLocking": 1, "APT::Install-Recommends": 0,
    }  # fmt: skip
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    for words in (["update"], ["-y", "-d", "install", *_PACKAGES]):
        done = subprocess.run(["apt-get", *options, "-q", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerMissing(f"MySQL's packages cannot be downloaded from Debian's mirror: {done.stderr[-500:]}")
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(tree)], check=True)
    shutil.rmtree(apt)


def _mirror() -> str:
    """The Debian mirror that this machine uses already."""
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for path in sources:
        if path.suffix not in (".list", ".sources") or not path.exists():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.match(r"(?:URIs:|deb\s+(?:\[[^]]*\]\s+)?)\s*(\S+/debian)/?(?:\s|$)", line)
            if found:
                return found[1]
    raise ServerMissing("this machine names no Debian mirror in its apt sources")
