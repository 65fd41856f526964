"""Is the topic still the one that the lake's rows came from? The last row before each bookmark is the witness.

A topic that was deleted and made anew, or a stream that is declared otherwise now, has other values there. The lake
itself knows what they were, so nothing more has to be kept.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.content import texts_of
from pipeline.ksqldb.push import TopicChanged
from pipeline.ksqldb.stream import StreamRead
from pipeline.lake.files import read_where
from pipeline.lake.table import LakeTable

_PLACE = ("rowpartition", "rowoffset")
Place = tuple[int, int]


def witnessed(table: LakeTable, read: StreamRead) -> Iterator[pa.RecordBatch]:
    """The batches of `read`.

    Raises TopicChanged when a witness has other values than the lake's row at its offset, before any row after it.
    NULLs of the lake are not compared: they may be from before the column was there.
    """
    for batch in read.batches:
        _refuse_changed(table, read)
        yield batch
    _refuse_changed(table, read)


def _refuse_changed(table: LakeTable, read: StreamRead) -> None:
    came = _texts(read.witnesses)
    read.witnesses.clear()
    for place, then in _texts(_rows_at(table, came.keys())).items():
        now = came[place]
        changed = [name for name, text in then.items() if text is not None and now.get(name, text) != text]
        if changed:
            raise TopicChanged(
                f"offset {place[1]} of partition {place[0]} has other values than in the lake ({', '.join(changed)}): "
                f"the topic {read.source.topic} was re-created, or {read.source.name} is declared otherwise now",
                f"a topic made anew: keep the history under its feed (manage_feeds.py archive {table.feed.name}) and "
                f"add a new one; the same topic: export_to_data_lake.py --stream {table.feed.name} --full",
            )


def _texts(batches: Iterable[pa.RecordBatch]) -> dict[Place, dict[str, str | None]]:
    found: dict[Place, dict[str, str | None]] = {}
    for batch in batches:
        columns = {name: texts_of(batch.column(name)).to_pylist() for name in batch.schema.names}
        places = zip(*(batch.column(name).to_pylist() for name in _PLACE), strict=True)
        for row, place in enumerate(places):
            found[place] = {name: texts[row] for name, texts in columns.items()}
    return found


def _rows_at(table: LakeTable, places: Collection[Place]) -> Iterator[pa.RecordBatch]:
    """The lake's rows at these places; only files and row groups whose bounds allow one are read."""
    for file in table.files if places else ():
        low, high = zip(*(file.bounds[name] for name in _PLACE), strict=True)
        wanted = [
            (pc.field("rowpartition") == partition) & (pc.field("rowoffset") == offset)
            for partition, offset in places
            if low[0] <= partition <= high[0] and low[1] <= offset <= high[1]
        ]
        if wanted:
            any_of_them = functools.reduce(operator.or_, wanted)
            yield from read_where(table.folder, table.feed.name, file, any_of_them)
