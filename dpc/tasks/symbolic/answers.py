"""What an answer says: a number with its unit, a list, a tuple, a set of numbers, an equation, a time, or words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dpc.tasks.symbolic import regions, units
from dpc.tasks.symbolic.expressions import Node
from dpc.tasks.symbolic.regions import Region
from dpc.tasks.symbolic.units import Unit


@dataclass(frozen=True)
class Words:
    """What is nothing else: only its text says whether it equals another."""

    text: str = field(compare=False, kw_only=True, default="")


@dataclass(frozen=True)
class Quantity(Words):
    """A number or an expression with its unit."""

    value: Node
    unit: Unit = units.NONE


@dataclass(frozen=True)
class Clock(Words):
    """A time of day in minutes since midnight."""

    minutes: int


@dataclass(frozen=True)
class Numeral(Words):
    """Digits to a base."""

    digits: str
    base: int


@dataclass(frozen=True)
class Several(Words):
    """Answers in brackets: `()`, `[]`, `[)`, `(]` and the parts of a ratio `::` in order, `{}` and a list "" in any."""

    items: tuple[Words, ...]
    brackets: str = ""


@dataclass(frozen=True)
class Range(Words):
    """A set of real numbers with their unit, and the name they have in it: `x ≥ 2`."""

    region: Region
    unit: Unit = units.NONE
    name: str = field(compare=False, default="")


@dataclass(frozen=True)
class Relation(Words):
    """An equation or inequality, also a chain of them: `a < b < c`."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Named(Words):
    """`x = 5`, `f(x) = 2x`: a name, and what it stands for; `relation` is the same as an equation."""

    name: str
    value: Words
    relation: Relation | None = None


def digits(text: str) -> str:
    """Return the digits of a numeral without spacing, and with a 0 before a point."""
    return re.sub(r"(?<![0-9A-Z])\.", "0.", re.sub("[ ,]", "", text))


def points_of(one: Words) -> list[Node] | None:
    """Return the numbers of a set in braces; None if it is none of numbers."""
    if not isinstance(one, Several) or one.brackets != "{}":
        return None
    points = [item.value for item in one.items if isinstance(item, Quantity) and item.value.real is not None]
    return points if len(points) == len(one.items) else None


def region_of(one: Words) -> Region | None:
    """Return an answer as a set of real numbers: an inequality, an interval, a set in braces; None for any other."""
    if isinstance(one, Range):
        return one.region
    points = points_of(one)
    if points is not None:
        return regions.union(*(regions.Span(point, point, True, True) for point in points))
    if not isinstance(one, Several) or one.brackets not in ("()", "[]", "[)", "(]") or len(one.items) != 2:
        return None
    low, high = one.items
    if not isinstance(low, Quantity) or not isinstance(high, Quantity):
        return None
    return regions.span(low.value, high.value, one.brackets[0] == "[", one.brackets[1] == "]")
