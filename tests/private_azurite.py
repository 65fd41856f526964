"""A private Azurite, Microsoft's emulator of Azure: in memory, loopback, a free port, stopped by its id."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hmac
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from demo.private_process import PrivateProcess, ServerMissing, free_port
from pipeline.lake.access import StoreAccess
from tests.support import ROOT

VERSION = "3.35.0"
ACCOUNT, KEY = "lake", base64.b64encode(b"a secret of the tests").decode()
_HOME = ROOT / "build" / "azurite"


@dataclass
class PrivateAzurite(PrivateProcess):
    """A running server with a container `lakes`."""

    started_by = ("setpriv", "--pdeathsig", "KILL", "env", f"AZURITE_ACCOUNTS={ACCOUNT}:{KEY}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def access(self) -> StoreAccess:
        staging = str(self.folder / "staging")
        return StoreAccess(endpoint=self.url, key_id=ACCOUNT, secret=KEY, staging_dir=staging)

    @property
    def options(self) -> Mapping[str, str]:
        """The same for readers that are built upon object_store, as the Delta library."""
        return {"endpoint": self.url, "account_name": ACCOUNT, "account_key": KEY, "allow_http": "true"}

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/lakes", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


@contextlib.contextmanager
def running_azurite(folder: Path) -> Iterator[PrivateAzurite]:
    """A new, empty server in `folder` until the block ends. Raises ServerMissing."""
    port = free_port()
    command = [
        "node", str(_program()), "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck",
    ]  # fmt: skip
    server = PrivateAzurite(folder, command, port)
    try:
        server.start()
        _make_container(server)
        yield server
    finally:
        server.stop()


def _program() -> Path:
    """Its program, from npm at the first use. Raises ServerMissing."""
    program, npm = _HOME / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js", shutil.which("npm")
    made = _HOME / VERSION
    _HOME.mkdir(parents=True, exist_ok=True)
    with _HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            if npm is None:
                raise ServerMissing("Azurite comes from npm: apt-get install npm")
            words = [
                "install",
                "--prefix",
                str(_HOME),
                "--ignore-scripts",
                "--omit=optional",
                "--no-audit",
                "--no-fund",
            ]
            subprocess.run(
                [npm, *words, "--loglevel=error", f"azurite@{VERSION}"], check=True, stdout=subprocess.DEVNULL
            )
            made.touch()
    return program


def _make_container(server: PrivateAzurite) -> None:
    """By a signed request of our own: object_store makes no containers."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = "PUT" + "\n" * 12 + f"{named}/{ACCOUNT}/{ACCOUNT}/lakes\nrestype:container"
    signed = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
    request = urllib.request.Request(f"{server.url}/lakes?restype=container", method="PUT", headers=headers)
    request.add_header("Authorization", f"SharedKey {ACCOUNT}:{signed}")
    request.add_header("Content-Length", "0")
    urllib.request.urlopen(request).close()
