"""A private fake-gcs-server as Google Cloud Storage: in memory, loopback, a free port, stopped by its id."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from demo.private_process import PrivateProcess, ServerMissing, free_port
from pipeline.lake.access import StoreAccess
from tests.gcs_front import gcs_front
from tests.support import ROOT

VERSION = "1.56.1"
_MODULE = f"github.com/fsouza/fake-gcs-server@v{VERSION}"
TOKEN = "a token of the tests"
_HOME = ROOT / "build" / "fake_gcs_server"


@dataclass
class PrivateGcs(PrivateProcess):
    """A running server with a bucket `lakes`, behind a front at `front`, the port that clients ask."""

    started_by = ("setpriv", "--pdeathsig", "KILL")
    front: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front}"

    @property
    def access(self) -> StoreAccess:
        return StoreAccess(endpoint=self.url, token=TOKEN, staging_dir=str(self.folder / "staging"))

    @property
    def options(self) -> Mapping[str, str]:
        """The same for readers that are built upon object_store 0.13, as deltalake 1.6 and Polars: they know of another
        server from a service account's key alone.
        """
        key = {"gcs_base_url": self.url, "disable_oauth": True, "client_email": "", "private_key": ""}
        key |= {"private_key_id": ""}
        return {"google_service_account_key": json.dumps(key), "allow_http": "true"}

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a lake on this server, but for its root."""
        staging = str(self.folder / "staging")
        return {"LAKE_STORE_ENDPOINT": self.url, "LAKE_STORE_TOKEN": TOKEN, "LAKE_STAGING_DIR": staging}

    def class_of(self, key: str) -> str:
        """The storage class of an object."""
        url = f"http://127.0.0.1:{self.port}/storage/v1/b/lakes/o/{quote(key, '')}"
        with urllib.request.urlopen(url) as answer:
            return str(json.load(answer)["storageClass"])

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_internal/healthcheck", timeout=5):
                return True
        except OSError:
            return False


@contextlib.contextmanager
def running_gcs(folder: Path) -> Iterator[PrivateGcs]:
    """A new, empty server in `folder` until the block ends. Raises ServerMissing."""
    program, port = _program(), free_port()
    with gcs_front(port) as front:
        command = [
            str(program), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
            "-public-host", f"127.0.0.1:{port}", "-log-level", "error",
        ]  # fmt: skip
        server = PrivateGcs(folder, command, port, front=front)
        try:
            server.start()
            _make_bucket(server)
            yield server
        finally:
            server.stop()


def _program() -> Path:
    """Its program, compiled by Go at the first use. Raises ServerMissing."""
    program, go = _HOME / VERSION / "fake-gcs-server", shutil.which("go")
    _HOME.mkdir(parents=True, exist_ok=True)
    with _HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            if go is None:
                raise ServerMissing("fake-gcs-server is compiled here: apt-get install golang (Go 1.26 or newer)")
            environment = os.environ | {"GOBIN": str(program.parent), "GOFLAGS": ""}
            done = subprocess.run([go, "install", _MODULE], env=environment, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise ServerMissing(f"fake-gcs-server cannot be compiled here: {done.stderr[-200:].strip()}")
    return program


def _make_bucket(server: PrivateGcs) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/storage/v1/b", json.dumps({"name": "lakes"}).encode(), method="POST"
    )
    urllib.request.urlopen(request).close()
