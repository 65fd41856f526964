"""Numbers parsed and narrowed as in Java, which determines ksqlDB's values for texts and for numbers out of range.

Facts: the documentation of Java's `Integer.parseInt`, `Double.parseDouble` (the grammar of `Double.valueOf`),
`new BigDecimal(String)` and the narrowing `intValue` and `longValue`; ksqlDB's DecimalUtil.ensureFit, which takes a
decimal only where no digit other than 0 is lost. Digits that are not ASCII, which Java accepts, are refused.
"""

from __future__ import annotations

import decimal
import math
import re
from decimal import Decimal

from pipeline.kafka.formats.payload import Uncertain, Unreadable

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,10})?")
_DOUBLE = re.compile(r"([+-]?)(?:(NaN|Infinity)|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?)")
_HEX_DOUBLE = re.compile(r"([+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[fFdD]?")
_TRIMMED = "".join(map(chr, range(0x21)))
_MOST_EXPONENT = 2**31 - 1
EXACT = decimal.Context(prec=80, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.Inexact])
"""A context for changing a decimal's scale: the loss of a digit raises decimal.Inexact."""


def integer_of(text: str, bits: int) -> int:
    """The whole number in a text. Raises Unreadable, also for a number that does not fit in `bits`."""
    if not _INTEGER.fullmatch(text):
        raise _not_read(text, "a text that is no whole number")
    value = int(text) if len(text) < 40 else 1 << 100
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Unreadable(f"a text with a number of more than {bits} bits")
    return value


def double_of(text: str) -> float:
    """Raises Unreadable."""
    text = text.strip(_TRIMMED)
    if match := _DOUBLE.fullmatch(text):
        sign, word, digits = match.groups()
        return float(sign + (word or digits))
    if match := _HEX_DOUBLE.fullmatch(text):
        try:
            return float.fromhex(match[1])
        except OverflowError:
            return -math.inf if text.startswith("-") else math.inf
    raise _not_read(text, "a text that is no number")


def decimal_of(text: str) -> Decimal:
    """Raises Unreadable."""
    if not _DECIMAL.fullmatch(text):
        raise _not_read(text, "a text that is no decimal number")
    return Decimal(text)


def _not_read(text: str, reason: str) -> Unreadable:
    return (Unreadable if text.isascii() else Uncertain)(reason)


def fit(value: Decimal, precision: int, scale: int) -> Decimal:
    """The value with exactly this scale. Raises Unreadable if it has too many digits before or after the point."""
    if not value:
        return Decimal(0).scaleb(-scale)
    if value.adjusted() >= precision - scale:
        raise Unreadable(f"a number with more than {precision - scale} digits before the point")
    try:
        return value.quantize(Decimal(1).scaleb(-scale), context=EXACT)
    except decimal.Inexact:
        raise Unreadable(f"a number with more than {scale} digits behind the point") from None


def narrowed(value: int | Decimal, bits: int) -> int:
    """A number narrowed to `bits`: without its fraction, the low bits of the rest, as two's complement."""
    whole = _whole(value) if isinstance(value, Decimal) else value
    return (whole + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def _whole(value: Decimal) -> int:
    """The whole part of a number; 0 for an exponent so large that the low 64 bits are all 0."""
    refuse_beyond_double(value)
    exponent = exponent_of(value)
    return 0 if exponent >= 64 or value.adjusted() < 0 else int(value)


def refuse_beyond_double(value: Decimal) -> None:
    """Raises Uncertain for a number beyond the doubles: Jackson 2.14 turns it into infinity, other versions do not."""
    if math.isinf(float(value)):
        raise Uncertain("a number that is too large for a double")


def exponent_of(value: Decimal) -> int:
    """The number's exponent. Raises Unreadable for one that Java's BigDecimal cannot have."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if abs(exponent) > _MOST_EXPONENT:
        raise Unreadable("a number whose exponent is out of range")
    return exponent


def text_of(value: Decimal) -> str:
    """The text that BigDecimal.toString writes: 1.10, 1E+5; there is no negative zero."""
    refuse_beyond_double(value)
    exponent_of(value)
    return str(value if value else value.copy_abs())
