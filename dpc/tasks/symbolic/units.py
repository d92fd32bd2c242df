r"""Units behind a number.

A text behind a number is its unit if every word of it is a measure of the list below, or may be a noun: it is none of
the words that change what the number says (`a.m.`, `west`, `or more`, `million`). What is no unit stays part of the
answer. Of the 43 texts behind a number in MATH's test answers 42 are units, and one is `a.m.`
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from dpc.tasks.symbolic.latex import Token, plain
from dpc.tasks.symbolic.phrases import MULTIPLIERS

Unit: TypeAlias = frozenset[tuple[str, int]]
"""Measures and nouns with their powers: `km/h` is {(kilometre, 1), (hour, -1)}. Empty where nothing is said."""

NONE: Unit = frozenset()
_SPELLINGS = {
    "metre": "m meter meters metre metres",
    "kilometre": "km kms kilometer kilometers kilometre kilometres",
    "centimetre": "cm cms centimeter centimeters centimetre centimetres",
    "millimetre": "mm millimeter millimeters millimetre millimetres",
    "inch": "in inch inches",
    "foot": "ft foot feet",
    "yard": "yd yds yard yards",
    "mile": "mi mile miles",
    "gram": "g gm gms gram grams gramme grammes",
    "kilogram": "kg kgs kilo kilos kilogram kilograms",
    "milligram": "mg milligram milligrams",
    "pound": "lb lbs pound pounds",
    "ounce": "oz ounce ounces",
    "tonne": "t ton tons tonne tonnes",
    "second": "s sec secs second seconds",
    "minute": "min mins minute minutes",
    "hour": "h hr hrs hour hours",
    "day": "d day days",
    "week": "wk wks week weeks",
    "month": "mo month months",
    "year": "y yr yrs year years",
    "litre": "l liter liters litre litres",
    "millilitre": "ml milliliter milliliters millilitre millilitres",
    "gallon": "gal gallon gallons",
    "quart": "qt quart quarts",
    "pint": "pt pint pints",
    "dollar": "$ usd dollar dollars buck bucks",
    "cent": "¢ cent cents",
    "euro": "€ eur euro euros",
    "sterling": "£ gbp",
    "percent": "% percent percentage pct",
    "degree": "circ deg degs degree degrees",
    "radian": "rad rads radian radians",
    "unit": "u unit units",
    "newton": "n newton newtons",
    "joule": "j joule joules",
    "watt": "w watt watts",
    "volt": "v volt volts",
    "hertz": "hz hertz",
    "pascal": "pa pascal pascals",
}
_MEASURES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in re.split(" ", spellings)}
_COMPOUND = {
    "mph": (("mile", 1), ("hour", -1)),
    **dict.fromkeys(("kph", "kmh", "kmph"), (("kilometre", 1), ("hour", -1))),
    **{"cc": (("centimetre", 3),), "sqft": (("foot", 2),)},
}
_ALONE = frozenset("mgshlLNJW")
"""Letters that are units also outside `\\text`, behind white space: `5 m`."""
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_KNOWN = {*_MEASURES, *_COMPOUND, *_POWERS}
_SKIPPED = frozenset(
    re.split(" ", "* ( ) { } of the a an total altogether each old long tall wide deep high away apart")
)
_NO_NOUNS = "|".join(
    [
        *(*_POWERS, *MULTIPLIERS, "per"),
        r"and|or|nor|not|no|but|if|when|where|while|unless|than|then|to|from|for|with|without|by|at|on|into|onto",
        r"is|are|was|were|be|equals?|plus|minus|divided|factorial|more|less|fewer|greater|smaller|larger|bigger|higher",
        r"lower|least|most|over|under|about|above|below|between|beyond|before|after|up|down|(?:north|south)(?:east|west)?",
        r"east|west|(?:north|south|east|west)ern|(?:counter|anti)?clockwise|am|pm|noon|midnight|morning|afternoon|evening",
        r"ad|bc|bce|ce|ago|early|late|remainder|r|mod|modulo|base|power|true|false|yes|none|nothing|all|any|only|both",
        r"either|neither|same|negative|positive|infinity|undefined|odd|even|almost|nearly|one|two|three|four|five|six",
        r"seven|eight|nine|ten|eleven|twelve",
    ]
)
_TERM = (
    r"(?:(/|per) )?(?:(square|sq|cubic|cu) )?"
    rf"(?!(?:{_NO_NOUNS})(?![a-z’'-]))(mod-[0-9]+|[a-z][a-z’'-]*|[$%¢€£])(?: \^(-?[0-9])| (squared|cubed))?"
)
_UNIT = re.compile(f"{_TERM}(?: {_TERM})*")
_ONE = re.compile(_TERM)


def unit_of(tokens: Sequence[Token]) -> Unit | None:
    """Return the unit that all of `tokens` write, or None if they write none."""
    before = [Token("start", ""), *tokens]
    if not all(_may_be_word(*pair) for pair in zip(tokens, before, strict=False) if pair[0].kind == "letters"):
        return None
    text = _text(tokens)
    if not _UNIT.fullmatch(text):
        return None
    powers: Counter[str] = Counter()
    for divided, square, word, exponent, squared in _ONE.findall(text):
        power = int(exponent or 1) * _POWERS.get(square or squared, 1) * (-1 if divided else 1)
        powers.update({name: power * own for name, own in _COMPOUND.get(word, ((_name(word), 1),))})
    return frozenset(powers.items())


def _may_be_word(token: Token, before: Token) -> bool:
    """Say whether letters are a word rather than a product of symbols; behind a degree sign C and F are."""
    is_known = token.text in _ALONE or (len(token.text) > 1 and token.text.casefold() in _KNOWN)
    return token.prose or is_known or len(token.text) > 2 or (before.text == "circ" and token.text in ("C", "F"))


def _text(tokens: Sequence[Token]) -> str:
    r"""Return words and signs; `\frac{km}{h}` as `km / h`, `^ { - 2 }` as `^-2`, without words that say nothing."""
    text = re.sub(r"\bcirc ([CF])\b", r"degrees-\1", plain(tokens))
    text = re.sub(r"\bfrac ((?:\{ )?[a-zA-Z]+(?: \})?) ", r"\1 / ", text)
    text = re.sub(r"\bpmod (?:\{ )?([0-9]+)(?: \})?", r"mod-\1", text)
    text = re.sub(r"\^ (?:\{ )?(- )?([0-9])(?: \})?", lambda m: f"^{(m[1] or '').strip()}{m[2]}", text)
    words = " ".join(word for word in re.split(" ", text.casefold()) if word not in _SKIPPED)
    return re.sub(r"\bin (?=[a-z])", "", words)


def _name(word: str) -> str:
    """Return the name of a measure, or a noun without its plural."""
    if word in _MEASURES:
        return _MEASURES[word]
    if re.search(r"(?:x|ch|sh|s)es$", word):
        return word[:-2]
    return re.sub("ies$", "y", word) if word.endswith("ies") else re.sub("(?<!s)s$", "", word)


def may_start(token: Token, attached: bool) -> bool:
    """Say whether a unit may start with `token`: prose, a sign of money or percent, or a word that is no product.

    One letter may with white space before it, m in any case if it may be `attached`.
    """
    if token.kind == "sign":
        return token.text in _MEASURES
    if token.kind == "command":
        return token.text in ("frac", "circ", "pmod")
    if token.prose or (token.text in _ALONE and (token.gap or (attached and token.text == "m"))):
        return token.kind == "letters"
    is_word = token.text.casefold() in _KNOWN or (token.gap and len(token.text) > 2)
    return token.kind == "letters" and len(token.text) > 1 and is_word


def agree(a: Unit, b: Unit) -> bool:
    """Say whether two units are one: either says nothing, both say the same, or one says more of the same nouns."""
    if not a or not b or a == b:
        return True
    are_nouns = not any(name in _SPELLINGS for name, _ in a | b)
    return are_nouns and (a < b or b < a)
