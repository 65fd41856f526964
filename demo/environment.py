"""A separate Python environment below build/, for packages that conflict with those of the toolkit.

It is built at the first use, and again when its extra in pyproject.toml changes.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def python_of(extra: str) -> Path:
    """The interpreter of the environment that has the packages of the extra. Raises CalledProcessError."""
    home = _ROOT / "build" / extra.replace("-", "_")
    python, made = home / "bin" / "python", home / "made"
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = project["optional-dependencies"][extra]
    wanted = "\n".join(packages)
    home.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text(encoding="utf-8") != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, *packages], check=True)
            made.write_text(wanted, encoding="utf-8")
    return python
