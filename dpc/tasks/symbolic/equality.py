"""Whether two answers say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dpc.tasks.symbolic import expressions, regions, units
from dpc.tasks.symbolic.answers import (
    Clock,
    Named,
    Numeral,
    Quantity,
    Range,
    Relation,
    Several,
    Words,
    digits,
    region_of,
)
from dpc.tasks.symbolic.expressions import Node, minus
from dpc.tasks.symbolic.grammar import readings


def equal(gold: str, found: str) -> bool:
    """Say whether any reading of `found` says the same as one of `gold`."""
    return any(same(a, b) for a in readings(gold, is_gold=True) for b in readings(found))


def same(gold: Words, found: Words) -> bool:
    """Say whether `found` says the same as `gold`: in the same words, or in a form that both have."""
    if _same_text(gold, found):
        return True
    for one, other in ((gold, found), (found, gold)):
        if isinstance(one, Named) and isinstance(other, Relation):
            return _same_relation(one.relation, other)
    if isinstance(gold, Named) and isinstance(found, Named):
        return (gold.name == found.name and same(gold.value, found.value)) or _same_relation(
            gold.relation, found.relation
        )
    inner_gold, inner_found = _inner(gold), _inner(found)
    if inner_gold is not gold or inner_found is not found:
        return same(inner_gold, inner_found)
    return _same_form(gold, found) or _same_region(gold, found)


def _inner(one: Words) -> Words:
    """Return what is named, or the one element of a set; any other answer itself."""
    if isinstance(one, Named):
        return one.value
    if isinstance(one, Several) and one.brackets == "{}" and len(one.items) == 1:
        return one if isinstance(one.items[0], Several) else one.items[0]
    return one


def _same_text(a: Words, b: Words) -> bool:
    """Say whether the texts are equal; between words, capitals do not count."""
    are_words = type(a) is Words or type(b) is Words
    return bool(a.text) and (a.text == b.text or (are_words and a.text.casefold() == b.text.casefold()))


def _same_form(gold: Words, found: Words) -> bool:
    if isinstance(gold, Quantity) and isinstance(found, Quantity):
        return units.agree(gold.unit, found.unit) and expressions.same(gold.value, found.value)
    if isinstance(gold, Clock) and isinstance(found, Clock):
        return gold.minutes == found.minutes
    if isinstance(gold, Several) and isinstance(found, Several):
        return _same_items(gold, found)
    if isinstance(gold, Numeral):
        return _same_digits(gold, found)
    if isinstance(found, Numeral):
        return found.base == 10 and found.digits == digits(gold.text)
    return _same_relation(gold, found)


def _same_digits(gold: Numeral, found: Words) -> bool:
    """Compare digits and base; `found` may leave out the base, which the question has named."""
    if isinstance(found, Numeral):
        return (gold.digits, gold.base) == (found.digits, found.base)
    return gold.digits == digits(found.text)


_ORDERED = ("()", "[]", "[)", "(]", "::")


def _same_items(a: Several, b: Several) -> bool:
    """Compare in order if either has an order, else as lists; a list may be a tuple without its brackets."""
    if len(a.items) != len(b.items) or not _may_be_one(a.brackets, b.brackets):
        return False
    if a.brackets in _ORDERED or b.brackets in _ORDERED:
        return all(same(one, other) for one, other in zip(_by_name(a), _by_name(b), strict=True))
    left = list(b.items)
    for item in a.items:
        match = next((i for i, other in enumerate(left) if same(item, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def _may_be_one(a: str, b: str) -> bool:
    return a == b or {a, b} in ({"", "()"}, {"", "{}"})


def _by_name(one: Several) -> Sequence[Words]:
    """Return the items, of `y = -1, x = 3` in the order of the names, as a tuple has them."""
    named = [item for item in one.items if isinstance(item, Named)]
    if len({item.name for item in named}) < len(one.items):
        return one.items
    return sorted(named, key=lambda item: item.name)


def _same_relation(a: Words | None, b: Words | None) -> bool:
    """Compare sides by their differences: `2x + y = 3` is `4x + 2y = 6`, and `a < b` is `b > a`."""
    if not isinstance(a, Relation) or not isinstance(b, Relation) or len(a.sides) != len(b.sides):
        return False
    return any(one.signs == b.signs and _same_sides(one, b) for one in (a, _reversed(a)))


def _reversed(a: Relation) -> Relation:
    signs = tuple(sign.translate(str.maketrans("<>", "><")) for sign in reversed(a.signs))
    return replace(a, sides=a.sides[::-1], signs=signs)


def _same_sides(a: Relation, b: Relation) -> bool:
    if all(expressions.same(one, other) for one, other in zip(a.sides, b.sides, strict=True)):
        return True
    return all(
        bool(one.symbols) and expressions.proportional(one, other, positive=sign not in ("=", "!="))
        for one, other, sign in zip(_differences(a), _differences(b), a.signs, strict=True)
    )


def _differences(a: Relation) -> list[Node]:
    return [minus(left, right) for left, right in zip(a.sides, a.sides[1:], strict=False)]


def _same_region(a: Words, b: Words) -> bool:
    """Compare as sets of real numbers if one is a set beyond doubt: an inequality, a union, a bound."""
    ranges = [one for one in (a, b) if isinstance(one, Range)]
    if not ranges or len({one.name for one in ranges if one.name}) > 1:
        return False
    left, right = region_of(a), region_of(b)
    is_same = left is not None and right is not None and regions.equal(left, right)
    return is_same and units.agree(ranges[0].unit, ranges[-1].unit)
