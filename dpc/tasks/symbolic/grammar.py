r"""Read a text as the answers it may be.

Nearly all texts say one thing. Where LaTeX leaves it open all readings are kept, and the other answer decides: `12,144`
is a number or a list (of MATH's four golds of that form three are numbers and one is a list), `5 m` is five metres or
five times m, `3:10` is a ratio or a time, `1/3 ≈ 0.33` says either. With white space behind the comma it is a list.
"""

from __future__ import annotations

import enum
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dpc.tasks.symbolic import phrases, regions, units
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
    points_of,
    region_of,
)
from dpc.tasks.symbolic.expressions import Node, count, over, signs, times
from dpc.tasks.symbolic.formulas import TRIGONOMETRIC, Unreadable, is_function, parse
from dpc.tasks.symbolic.latex import OPEN, Token, depths, plain, scan, unwrapped
from dpc.tasks.symbolic.regions import Region
from dpc.tasks.symbolic.units import Unit


class Letters(enum.Enum):
    """What letters behind a number are, and what a colon between two numbers is."""

    UNITS = enum.auto()
    """Units where they can be; a colon is a ratio."""
    APART = enum.auto()
    """The same, but one letter is a unit only with white space before it."""
    SYMBOLS = enum.auto()
    """Symbols unless within `\\text`; a colon is a time where it can be."""


_LONGEST, _DEEPEST = 500, 30
_RELATIONS = ("=", "<", ">", "<=", ">=", "!=")
_JOINTS = {"and", "or", "land", "lor", "wedge", "vee", "&"}
_EMPTY = re.compile(
    r"emptyset|\\{ \\}|(?:the )?empty set|(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)(?: exists?)?"
)
_ALL = {"reals", "all real numbers", "all reals", "all real x", "the real numbers", "real numbers"}
_NAME = re.compile(
    r"(?:\| )?(?:m )?(?:(?:angle|measuredangle|triangle|overline|vec|hat) )?"
    r"(?:[a-zA-Z]|[A-Z]{2,4}|alpha|beta|gamma|delta|epsilon|theta|lambda|mu|phi|rho|sigma|tau|omega)"
    r"(?: _ \w+)?(?: ')*(?: \^ - 1)?(?: \( [^()=]* \))?(?: \|)?"
)
_MATRIX = re.compile(r"begin\{(?:[pbB]?matrix|smallmatrix|array)\}")
_NUMERAL = re.compile(r"(-? ?)\(? ?([0-9A-Z. ]*[0-9][0-9A-Z. ]*?) ?\)? (?:_|base) (?:\{ )?([0-9]+|[a-z]+)(?: \})?")


@functools.lru_cache(maxsize=1 << 14)
def readings(text: str, is_gold: bool = False) -> tuple[Words, ...]:
    """Return what an answer may say, the likeliest first; `5m` is metres only where it answers another.

    What is over 500 characters long, or over 30 brackets deep, is words.
    """
    tokens = scan(text) if len(text) <= _LONGEST else ()
    if len(text) > _LONGEST or max(depths(tokens), default=0) > _DEEPEST:
        return (Words(text=text),)
    variants = [variant for whole in _around_about(tokens) for variant in _with_commas(whole)]
    is_open = any(token.text == ":" or (token.kind == "letters" and not token.prose) for token in variants[0])
    modes = (Letters.APART if is_gold else Letters.UNITS, *([Letters.SYMBOLS] if is_open else []))
    return tuple(dict.fromkeys(form(tokens, letters) for letters in modes for tokens in variants))


def _around_about(tokens: tuple[Token, ...]) -> list[tuple[Token, ...]]:
    """Return both sides of `≈`: `1/3 ≈ 0.33` says either. Behind a name it is an equals sign."""
    places = _places(tokens, "~")
    if not places:
        return [tokens]
    first = places[0]
    if _name(tokens[:first]):
        return _around_about((*tokens[:first], replace(tokens[first], text="="), *tokens[first + 1 :]))
    return [tokens[:first], tokens[places[-1] + 1 :]]


def _with_commas(tokens: tuple[Token, ...]) -> list[tuple[Token, ...]]:
    """Return `tokens` with `12,144` as one number, and as two; in brackets only as two."""
    open_brackets = depths(tokens, brackets=("(", "[", r"\{"))
    variants = [
        tuple(
            part
            for token, depth in zip(tokens, open_brackets, strict=True)
            for part in (_apart(token) if is_list or depth else [token])
        )
        for is_list in (False, True)
    ]
    return variants if variants[0] != variants[1] else variants[:1]


