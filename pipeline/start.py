"""The first import of each script: from here on it ends as a command does, whatever happens before it has begun.

While the other imports run nothing is held and nothing was written, so Ctrl-C simply ends the process. A package that
is missing, or a Python that is too old, gets a sentence. Needs next to nothing that the interpreter has not imported
by itself, so that this moment comes early, and old Pythons can read it.
"""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType

OLDEST_PYTHON = (3, 11)


class _WithoutPandas:
    """A finder of modules that says of pandas that it is not there."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("it is not used here", name=fullname)


def leave_out_pandas() -> None:
    """Where pandas is installed pyarrow imports it with its first array, which takes as long as all other imports."""
    sys.meta_path.insert(0, _WithoutPandas())


def guard(hint: str = "python test_setup.py says what is missing") -> None:
    """Ctrl-C is quiet until `pipeline.cli.run` takes over; `hint` helps where a package is missing, also later."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would get what is written to this one
            os.open(os.devnull, os.O_RDWR)
    leave_out_pandas()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def complain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        missing = (getattr(error, "name", None) or "").split(".")[0] if isinstance(error, ImportError) else ""
        if sys.version_info < OLDEST_PYTHON:
            problem = "this Python is too old: {}.{}".format(*sys.version_info[:2])
        elif missing and missing not in ("pipeline", "commands", "data_lake_config"):
            problem = f"the package {missing} is missing or cannot be used"
        else:
            sys.__excepthook__(kind, error, trace)
            return
        sys.stderr.write(f"error: {problem}\nhint: {hint}\n")

    sys.excepthook = complain
