"""Words that are numbers or change what a number says: multipliers, times of day, bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from dpc.tasks.symbolic.latex import Token, plain

_PARTS = "halves thirds fourths fifths sixths sevenths eighths ninths tenths"
MULTIPLIERS = {
    **{"hundred": Fraction(10**2), "thousand": Fraction(10**3), "million": Fraction(10**6), "dozen": Fraction(12)},
    **{"billion": Fraction(10**9), "trillion": Fraction(10**12), "hundreds": Fraction(10**2)},
    **{"thousands": Fraction(10**3), "millions": Fraction(10**6), "billions": Fraction(10**9), "dozens": Fraction(12)},
    **{part: Fraction(1, whole) for whole, part in enumerate(re.split(" ", _PARTS), start=2)},
    **{"half": Fraction(1, 2), "hundredths": Fraction(1, 10**2), "thousandths": Fraction(1, 10**3)},
}
_CARDINALS = re.split(
    r"\s",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
)
_TENS = re.split(" ", "twenty thirty forty fifty sixty seventy eighty ninety")


def multiplier(token: Token) -> Fraction | None:
    """Return what `million` multiplies by; None for any other word."""
    return MULTIPLIERS.get(token.text.casefold()) if token.kind == "letters" else None


def cardinal(word: str) -> int | None:
    """Return the number that `word` names, up to ninety-nine; None for any other word."""
    ten, _, one = word.casefold().rpartition("-")
    if ten in _TENS and one in _CARDINALS[1:10]:
        return 10 * (_TENS.index(ten) + 2) + _CARDINALS.index(one)
    if one in _TENS and not ten:
        return 10 * (_TENS.index(one) + 2)
    return _CARDINALS.index(one) if one in _CARDINALS and not ten else None


_CLOCK = re.compile(
    r"([0-9]{1,2})(?: : ([0-5][0-9]))?(?: : 00)?"
    r"(?: (am|pm|noon|midnight|o'clock|in the (?:morning|afternoon|evening)))?(?: (am|pm|noon|midnight))?"
)
_HALVES = {
    **dict.fromkeys(("am", "midnight", "in the morning"), 0),
    **dict.fromkeys(("pm", "noon", "in the afternoon", "in the evening"), 12),
}


def clock(tokens: Sequence[Token]) -> int | None:
    """Return the minutes since midnight that a time of day says, None for what is no time; `9:00` is 9 a.m."""
    text = plain(tokens).casefold().replace("’", "'")
    if text in ("noon", "midnight"):
        return 60 * _HALVES[text]
    found = _CLOCK.fullmatch(text)
    if found is None or (found[2] is None and found[3] is None):
        return None
    halves = [_HALVES[half] for half in (found[3], found[4]) if half in _HALVES]
    hour = int(found[1])
    if halves and 1 <= hour <= 12:
        hour = hour % 12 + halves[-1]
    return 60 * hour + int(found[2] or 0) if hour < 24 else None


_BEHIND = {
    **dict.fromkeys(("less", "fewer", "lower", "below", "under", "smaller", "earlier"), "<="),
    **dict.fromkeys(("more", "greater", "higher", "above", "over", "larger", "later", "up"), ">="),
}
_BEFORE = {
    **dict.fromkeys(("at least", "no less than", "not less than", "no fewer than", "a minimum of"), ">="),
    **dict.fromkeys(("at most", "no more than", "not more than", "up to", "a maximum of"), "<="),
    **dict.fromkeys(("greater than or equal to", "more than or equal to"), ">="),
    **dict.fromkeys(("less than or equal to", "fewer than or equal to"), "<="),
    **dict.fromkeys(("more than", "greater than", "over", "above"), ">"),
    **dict.fromkeys(("less than", "fewer than", "under", "below"), "<"),
}
_ABOUT = ("about", "approximately", "around", "roughly", "exactly", "only", "just")


def bound(tokens: tuple[Token, ...]) -> tuple[str, tuple[Token, ...]] | None:
    """Return `<=` and `5` for `5 or less`, `>` and `5` for `more than 5`; None if there is no such phrase."""
    if tokens and tokens[0].text in ("<", ">", "<=", ">="):
        return tokens[0].text, tokens[1:]
    words = [token.text.casefold() if token.kind == "letters" else "" for token in tokens]
    *_, last, end = ["", "", *words]
    if len(words) > 2 and last in ("or", "and") and end in _BEHIND:
        return _BEHIND[end], tokens[:-2]
    if len(words) > 2 and f"{last} {end}" in ("at least", "at most"):
        return _BEFORE[f"{last} {end}"], tokens[:-2]
    for length in (5, 4, 3, 2, 1):
        sign = _BEFORE.get(" ".join(words[:length]))
        if sign and len(words) > length:
            return sign, tokens[length:]
    return None


def without_about(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Drop `about` and its like before a number."""
    return tokens[1:] if len(tokens) > 1 and tokens[0].text.casefold() in _ABOUT else tokens
