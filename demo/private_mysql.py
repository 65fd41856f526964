"""A private MariaDB or MySQL server: own data folder, loopback, a free port, stopped by its process id.

Never the system's service. With root rights and no MariaDB on the machine, Debian's packages of its programs are
installed: they hold no service, so none is started, and none is enabled for the next boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("mariadb-server-core", "mariadb-client-core")
_PATIENCE_S = 300
_BUILD = Path(__file__).resolve().parent.parent / "build"


class ServerMissing(RuntimeError):
    """There is no server program on this machine, and it cannot be installed."""


@dataclass
class PrivateServer:
    """A running server. `root` has no password; it listens on loopback and a socket only."""

    command: list[str]
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    host: str = "127.0.0.1"
    user: str = "root"
    password: str = ""

    @property
    def socket(self) -> str:
        return str(self.folder / "sql.sock")

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1) as probe:
            return bool(probe.recv(1))
        return False

    def stop(self, by: int = signal.SIGTERM) -> None:
        """Ends the server; SIGKILL is the power cut."""
        if self.process is not None:
            self.process.send_signal(by)
            self.process.wait(timeout=_PATIENCE_S)
            self.process = None


def install_mariadb() -> None:
    """Puts MariaDB's programs on the machine if it has none; raises ServerMissing where that cannot be done."""
    install_packages("MariaDB", PACKAGES, lambda: shutil.which("mariadbd") is not None)


def install_packages(what: str, packages: Sequence[str], is_there: Callable[[], bool]) -> None:
    """Installs Debian's packages where what they bring is not there; raises ServerMissing where it cannot."""
    _BUILD.mkdir(exist_ok=True)
    with (_BUILD / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # apt-get fails beside another one, and dpkg puts its files there bit by bit
        if is_there():
            return
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            names = " and ".join(packages)
            raise ServerMissing(f"no {what} here: install Debian's packages {names}, or run this as root")
        for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_mariadb(folder: Path, options: Sequence[str] = ()) -> Iterator[PrivateServer]:
    """A new, empty MariaDB in `folder` until the block ends; `options` come after ours, so they win."""
    install_mariadb()
    data = folder / "data"
    # A MariaDB (10.11) that starts deletes all temporary tables in its tmpdir, those of other servers too.
    (folder / "tmp").mkdir()
    common = [f"--tmpdir={folder / 'tmp'}", *(["--user=root"] if os.geteuid() == 0 else [])]
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", *common, f"--datadir={data}",
         "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    port = free_port()
    command = [
        "mariadbd", "--no-defaults", *common, f"--datadir={data}", f"--port={port}", f"--socket={folder / 'sql.sock'}",
        "--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-buffer-pool-size=128M", "--max-allowed-packet=16M",
        *options,
    ]  # fmt: skip
    server = PrivateServer(command, folder, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
