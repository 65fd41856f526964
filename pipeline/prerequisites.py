"""Whether Python and the packages are there and new enough, and the report of that as lines or as JSON.

Needs the standard library only, and old Pythons can read it.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.start import OLDEST_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_REQUIREMENT = re.compile(r"^([A-Za-z0-9_-]+)>=([0-9.]+)", re.MULTILINE)
_INSTALL = "python -m pip install -r requirements.txt -c requirements.lock"


class Check(NamedTuple):
    """One line of the report: `state` is ok, warning (the job can run all the same) or failed."""

    name: str
    state: str
    detail: str
    hint: str = ""


def ok(name: str, detail: str) -> Check:
    return Check(name, "ok", detail)


def check_python(version: Sequence[int] = tuple(sys.version_info[:3])) -> Check:
    have, want = ".".join(map(str, version)), ".".join(map(str, OLDEST_PYTHON))
    if tuple(version) < OLDEST_PYTHON:
        return Check("python", "failed", f"{have} is too old", f"use Python {want} or newer")
    return ok("python", have)


def check_packages(requirements: str) -> Iterator[Check]:
    """One line for all packages when they fit, else one for each that does not."""
    from importlib import metadata  # Python 3.7 has none

    wrong = []
    for name, least in _REQUIREMENT.findall(requirements):
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(Check(f"package {name}", "failed", "is not installed", _INSTALL))
            continue
        if _numbers(have) < _numbers(least):
            wrong.append(Check(f"package {name}", "failed", f"{have} is older than {least}", _INSTALL))
    yield from wrong or [ok("packages", f"all {len(_REQUIREMENT.findall(requirements))} are there")]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version or "")[:3])


def refuse(folder: Path, arguments: Sequence[str]) -> None:
    """Ends the process with the report of `test_setup.py` where Python or packages are missing or too old."""
    checks = [check_python()]
    if checks[0].state == "ok":
        checks += check_packages((folder / "requirements.txt").read_text(encoding="utf-8"))
    if all(check.state == "ok" for check in checks):
        return
    sys.stdout.write(report(checks, "--json" in arguments))
    sys.exit(1)


def report(checks: list[Check], as_json: bool) -> str:
    failed = sum(check.state == "failed" for check in checks)
    if as_json:
        whole = {"schema_version": 1, "ready": not failed, "checks": [check._asdict() for check in checks]}
        return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    end = f"not ready: {failed} check{'s' * (failed != 1)} failed" if failed else "ready"
    return "".join(map(lines_of, checks)) + end + "\n"


def lines_of(check: Check) -> str:
    """For people: words are wrapped to 80 columns, a command to paste stays whole."""
    wrapped = textwrap.wrap(
        f"{check.state:<8} {check.name}: {check.detail}", 80, subsequent_indent=" " * 9,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    hint = [f"         hint: {check.hint}"] if check.hint else []
    return "\n".join([*wrapped, *hint]) + "\n"
