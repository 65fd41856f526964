"""A private MariaDB or MySQL server: own data folder, loopback, a free port, stopped by its process id.

Never the system's service. With root rights and no MariaDB on the machine, Debian's packages of its programs are
installed: they hold no service, so none is started, and none is enabled for the next boot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.private_process import PrivateProcess, free_port, install_packages

PACKAGES = ("mariadb-server-core", "mariadb-client-core")


@dataclass
class PrivateServer(PrivateProcess):
    """A running server. `root` has no password; it listens on loopback and a socket only."""

    host: str = "127.0.0.1"
    user: str = "root"
    password: str = ""

    @property
    def socket(self) -> str:
        return str(self.folder / "sql.sock")

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1) as probe:
            return bool(probe.recv(1))
        return False


def install_mariadb() -> None:
    """Installs MariaDB's programs if they are missing; raises ServerMissing if that is not possible."""
    install_packages("MariaDB", PACKAGES, lambda: shutil.which("mariadbd") is not None)


@contextlib.contextmanager
def running_mariadb(folder: Path, options: Sequence[str] = ()) -> Iterator[PrivateServer]:
    """A new, empty MariaDB in `folder` until the block ends; `options` override ours."""
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
    server = PrivateServer(folder, command, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
