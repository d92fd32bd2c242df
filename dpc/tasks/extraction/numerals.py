"""Numbers as people and models write them, in text that went through `wrappers.plain`; their values are exact.

    18   -18   $1,234.50   9 500   2 1/2   7/2   1.5e3   1.5 × 10^3   10^3   2 million   $5k   3 x 6 = 18

Units and `%` behind a number do not count.
"""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from dpc.tasks.extraction.wrappers import plain

_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LETTER_SCALES = {"k": 3, "K": 3, "M": 6, "mn": 6, "B": 9, "bn": 9}
"""As powers of ten. `5M` is a million only behind a sign of currency: it may be metres."""
_LONGEST = 300
"""Digits of the longest number that has a value here."""

_SYMBOL = r"(?:(?:US|CA|AU|[CAR])?[$€£¥₹₩₽¢]|(?:USD|EUR|GBP|INR|Rs\.?)[ ]?)"
_THOUSANDS = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[1-9][0-9]{0,2}(?:[ ][0-9]{3})+(?!-[a-z])"
_DIGITS = rf"(?:(?:(?:{_THOUSANDS})(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_UNSIGNED = rf"""
    (?P<symbol>{_SYMBOL}[ ]?(?P<inner>[-+])?)?
    (?P<digits>{_DIGITS})
    (?: (?:[ ]and[ ]|[ -])(?P<over>[0-9]+)/(?P<under>[0-9]+)
      | [ ]?/[ ]?(?P<denominator>{_DIGITS})
      | (?:[eE]|[ ]?[x×*·][ ]?10[ ]?\^[ ]?\(?)(?P<tens>[-+]?[0-9]{{1,3}})(?!\w)
      | [ ]?\^[ ]?\(?(?P<power>-?[0-9]{{1,3}})(?!\w)
    )?
    (?: (?P<scales>(?:[ -]?(?i:{"|".join(_SCALES)})s?\b)+)
      | (?P<letter>[kK]|[ ]?(?:mn|bn|M|B))\b
      | [ ]?(?P<dozen>(?i:dozens?))\b
    )?
"""
_NUMBER = rf"(?P<sign>[-+][ ]*)?{_UNSIGNED}"
_FIRST = re.compile(_NUMBER, re.VERBOSE)
# A minus belongs to the number unless something stands before it to subtract from; `x2` is a name.
_ANYWHERE = re.compile(rf"(?:(?<![\w)\].%])(?P<sign>[-+])|(?<![A-Za-z_\\])|(?<=[0-9]x)){_UNSIGNED}", re.VERBOSE)

_NO_UNIT = (
    r"(?:because|since|as|which|where|when|while|if|so|thus|then|hence|therefore|but|and|or|in|for|at|by|with|after|before"
    r"|is|are|was|were|not)\b"
)
_WORD = rf"(?!x[ ]?[-$(0-9]|{_NO_UNIT})[A-Za-z°%']+"
_UNNAMED = re.sub(r"\(\?P<\w+>", "(?:", _NUMBER)
_TERM = rf"[(\[]*{_UNNAMED}(?:[ ]?{_WORD}(?:[ /]{_WORD}){{0,2}})?[)\]]*"
_OPERATOR = r"(?:[ ]?[*/×÷·][ ]?|[ ]?x[ ]?(?=[-$(0-9])|[ ][-+][ ]|(?<![ ])[-+](?=[$(0-9])|(?=\())"
_SIDE = re.compile(rf"{_TERM}(?P<others>(?:{_OPERATOR}{_TERM})*)", re.VERBOSE)
_EQUALS = re.compile(r"\s*[=≈⇒]\s*")
_LEAD = re.compile(r"[^\w+\-.$€£¥₹₩₽¢√\\]*(?:(?:about|approximately|approx\.|around|roughly|exactly|only|just)\s+)?")
_NAME = re.compile(r"[A-Za-z][\w ]{0,30}=\s*")
_UNIT = rf"(?:[ ]?{_WORD}){{0,2}}"
_NOT_ONE = re.compile(r"[,.:][0-9]|[eE][-+]?[0-9]|[ ]?\^")
_AND = re.compile(
    rf"{_UNIT}[ ](?:or|to|and|&)[ ]{_SYMBOL}?(?P<other>[0-9](?:[0-9,.]*[0-9])?)[%.]?{_UNIT}[ ]*(?:[.,;)\n]|\Z)"
)


class Found(NamedTuple):
    """A number read at the start of a line."""

    number: str
    """In digits, as `values` reads it."""
    rest: str
    """What stands behind it."""
    is_computed: bool
    """It is the result of an equation."""


def read(line: str, is_named: bool = False) -> Found | None:
    """Return the number that `line` begins with, or None; of an equation its last side that is one number.

    With `is_named` a name may stand before it: `x = 9`. No number are ranges (`18-20`, `18 to 20`), two (`10 or 20`,
    `3 hours and 20 minutes`), ratios, times other than full hours (`5:00`), and expressions without their result
    (`3 x 6`, `√9`).
    """
    line = _LEAD.sub("", line, count=1)
    line = _NAME.sub("", line, count=1) if is_named and _NAME.match(line) else line
    found, sides = None, 0
    while (side := _SIDE.match(line)) and (first := _FIRST.match(line.lstrip("(["))):
        sides += 1
        rest = line.lstrip("([")[first.end() :].removeprefix(":00")
        if not side["others"] and not _NOT_ONE.match(rest) and not _is_another_behind(first, rest):
            found = Found(_written(first), rest, sides > 1)
        equals = _EQUALS.match(line, side.end())
        if not equals:
            break
        line = line[equals.end() :]
    return found


def _is_another_behind(first: re.Match[str], rest: str) -> bool:
    """Say whether a second number ends what the first begins: `10 or 20 days`, but not `50% boys and 50% girls`."""
    joined = _AND.match(rest)
    return joined is not None and joined["other"] != first["digits"]


def numbers(text: str) -> list[str]:
    """Return every number in `text`, in order."""
    return [_written(match) for match in _ANYWHERE.finditer(text)]


@lru_cache(maxsize=65536)
def values(text: str) -> frozenset[Fraction]:
    """Return what the number that `text` begins with may stand for: nothing, one value, or two for dozens.

    A dozen is twelve or the unit that was asked for: ten questions of GSM8K ask how many dozens.
    """
    found = read(plain(text))
    match = _FIRST.match(found.number) if found else None
    value = _value(match) if match else None
    if match is None or value is None:
        return frozenset()
    return frozenset({value, 12 * value} if match["dozen"] else {value})


def _written(match: re.Match[str]) -> str:
    """Return the number in digits: `-1234.50`, `7/2`, `2 dozen`; worked out where it is written in another way."""
    if any(match[part] for part in ("over", "tens", "power", "scales", "letter")):
        value = _value(match)
        return match.group().strip() if value is None else _decimal(value)
    below = f"/{_plain_digits(match['denominator'])}" if match["denominator"] else ""
    return f"{_sign(match)}{_plain_digits(match['digits'])}{below}{' dozen' if match['dozen'] else ''}"


def _plain_digits(text: str) -> str:
    digits = re.sub(r"[, ]", "", text)
    return f"0{digits}" if digits.startswith(".") else digits


def _sign(match: re.Match[str]) -> str:
    return "-" if (match["sign"] or match["inner"] or "").startswith("-") else ""


def _value(match: re.Match[str]) -> Fraction | None:
    """Return the value of a match, None where it has none or would take long to work out."""
    power, tens = int(match["power"] or 1), _tens(match)
    if len(match.group()) * max(1, abs(power)) + abs(tens) > _LONGEST:
        return None
    value, below = (Fraction(_plain_digits(match[part] or "1")) for part in ("digits", "denominator"))
    if match["over"]:
        value += _part(int(match["over"]), int(match["under"]))
    if not below or (not value and power < 0):
        return None
    value = value**power / below * Fraction(10) ** tens
    return -value if _sign(match) else value


def _part(over: int, under: int) -> Fraction:
    """Return the fraction of a mixed number, 0 where it is none: `2 7/3`."""
    return Fraction(over, under) if over < under else Fraction(0)


def _tens(match: re.Match[str]) -> int:
    """Return the power of ten that a number is multiplied with."""
    scales = re.findall("|".join(_SCALES), (match["scales"] or "").lower())
    letter = (match["letter"] or "").strip()
    by_letter = _LETTER_SCALES[letter] if letter in ("k", "K") or (letter and match["symbol"]) else 0
    return int(match["tens"] or 0) + sum(_SCALES[scale] for scale in scales) + by_letter


def _decimal(value: Fraction) -> str:
    """Return `value` in decimals if they end, else as `7/3`."""
    with localcontext(prec=8 * _LONGEST):
        digits = Decimal(value.numerator) / Decimal(value.denominator)
        return f"{digits.normalize():f}" if Fraction(digits) == value else f"{value.numerator}/{value.denominator}"
