"""Who stages the tasks of a stream that can be read in pieces: processes of this machine, or executors of Spark.

Either way this process commits. What a worker has staged when it is lost stays until the next run removes it.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Protocol

from pipeline.errors import PipelineError


class Worker(Protocol):
    """Stages one task at a time. It is sent an assignment and the seconds left for it, and after each part but the last
    the word to go on; it sends the parts, and then `worker.ENDED` or a PipelineError. A closed connection says that it
    is gone.
    """

    connection: Connection

    def lost(self) -> PipelineError:
        """Why it is gone."""

    def stop(self) -> None:
        """Ends it, and what it is doing."""


class Engine(Protocol):
    """Starts workers, when there is work for several."""

    @property
    def workers(self) -> int:
        """How many tasks are staged at once."""

    def start(self) -> Worker:
        """Raises a PipelineError where there can be none."""

    def close(self) -> None:
        """Ends what all workers share."""
