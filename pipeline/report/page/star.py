"""The star schema as an entity-relationship diagram: facts, their dimensions, and the keys that join them.

It is drawn twice: wide, with dimensions between their facts, and narrow, each dimension above its facts; the page shows
the one that fits. A table beside it says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.feeds import SNAPSHOT_COLUMNS, WarehouseMapping
from pipeline.report.page import figures
from pipeline.report.page.elements import Html, joined, tag
from pipeline.report.page.facts import PageFacts
from pipeline.report.page.language import Language

_HEAD, _ROW, _PAD = 30, 18, 8
_BOX, _GAP = 300, 84
_NARROW_BOX, _INDENT = 312, 28
_MOST_COLUMNS, _MOST_FACTS, _MOST_LETTERS = 14, 12, 38


@dataclass(frozen=True)
class Entity:
    """A table of the star: its columns, each with what it is as a key (`PK`, `FK`, or nothing)."""

    name: str
    kind: str
    columns: tuple[tuple[str, str], ...]

    @property
    def height(self) -> int:
        return _HEAD + _ROW * len(self.columns) + _PAD

    def line_of(self, mark: str) -> int:
        """How far down the first column with that mark is."""
        place = next((n for n, (_, marks) in enumerate(self.columns) if mark in marks), 0)
        return _HEAD + _ROW * place + _ROW // 2 + 2


@dataclass
class Group:
    """A dimension and the facts that refer to it; None for facts without one."""

    dimension: Entity | None
    facts: list[Entity] = field(default_factory=list)


def star(facts: PageFacts, language: Language) -> Html:
    mappings = [one.state.feed.warehouse for one in facts.feeds if one.state.feed.warehouse is not None]
    title = language.say("star_title")
    if not mappings:
        return figures.section("star", title, tag("p", language.say("no_mappings")))
    found = groups(mappings[:_MOST_FACTS])
    label = language.say("star_label", facts=language.count("facts_n", len(mappings)),
                         dimensions=language.count("dimensions_n", len(dimensions(mappings))))  # fmt: skip
    head = [language.say(key) for key in ("fact", "one_row_a", "dimension", "from_feed")]
    rows = [
        [
            figures.name(mapping.fact),
            figures.name(", ".join((*mapping.keys, SNAPSHOT_COLUMNS[0]))),
            figures.name(mapping.dimension.table) if mapping.dimension else "\u2013",
            figures.name(one.state.feed.name),
        ]
        for one in facts.feeds
        if (mapping := one.state.feed.warehouse) is not None
    ]
    table = figures.table(language.say("star_caption"), head, rows, "star")
    return figures.section("star", title, _wide(found, label), _narrow(found, label), table,
                           lead=language.say("star_lead"))  # fmt: skip


def dimensions(mappings: Sequence[WarehouseMapping]) -> list[str]:
    return list(dict.fromkeys(mapping.dimension.table for mapping in mappings if mapping.dimension))


def groups(mappings: Sequence[WarehouseMapping]) -> list[Group]:
    """Each dimension with its facts, in the order of the feeds, and at the end the facts that have none."""
    found = {name: Group(_dimension(name, mappings)) for name in dimensions(mappings)}
    alone = Group(None)
    for mapping in mappings:
        (found[mapping.dimension.table] if mapping.dimension else alone).facts.append(_fact(mapping))
    return [*found.values(), *([alone] if alone.facts else [])]


def _fact(mapping: WarehouseMapping) -> Entity:
    dimension = mapping.dimension
    key = dimension.columns[dimension.key] if dimension else None
    columns = [(SNAPSHOT_COLUMNS[0], "PK")]
    for name, source in mapping.columns.items():
        marks = ["PK"] if name in mapping.keys else []
        marks += ["FK"] if source == key else []
        columns.append((name, " ".join(marks)))
    return Entity(mapping.fact, "fact", _cut([*columns, (SNAPSHOT_COLUMNS[1], "")]))


def _dimension(name: str, mappings: Sequence[WarehouseMapping]) -> Entity:
    columns: dict[str, str] = {}
    for mapping in mappings:
        if mapping.dimension and mapping.dimension.table == name:
            columns |= {column: "PK" if column == mapping.dimension.key else "" for column in mapping.dimension.columns}
    return Entity(name, "dimension", _cut(list(columns.items())))


def _cut(columns: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Keys first, and the rest as far as there is room."""
    ordered = sorted(columns, key=lambda one: not one[1])
    rest = len(ordered) - _MOST_COLUMNS
    return (*ordered[:_MOST_COLUMNS], (f"+ {rest}", "")) if rest > 0 else tuple(ordered)


