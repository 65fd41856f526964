"""One query's answer while it is read: its header, its rows as they come, and how to end it at any moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests
import urllib3

from pipeline.decode.layout import Layout
from pipeline.errors import AnswerIncomplete, PipelineError, ServerUnreachable
from pipeline.ksqldb.bodies import LONGEST_S, pieces
from pipeline.ksqldb.errors import reason
from pipeline.ksqldb.framing import AnswerParser, Header, Rows
from pipeline.turns import Turn


class Answer(contextlib.AbstractContextManager["Answer"]):
    """One query's answer while it is being read. `turn` is given back when it is closed, at the latest."""

    def __init__(self, response: requests.Response, parser: AnswerParser, end_query: Callable[[str], object]) -> None:
        self._response, self._parser, self._end_query = response, parser, end_query
        self._pieces = pieces(response.raw, is_long=True)
        self._early: list[Rows] = []
        self._done = self._hung_up = self._closed = False
        self.byte_count = 0
        self.turn = Turn()

    @property
    def proved(self) -> bool:
        """Whether the whole answer was read: after `hang_up` its last rows may be missing."""
        return self._done and not self._hung_up

    @property
    def header(self) -> Header:
        assert self._parser.header is not None
        return self._parser.header

    @property
    def layout(self) -> Layout:
        assert self._parser.layout is not None
        return self._parser.layout

    def read_header(self, within_s: float) -> None:
        """Reads until the header is there.

        Raises ServerUnreachable where that takes longer: a header is short.
        """
        end = time.monotonic() + within_s
        while self._parser.header is None:
            piece = self._next_piece()
            if piece is None:
                self._early += self._finish()
                return
            self._early += self._parser.feed(piece)
            if time.monotonic() > end:
                raise ServerUnreachable(
                    f"ksqlDB did not come to the end of its answer's header within {within_s:g} s",
                    "check that the server is up and not overloaded, then run the same command again",
                )

    def rows(self) -> Iterator[Rows]:
        """The rows, as they come; ends only when the answer is proved complete.

        After `hang_up` it ends without an error, with the rows that were complete.
        Raises AnswerIncomplete, AnswerMalformed or QueryFailed; then nothing of the answer may be used as complete.
        """
        yield from self._early
        while not self._done:
            piece = self._next_piece()
            yield from self._finish() if piece is None else self._parser.feed(piece)

    def _finish(self) -> Iterator[Rows]:
        self._done = True
        return self._parser.flush() if self._hung_up else self._parser.finish()

    def _next_piece(self) -> bytes | None:
        try:
            piece = next(self._pieces, None)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._hung_up:
                return None
            raise AnswerIncomplete(
                f"the connection broke after {self._parser.row_count} rows: {reason(error)}",
                "nothing was kept of the broken answer; run the same command again",
            ) from error
        self.byte_count += len(piece or b"")
        return piece

    def wait_at_most(self, seconds: float | None) -> None:
        """Sets the limit on a read without a byte.

        None lifts it: a push over a large topic is silent while nothing matches. The caller must then watch the query
        from another thread and `hang_up` when it stalls.
        """
        # The connection itself releases its socket where the answer says that it will be closed.
        raw: Any = self._response.raw
        file = raw._fp.fp  # it has no public name
        if file is not None:
            file.raw._sock.settimeout(None if seconds is None else min(seconds, LONGEST_S))

    @contextlib.contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Closes the answer when the block fails, and leaves it open when it does not."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def hang_up(self) -> None:
        """Ends a read in which another thread waits; an incomplete last row is left to the next run."""
        self._hung_up = True
        # It may be closed or over already, or the server may have reset the connection.
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.raw.shutdown()

    def close(self) -> None:
        """Closes the connection, ends the query if it was not read to its end, and gives its turn back."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._done and self._parser.header and self._parser.header.query_id:
                with contextlib.suppress(PipelineError):
                    self._end_query(self._parser.header.query_id)
            self._response.close()
        finally:
            self.turn.give_back()

    def __exit__(self, *exc: object) -> None:
        self.close()
