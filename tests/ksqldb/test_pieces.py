"""The verdict on an answer, and its rows, are the same however it was cut into pieces on its way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.decode import engine as engines
from pipeline.decode import rows as decode_rows
from pipeline.errors import AnswerMalformed, PipelineError
from pipeline.ksqldb.elements import Elements, each_element
from pipeline.ksqldb.framing import AnswerParser, Ending, Framing, Rows
from tests.decode.engines import engine
from tests.decode.rows import tuples
from tests.examples import examples, some

pytestmark = pytest.mark.usefixtures(engine.__name__)

ERROR = b'{"@type":"generic_error","error_code":50000,"message":"boom"}'
PLAIN = [
    b'{"queryId":"q","columnNames":["A","S"],"columnTypes":["INTEGER","STRUCT<`F` STRING>"]}',
    b'[1,{"F":"x],[\xc3\xa9"}]',
    b"[2,null]",
    b'{"continuationToken":"AA=="}',
]
STREAMED = [
    b'{"header":{"queryId":"q","schema":"`A` INTEGER, `S` STRUCT<`F` STRING>"}}',
    b'{"row":{"columns":[1,{"F":"x],[\xc3\xa9"}]}}',
    b'{"row":{"columns":[2,null],"tombstone":true}}',
    b'{"continuationToken":{"continuationToken":"AA=="}}',
    b'{"finalMessage":"Query Completed"}',
]
ODD = [  # what may stand where an element should
    b"", b" ", b"5", b"x", b"null", b'"text"', b"{}", b"[]", b"[1]", b"[1,null,3]", b'["a",null]', b'[1,{"G":"x"}]',
    b'[1,{"F":"x","G":1}]', b"[1,{}]", b'[1,{"F":"\xff"}]', b"\xff", b"[1}", b"{]", b'"', b"[", b"]", b"\\",
    ERROR, b'{"errorMessage":' + ERROR + b"}", b'{"row":{"columns":[1,null],"more":1}}', b'{"row":null}',
    b'{"row":{"columns":[1,null]},"finalMessage":"Query Completed"}', b'{"finalMessage":"Limit Reached"}',
    b'{"row":{"columns":[1,null]},"more":1}', b'{"header":{"queryId":"q","schema":"`A` INTEGER"}}',
]  # fmt: skip
SEPARATORS = [b",", b",\n", b",\n\n", b"\n,", b"", b",,", b" ", b", ,", b";", b",x", b"\x0b,"]
KINDS = [
    (Framing.PLAIN_ARRAY, Ending.BRACKET, PLAIN, b","),
    (Framing.STREAMED_ROWS, Ending.COMPLETED, STREAMED, b",\n"),
]
SHORT = [(*KINDS[0][:2], [PLAIN[0], b"[2,null]"], b","), (*KINDS[1][:2], [STREAMED[0], *STREAMED[2:5:2]], b",\n")]
Verdict = tuple[list[Any], str, str]


@pytest.fixture(scope="module", autouse=True)
def _one_decoder_a_header() -> Iterator[None]:
    """Thousands of answers have few headers; a decoder depends on nothing else."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decode_rows, "element_decoder", cache(decode_rows.element_decoder))
        yield


def verdict(framing: Framing, ending: Ending, pieces: Sequence[bytes]) -> Verdict:
    """The rows that came, each with whether it is a delete, and with what error the answer was refused."""
    parser, rows = AnswerParser(framing, ending), list[Any]()
    try:
        for piece in pieces:
            parser._enough_bytes = 1  # as if it were a long answer and its pieces megabytes
            for part in parser.feed(piece):
                rows += marked(part)
        for part in parser.finish():
            rows += marked(part)
    except PipelineError as error:
        return rows, type(error).__name__, error.message
    return rows, "", ""


def marked(part: Rows) -> list[Any]:
    return [(row, place in part.tombstones) for place, row in enumerate(tuples(part.batch))]


def two_pieces(body: bytes, cuts: Iterable[int]) -> Iterator[list[bytes]]:
    """Cut at each of those places."""
    return ([body[:at], body[at:]] for at in cuts)


@pytest.mark.parametrize(("framing", "ending", "elements", "comma"), KINDS)
def test_every_cut_of_a_good_answer_gives_its_rows(
    framing: Framing, ending: Ending, elements: list[bytes], comma: bytes
) -> None:
    body = b"[" + comma.join(elements) + b"]"
    wanted = verdict(framing, ending, [body])

    assert [row[0] for row, _ in wanted[0]] == [1, 2]
    assert wanted[1] == ""
    for pieces in two_pieces(body, some(range(len(body) + 1))):
        assert verdict(framing, ending, pieces) == wanted
    assert verdict(framing, ending, [body[at : at + 1] for at in range(len(body))]) == wanted


@pytest.mark.parametrize(("framing", "ending", "elements", "comma"), SHORT)
def test_every_odd_element_at_every_place_has_one_verdict_whatever_the_cut(
    framing: Framing, ending: Ending, elements: list[bytes], comma: bytes
) -> None:
    for odd in some(ODD):
        for place in range(len(elements) + 1):
            before = [b"[", *with_commas(elements[:place], comma, behind=True)]
            check_cuts(framing, ending, before, odd, [*with_commas(elements[place:], comma, behind=False), b"]"])


@pytest.mark.parametrize(("framing", "ending", "elements", "comma"), SHORT)
def test_only_separators_that_the_server_sends_are_taken_whatever_the_cut(
    framing: Framing, ending: Ending, elements: list[bytes], comma: bytes
) -> None:
    for separator in some(SEPARATORS):
        for place in range(len(elements) + 1):
            before = [b"[", *with_commas(elements[:place], comma, behind=True)[:-1]]
            after = [*with_commas(elements[place:], comma, behind=False)[1:], b"]"]
            refused = check_cuts(framing, ending, before, separator, after)
            one_comma, blank = separator.strip(b" \n") == b",", not separator.strip(b" \n")
            behind, before = place == len(elements), place == 0
            assert (refused == "") == ((one_comma and not before) or (blank and (before or behind))), (separator, place)


