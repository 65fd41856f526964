"""The bytes of an answer's body as they come, in pieces of limited size.

A body is decompressed only if its headers say that it is compressed (a proxy may do that unasked), and then in pieces
too: a few bytes can expand to gigabytes.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import urllib3

from pipeline.decode import engine as engines
from pipeline.errors import BodyNotReadable, BodyTooLong, ServerUnreachable
from pipeline.ksqldb.chunks import Dechunker
from pipeline.ksqldb.errors import quoted

PIECE_BYTES = 256 * 1024
MOST_BODY_BYTES = 16 * 2**20
"""The most bytes of an answer that is not read row by row: hundreds of queries with their plans fit."""

LONGEST_S = 86_400.0
"""The longest single wait on a connection: operating systems do not accept an infinite one."""

_GZIP = zlib.MAX_WBITS | 16


def pieces(body: urllib3.BaseHTTPResponse, is_long: bool = False) -> Iterator[bytes]:
    """The body in pieces of at most `PIECE_BYTES`, each as soon as it has come.

    After a body that `is_long` its connection cannot be used again. Raises urllib3's errors (`DecodeError` for a
    compressed body that is damaged or cut), or BodyNotReadable.
    """
    packed = body.headers.get("Content-Encoding", "identity").strip().lower()
    is_chunked = body.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
    coming = _dechunked(body) if is_long and is_chunked else _as_it_is(body)
    if packed in ("gzip", "x-gzip"):
        yield from _unpacked(coming)
    elif packed in ("", "identity"):
        yield from coming
    else:
        raise BodyNotReadable(
            f"something before ksqlDB sends its answers as {quoted(packed)}, which was not asked for",
            "have the proxy between here and ksqlDB leave answers as they are",
        )


def _as_it_is(body: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    while piece := body.read1(PIECE_BYTES, decode_content=False):
        yield piece


def _dechunked(body: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Decodes chunks from the file that urllib3 would read, which has buffered some bytes of the body."""
    file, chunks = body._fp.fp, Dechunker(engines.engine())  # type: ignore[attr-defined] # it has no public name
    while not chunks.complete:
        data = file.read1(PIECE_BYTES)
        if content := chunks.feed(data):
            yield content
        if chunks.problem is not None:
            raise chunks.problem
        if not data and not chunks.complete:
            raise urllib3.exceptions.ProtocolError("the answer ended before its last chunk")


def _unpacked(coming: Iterator[bytes]) -> Iterator[bytes]:
    unpack, begun = zlib.decompressobj(_GZIP), False
    try:
        for piece in coming:
            while piece:
                if unpack.eof:
                    unpack = zlib.decompressobj(_GZIP)
                begun = True
                if plain := unpack.decompress(piece, PIECE_BYTES):
                    yield plain
                piece = unpack.unconsumed_tail or unpack.unused_data
    except zlib.error:
        raise urllib3.exceptions.DecodeError("not compressed as it says") from None
    if begun and not unpack.eof:
        raise urllib3.exceptions.DecodeError("cut before its end")


def read_whole(body: urllib3.BaseHTTPResponse, url: str, within_s: float) -> bytes:
    """The whole of a body that is not read row by row.

    Raises BodyTooLong beyond `MOST_BODY_BYTES`, ServerUnreachable when it is not there in time, or what `pieces` does.
    """
    whole, end = bytearray(), time.monotonic() + within_s
    for piece in pieces(body):
        whole += piece
        if len(whole) > MOST_BODY_BYTES:
            raise BodyTooLong(
                f"what answers at {url} sends more than {MOST_BODY_BYTES // 2**20} MB where ksqlDB sends little",
                "check KSQLDB_URL, and what lies between here and the server",
            )
        if time.monotonic() > end:
            raise ServerUnreachable(
                f"ksqlDB at {url} was not done with its answer within {within_s:g} s",
                "check that the server is up and not overloaded, then run the same command again",
            )
    return bytes(whole)
