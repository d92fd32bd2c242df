r"""Expressions and their values, and what it means that two of them are equal.

Two expressions are equal if their values are, at four choices of their symbols (two different polynomials agree at a
random point with a probability of about degree / 2^24: Schwartz and Zippel). The first two choices are positive, since
answers with roots assume so; at the other two only real values count: |x| is not x, but `x\sqrt{x}` is `\sqrt{x^3}`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from dpc.tasks.symbolic import values
from dpc.tasks.symbolic.values import NoValue, Number

POINTS = 4
_POSITIVE = 2


@dataclass(frozen=True)
class Node:
    """An operation with its operands, a number, or a symbol."""

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    """Of a symbol, a constant or a function; of a number how it was written."""
    number: Fraction = Fraction(0)
    slack: Fraction = Fraction(0)
    """Of a decimal with six significant digits or more: the last of them, relative to its value; else 0."""

    @functools.cached_property
    def symbols(self) -> frozenset[str]:
        """The names of the symbols within."""
        own = frozenset([self.name] if self.op == "symbol" else [])
        return own.union(*(arg.symbols for arg in self.args))

    @functools.cached_property
    def rounding(self) -> Fraction:
        """The largest slack within."""
        return max([self.slack, *(arg.rounding for arg in self.args)])

    @functools.cached_property
    def values(self) -> tuple[Number | None, ...]:
        """The value at each choice of the symbols, None where there is none; one value if there are no symbols."""
        return tuple(_value(self, point) for point in range(POINTS if self.symbols else 1))

    @property
    def is_count(self) -> bool:
        """Whether this is a whole number as it was written."""
        return self.op == "number" and self.name.isdigit()

    @property
    def real(self) -> Number | None:
        """The value if there is just one and it is real, infinities included; else None."""
        value = self.values[0]
        return value if len(self.values) == 1 and value is not None and values.is_real(value) else None


_ONE = Node("number", number=Fraction(1), name="1")
Rule: TypeAlias = Callable[..., Number]
_OPERATIONS: dict[str, Rule] = {
    "sum": lambda *terms: functools.reduce(values.add, terms),
    "product": lambda *factors: functools.reduce(values.multiply, factors),
    "negative": lambda a: -a,
    "inverse": lambda a: values.divide(Fraction(1), a),
    "power": values.power,
    "root": values.root,
    "factorial": values.factorial,
    "binomial": values.binomial,
    "absolute": values.magnitude,
    "logarithm": values.logarithm,
    "degrees": lambda a: a,
}
_LOCK = threading.Lock()
"""mpmath raises the precision of its context while it works out some functions."""


def _value(node: Node, point: int) -> Number | None:
    with _LOCK:
        try:
            return _evaluated(node, point)
        except (ArithmeticError, ValueError):
            return None


def _evaluated(node: Node, point: int) -> Number:
    """Return the value of `node` with the symbols as at `point`; raises ArithmeticError, ValueError if it has none."""
    if node.op == "number":
        return node.number
    if node.op == "symbol":
        return values.stand_in(node.name, point)
    if node.op == "constant":
        return values.CONSTANTS[node.name]
    operands = [_evaluated(arg, point) for arg in node.args]
    if node.op == "call":
        return values.unknown(node.name, *operands)
    rule = values.FUNCTIONS[node.name] if node.op == "function" else _OPERATIONS.get(node.op)
    if rule is None:  # `±` has two values: see `signs`
        raise NoValue
    return rule(*operands)


def same(a: Node, b: Node) -> bool:
    """Say whether two expressions are equal; a rounded decimal equals what it is rounded or cut from."""
    pairs = list(zip(_at_all(a), _at_all(b), strict=True))
    if any(x is None or y is None for x, y in pairs[:_POSITIVE]):
        return False
    others = [pair for pair in pairs[_POSITIVE:] if all(x is not None and values.is_real(x) for x in pair)]
    return all(_close(x, y, a.rounding, b.rounding) for x, y in [*pairs[:_POSITIVE], *others])


def proportional(a: Node, b: Node, positive: bool) -> bool:
    """Say whether a = c b for every choice of the symbols, with a constant c that is not 0, or is positive if asked."""
    pairs = list(zip(_at_all(a), _at_all(b), strict=True))
    try:
        ratios = [values.divide(x, y) for x, y in pairs if x is not None and y is not None]
    except NoValue:
        return False
    first = ratios[0] if len(ratios) >= _POSITIVE else Fraction(0)
    is_factor = first > 0 if positive and values.is_real(first) else first != 0
    return bool(is_factor and all(values.close(first, ratio, Fraction(0)) for ratio in ratios))


def _at_all(node: Node) -> Sequence[Number | None]:
    return node.values * (POINTS // len(node.values))


def _close(x: Number, y: Number, slack_x: Fraction, slack_y: Fraction) -> bool:
    return values.close(x, y, slack_x) or (slack_y > 0 and values.close(y, x, slack_y))


def total(*terms: Node) -> Node:
    """Return the sum of `terms`."""
    return terms[0] if len(terms) == 1 else Node("sum", terms)


def times(*factors: Node) -> Node:
    """Return the product of `factors`."""
    return factors[0] if len(factors) == 1 else Node("product", factors)


def over(a: Node, b: Node) -> Node:
    """Return a / b."""
    return times(a, Node("inverse", (b,)))


def negative(a: Node) -> Node:
    """Return -a."""
    return Node("negative", (a,))


def minus(a: Node, b: Node) -> Node:
    """Return a - b."""
    return total(a, negative(b))


def count(number: int) -> Node:
    """Return a whole number from 0."""
    return Node("number", number=Fraction(number), name=str(number))


def in_radians(node: Node) -> Node:
    """Return `node` with its degrees written in radians, as an argument of a trigonometric function."""
    args = tuple(in_radians(arg) for arg in node.args)
    if node.op == "degrees":
        return times(args[0], over(Node("constant", name="pi"), count(180)))
    return replace(node, args=args)


def signs(node: Node) -> tuple[Node, ...]:
    """Return the two expressions that one with `±` stands for, or the one without."""
    return (_signed(node, True), _signed(node, False)) if _has_signs(node) else (node,)


def _has_signs(node: Node) -> bool:
    return node.op in ("±", "∓") or any(_has_signs(arg) for arg in node.args)


def _signed(node: Node, upper: bool) -> Node:
    args = tuple(_signed(arg, upper) for arg in node.args)
    if node.op not in ("±", "∓"):
        return replace(node, args=args)
    return args[0] if (node.op == "±") == upper else negative(args[0])