def _wide(found: Sequence[Group], label: str) -> Html:
    """Three columns: facts, dimensions, facts."""
    left, middle, right = 0, _BOX + _GAP, 2 * (_BOX + _GAP)
    below = {left: 0, middle: 0, right: 0}
    parts = list[Html]()
    for group in found:
        if group.dimension is None:
            for fact in group.facts:
                side = min(left, right, key=lambda place: below[place])
                parts.append(_box(fact, side, below[side], _BOX))
                below[side] += fact.height + _GAP // 3
            continue
        top = max(below.values())
        sides = {left: group.facts[0::2], right: group.facts[1::2]}
        heights = {side: sum(fact.height + _GAP // 3 for fact in facts) - _GAP // 3 for side, facts in sides.items()}
        tall = max(*heights.values(), group.dimension.height)
        at = top + (tall - group.dimension.height) // 2
        for side, facts in sides.items():
            y = top
            for fact in facts:
                parts += _joined_across(fact, side, y, group.dimension, middle, at)
                parts.append(_box(fact, side, y, _BOX))
                y += fact.height + _GAP // 3
                below[side] = y
        parts.append(_box(group.dimension, middle, at, _BOX))
        below[middle] = top + tall + _GAP // 3
    return _drawing(parts, right + _BOX, max(below.values()) - _GAP // 3, "wide", label)


def _joined_across(fact: Entity, x: int, y: int, dimension: Entity, middle: int, at: int) -> Iterator[Html]:
    """From the fact's foreign key to the dimension's key: many to one."""
    is_left = x < middle
    start, end = (x + _BOX, middle) if is_left else (x, middle + _BOX)
    way, half = (1, (start + end) // 2) if is_left else (-1, (start + end) // 2)
    from_y, to_y = y + fact.line_of("FK"), at + dimension.line_of("PK")
    foot = f"M{start} {from_y - 6}l{12 * way} 6l{-12 * way} 6"
    yield tag("path", class_="join", d=f"M{start} {from_y}H{half}V{to_y}H{end}{foot}M{end - 9 * way} {to_y - 6}v12")


def _narrow(found: Sequence[Group], label: str) -> Html:
    """One column: a dimension, and its facts below it."""
    parts, y = list[Html](), 0
    for group in found:
        x = _INDENT if group.dimension else 0
        if group.dimension:
            parts.append(_box(group.dimension, 0, y, _NARROW_BOX))
            y += group.dimension.height
            top = y
            y += _GAP // 4
        for fact in group.facts:
            if group.dimension:
                at = y + fact.line_of("FK")
                parts.append(tag("path", class_="join", d=f"M10 {top}V{at}H{x}M{x} {at - 6}l-12 6l12 6M4 {top + 9}h12"))
            parts.append(_box(fact, x, y, _NARROW_BOX))
            y += fact.height + _GAP // 4
        y += _GAP // 4
    return _drawing(parts, _INDENT + _NARROW_BOX, y - _GAP // 2, "narrow", label)


def _box(entity: Entity, x: int, y: int, width: int) -> Html:
    lines = [tag("text", _short(entity.name), class_="name", x=x + 10, y=y + 20)]
    for place, (name, mark) in enumerate(entity.columns):
        at = y + _HEAD + _ROW * place + 15
        lines.append(tag("text", _short(name), x=x + 10, y=at))
        if mark:
            lines.append(tag("text", mark, class_="mark", x=x + width - 10, y=at))
    box = tag("rect", class_="box", x=x, y=y, width=width, height=entity.height, rx=6)
    head = tag("path", class_="head", d=f"M{x} {y + _HEAD}v-24a6 6 0 0 1 6-6h{width - 12}a6 6 0 0 1 6 6v24z")
    return tag("g", box, head, *lines, class_=entity.kind)


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}\u2026"


def _drawing(parts: Sequence[Html], width: int, height: int, class_: str, label: str) -> Html:
    inside = joined(tag("title", label), *parts)
    return tag("svg", inside, class_=f"er {class_}", viewBox=f"-1 -1 {width + 2} {height + 2}", role="img",
               aria_label=label)  # fmt: skip
