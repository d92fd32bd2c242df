"""Sets of real numbers as intervals: `[2, ∞)`, `x ≥ 2`, `5 or less`, `(0, 1) ∪ (1, 2)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dpc.tasks.symbolic import expressions, values
from dpc.tasks.symbolic.expressions import Node, count, minus, negative, over

INFINITY = Node("constant", name="infty")


@dataclass(frozen=True)
class Span:
    """The numbers between two ends, each with or without the end itself; both ends are real or infinite."""

    low: Node
    high: Node
    has_low: bool = False
    has_high: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no number lies between."""
        return _at(self.low) > _at(self.high) or (_equal(self.low, self.high) and not (self.has_low and self.has_high))


Region: TypeAlias = tuple[Span, ...]
"""Spans that neither touch nor overlap, from the lowest."""

EVERYTHING: Region = (Span(negative(INFINITY), INFINITY),)


def span(low: Node, high: Node, has_low: bool, has_high: bool) -> Region | None:
    """Return the numbers from `low` to `high`; None if these are no real numbers, or not in this order."""
    if low.real is None or high.real is None or _at(low) > _at(high):
        return None
    return union(Span(low, high, has_low, has_high))


def beyond(sign: str, end: Node) -> Region | None:
    """Return the numbers x with x `sign` `end`, of < <= > >= !=; None if `end` is no real number."""
    if end.real is None:
        return None
    below, above = Span(negative(INFINITY), end, False, sign == "<="), Span(end, INFINITY, sign == ">=")
    return {"<": (below,), "<=": (below,), ">": (above,), ">=": (above,), "!=": (below, above)}[sign]


def solved(left: Node, sign: str, right: Node) -> Region | None:
    """Return where an inequality holds that is linear in its one symbol; None for any other."""
    apart = minus(left, right)
    if len(apart.symbols) != 1:
        return None
    at_0, at_1, at_2 = (_substituted(apart, count(number)) for number in range(3))
    slope = minus(at_1, at_0)
    if slope.real in (None, 0) or not expressions.same(minus(at_2, at_1), slope):
        return None
    flipped = sign.translate(str.maketrans("<>", "><")) if slope.real < 0 else sign
    return beyond(flipped, over(negative(at_0), slope))


def is_infinite(node: Node) -> bool:
    """Say whether `node` is an infinity."""
    return node.real in (values.INFINITY, -values.INFINITY)


def _substituted(node: Node, number: Node) -> Node:
    if node.op == "symbol":
        return number
    return Node(node.op, tuple(_substituted(arg, number) for arg in node.args), node.name, node.number, node.slack)


def union(*spans: Span) -> Region:
    """Return the numbers that lie in any of `spans`."""
    merged: list[Span] = []
    for one in sorted((one for one in spans if not one.is_empty), key=lambda one: (_at(one.low), not one.has_low)):
        if merged and _touch(merged[-1], one):
            merged[-1] = _joined(merged[-1], one)
        else:
            merged.append(one)
    return tuple(merged)


def intersection(a: Region, b: Region) -> Region:
    """Return the numbers that lie in both."""
    return union(*(_common(one, other) for one in a for other in b))


def without(region: Region, points: Sequence[Node]) -> Region | None:
    """Return `region` without some numbers; None if these are not real."""
    for point in points:
        others = beyond("!=", point)
        if others is None:
            return None
        region = intersection(region, others)
    return region


def equal(a: Region, b: Region) -> bool:
    """Say whether both are the same numbers."""
    return len(a) == len(b) and all(
        _equal(one.low, other.low)
        and _equal(one.high, other.high)
        and (one.has_low, one.has_high) == (other.has_low, other.has_high)
        for one, other in zip(a, b, strict=True)
    )


def _touch(a: Span, b: Span) -> bool:
    return _at(b.low) < _at(a.high) or (_equal(a.high, b.low) and (a.has_high or b.has_low))


def _joined(a: Span, b: Span) -> Span:
    high = max(a, b, key=lambda one: (_at(one.high), one.has_high))
    return Span(a.low, high.high, a.has_low, high.has_high)


def _common(a: Span, b: Span) -> Span:
    low = max(a, b, key=lambda one: (_at(one.low), not one.has_low))
    high = min(a, b, key=lambda one: (_at(one.high), one.has_high))
    return Span(low.low, high.high, low.has_low, high.has_high)


def _at(end: Node) -> Any:
    return values.wide(end.real)


def _equal(a: Node, b: Node) -> bool:
    return expressions.same(a, b)
