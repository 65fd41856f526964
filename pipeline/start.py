"""The first import of each script: from here on Ctrl-C, a missing package or an old Python gives no traceback.

While the other imports run no lock is held and nothing was written, so Ctrl-C simply ends the process. A missing
package or a Python that is too old is reported in one sentence. This module imports little more than the interpreter
has loaded already, so that it takes effect early, and its syntax is that of old Pythons.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import TracebackType

OLDEST_PYTHON = (3, 11)
_MOST_NEW_OBJECTS = 200_000
"""Twice as many as the imports of the largest command make."""


class _WithoutPandas:
    """A finder of modules that reports pandas as not installed."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("it is not used here", name=fullname)


def leave_out_pandas() -> None:
    """Hides pandas: with its first array pyarrow would import it, which takes as long as all other imports."""
    sys.meta_path.insert(0, _WithoutPandas())


def import_quickly() -> None:
    """Saves a third of what imports cost: pandas is hidden, and the garbage collector, which finds nothing among the
    objects that imports make, looks at them only when they are many.
    """
    leave_out_pandas()
    gc.set_threshold(_MOST_NEW_OBJECTS)


def guard(hint: str = "python test_setup.py says what is missing") -> None:
    """Makes Ctrl-C quiet until `pipeline.scripts.run` takes over, and reports missing packages with `hint`."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would get what is written to this one
            os.open(os.devnull, os.O_RDWR)
    import_quickly()
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
