"""The recorded objects as a data set of the emulator: schemas and statements as DESCRIBE gave them, the records that
were produced, and for derived objects the rows that the real server answered with."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source, from_json
from ksqldb_emulator.sqltypes import Type, parse_type
from tests.vectors import exchanges, load_lines

_STREAMS = ("TRANSACTION_FLATTENED", "TRANSACTION_STREAM_ANONYMIZED", "TRANSACTION_STREAM_BLACKLISTED")
_TABLES = (
    "USER_TRANSACTION_SUMMARY",
    "USER_TRANSACTION_SUMMARY_EUR",
    "PAYMENT_METHOD_TOTALS",
    "PRODUCT_PURCHASE_COUNTS",
    "FILTERED_TABLE",
)
_EPOCH = dt.datetime(1970, 1, 1)


def recorded_dataset() -> Dataset:
    """All recorded objects, new at each call: tests change it."""
    listed = [
        entry
        for name, key in (("SHOW STREAMS, Accept None", "streams"), ("SHOW TABLES", "tables"))
        for entry in json.loads(exchanges()[name]["response"]["body"])[0][key]
    ]
    sources = {entry["name"]: _source(entry) for entry in listed}
    sources["DEEP"], sources["TT"] = _deep(), _tt()
    for name, topic in (
        ("TRANSACTION_STREAM", "transactions"),
        ("ALL_TYPES", "all_types"),
        ("mixed-Case", "mixed_case"),
        ("SOURCE_TABLE", "source_table"),
    ):
        sources[name].records = _from_events(sources[name], topic)
    for name in _STREAMS:
        sources[name].records = _from_push(sources[name])
    for name in _TABLES:
        sources[name].records = _from_pull(sources[name], f"pull {name}, json")
    for name in ("TUMBLING_TABLE", "SESSION_TABLE"):
        sources[name].records = _from_pull(sources[name], f"pull {name}, json")
    sources["SESSION_TABLE"].records = [
        Record(0, 0, 0, {"S": "dup", "N": 2}, window=(1793502000000, 1793503800000))
    ]  # a scan answers with nothing; this row is what the query by key gave
    sources["ALL_TYPES_TABLE"].records = _all_types_table(sources["ALL_TYPES"])
    _fill_helper_topics(sources)
    info = json.loads(exchanges()["GET /info"]["response"]["body"])["KsqlServerInfo"]
    return Dataset(list(sources.values()), info["version"], info["kafkaClusterId"], info["ksqlServiceId"])


def _source(listed: dict[str, Any]) -> Source:
    name = listed["name"]
    described = exchanges().get(f"DESCRIBE {name} EXTENDED")
    bare = Source(
        name, listed["type"], (), listed["topic"], 3, key_format=listed["keyFormat"], value_format=listed["valueFormat"]
    )
    bare.window_type = ("SESSION" if "SESSION" in name else "TUMBLING") if listed["isWindowed"] else None
    if described is None:
        return bare
    answer = json.loads(described["response"]["body"])[0]["sourceDescription"]
    topics: tuple[str, ...] = ()
    between = ""
    for summary in answer["queryOffsetSummaries"]:
        names = [topic["kafkaTopic"] for topic in summary["topicSummaries"]]
        between = next(
            (name.rpartition(f"{answer['writeQueries'][0]['id']}-")[2] for name in names if "-repartition" in name), ""
        )
        topics = tuple(t["kafkaTopic"] for t in summary["topicSummaries"] if "repartition" not in t["kafkaTopic"])
    bare.columns = tuple(
        Column(field["name"], _type(field["schema"]), field.get("type", "VALUE")) for field in answer["fields"]
    )
    bare.partitions, bare.statement, bare.timestamp = answer["partitions"], answer["statement"], answer["timestamp"]
    bare.read_queries = tuple(_query(query) for query in answer["readQueries"])
    bare.write_query = _query(answer["writeQueries"][0], topics, between) if answer["writeQueries"] else None
    return bare


def _fill_helper_topics(sources: dict[str, Source]) -> None:
    """Topics of which only the end offsets were recorded get that many unreadable records."""
    for name in list(sources):
        described = exchanges().get(f"DESCRIBE {name} EXTENDED")
        answer = json.loads(described["response"]["body"])[0]["sourceDescription"] if described else {}
        for summary in answer.get("queryOffsetSummaries", ()):
            for topic in summary["topicSummaries"]:
                for source in sources.values():
                    if source.topic == topic["kafkaTopic"] and not source.columns and not source.records:
                        source.records = [
                            Record(entry["partition"], offset, 0, None)
                            for entry in topic["offsets"]
                            for offset in range(entry["logEndOffset"])
                        ]


def _query(answer: dict[str, Any], topics: tuple[str, ...] = (), between: str = "") -> Query:
    sinks = tuple(answer["sinks"]), tuple(answer["sinkKafkaTopics"])
    return Query(answer["id"], answer["queryString"], *sinks, topics, between)


def _type(schema: dict[str, Any]) -> Type:
    if schema["type"] == "DECIMAL":
        return Type("DECIMAL", schema["parameters"]["precision"], schema["parameters"]["scale"])
    if schema["type"] == "ARRAY":
        return Type("ARRAY", element_type=_type(schema["memberSchema"]))
    if schema["type"] == "MAP":
        return Type("MAP", key_type=Type("STRING"), element_type=_type(schema["memberSchema"]))
    if schema["type"] == "STRUCT":
        return Type("STRUCT", fields=tuple((field["name"], _type(field["schema"])) for field in schema["fields"]))
    return Type(schema["type"])


def _from_events(source: Source, topic: str) -> list[Record]:
    return [_record_of(source, event) for event in load_lines("recorded/events.jsonl") if event["topic"] == topic]


def _record_of(source: Source, event: dict[str, Any]) -> Record:
    place = (event["partition"], event["offset"], event["timestamp"])
    key = _key(source, event)
    try:
        raw = None if event["value"] is None else json.loads(event["value"], parse_float=Decimal)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        return Record(*place, values=None, key=key)
    raw = {name if "-" in source.name else name.upper(): value for name, value in raw.items()}
    values = {
        column.name: from_json(raw.get(column.name), column.type) for column in source.columns if column.role != "KEY"
    }
    if values.get("D") == 0:
        values["D"] = 0.0  # the server reads -0.0 so
    return Record(*place, values=key | values)


def _key(source: Source, event: dict[str, Any]) -> dict[str, Any]:
    key = event["key"]
    if key is not None and event.get("key_is_hex"):
        key = int.from_bytes(bytes.fromhex(key), "big", signed=True)
    return {source.keys[0]: key}


def _from_push(source: Source) -> list[Record]:
    lines = exchanges()[f"push {source.name} from earliest"]["response"]["body"].split("\n")
    records = []
    for line in lines[1:]:
        element = json.loads(line.rstrip(",]") if line.startswith('{"final') else line.rstrip(","), parse_float=Decimal)
        if "row" in element:
            rowtime, partition, offset, *values = element["row"]["columns"]
            records.append(Record(partition, offset, rowtime, _values(source, values)))
    return records


def _from_pull(source: Source, exchange: str) -> list[Record]:
    records = []
    for index, row in enumerate(json.loads(exchanges()[exchange]["response"]["body"], parse_float=Decimal)[1:]):
        window = None
        if source.window_type:
            window, row = (row[1], row[2]), [row[0], *row[3:]]
        records.append(Record(0, index, 0, _values(source, row), window=window))
    return records


def _values(source: Source, wire: list[Any]) -> dict[str, Any]:
    return {column.name: _exact(value, column.type) for column, value in zip(source.columns, wire, strict=True)}


def _exact(value: Any, type_: Type) -> Any:
    """A value of the wire's plain form, where that form loses nothing."""
    if isinstance(value, str) and type_.base == "TIMESTAMP":
        return round((dt.datetime.fromisoformat(value) - _EPOCH) / dt.timedelta(milliseconds=1))
    return from_json(value, type_)