def with_commas(elements: Sequence[bytes], comma: bytes, behind: bool) -> list[bytes]:
    return [part for element in elements for part in ((element, comma) if behind else (comma, element))]


def check_cuts(framing: Framing, ending: Ending, before: Sequence[bytes], odd: bytes, after: Sequence[bytes]) -> str:
    """Cut at every byte of the odd part, alone and together, at both ends of each other part and once in it.

    Returns the error's kind. What other parts there are is cut at every byte where an answer is good.
    """
    body, cuts, at = b"".join([*before, odd, *after]), set[int](), 0
    for part in [*before, odd, *after]:
        cuts |= {at, at + len(part) // 2, at + len(part)}
        at += len(part)
    start, end = len(b"".join(before)), len(b"".join([*before, odd]))
    wanted = verdict(framing, ending, [body])
    for pieces in two_pieces(body, sorted(cuts | set(range(start, end)))):
        assert verdict(framing, ending, pieces) == wanted, pieces
    single = [odd[at : at + 1] for at in range(len(odd))]
    assert verdict(framing, ending, [body[:start], *single, body[end:]]) == wanted
    return wanted[1]


@st.composite
def answers(draw: st.DrawFn) -> tuple[Framing, Ending, bytes, list[int]]:
    """An answer of good and odd parts, perhaps with a byte changed or lost; and where to cut it."""
    framing, ending, elements, comma = draw(st.sampled_from(KINDS))
    parts = [elements[0], *draw(st.lists(st.sampled_from([*elements[1:], *elements[1:], *ODD]), max_size=6))]
    body = b"["
    for number, part in enumerate(parts):
        separator = comma if draw(st.integers(0, 5)) else draw(st.sampled_from(SEPARATORS))
        body += (separator if number else b"") + part
    body += draw(st.sampled_from([b"]", b",\n]", b",]", b"", b"]\n", b"]]", b"}", b"x]", b"] x"]))
    if draw(st.booleans()) and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.binary(max_size=2)) + body[at + draw(st.integers(0, 1)) :]
    return framing, ending, body, draw(st.lists(st.integers(0, len(body)), max_size=8).map(sorted))


@given(answers())
@example((Framing.PLAIN_ARRAY, Ending.BRACKET, b"[" + b",".join(PLAIN[:2]) + b",," + PLAIN[2] + b"]", [120, 121]))
@examples(200)
def test_any_answer_has_one_verdict_whatever_the_cuts(answer: tuple[Framing, Ending, bytes, list[int]]) -> None:
    framing, ending, body, cuts = answer
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    assert verdict(framing, ending, pieces) == verdict(framing, ending, [body])


def test_a_row_without_an_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ksqldb.elements.MOST_ELEMENT_BYTES", 400)
    whole = b"[" + PLAIN[0] + b',[1,{"F":"' + b"x" * 600 + b'"}]]'
    for body in (whole, whole[:-6], b'[{"queryId":"' + b"x" * 600, b"[" + PLAIN[0] + b"\n" * 600):
        for size in (1, 140, len(body)):
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            assert verdict(Framing.PLAIN_ARRAY, Ending.BRACKET, pieces)[1:] == (
                "AnswerMalformed",
                "a row of the answer is longer than 0 MB",
            )


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=20))
def test_no_bytes_in_no_pieces_end_in_anything_but_an_error_of_ours(data: bytes, sizes: list[int]) -> None:
    for framing in Framing:
        parser, at = AnswerParser(framing, Ending.BRACKET), 0
        with pytest.raises(PipelineError) as raised:
            for size in [*sizes, len(data)]:
                list(parser.feed(data[at : at + size]))
                at += size
            list(parser.finish())
        assert raised.value.message.isprintable()


def test_nothing_is_kept_of_what_was_taken() -> None:
    elements = Elements(engines.engine())
    elements.add(b"[")
    for number in range(100):
        elements.add(b",[1]" if number else b"[0]")
        assert elements.take() == (b"[1]" if number else b"[0]")
        assert elements.waiting_bytes == 0


def test_only_one_long_row_is_refused_and_blanks_are_counted_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ksqldb.elements.MOST_ELEMENT_BYTES", 2000)
    row = b'[1,{"F":"' + b"x" * 1500 + b'"}]'
    body = b"[" + b",".join([PLAIN[0], row, row, row]) + b"]"

    assert verdict(Framing.PLAIN_ARRAY, Ending.BRACKET, [body])[1] == ""
    for blanks in ([b"\n" * 3000], [b"\n" * 700] * 4, [b"\n" * 1500, b" "] * 2):
        refused = verdict(Framing.PLAIN_ARRAY, Ending.BRACKET, [*blanks, b"[", PLAIN[0], b"]"])
        assert refused[1:] == ("AnswerMalformed", "a row of the answer is longer than 0 MB")


def test_elements_that_came_together_are_taken_apart() -> None:
    assert [*each_element(b'[1], {"a":[2]},[]', engines.engine())] == [b"[1]", b'{"a":[2]}', b"[]"]
    for separator in (b"", b" "):
        with pytest.raises(AnswerMalformed):
            [*each_element(b"[1]" + separator + b"[2]", engines.engine())]


def test_nothing_is_taken_that_is_not_whole() -> None:
    elements = Elements(engines.engine())
    for part in (b"", b"[", b"[1", b"]"):
        assert elements.take() == b""
        elements.add(part)
    assert elements.take() == b"[1]"
