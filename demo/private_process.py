"""A private server process: started in its own folder, ready when it answers, stopped by its process id."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import click

_PATIENCE_S = 300
_BUILD = Path(__file__).resolve().parent.parent / "build"
_chance = random.SystemRandom()  # two processes with one seed would ask for the same ports


class ServerMissing(RuntimeError):
    """There is no server program on this machine, and it cannot be installed."""


@dataclass
class PrivateProcess(ABC):
    """A running server that listens on `port`. Its output goes to `server.log` in its folder."""

    started_by: ClassVar[tuple[str, ...]] = ()
    """Words before its command."""
    folder: Path
    command: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Returns when it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen([*self.started_by, *self.command], stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.05)

    @abstractmethod
    def answers(self) -> bool:
        """Whether it accepts connections."""

    def stop(self, by: int = signal.SIGTERM) -> None:
        """Ends the server; SIGKILL simulates a crash."""
        if self.process is not None:
            self.process.send_signal(by)
            self.process.wait(timeout=_PATIENCE_S)
            self.process = None


def install_packages(what: str, packages: Sequence[str], is_there: Callable[[], bool]) -> None:
    """Installs Debian's packages if their programs are missing; raises ServerMissing if that is not possible."""
    _BUILD.mkdir(exist_ok=True)
    with (_BUILD / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # apt-get fails beside another one, and dpkg puts its files there bit by bit
        if is_there():
            return
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            names = " and ".join(packages)
            raise ServerMissing(f"no {what} here: install Debian's packages {names}, or run this as root")
        click.echo(f"Installing {what}: Debian's packages {' '.join(packages)}, once")
        for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", *words], check=True, env=environment)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, below those that Linux gives to outgoing connections.

    One of the latter may be taken by any connection before the server that it was meant for listens there.
    """
    while True:
        port = _chance.randrange(10_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
