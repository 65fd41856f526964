"""Learns the spellings of JSON field names and the forms of values from records, so that the next records are decoded
at full speed.

ksqlDB finds a field by its name, else by any name that equals it in upper case, and ignores other names. A typed
decoder has one name for a field. So a `_Spelling` has, for each STRUCT of a type, the names that were seen there and
the field of each, and makes a decoder for exactly these names: it refuses a record with another name, which is then
read exactly and learned from. A record that the decoder accepts has one name for each field, so it is read as ksqlDB
does. After a value in an unusual form, such as a number in a STRING, its field's decoder accepts all forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from pipeline.columns import SqlType
from pipeline.decode.arrays import DAY_MS

Path = tuple[int, ...]
"""The field indexes on the path to a value."""
Names = dict[Path, dict[str, int | None]]
"""For each STRUCT its names, each with the index of its field."""

_MOST_NAMES, _MOST_SPELLINGS, _MOST_LESSONS = 1000, 4, 200
_NOT_IN_A_DECODER = re.compile(r'["\\\x00-\x1f]')
_ELEMENT = -1

# Types that are put together at run time, out of a type checker's reach.
_LIST: Any = list
_DICT: Any = dict


def _whole(least: int, most: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=least, le=most)]


_LONG = _whole(-(2**63), 2**63 - 1)
_MOST_MS = (2**63 - 1) // 1000
_SCALARS: Mapping[str, Any] = {
    "BOOLEAN": bool,
    "INTEGER": _whole(-(2**31), 2**31 - 1),
    "BIGINT": _LONG,
    "DOUBLE": float | str,
    "DECIMAL": Any,  # so that a number is distinguished from a text: the first stays int or Decimal
    "STRING": str,
    "BYTES": bytes,
    "DATE": _whole(-(2**31), 2**31 - 1),
    "TIME": _whole(0, DAY_MS - 1),
    "TIMESTAMP": _whole(-_MOST_MS, _MOST_MS),
}
"""The Python types that values are decoded to where that is certainly what ksqlDB reads; others go to `json_exact`."""
_OWN_FORMS: Mapping[str, tuple[type, ...]] = {
    "BOOLEAN": (bool,),
    "DOUBLE": (int, Decimal, str),
    "DECIMAL": (int, Decimal, str),
    "STRING": (str,),
    "BYTES": (str,),
}
"""The usual Python types of parsed values; values of the other types are whole numbers."""


@dataclass
class _Seen:
    """What was seen in one record: names, and the paths of values in unusual forms."""

    names: Names = field(default_factory=dict)
    loose: set[Path] = field(default_factory=set)


class Spellings:
    """The decoders for one type, in the order in which their names were first seen."""

    def __init__(self, type_: SqlType) -> None:
        self._type = type_
        self._known = [_Spelling(type_)]
        self._lessons = 0

    def decoders(self) -> list[Callable[[bytes], Any]]:
        """The decoders; none if a declared name cannot be used in a decoder."""
        return [spelling.decoder.decode for spelling in self._known if spelling.decoder is not None]

    @property
    def take_all_forms(self) -> bool:
        """Whether a decoder accepts all forms of some value, so that it must be converted."""
        return any(spelling.is_loose for spelling in self._known)

    def learn(self, value: Any) -> None:
        """Learns the names of a parsed value, unless one of its STRUCTs has two names for one field."""
        seen = _Seen()
        if self._lessons == _MOST_LESSONS or not _collect(value, self._type, (), seen) or _has_odd_name(seen.names):
            return
        for spelling in self._known:
            if (is_new := spelling.take(seen)) is not None:
                self._lessons += is_new
                return
        if len(self._known) < _MOST_SPELLINGS:
            self._known.append(_Spelling(self._type))
            self._known[-1].take(seen)


class _Spelling:
    """Names that occur together, and the decoder for them."""

    def __init__(self, type_: SqlType) -> None:
        self._type = type_
        self._seen = _Seen()
        self.decoder = self._make()

    @property
    def is_loose(self) -> bool:
        return bool(self._seen.loose)

    def take(self, seen: _Seen) -> bool | None:
        """Whether something new was learned; None if the names contradict the known ones."""
        known = self._seen
        names = known.names | {path: known.names.get(path, {}) | found for path, found in seen.names.items()}
        if any(map(_has_two_for_one, names.values())):
            return None
        merged = _Seen(names, known.loose | seen.loose)
        if merged == known or sum(map(len, names.values())) > _MOST_NAMES:
            return False
        self._seen = merged
        self.decoder = self._make()
        return True

    def _make(self) -> msgspec.json.Decoder[Any] | None:
        try:
            return msgspec.json.Decoder(self._kind(self._type, ()), float_hook=Decimal)
        except ValueError:  # for a declared name
            return None

    def _kind(self, type_: SqlType, path: Path) -> Any:
        if type_.base == "ARRAY" and type_.element:
            return _LIST[self._kind(type_.element, (*path, _ELEMENT)) | None]
        if type_.base == "MAP" and type_.element:
            return _DICT[str, self._kind(type_.element, (*path, _ELEMENT)) | None]
        if type_.base != "STRUCT":
            return Any if path in self._seen.loose else _SCALARS[type_.base]
        names = self._seen.names.get(path, {})
        spelled = {place: name for name, place in names.items() if place is not None}
        attributes, rename = [], {}
        for place, (name, inner) in enumerate(type_.fields):
            attributes.append((f"f{place}", self._kind(inner, (*path, place)) | None, None))
            rename[f"f{place}"] = spelled.get(place, name)
        for number, name in enumerate(name for name, place in names.items() if place is None):
            attributes.append((f"other{number}", Any, None))
            rename[f"other{number}"] = name
        return msgspec.defstruct("Fields", attributes, rename=rename, forbid_unknown_fields=True, gc=False)


def _collect(value: Any, type_: SqlType, path: Path, seen: _Seen) -> bool:
    """False where a STRUCT has two names for one field."""
    if type_.base == "STRUCT" and isinstance(value, dict):
        places = {name: place for place, (name, _) in enumerate(type_.fields)}
        names = {name: places.get(name, places.get(name.upper())) for name in value}
        seen.names[path] = seen.names.get(path, {}) | names
        return not _has_two_for_one(seen.names[path]) and all(
            _collect(value[name], type_.fields[place][1], (*path, place), seen)
            for name, place in names.items()
            if place is not None
        )
    if type_.base in ("ARRAY", "MAP") and type_.element and isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return all(_collect(item, type_.element, (*path, _ELEMENT), seen) for item in items)
    if value is not None and type(value) not in _OWN_FORMS.get(type_.base, (int,)):
        seen.loose.add(path)
    return True


def _has_odd_name(names: Names) -> bool:
    return any(_NOT_IN_A_DECODER.search(name) for found in names.values() for name in found)


def _has_two_for_one(names: Mapping[str, int | None]) -> bool:
    places = [place for place in names.values() if place is not None]
    return len(places) > len(set(places))
