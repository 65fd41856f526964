"""Decodes HTTP's chunked transfer coding (RFC 9112, 7.1), many chunks at once.

A server sends each row of a push as its own chunk, and urllib3 reads them one by one, which costs more than decoding
the rows. Deviations from the RFC are errors, also where urllib3 is lenient, and a body is complete only with the empty
line after its last chunk. The verdict, and the content before it, do not depend on how the network cut the body. At
most one line is held back.
"""

from __future__ import annotations

import re

import urllib3

from pipeline.decode.layout import Engine

MOST_LINE_BYTES = 4096
"""The most bytes of a size line with extensions, and of all trailers; ksqlDB sends neither extensions nor trailers."""

# The end of a chunk is read with the size of the next one. Fifteen digits are more than any body has bytes.
_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_USUAL = {b"\r\n%x\r\n" % size: size for size in range(0x100, 0x1000)}
"""The size lines of most rows: a look-up costs half as much as parsing."""
_USUAL_BYTES = 7
_SIZE_BEGUN = re.compile(rb"(?:\r(?:\n(?:[0-9A-Fa-f]{1,15}(?:[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?)?)?)?)?")
_TRAILERS = re.compile(rb"(?:[\t\x20-\x7e\x80-\xff]++\r\n)*+\r\n")
_TRAILERS_BEGUN = re.compile(rb"(?:[\t\x20-\x7e\x80-\xff]++\r\n)*+[\t\x20-\x7e\x80-\xff]*+\r?")


class Dechunker:
    """Decodes a body's bytes as they come; bytes after its end are ignored.

    `problem` is the error after the content that was returned so far.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.complete = False
        self.problem: urllib3.exceptions.ProtocolError | None = None
        self._kept = b"\r\n"  # as if a chunk had ended
        self._left = 0  # bytes of the current chunk that have not come yet
        self._is_last = False

    def feed(self, data: bytes) -> bytes:
        """The content in these bytes."""
        if self._left and self._left >= len(data):
            self._left -= len(data)
            return data
        contents, at = list[bytes](), 0
        data = self._kept + data if self._kept else data
        if not self._is_last:
            content, at = self._engine.usual_chunks(data, self._left)
            contents.append(content)
        while not self._is_last:
            start = at + _USUAL_BYTES
            size = _USUAL.get(data[at:start], 0)
            if not size:
                found = _SIZE.match(data, at, at + MOST_LINE_BYTES)
                if found is None:
                    break
                start, size = found.end(), int(found[1], 16)
                self._is_last = size == 0
            at = start + size
            contents.append(data[start:at])
        self._left, self._kept = max(0, at - len(data)), data[at:]
        if not self._left:
            self._check_kept()
        return b"".join(contents)

    def _check_kept(self) -> None:
        """Sets `problem` unless the held bytes can be the beginning of a size line or of the end of the body."""
        if self._is_last and _TRAILERS.match(self._kept, 0, MOST_LINE_BYTES):
            self.complete, self._kept = True, b""
        begun = _TRAILERS_BEGUN if self._is_last else _SIZE_BEGUN
        if len(self._kept) >= MOST_LINE_BYTES or begun.fullmatch(self._kept) is None:
            self.problem = urllib3.exceptions.ProtocolError("the answer is not in chunks as it says")
