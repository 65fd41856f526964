"""The two framings of a query's answer: streamed rows, and the plain array."""

from __future__ import annotations

from ksqldb_emulator.faults import NO_FAULT, Fault
from ksqldb_emulator.queries import Plan
from ksqldb_emulator.values import to_json

V1_JSON = "application/vnd.ksql.v1+json"
PLAIN_JSON = "application/json"


class Frame:
    """One answer's framing: streamed rows, or the plain array.

    Streamed rows of streams and pushes have the separator after each element, so a row's line is complete as soon as it
    is sent; in other answers the separator comes before the next element.
    """

    def __init__(self, planned: Plan, accept: str, fault: Fault = NO_FAULT) -> None:
        self._plan, self._fault = planned, fault
        self.streamed = accept == V1_JSON
        gap = (",\n" if self.streamed else ",") + ("\n" if fault.keep_alive else "")
        behind = self.streamed and not planned.marks_keys
        self._before, self._behind = ("", gap) if behind else (gap, "")

    def head(self) -> str:
        if not self.streamed:
            return "[" + self._plan.metadata() + self._behind
        header = to_json({"header": {"queryId": self._plan.query_id, "schema": self._plan.header_schema()}})
        return "[" + header + self._behind

    def row(self, row: str, tombstone: bool = False) -> str:
        if not self.streamed:
            return self._before + row
        mark = ',"tombstone":true' if tombstone else ""
        return f'{self._before}{{"row":{{"columns":{row}{mark}}}}}{self._behind}'

    def final(self, message: str) -> str:
        return self._before + to_json({"finalMessage": message})

    def error(self, message: str) -> str:
        error = {"@type": "generic_error", "error_code": 50000, "message": message}
        element = to_json({"errorMessage": error} if self.streamed else error)
        return self._before + element + self._behind + "]"

    def tail(self) -> str:
        comma = ",\n" if self._fault.trailing_comma else ""
        return comma + ("" if self._fault.no_bracket else "]")