def _apart(token: Token) -> Iterator[Token]:
    """Yield `12,144` as two numbers; `10,080` stays one, since no list has an item `080`."""
    groups = token.text.split(",") if token.kind == "number" else [token.text]
    if any(group.startswith("0") for group in groups[1:]):
        groups = [token.text]
    for i, group in enumerate(groups):
        yield from [Token("sign", ",")] * (i > 0)
        yield replace(token, text=group)


def _places(tokens: Sequence[Token], *texts: str) -> list[int]:
    """Return where signs or commands stand outside all brackets."""
    return [
        i
        for i, (token, depth) in enumerate(zip(tokens, depths(tokens), strict=True))
        if depth == 0 and token.text in texts and token.kind in ("sign", "command")
    ]


def _cut(tokens: tuple[Token, ...], places: Sequence[int]) -> list[tuple[Token, ...]]:
    """Return the parts between `places`."""
    starts, ends = [0, *(place + 1 for place in places)], [*places, len(tokens)]
    return [tokens[start:end] for start, end in zip(starts, ends, strict=True)]


def form(tokens: tuple[Token, ...], letters: Letters) -> Words:
    """Return what `tokens` say: a list, or one answer; `letters` says what letters behind a number are."""
    tokens = phrases.without_about(unwrapped(tokens))
    if phrases.bound(tokens) is None:
        joints = [
            i
            for i, (token, depth) in enumerate(zip(tokens, depths(tokens), strict=True))
            if depth == 0 and (token.text in (",", ";") or token.text.casefold() in _JOINTS)
        ]
        parts = [part for part in _cut(tokens, joints) if part]
        if len(parts) > 1:
            return _listed([form(part, letters) for part in parts], {tokens[i].text for i in joints}, plain(tokens))
        tokens = parts[0] if parts else tokens
    return replace(_single(tokens, letters), text=plain(tokens))


def _listed(items: list[Words], joints: set[str], text: str) -> Words:
    """Return several answers as a list, inequalities of one symbol as where they hold."""
    ranges = [one for item in items if (one := _range(item))] if any(isinstance(item, Range) for item in items) else []
    names = {one.name for one in ranges if one.name}
    if len(ranges) < len(items) or len(names) > 1:
        lists = [item.items if isinstance(item, Several) and not item.brackets else (item,) for item in items]
        return Several(tuple(itertools.chain(*lists)), text=text)
    common = functools.reduce(regions.intersection, (one.region for one in ranges))
    if joints & {"or", "lor", "vee"} or not (common or joints & {"and", "land", "wedge"}):
        common = regions.union(*(span for one in ranges for span in one.region))
    return Range(common, ranges[0].unit, min(names, default=""), text=text)


def _range(item: Words) -> Range | None:
    """Return an inequality as it is, `x = 5` beside one as a set of one number; None for any other answer."""
    if isinstance(item, Named) and isinstance(item.value, Quantity) and item.value.value.real is not None:
        point = item.value.value
        return Range((regions.Span(point, point, True, True),), name=item.name)
    return item if isinstance(item, Range) else None


def _single(tokens: tuple[Token, ...], letters: Letters) -> Words:
    for read in _READERS:
        try:
            found = read(tokens, letters)
        except Unreadable:
            continue
        if found is not None:
            return found
    return Words()


