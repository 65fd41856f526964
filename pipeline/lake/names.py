"""The names of commits and of their data files: a file's name says which commit it is of, the fingerprint of its rows,
and its checksum. The log names its files, so it has both. Files from before there were fingerprints have none.

The name of a run sorts by time and has a random part; a script makes it. The names of its commits begin with it, then
say which feed they are of and what they do.
"""

from __future__ import annotations

import re
from typing import Literal

Act = Literal["accept clock", "compact", "expire", "expire archived", "keep", "widen"]
_ACTS: dict[Act, str] = {
    "accept clock": "cc",
    "compact": "ca",
    "expire": "ee",
    "expire archived": "ea",
    "keep": "dd",
    "widen": "bb",
}
_FILE = re.compile(
    r"(?P<commit>[0-9TZ]+-[0-9a-f]+)-\d{5}(?:-(?P<fingerprint>[0-9a-f]{32}))?-(?P<checksum>[0-9a-f]{16})\.parquet"
)


def name_of_feed(run_id: str, number: int) -> str:
    """The run's name for one of its feeds."""
    return f"{run_id}{number:03x}"


def name_of_part(run_id: str, number: int) -> str:
    """The name of one of several commits, or of several steps on the way to one."""
    return f"{run_id}{number:04x}"


def name_of_act(run_id: str, act: Act) -> str:
    """The name of something else that a run does: another commit, or rows staged for one."""
    return f"{run_id}{_ACTS[act]}"


def name_file(commit_id: str, number: int, fingerprint: str, checksum: str) -> str:
    """The name of a commit's data file of that number."""
    return "-".join(filter(None, (commit_id, f"{number:05}", fingerprint, checksum))) + ".parquet"


def commit_in(name: str) -> str:
    """The commit that a data file's name has, which begins with its run; empty for a file of another program."""
    found = _FILE.fullmatch(name)
    return found["commit"] if found else ""


def fingerprint_in(name: str) -> str:
    """The fingerprint in a data file's name; empty for an older file, and for one of another program."""
    found = _FILE.fullmatch(name)
    return (found["fingerprint"] or "") if found else ""


def checksum_in(name: str) -> str:
    """The checksum in a data file's name; empty for a file of another program."""
    found = _FILE.fullmatch(name)
    return found["checksum"] if found else ""
