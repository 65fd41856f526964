"""The one place that catches faults of this program: an unexpected exception fails one feed, not the others.

The traceback is logged, and the person gets one sentence that says where it is. Everywhere else an unexpected
exception passes; `except Exception` is allowed here and nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from pipeline.errors import FeedFault, PipelineError

log = logging.getLogger("pipeline")


@contextlib.contextmanager
def contained(feed: str) -> Iterator[None]:
    """Runs the work for one feed of several. Raises FeedFault for an exception that is no PipelineError."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        log.error("%s: the traceback of a fault of this program", feed, exc_info=error)
        raise FeedFault(
            f"{feed} failed by a fault of this program ({type(error).__name__})",
            f"report it with its traceback, which is {_place_of_the_log()}",
        ) from error


@contextlib.contextmanager
def collected(feed: str, errors: list[PipelineError]) -> Iterator[None]:
    """As `contained`; the feed's error is kept in `errors`, and the next feed goes on."""
    try:
        with contained(feed):
            yield
    except PipelineError as error:
        errors.append(error)


def _place_of_the_log() -> str:
    """The log's file for the hint; a process without one logs to stderr."""
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            return f"in {handler.baseFilename}"
    return "above"