def _known(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    text = plain(tokens).casefold()
    if text in _ALL:
        return Range(regions.EVERYTHING)
    return Several((), "{}") if _EMPTY.fullmatch(text) else None


def _clock(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    minutes = phrases.clock(tokens)
    is_ratio = not any(token.kind == "letters" for token in tokens)
    return None if minutes is None or (is_ratio and letters is not Letters.SYMBOLS) else Clock(minutes)


def _bounded(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    found = phrases.bound(tokens)
    end = _quantity(found[1], letters) if found else None
    region = regions.beyond(found[0], end.value) if found and isinstance(end, Quantity) else None
    return None if region is None or not isinstance(end, Quantity) else Range(region, end.unit)


def _conditioned(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    r"""Read `x \mid x > 2`, `x \in \mathbb{R} : x > 2` as their condition."""
    places = _places(tokens, "|", ":")
    if not places or not _places(tokens[places[0] :], *_RELATIONS):
        return None
    before = tokens[: places[0]]
    return form(tokens[places[0] + 1 :], letters) if _name(_cut(before, _places(before, "in"))[0]) else None


def _related(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    places = _places(tokens, *_RELATIONS, "in")
    sides, relations = _cut(tokens, places), tuple(tokens[place].text for place in places)
    if not relations or not all(sides):
        return None
    if "in" in relations:
        return form(sides[1], letters) if len(relations) == 1 and _name(sides[0]) else None
    if set(relations) == {"="}:
        return _equation(sides, letters)
    nodes = tuple(_node(side) for side in sides)
    symbols = frozenset[str]().union(*(node.symbols for node in nodes))
    region = _solved(nodes, relations) if len(symbols) == 1 else None
    return Relation(nodes, relations) if region is None else Range(region, name=min(symbols))


def _solved(sides: Sequence[Node], relations: Sequence[str]) -> Region | None:
    """Return where a chain of inequalities of one symbol holds; None where one of them is not linear."""
    found = regions.EVERYTHING
    for left, relation, right in zip(sides, relations, sides[1:], strict=False):
        if regions.is_infinite(left) or regions.is_infinite(right):
            continue
        region = regions.solved(left, relation, right) if relation != "=" else None
        if region is None:
            return None
        found = regions.intersection(found, region)
    return found


def _equation(sides: list[tuple[Token, ...]], letters: Letters) -> Words | None:
    first, last = sides[0], sides[-1]
    name = _name(first)
    if name is None and len(sides) == 2 and _name(last):
        return _equation([last, first], letters)
    if name is None and _names(first):
        return form(last, letters)
    try:
        nodes = tuple(_node(side) for side in sides)
    except Unreadable:  # `5 \star 1 = 47`: what it is has no value of its own, as a name has none
        return Named(name or plain(first), form(last, letters))
    relation = Relation(nodes, ("=",) * (len(nodes) - 1))
    if name or (nodes[0].op in ("function", "absolute") and not nodes[-1].symbols):  # `\cos \theta = 3/5`
        return Named(name or plain(first), form(last, letters), relation)
    return relation if any(node.symbols for node in nodes) else form(last, letters)


def _name(tokens: Sequence[Token]) -> str | None:
    """Return what is named by `x`, `f(x)`, `AB` or `\\text{Area}`; None for anything else, such as e and `x + y`."""
    text = plain([token for token in tokens if token.text not in ("{", "}")])
    if tokens and all(token.prose and token.kind == "letters" for token in tokens):
        return text.casefold()
    is_name = _NAME.fullmatch(text) and text not in ("e", "i") and not (tokens and is_function(tokens[0]))
    return text.replace("| ", "").replace(" |", "") if is_name else None


def _names(tokens: tuple[Token, ...]) -> bool:
    """Say whether `tokens` are `(x, y)`."""
    inner = unwrapped(tokens, "(")
    return inner != tokens and all(_name(part) for part in _cut(inner, _places(inner, ",")))


def _united(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    places = _places(tokens, "cup", "setminus")
    if not places:
        return None
    first, *others = [form(part, letters) for part in _cut(tokens, places)]
    region = region_of(first)
    for place, other in zip(places, others, strict=True):
        if region is None:
            break
        if tokens[place].text == "cup":
            added = region_of(other)
            region = None if added is None else regions.union(*region, *added)
        else:
            points = points_of(other)
            region = None if points is None else regions.without(region, points)
    return None if region is None else Range(region)


def _bracketed(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    if len(tokens) < 2 or tokens[0].text not in ("(", "[", r"\{") or 0 in depths(tokens)[1:-1]:
        return None
    if tokens[-1].text not in OPEN.values():
        return None
    inner = tokens[1:-1]
    brackets = (tokens[0].text + tokens[-1].text).replace("\\", "")
    found = form(inner, letters)
    if isinstance(found, Several) and not found.brackets:
        return replace(found, brackets=brackets)
    return Several((found,), "{}") if brackets == "{}" and not isinstance(found, Range) else found


def _matrix(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    """Read a matrix, with a factor before it or without, as a tuple of rows, or a column as a tuple."""
    start = next((i for i, token in enumerate(tokens) if _MATRIX.fullmatch(token.text)), None)
    if start and tokens[start - 1].text in ("(", "[") and tokens[-1].text in (")", "]"):
        tokens, start = (*tokens[: start - 1], *tokens[start:-1]), start - 1
    if start is None or not tokens[-1].text.startswith("end{"):
        return None
    scale = [_factor(tokens[:start])] if start else []
    inner = tokens[start + 1 : -1]
    rows = [_cut(row, _places(row, "&")) for row in _cut(inner, _places(inner, "\\")) if row]
    cells = [[Quantity(times(*scale, _node(cell))) for cell in row] for row in rows]
    if all(len(row) == 1 for row in cells):
        return Several(tuple(row[0] for row in cells), "()")
    return Several(tuple(Several(tuple(row), "()") for row in cells), "()")


def _factor(tokens: tuple[Token, ...]) -> Node:
    """Return what stands before a matrix: `-`, `2`, `3 \\cdot`."""
    return _node((*tokens, Token("number", "1")) if tokens[-1].text in ("-", "*") else tokens)


def _numeral(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    found = _NUMERAL.fullmatch(plain(tokens))
    base = phrases.cardinal(found[3]) if found and not found[3].isdigit() else int(found[3]) if found else None
    return Numeral(digits(found[1] + found[2]), base) if found and base else None


def _ratio(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    places = [i for i, token in enumerate(tokens) if token.text == "to"] or _places(tokens, ":")
    if not places:
        return None
    *others, last = [_node(part) for part in _cut(tokens, places)]
    parts = tuple(Quantity(over(part, last)) for part in others)
    return parts[0] if len(parts) == 1 else Several(parts, "::")


def _node(tokens: tuple[Token, ...]) -> Node:
    """Return the expression that `tokens` write, without a unit; raises Unreadable if they write none."""
    found = _quantity(tokens, Letters.APART)
    if not isinstance(found, Quantity):
        raise Unreadable
    return found.value


def _quantity(tokens: tuple[Token, ...], letters: Letters) -> Words | None:
    """Read an expression, the words behind it as multipliers and a unit; with `±` it is a list of two."""
    tokens, money = _without_money(tokens)
    end, unit = _unit(tokens, letters)
    factors = [phrases.multiplier(token) for token in tokens[:end]]
    body = [token for token, factor in zip(tokens, factors, strict=False) if factor is None]
    scale = [Node("number", number=factor) for factor in factors if factor is not None]
    value = times(*([_spelled(body)] if body or not scale else []), *scale)
    found = tuple(Quantity(one, money | unit) for one in signs(value))
    return found[0] if len(found) == 1 else Several(found)


def _spelled(tokens: Sequence[Token]) -> Node:
    """Return the expression that `tokens` write, or the number of one word."""
    word = tokens[0] if len(tokens) == 1 and tokens[0].kind == "letters" else None
    number = phrases.cardinal(word.text) if word else None
    return parse(tokens) if number is None else count(number)


def _without_money(tokens: tuple[Token, ...]) -> tuple[tuple[Token, ...], Unit]:
    for i, token in enumerate(tokens[:2]):
        if token.text in ("$", "€", "£") and (i == 0 or tokens[0].text == "-"):
            return (*tokens[:i], *tokens[i + 1 :]), units.unit_of([token]) or units.NONE
    return tokens, units.NONE


def _is_number(token: Token) -> bool:
    return phrases.multiplier(token) is not None or phrases.cardinal(token.text) is not None


def _unit(tokens: tuple[Token, ...], letters: Letters) -> tuple[int, Unit]:
    r"""Return where the unit starts behind an expression, and the unit; outside `\text` only numbers have one."""
    has_symbols, is_angle = letters is Letters.SYMBOLS, False
    for i, (token, depth) in enumerate(zip(tokens, depths(tokens), strict=True)):
        is_plain = token.text == "frac" or (token.kind == "letters" and not token.prose)
        is_within = (is_plain and has_symbols) or (is_angle and token.text == "circ")
        if i and depth == 0 and units.may_start(token, letters is Letters.UNITS) and not is_within:
            unit = units.unit_of(tokens[i:])
            if unit:
                return i, unit
        is_angle |= token.text in TRIGONOMETRIC
        has_symbols |= token.kind == "letters" and not (is_function(token) or _is_number(token))
    return len(tokens), units.NONE


_READERS = (
    *(_known, _clock, _bounded, _conditioned, _related, _united),
    *(_bracketed, _matrix, _numeral, _ratio, _quantity),
)
"""Each reads one kind of answer, or returns None or raises Unreadable: the first that reads a text says what it is."""
