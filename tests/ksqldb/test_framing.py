"""Framings, cut, torn and broken in every way: all rows with the proof, or a typed error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.values import to_json
from pipeline.errors import AnswerIncomplete, AnswerMalformed, PipelineError, QueryFailed
from pipeline.ksqldb import framing as framing_module
from pipeline.ksqldb.framing import AnswerParser, Ending, Framing
from tests.decode.engines import engine
from tests.decode.rows import tuples

pytestmark = pytest.mark.usefixtures(engine.__name__)

W4 = b'[{"queryId":"q","columnNames":["A","B"],"columnTypes":["INTEGER","STRING"]},[1,"x],["],[2,"\xc3\xa9\\"]"]]'
W2 = (
    b'[{"header":{"queryId":"q","schema":"`A` INTEGER, `B` STRING"}},\n{"row":{"columns":[1,"x],["]}},\n'
    b'{"row":{"columns":[2,"\xc3\xa9\\"]"]}},\n{"finalMessage":"Query Completed"}]'
)
ROWS = [(1, "x],["), (2, 'é"]')]
BOTH = [(Framing.PLAIN_ARRAY, Ending.BRACKET, W4), (Framing.STREAMED_ROWS, Ending.COMPLETED, W2)]


def parse(framing: Framing, ending: Ending, *pieces: bytes) -> list[tuple[Any, ...]]:
    parser = AnswerParser(framing, ending)
    rows: list[tuple[Any, ...]] = []
    for piece in pieces:
        for part in parser.feed(piece):
            rows += tuples(part.batch)
    for part in parser.finish():
        rows += tuples(part.batch)
    return rows


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_an_answer_may_come_in_any_pieces(framing: Framing, ending: Ending, body: bytes) -> None:
    assert parse(framing, ending, body) == ROWS
    assert parse(framing, ending, *(body[i : i + 1] for i in range(len(body)))) == ROWS


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_an_answer_cut_at_any_byte_is_refused(framing: Framing, ending: Ending, body: bytes) -> None:
    for end in range(len(body)):
        with pytest.raises(AnswerIncomplete):
            parse(framing, ending, body[:end])


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_bare_newlines_and_a_trailing_comma_are_tolerated(framing: Framing, ending: Ending, body: bytes) -> None:
    assert parse(framing, ending, b"\n" + body[:-1] + b",\n]\n\n") == ROWS
    assert parse(framing, ending, body.replace(b"},", b"},\n\n\n", 1)) == ROWS


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
@pytest.mark.parametrize("junk", [b"[", b"x", b"{}", b"]", b'"'])
def test_anything_after_the_end_is_refused(framing: Framing, ending: Ending, body: bytes, junk: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        parse(framing, ending, body + junk)


@pytest.mark.parametrize(
    "middle",
    [b",5", b",null", b',"x"', b",[1]", b',[1,"x",3]', b',["a","b"]', b",[1.5,null]", b",,[3,null]", b',{"x":1}'],
)
def test_an_element_that_is_no_row_is_refused(middle: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, W4[:-1] + middle + b"]")


def test_an_error_element_is_an_error_wherever_it_stands() -> None:
    error = b'{"@type":"generic_error","error_code":50000,"message":"boom"}'
    for body in (W4[:-1] + b"," + error + b"]", b"[" + error + b"]"):
        with pytest.raises(QueryFailed, match="boom"):
            parse(Framing.PLAIN_ARRAY, Ending.BRACKET, body)
    streamed = W2.split(b"\n")
    for place in range(1, len(streamed)):
        lines = [*streamed[:place], b'{"errorMessage":' + error + b"},", b"]"]
        with pytest.raises(QueryFailed, match="boom"):
            parse(Framing.STREAMED_ROWS, Ending.COMPLETED, b"\n".join(lines))


def test_a_stream_needs_the_final_message_that_was_due() -> None:
    without = W2.replace(b',\n{"finalMessage":"Query Completed"}', b"")
    with pytest.raises(AnswerIncomplete, match="Query Completed"):
        parse(Framing.STREAMED_ROWS, Ending.COMPLETED, without)
    with pytest.raises(AnswerIncomplete, match="Limit Reached"):
        parse(Framing.STREAMED_ROWS, Ending.LIMIT, W2)
    with pytest.raises(AnswerMalformed, match="after the answer's final message"):
        parse(Framing.STREAMED_ROWS, Ending.COMPLETED, W2[:-1] + b',\n{"row":{"columns":[3,null]}}]')


def test_what_is_not_json_at_all_is_named() -> None:
    with pytest.raises(AnswerMalformed, match="not an array"):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, b"<html>proxy</html>")


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
def test_only_the_arrays_own_bracket_proves_the_end(framing: Framing, ending: Ending, body: bytes) -> None:
    with pytest.raises(PipelineError):
        parse(framing, ending, body[:-1] + b"}")


def test_an_error_beside_a_row_is_an_error_too() -> None:
    with pytest.raises(QueryFailed):
        parse(Framing.STREAMED_ROWS, Ending.COMPLETED, W2.replace(b'["]}},', b'["]},"errorMessage":{"message":"no"}},'))


NO_HEADERS = [
    b'{"header":{"queryId":"q"}}',
    b'{"header":null}',
    b'{"errorMessage":null}',
    b'{"queryId":"q","columnNames":["A"]}',
    b'{"queryId":"q","columnNames":["A"],"columnTypes":["INTEGER","STRING"]}',
    b'{"queryId":"q","columnNames":["A"],"columnTypes":[null]}',
]


@pytest.mark.parametrize("header", NO_HEADERS, ids=range(len(NO_HEADERS)))
def test_a_header_of_another_shape_is_a_malformed_answer(header: bytes) -> None:
    framing = Framing.PLAIN_ARRAY if b"columnNames" in header else Framing.STREAMED_ROWS
    with pytest.raises(AnswerMalformed):
        parse(framing, Ending.BRACKET, b"[" + header + b"]")


@pytest.mark.parametrize("first", [b"[1,2]", b"5x", b'"text"', b"{}", b'{"row":{"columns":[1]}}', b"\xff{}"])
def test_an_answer_that_begins_with_no_header_is_refused(first: bytes) -> None:
    for framing in Framing:
        with pytest.raises(PipelineError):
            parse(framing, Ending.BRACKET, b"[" + first + b"]")


def test_deletes_are_marked_and_tokens_are_no_rows() -> None:
    parser = AnswerParser(Framing.STREAMED_ROWS, Ending.COMPLETED)
    token = b'{"continuationToken":{"continuationToken":"AA=="}},\n'
    delete = b'{"row":{"columns":[7,null],"tombstone":true}},\n'
    places = [W2.index(b'{"row"'), W2.index(b'{"final')]
    body = W2[: places[0]] + token + W2[places[0] : places[1]] + delete + token + W2[places[1] :]

    parts = [*parser.feed(body), *parser.finish()]

    assert [row for part in parts for row in tuples(part.batch)] == [*ROWS, (7, None)]
    assert [place for part in parts for place in part.tombstones] == [2]
    assert parser.row_count == 3


def test_rows_that_are_held_back_can_be_taken_without_the_proof() -> None:
    parser = AnswerParser(Framing.STREAMED_ROWS, Ending.COMPLETED)
    cut = W2[: W2.index(b',\n{"final') - 5]
    taken = [row for part in parser.feed(cut[:60]) for row in tuples(part.batch)]
    taken += [row for part in parser.feed(cut[60:]) for row in tuples(part.batch)]

    taken += [row for part in parser.flush() for row in tuples(part.batch)]

    assert taken == ROWS[:1]


PROXIES = "check what lies between here and ksqlDB, then run the command again"
AGAIN = "run the command again"
NOTHING_KEPT = "nothing was kept of it; run the same command again"
FAILED = b'{"@type":"generic_error","error_code":50000,"message":"boom"}'
REFUSALS: list[tuple[Framing, Ending, bytes, type[PipelineError], str, str]] = [
    (*BOTH[0][:2], b"\n<html>", AnswerMalformed, "the answer is not an array of rows: it begins with '<'",
     "check that KSQLDB_URL is the address of a ksqlDB server and not of something before it"),
    (*BOTH[0][:2], W4[:-1] + b",5]", AnswerMalformed,
     "the answer has something before its end that is no row", PROXIES),
    (*BOTH[0][:2], W4 + b"x", AnswerMalformed, "the answer goes on after its end", PROXIES),
    (*BOTH[0][:2], W4.replace(b"},[", b"} ["), AnswerMalformed,
     "two elements of the answer are not separated by a comma", PROXIES),
    (*BOTH[0][:2], W4.replace(b"],[2", b"][2"), AnswerMalformed,
     "two elements of the answer are not separated by a comma", PROXIES),
    (*BOTH[0][:2], W4[:-1], AnswerIncomplete,
     "the answer broke off after 2 rows: its closing bracket never came", NOTHING_KEPT),
    (*BOTH[0][:2], b"[]", AnswerIncomplete, "the answer is empty: not even its header came",
     "run the same command again"),
    (*BOTH[1][:2], W2.replace(b',\n{"finalMessage":"Query Completed"}', b""), AnswerIncomplete,
     "the answer ended after 2 rows without a final message where 'Query Completed' was due", NOTHING_KEPT),
    (Framing.STREAMED_ROWS, Ending.LIMIT, W2, AnswerIncomplete,
     "the answer ended after 2 rows with Query Completed where 'Limit Reached' was due", NOTHING_KEPT),
    (*BOTH[0][:2], b"[{\xff}]", AnswerMalformed, "the answer's header cannot be read", AGAIN),
    (*BOTH[1][:2], b'[{"row":{"columns":[1]}}]', AnswerMalformed, "the answer does not begin with a header", AGAIN),
    (*BOTH[0][:2], W4[:-1] + b',["a","b"]]', AnswerMalformed, "row 3 of the answer is not what its header declares",
     "run the command again; if it stays, report it with the server's version"),
    (*BOTH[1][:2], W2[:-1] + b',{"row":{"columns":[3,null]}}]', AnswerMalformed,
     "rows came after the answer's final message", AGAIN),
    (*BOTH[0][:2], W4[:-1] + b",{}]", AnswerMalformed,
     "the element after row 2 of the answer is neither row nor notice", "report this"),
    (*BOTH[1][:2], W2.split(b"\n")[0] + b"{}]", AnswerMalformed,
     "the element after the header of the answer is neither row nor notice", "report this"),
    (*BOTH[0][:2], W4[:-1] + b"," + FAILED + b"]", QueryFailed,
     "the server broke off its answer after 2 rows: boom (error 50000)",
     "nothing was kept of it; look into the server's log, then run the same command again"),
    (*BOTH[1][:2], b'[{"errorMessage":' + FAILED + b"}]", QueryFailed,
     "the server broke off its answer after 0 rows: boom (error 50000)",
     "nothing was kept of it; look into the server's log, then run the same command again"),
]  # fmt: skip


@pytest.mark.parametrize(("framing", "ending", "body", "kind", "message", "hint"), REFUSALS)
def test_each_refusal_says_what_happened_and_what_to_do(
    framing: Framing, ending: Ending, body: bytes, kind: type[PipelineError], message: str, hint: str
) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        with pytest.raises(kind) as raised:
            parse(framing, ending, *pieces)

        assert (raised.value.message, raised.value.hint) == (message, hint)


@pytest.mark.parametrize(("framing", "ending", "body"), BOTH)
@pytest.mark.parametrize(("sent", "query_id"), [(b'"q"', "q"), (b"null", "")])
def test_the_header_is_read_as_soon_as_it_is_there_and_names_the_query(
    framing: Framing, ending: Ending, body: bytes, sent: bytes, query_id: str
) -> None:
    parser, body = AnswerParser(framing, ending), body.replace(b'"q"', sent)

    assert [*parser.feed(body[: body.index(b"\n" if framing is Framing.STREAMED_ROWS else b",[")])] == []

    assert parser.header is not None
    assert parser.header.query_id == query_id
    with pytest.raises(AnswerMalformed, match="header cannot be read"):
        parse(framing, ending, body.replace(sent, b"5"))


def test_rows_are_held_back_until_there_are_many_and_a_long_one_is_looked_at_when_it_has_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(framing_module, "PARSE_BYTES", 100)
    parser = AnswerParser(Framing.PLAIN_ARRAY, Ending.BRACKET)
    assert [*parser.feed(W4[: W4.index(b",[")])] == []

    short, rest = b',[1,"' + b"x" * 90, b"x" * 94 + b'"],'
    assert [*parser.feed(short[:99])] == []
    assert [*parser.feed(short[99:] + b"x" * (100 - len(short)))] == []  # 100 bytes, and no row is whole
    assert [*parser.feed(rest)] == []  # 197 of 200
    assert [rows.batch.num_rows for rows in parser.feed(b"   ")] == [1]


def test_tokens_hosts_and_nothing_else_may_stand_beside_rows() -> None:
    head, row = W2.split(b"\n")[0], b'{"row":{"columns":[1,null]}'
    token = b'{"consistencyToken":"AA=="},'
    ok = head + token + row + b',"sourceHost":"a:8088"},{"finalMessage":"Query Completed"}]'

    assert parse(Framing.STREAMED_ROWS, Ending.COMPLETED, ok) == [(1, None)]
    assert parse(Framing.PLAIN_ARRAY, Ending.BRACKET, W4[:-1] + b"," + token + b"[3,null]]") == [*ROWS, (3, None)]
    for more in (ok.replace(b"sourceHost", b"more"), ok.replace(b"null]", b'null],"more":1')):
        with pytest.raises(AnswerMalformed, match="not what its header declares"):
            parse(Framing.STREAMED_ROWS, Ending.COMPLETED, more)


def test_a_comma_before_the_end_stands_behind_an_element_only() -> None:
    assert parse(Framing.PLAIN_ARRAY, Ending.BRACKET, W4[: W4.index(b",[")] + b",]") == []
    with pytest.raises(AnswerMalformed, match="something before its end"):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, b"[,]")


def test_what_begins_like_no_array_is_not_read_further() -> None:
    with pytest.raises(AnswerMalformed, match="begins with '<'"):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, b"<html>[{}]")


def test_a_row_that_comes_after_the_final_message_is_never_given() -> None:
    parser, late = AnswerParser(Framing.STREAMED_ROWS, Ending.COMPLETED), list[Any]()
    assert [row for part in (*parser.feed(W2[:-1]), *parser.flush()) for row in tuples(part.batch)] == ROWS

    with pytest.raises(AnswerMalformed, match="after the answer's final message"):
        late.extend(parser.feed(b',{"row":{"columns":[3,null]}}]'))
        late.extend(parser.finish())

    assert (late, parser.row_count) == ([], 2)


def test_a_row_that_is_too_long_says_what_to_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ksqldb.elements.MOST_ELEMENT_BYTES", 2**20)

    with pytest.raises(AnswerMalformed) as raised:
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, b'["' + b"x" * 2**20)

    assert raised.value.message == "a row of the answer is longer than 1 MB"
    assert raised.value.hint == "leave its largest column out in a derived stream and export that one"


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_do_anything_but_refuse(data: bytes) -> None:
    with pytest.raises(PipelineError):
        parse(Framing.PLAIN_ARRAY, Ending.BRACKET, data)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.text(max_size=20)), max_size=30), st.integers(1, 50))
def test_any_rows_in_any_pieces_come_back(rows: list[tuple[int, str]], size: int) -> None:
    body = W4[: W4.index(b"}") + 1].decode() + "".join(f",[{number},{to_json(text)}]" for number, text in rows) + "]"
    data = body.encode("utf-8", "surrogatepass")
    assert parse(Framing.PLAIN_ARRAY, Ending.BRACKET, *(data[i : i + size] for i in range(0, len(data), size))) == rows
