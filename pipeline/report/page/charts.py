"""Small charts as inline SVG: bars, a line of tiny bars, and the share of a whole.

They stretch to the width that they are given and have no text of their own: what they show stands beside them as text,
and in a table. All have the colour of the text around them, so they are light or dark as the page is.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.page.elements import Html, tag

_HEIGHT = 100
_SLOT, _BAR = 10, 8
_LEAST_SLOTS = 14
"""A bar is not wider than one of so many: two of them are no two walls."""


def bars(values: Sequence[int], label: str, class_: str = "bars") -> Html:
    """A bar a value, from zero up; `label` says to whoever cannot see it what it shows."""
    most, width = max(values, default=0), max(_LEAST_SLOTS, len(values)) * _SLOT
    path = "".join(
        f"M{place * _SLOT + 1} {_HEIGHT}v-{height}h{_BAR}v{height}"
        for place, value in enumerate(values)
        if (height := _scaled(value, most))
    )
    return _chart(width, label, class_, tag("path", d=path) if path else None)


def is_full(values: Sequence[int]) -> bool:
    """Whether the bars reach the end of their chart."""
    return len(values) >= _LEAST_SLOTS


def sparkline(values: Sequence[int], label: str) -> Html:
    """The shape of a row of values, as a line over its area."""
    most, last = max(values, default=0), max(1, len(values) - 1)
    points = [f"{place * _SLOT} {_HEIGHT - _scaled(value, most)}" for place, value in enumerate(values)]
    if len(points) < 2:
        points = points * 2 or [f"0 {_HEIGHT}"] * 2
        points[1] = f"{_SLOT} {points[1].split()[1]}"
    line = "L".join(points)
    area = tag("path", class_="area", d=f"M0 {_HEIGHT}L{line}V{_HEIGHT}z")
    return _chart(last * _SLOT, label, "spark", area, tag("path", class_="line", d=f"M{line}"))


def share(part: float, label: str | None = None) -> Html:
    """How much of a whole something is; without a label it is for the eye alone, beside its number."""
    width = round(1000 * min(1.0, max(0.0, part)))
    whole = tag("rect", class_="whole", width=1000, height=_HEIGHT)
    return _chart(1000, label, "share", whole, tag("rect", class_="part", width=width, height=_HEIGHT))


def arrow() -> Html:
    """Between two things of which the second comes from the first."""
    return tag("svg", tag("path", d="M2 12h18M13 5l7 7-7 7"), class_="arrow", viewBox="0 0 24 24", aria_hidden="true")


def _scaled(value: int, most: int) -> int:
    """What is more than nothing is seen."""
    return max(1, round(_HEIGHT * value / most)) if value > 0 and most > 0 else 0


def _chart(width: int, label: str | None, class_: str, *shapes: Html | None) -> Html:
    role, hidden = ("img", None) if label is not None else (None, "true")
    return tag(
        "svg",
        *shapes,
        viewBox=f"0 0 {width} {_HEIGHT}",
        preserveAspectRatio="none",
        class_=class_,
        role=role,
        aria_label=label,
        aria_hidden=hidden,
    )
