"""Cuts the elements of one JSON array out of bytes that come in pieces of any size.

The pieces decide which elements are returned together, but not which elements or errors are found. Only the separators
and the ends of elements are examined here, not their content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pipeline.decode.layout import BETWEEN, Decoded, Decoder, Ends, Engine
from pipeline.errors import AnswerMalformed

MOST_ELEMENT_BYTES = 64 * 2**20
"""A longer row is an error: Kafka's own limit for a record is 1 MB unless it was raised."""
_BEGUN_BYTES = 64 * 1024

_SPACE = re.compile(rb"[ \t\r\n]*+")  # the server sends bare newlines to keep a connection alive
_COMMA = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+")
_BEHIND = re.compile(rb"[ \t\r\n]*+,?[ \t\r\n]*+")  # the server ends some answers with a comma before the bracket
_CHECK_PROXIES = "check what lies between here and ksqlDB, then run the command again"


class Elements:
    """The array while it arrives. `problem` is the error after the elements that were returned so far."""

    def __init__(self, engine: Engine) -> None:
        self.closed = False
        self.problem: AnswerMalformed | None = None
        self._engine = engine
        self._buffer = b""
        self._coming: list[bytes] = []  # what has come behind the buffer
        self.waiting_bytes = 0
        """The bytes that have come and were not returned yet."""
        self._scanned, self._state = 0, BETWEEN  # how far brackets were counted
        self._is_begun = False
        self._any = False
        self._blank_bytes = 0  # before the opening bracket

    def add(self, data: bytes) -> None:
        self._coming.append(data)
        self.waiting_bytes += len(data)

    def take_usual(self, decoder: Decoder) -> Decoded | None:
        """The next rows as far as they are complete and of the usual form, decoded; None without any.

        A row of which much has come before is left to `take`, which goes on where it was.
        """
        if self.problem is not None or not self._is_open() or self._scanned > _BEGUN_BYTES:
            return None
        if len(self._buffer) > MOST_ELEMENT_BYTES or not (found := decoder.usual_rows(self._buffer, self._any)):
            return None
        decoded, end = found
        self._any, self._scanned, self._state = True, 0, BETWEEN
        self._drop(end)
        return decoded

    def take(self, only_one: bool = False) -> bytes:
        """All elements that are complete, or only the next one, with the separators between them."""
        if self.problem is not None or not self._is_open():
            return b""
        (ends, closed_at, self._state), scanned = self._scan(), len(self._buffer)
        if only_one and len(ends):
            ends, closed_at, self._state, scanned = ends[:1], -1, BETWEEN, int(ends[0])
        too_long = np.flatnonzero(np.diff(ends, prepend=0) > MOST_ELEMENT_BYTES)
        if len(too_long):
            ends, closed_at = ends[: too_long[0]], -1
        end = int(ends[-1]) if len(ends) else 0
        consumed = end
        if closed_at >= 0:
            consumed = scanned = closed_at + 1
            self._close(self._buffer[end:closed_at], self._buffer[closed_at], self._any or end > 0)
        if self.problem is None and scanned - end > MOST_ELEMENT_BYTES:
            self.problem = _too_long()
        self._scanned = scanned - consumed
        return self._cut_off(end, consumed)

    def _scan(self) -> Ends:
        """Scans the new bytes; places count from the first byte that is still held."""
        found = self._engine.scan(self._buffer[self._scanned :], self._state)
        closed_at = found.closed_at if found.closed_at < 0 else found.closed_at + self._scanned
        return Ends(found.ends + self._scanned, closed_at, found.state)

    def _cut_off(self, end: int, consumed: int) -> bytes:
        """The elements up to `end`, without the separator before them; the bytes after `consumed` stay."""
        elements = b""
        if end:
            before = (_COMMA if self._any else _SPACE).match(self._buffer, 0, end)
            if before is None:
                self.problem = _not_separated()
            else:
                elements = self._buffer[before.end() : end]
            self._any = True
        self._drop(consumed)
        if self.closed and self.problem is None:
            self._check_behind()
        return elements

    def _drop(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self.waiting_bytes = len(self._buffer)

    def _is_open(self) -> bool:
        """Whether the opening bracket has come; once the closing one has, nothing may follow."""
        if self._coming:
            self._buffer = b"".join([self._buffer, *self._coming])
            self._coming.clear()
        if self.closed:
            self._check_behind()
            return False
        if self._is_begun:
            return True
        start = _SPACE.match(self._buffer).end()  # type: ignore[union-attr] # matches empty too
        if start == len(self._buffer):
            self._blank_bytes += start
            self._drop(start)
            if self._blank_bytes > MOST_ELEMENT_BYTES:
                self.problem = _too_long()
            return False
        if self._buffer[start : start + 1] != b"[":
            first = self._buffer[start : start + 1]
            self.problem = AnswerMalformed(
                f"the answer is not an array of rows: it begins with {first.decode('latin-1')!a}",
                "check that KSQLDB_URL is the address of a ksqlDB server and not of something before it",
            )
            return False
        self._drop(start + 1)
        self._is_begun = True
        return True

    def _close(self, last: bytes, bracket: int, any_before: bool) -> None:
        self.closed = True
        if bracket != ord("]") or (_BEHIND if any_before else _SPACE).fullmatch(last) is None:
            self.problem = AnswerMalformed("the answer has something before its end that is no row", _CHECK_PROXIES)

    def _check_behind(self) -> None:
        if _SPACE.fullmatch(self._buffer) is None:
            self.problem = AnswerMalformed("the answer goes on after its end", _CHECK_PROXIES)
        self._drop(len(self._buffer))


def each_element(elements: bytes, engine: Engine) -> Iterator[bytes]:
    """The single elements in bytes that `take` has returned.

    Raises AnswerMalformed where two are not separated by one comma.
    """
    start = 0
    for end in engine.scan(elements, BETWEEN).ends.tolist():
        yield elements[start:end]
        separator = _COMMA.match(elements, end)
        if end < len(elements) and separator is None:
            raise _not_separated()
        start = separator.end() if separator else end


def _not_separated() -> AnswerMalformed:
    return AnswerMalformed("two elements of the answer are not separated by a comma", _CHECK_PROXIES)


def _too_long() -> AnswerMalformed:
    return AnswerMalformed(
        f"a row of the answer is longer than {MOST_ELEMENT_BYTES // 2**20} MB",
        "leave its largest column out in a derived stream and export that one",
    )
