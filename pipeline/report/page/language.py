"""English or French: the words of the page, and how numbers, sizes, dates and times are written in each."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pipeline.report.page.words import MONTHS, UNITS, WORDS
from pipeline.text import size_text

Lang = Literal["en", "fr"]
_HARD = "\u00a0"
_SEPARATOR = {"en": ",", "fr": "\u202f"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Language:
    """One language."""

    def __init__(self, lang: Lang) -> None:
        self.lang, self._place = lang, 0 if lang == "en" else 1

    def say(self, key: str, **values: str) -> str:
        """A text of the table, with what it has in braces filled in."""
        text = WORDS[key][self._place]
        return text.format(**values) if values else text

    def count(self, key: str, number: int, **values: str) -> str:
        """A text that goes by a number: `{n}`. In French nothing is singular, too."""
        one, _, many = WORDS[key][self._place].partition("|")
        singular = number == 1 if self.lang == "en" else abs(number) < 2
        return (one if singular else many).format(n=self.number(number), **values)

    def number(self, number: int) -> str:
        """`1,234` or, with narrow no-break spaces, `1 234`."""
        return f"{number:,}".replace(",", _SEPARATOR[self.lang])

    def change(self, number: int) -> str:
        """With its sign; a minus is one."""
        sign = "+" if number > 0 else "\u2212" if number < 0 else "\u00b1"
        return f"{sign}{self.number(abs(number))}"

    def size(self, size_bytes: int) -> str:
        """`1.4 MB` or `1,4 Mo`."""
        figure, unit = size_text(size_bytes).split()
        return f"{figure}{_HARD}{unit}" if self.lang == "en" else f"{figure.replace('.', ',')}{_HARD}{UNITS[unit]}"

    def date(self, day: dt.date) -> str:
        """`1 Dec 2026` or `1er déc. 2026`."""
        number = "1er" if self.lang == "fr" and day.day == 1 else str(day.day)
        return f"{number}{_HARD}{MONTHS[self.lang][day.month - 1]}{_HARD}{day.year}"

    def moment(self, at: dt.datetime) -> str:
        """To the minute, in UTC."""
        at = at.astimezone(dt.UTC)
        return self.say("moment", date=self.date(at.date()), time=f"{at:%H:%M}")

    def duration(self, seconds: float) -> str:
        """In its two largest units at most."""
        whole = round(seconds)
        if whole < _MINUTE:
            figure = f"{seconds:.1f}" if seconds < 10 else str(whole)
            return f"{figure if self.lang == 'en' else figure.replace('.', ',')}{_HARD}s"
        parts = []
        for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s")):
            if count := whole // size:
                parts.append(self._amount(count, unit))
            whole %= size
        return _HARD.join(parts[:2])

    def ago(self, then: dt.datetime, now: dt.datetime) -> str:
        """How long ago something was, in its largest unit; a clock that is behind says when it will be."""
        seconds = (now - then).total_seconds()
        distance = abs(seconds)
        for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
            if distance >= size:
                return self.say("ago" if seconds > 0 else "ahead", age=self._amount(int(distance // size), unit))
        return self.say("just_now")

    def _amount(self, count: int, unit: str) -> str:
        return f"{self.number(count)}{_HARD}{UNITS.get(unit, unit) if self.lang == 'fr' else unit}"
