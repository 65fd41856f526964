"""The two scripts that the site's theme would load from the network: fetched from npm once, proved, kept in build/."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from docsite.pages import ROOT

FOLDER = ROOT / "build" / "docs" / "parts"


class PartMissing(Exception):
    """A script of the site could not be fetched, or is not the one that is pinned here."""


@dataclass(frozen=True)
class Part:
    package: str
    version: str
    sha512: str
    member: str
    file: str

    def path(self) -> Path:
        return FOLDER / f"{self.version}-{self.file}"


MERMAID = Part(
    "mermaid",
    "12.3.0",
    "4113TdXeLAsMruJ79OpFL5O8+LTFXhQqZ260rF3tgUmiNAtRm4Uume04I+65PRN6yZ69J4f8rVYWW8zRk65UYw==",
    "package/dist/mermaid.min.js",
    "mermaid.js",
)
SEARCH = Part(  # the search, where a browser shows the site from a disk
    "iframe-worker",
    "1.0.4",
    "roeaaI+Lg1LJNfgpCjoRe/+WzEjy9+Z08LoEvu85MCPbBjwm+qXz8Ag5U05lHa6V1CysZyGzE0SOkAtSUA5q7Q==",
    "package/shim/index.js",
    "iframe-worker.js",
)


def fetched(part: Part) -> Path:
    """The part's file; from npm where it is not there yet. Raises PartMissing."""
    if part.path().is_file():
        return part.path()
    npm = shutil.which("npm")
    if npm is None:
        raise PartMissing("npm is needed once, to fetch the scripts that draw diagrams: apt-get install npm")
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{part.package}@{part.version}"
        done = subprocess.run(
            [npm, "pack", wanted, "--silent", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode != 0 or packed is None:
            raise PartMissing(f"npm does not give {wanted}: {done.stderr.strip()[-500:]}")
        data = packed.read_bytes()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != part.sha512:
        raise PartMissing(f"what npm gives as {wanted} is not what it was when it was chosen")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile(part.member)
        assert member is not None, part
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = part.path().with_suffix(".part")
        unfinished.write_bytes(member.read())
        unfinished.replace(part.path())
    return part.path()