def _all_types_table(stream: Source) -> list[Record]:
    """Each key of ALL_TYPES occurs once, so the table's row is the stream's."""
    table_columns = [
        field["name"]
        for field in json.loads(exchanges()["DESCRIBE ALL_TYPES_TABLE"]["response"]["body"])[0]["sourceDescription"][
            "fields"
        ]
    ]
    records = []
    for record in stream.records:
        if record.values is None or record.values["K"] is None:
            continue
        row = {name: record.values[name] for name in table_columns if name in record.values}
        row["A_DEC"] = [record.values["DEC_5_2"]]
        records.append(Record(record.partition, record.offset, record.rowtime, row))
    return records


def _deep() -> Source:
    answer = json.loads(exchanges()["DESCRIBE DEEP"]["response"]["body"])[0]["sourceDescription"]
    columns = tuple(
        Column(field["name"], _type(field["schema"]), field.get("type", "VALUE")) for field in answer["fields"]
    )
    source = Source("DEEP", "STREAM", columns, "deep", 1, statement=answer["statement"])
    types = {column.name: column.type for column in columns}
    body = exchanges()["exact decimals and times out of nested values"]["response"]["body"]
    for offset, line in enumerate(body.split("\n")[1:-1]):
        k, st, d, e, _, a, ad, m, md, mm = json.loads(line.rstrip(","), parse_float=Decimal)["row"]["columns"]
        if st is not None:
            st["D"], st["N"]["E"] = d, e
        if a is not None:
            a = [item and {"D": exact} for item, exact in zip(a, ad, strict=True)]
        if m is not None:
            m = {key: {"D": md[key]} for key in m}
        wire = {"K": k, "ST": st, "A": a, "M": m, "MM": mm}
        source.records.append(Record(0, offset, 0, {name: from_json(wire[name], types[name]) for name in types}))
    return source


def _tt() -> Source:
    columns = (
        Column("K", parse_type("INTEGER"), "KEY"),
        Column("TM", parse_type("TIME")),
        Column("TS", parse_type("TIMESTAMP")),
        Column("DT", parse_type("DATE")),
    )
    source = Source("TT", "STREAM", columns, "tt", 1)
    body = exchanges()["milliseconds of TIME through a STRUCT; epoch values"]["response"]["body"]
    for offset, line in enumerate(body.split("\n")[1:-1]):
        k, _, s, _, ts, _, dd = json.loads(line.rstrip(","))["row"]["columns"]
        source.records.append(Record(0, offset, 0, {"K": k, "TM": s["T"], "TS": ts, "DT": dd}))
    return source
