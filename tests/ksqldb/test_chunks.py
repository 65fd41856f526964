"""Chunks are taken off as the RFC has them, with one verdict at every cut; what is taken urllib3 takes too."""

from __future__ import annotations

import http.client
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.decode.layout import Engine
from pipeline.ksqldb import chunks
from pipeline.ksqldb.bodies import pieces
from pipeline.ksqldb.chunks import MOST_LINE_BYTES, Dechunker
from tests.decode.engines import engine
from tests.examples import examples, some

__all__ = ["engine"]
pytestmark = pytest.mark.usefixtures("engine")

GOOD = b"5\r\nhello\r\n1\r\n,\r\nA\r\n world\r\n?!\r\n0\r\n\r\n"
CONTENT = b"hello, world\r\n?!"
Verdict = tuple[bytes, str]


class _Pieces(io.RawIOBase):
    """A socket that gives out these pieces, one a read, then its end."""

    def __init__(self, coming: Sequence[bytes]) -> None:
        self._coming = [piece for piece in coming if piece]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._coming:
            return 0
        piece = self._coming.pop(0)
        taken = min(len(piece), len(buffer))
        buffer[:taken] = piece[:taken]
        if piece[taken:]:
            self._coming.insert(0, piece[taken:])
        return taken


class _Socket:
    def __init__(self, coming: Sequence[bytes]) -> None:
        self._coming = coming

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Pieces(self._coming))


def body_of(coming: Sequence[bytes]) -> urllib3.HTTPResponse:

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    message: Any = http.client.HTTPResponse(_Socket([head, *coming]), method="POST")  # type: ignore[arg-type] # it reads
    message.begin()
    return urllib3.HTTPResponse(message, message.headers.items(), preload_content=False, original_response=message)


def verdict(coming: Sequence[bytes], is_long: bool = True) -> Verdict:
    """The content that came, and how the body was refused."""
    content = b""
    try:
        for piece in pieces(body_of(coming), is_long):
            content += piece
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return content, str(error) if is_long else "refused"
    return content, ""


def cuts(body: bytes) -> Iterator[list[bytes]]:
    yield from ([body[:at], body[at:]] for at in some(range(1, len(body))))
    yield [body[at : at + 1] for at in range(len(body))]


def check(body: bytes) -> Verdict:
    """The one verdict, which is urllib3's too where the body is taken."""
    wanted = verdict([body])
    for coming in cuts(body):
        assert verdict(coming) == wanted, coming
    if not wanted[1]:
        assert verdict([body], is_long=False) == wanted
    return wanted


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        GOOD + b"HTTP/1.1 200 OK\r\n",  # what follows is another answer
        GOOD.replace(b"A\r\n", b"00a\r\n"),
        GOOD.replace(b"5\r\n", b'5;a=b ; c="d;\xff"\r\n'),
        GOOD.replace(b"5\r\n", b"5 \t;\r\n"),
        GOOD[:-2] + b"Trailer: value\r\nOther:\r\n\r\n",
        GOOD.replace(b"0\r\n", b"000;x\r\n"),
        GOOD + b"14b\r\n" + b"x" * 0x14B,  # as if another chunk came behind the end
    ],
)
def test_what_the_rfc_allows_is_taken_at_every_cut(body: bytes) -> None:
    assert check(body) == (CONTENT, "")


@pytest.mark.parametrize(
    "size", [b"", b"-5", b"+5", b"0x5", b"5_0", b" 5", b"5 ", b"g", b"5\r", b"5;\x00", b"\r\n5", b"5\n", b"f" * 16,
             b"5;" + b"x" * 40],
)  # fmt: skip
def test_a_size_that_is_none_is_refused_at_every_cut(size: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MOST_LINE_BYTES", 40)
    body = GOOD.replace(b"1\r\n,", size + b"\r\n,")

    assert check(body) == (b"hello", "the answer is not in chunks as it says")


def test_a_chunk_that_goes_on_behind_its_size_is_refused_at_every_cut() -> None:
    for end in (b"", b"\n", b"\r", b"x\r\n", b"\r\r\n"):
        content, refused = check(b"5\r\nhello" + end + b"1\r\n,\r\n0\r\n\r\n")
        assert (content, refused) == (b"hello", "the answer is not in chunks as it says"), end


def test_a_body_without_its_end_is_incomplete_wherever_it_is_cut() -> None:
    for at in range(len(GOOD)):
        content, refused = check(GOOD[:at])
        assert CONTENT.startswith(content)
        assert refused == "the answer ended before its last chunk"


@pytest.mark.parametrize(
    "trailer", [b"x" * MOST_LINE_BYTES, b"a: b\r\n" * 1000, b"a\x00: b\r\n\r\n", b"a: b\n\r\n\r\n"]
)
def test_trailers_without_end_or_form_are_refused(trailer: bytes) -> None:
    body = GOOD[:-2] + trailer
    for coming in ([body], [body[:-1], body[-1:]], [body[at : at + 1] for at in range(len(body))]):
        assert verdict(coming) == (CONTENT, "the answer is not in chunks as it says")


def test_chunks_of_the_usual_sizes_are_taken_at_every_cut() -> None:
    contents = [b"%d" % size * size for size in (0xFF, 0x100, 0x14B, 0x100)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(content), content) for content in contents) + b"0\r\n\r\n"

    assert check(body) == (b"".join(contents), "")


def test_no_more_than_a_line_is_kept_back(engine: Engine) -> None:
    chunked = Dechunker(engine)
    assert chunked.feed(b"F0000000\r\n") == b""
    for _ in range(100):
        assert chunked.feed(b"x" * 70_000) == b"x" * 70_000
        assert chunked._kept == b""


def test_many_chunks_in_one_piece_are_one_piece_of_content(engine: Engine) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in range(1, 2000)) + b"0\r\n\r\n"

    assert b"".join(pieces(body_of([body]), is_long=True)) == b"x" * sum(range(2000))
    assert Dechunker(engine).feed(body) == b"x" * sum(range(2000))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """A body of good chunks, perhaps with some bytes changed or lost; and where to cut it."""
    contents = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
    body = b"".join(b"%x\r\n%s\r\n" % (len(content), content) for content in contents)
    body += draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\n", b"", b"00;x\r\n\r\nmore"]))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        put = draw(st.sampled_from([b"\r", b"\n", b"\r\n", b"0", b";", b" ", b"-", b"\x00", b"f", b""]))
        body = body[:at] + put + body[at + draw(st.integers(0, 1)) :]
    return body, draw(st.lists(st.integers(0, len(body)), max_size=6).map(sorted))


@given(bodies())
@example((b"3\r\n0\r\n\r\n0\r\n\r\n", [4]))
@examples(400)
def test_any_body_has_one_verdict_and_what_is_taken_urllib3_takes_too(drawn: tuple[bytes, list[int]]) -> None:
    body, at = drawn
    wanted = verdict([body])

    coming = [body[start:end] for start, end in zip([0, *at], [*at, len(body)], strict=True)]
    assert verdict(coming) == wanted
    assert verdict([body[place : place + 1] for place in range(len(body))]) == wanted
    if not wanted[1]:
        assert verdict([body], is_long=False) == wanted
