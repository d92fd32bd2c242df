r"""Read tokens as a formula, the way answers write them.

What LaTeX leaves open is read as answers mean it: `3\frac{1}{2}` and `3 1/2` are mixed numbers, `1/2x` is half of x,
`x^10` is the tenth power, `\sqrt12` is `\sqrt{1}2` as LaTeX sets it but `√12` and `sqrt12` are roots of twelve, `\log`
is to base 10, `\sin 3x` takes all of `3x`, e and i are the constants, and `f(2)` is a value of an unknown function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from dpc.tasks.symbolic import values
from dpc.tasks.symbolic.expressions import Node, count, in_radians, negative, over, times, total
from dpc.tasks.symbolic.latex import Token, plain

_DEEPEST, _MOST_POSTFIXES = 40, 20
_SIGNIFICANT, _COMPUTED, _NOISE = 6, 15, Fraction(1, 10**10)
"""Digits from which a decimal may be rounded, digits from which a computer wrote it, and the error it then has."""
_UNFINISHED = 3
_LONGEST_NUMBER, _LONGEST_EXPONENT = 500, 4


class Unreadable(ValueError):
    """The tokens are no formula."""


def parse(tokens: Sequence[Token]) -> Node:
    """Return the formula that all of `tokens` write; raises Unreadable if they write none."""
    parser = _Parser(list(tokens))
    node = parser.sum()
    if parser.left:
        raise Unreadable
    return node


def number(text: str) -> Node:
    """Return the number that a token writes: `1,234`, `.5`, `1.5e3`, `0.1(6)`; raises Unreadable if it is none."""
    text = re.sub(r"(?<=[0-9]),", "", text).lower()
    mantissa, _, exponent = text.partition("e")
    if len(mantissa) > _LONGEST_NUMBER or len(exponent) > _LONGEST_EXPONENT:
        raise Unreadable
    if re.match(r",|e|\.?$", text):  # what `\frac1,234` leaves of a number
        raise Unreadable
    recurring = re.fullmatch(r"([0-9]*)\.([0-9]*)\(([0-9]+)\)", text)
    if recurring:
        whole, fixed, period = recurring.groups()
        tail = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
        return Node("number", number=Fraction(f"{whole or 0}.{fixed or 0}") + tail, name=text)
    return Node("number", number=Fraction(text), name=text, slack=_slack(mantissa))


def _slack(mantissa: str) -> Fraction:
    digits, places = mantissa.replace(".", "").lstrip("0"), len(mantissa.partition(".")[2])
    if not places or len(digits) < _SIGNIFICANT:
        return Fraction(0)
    return max(Fraction(1, int(digits)), _NOISE if len(digits) >= _COMPUTED else Fraction(0))


TRIGONOMETRIC = {"sin", "cos", "tan", "cot", "sec", "csc", "cis"}
_FUNCTIONS = {name: name for name in values.FUNCTIONS} | {f"a{name[3:]}": name for name in values.INVERSES}
_LOGARITHMS = {"log": count(10), "lg": count(10), "ln": Node("constant", name="e")}
_CONSTANTS = {"pi": "pi", "infty": "infty", "infinity": "infty", "inf": "infty", "oo": "infty"}
_LETTERS = {"e": "e", "i": "i"}
_SYMBOLS = frozenset(
    re.split(
        r"\s",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi "
        "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega vartheta ell hbar",
    )
)
_NAMES = {"overline", "angle", "measuredangle", "triangle", "vec", "hat", "widehat", "tilde", "overrightarrow"}
_BRACKETS = {"(": ")", "[": "]", "{": "}", "lfloor": "rfloor", "lceil": "rceil", "|": "|"}
_SIGNS = {"+": "+", "-": "-", "pm": "±", "mp": "∓"}
_STARTS = _SYMBOLS | _NAMES | {"frac", "binom", "lfloor", "lceil"}
_ROOTS = {"sqrt": 2, "surd": 2, "cuberoot": 3}
_UNKNOWN_FUNCTIONS = ("f", "g")


def is_function(token: Token) -> bool:
    """Say whether `token` names a function or a constant, written as a command or as a word."""
    return token.text in _FUNCTIONS or token.text in _LOGARITHMS or token.text in _CONSTANTS or token.text in _ROOTS


class _Parser:
    """Recursive descent: sum, product, factor, atom, each taking the tokens it reads off `left`, which is reversed."""

    def __init__(self, tokens: Sequence[Token]):
        self.left = list(tokens)[::-1]
        self.depth = 0
        self.bars = 0

    @property
    def next(self) -> Token:
        return self.left[-1] if self.left else Token("end", "")

    def take(self) -> Token:
        if not self.left:
            raise Unreadable
        return self.left.pop()

    def skip(self, *texts: str) -> bool:
        """Take the next token if it is one of these signs or commands."""
        found = self.next.kind in ("sign", "command") and self.next.text in texts
        if found:
            self.left.pop()
        return found

    def expect(self, text: str) -> None:
        if not self.skip(text):
            raise Unreadable

    def sum(self) -> Node:
        terms = [self.signed(self.product)]
        while self.next.kind != "letters" and self.next.text in _SIGNS:
            terms.append(self.signed(self.product))
        node = total(*terms)
        if self.skip("over"):
            return over(node, self.sum())
        return Node("binomial", (node, self.sum())) if self.skip("choose") else node

    def signed(self, operand: Callable[[], Node]) -> Node:
        """Read any signs, then an operand."""
        is_negative, kind = False, ""
        while self.next.kind != "letters" and self.next.text in _SIGNS:
            sign = _SIGNS[self.take().text]
            is_negative ^= sign == "-"
            kind = sign if sign in "±∓" else kind
        node = Node(kind, (operand(),)) if kind else operand()
        return negative(node) if is_negative else node

    def product(self) -> Node:
        factors = [self.factor()]
        while True:
            if self.skip("*"):
                factors.append(self.signed(self.factor))
            elif self.skip("/"):
                factors.append(Node("inverse", (self.signed(self.factor),)))
            elif self.starts_factor() and not (self.next.kind == "number" and factors[-1].op == "number"):
                factors.append(self.factor())
            else:
                return times(*factors)

    def starts_factor(self) -> bool:
        token = self.next
        if token.kind == "sign":
            return token.text in ("(", "[", "{") or (token.text == "|" and not self.bars)
        return token.kind in ("number", "letters") or token.text in _STARTS or is_function(token)

    def factor(self) -> Node:
        node = self.atom()
        for _ in range(_MOST_POSTFIXES):
            if self.skip("^"):
                node = Node("power", (node, self.argument(whole=True)))
            elif self.skip("!"):
                node = Node("factorial", (node,))
            elif self.skip("circ"):
                node = Node("degrees", (node,))
            else:
                return node
        raise Unreadable

    def atom(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Unreadable
        node = self.read(self.take())
        self.depth -= 1
        return node

    def read(self, token: Token) -> Node:
        """Read the atom that starts with `token`."""
        if token.kind == "number":
            return self.unfinished(token.text) if self.skip("ldots") else self.mixed(number(token.text))
        if token.text in _BRACKETS:
            return self.bracket(token.text)
        if token.text in _ROOTS:
            return self.root(token)
        if token.text in _FUNCTIONS or token.text in _LOGARITHMS:
            return self.function(token.text)
        if token.text in _CONSTANTS:
            return Node("constant", name=_CONSTANTS[token.text])
        if token.kind == "letters":
            return self.letter(token)
        return self.command(token)

    def command(self, token: Token) -> Node:
        if token.text == "frac":
            return over(self.argument(), self.argument())
        if token.text == "binom":
            return Node("binomial", (self.argument(), self.argument()))
        if token.text in _SYMBOLS:
            return self.symbol(token.text)
        if token.text in _NAMES:
            return Node("symbol", name=f"{token.text} {plain(self.group())}")
        raise Unreadable

    def mixed(self, whole: Node) -> Node:
        """Return 3 + 1/2 where `\frac{1}{2}` or ` 1/2` stands behind the 3."""
        kept, token = self.left[:], self.next
        if whole.is_count and (token.text in ("frac", "{") or (token.kind == "number" and token.gap)):
            braces = self.skip("{")
            part = self.proper()
            if part is not None and (not braces or self.skip("}")):
                return total(whole, part)
            self.left = kept
        return whole

    def unfinished(self, text: str) -> Node:
        """Return `0.333…`, cut from what it equals; fewer than three digits behind the point say too little."""
        places = len(text.partition(".")[2])
        if places < _UNFINISHED:
            raise Unreadable
        node = number(text)
        return replace(node, slack=abs(Fraction(1, 10**places) / (node.number or 1)))

    def proper(self) -> Node | None:
        """Read a fraction of two whole numbers below 1; None if there is none."""
        if self.skip("frac"):
            upper, lower = self.argument(), self.argument()
        else:
            if self.next.kind != "number":
                return None
            upper = number(self.take().text)
            if not self.skip("/") or self.next.kind != "number":
                return None
            lower = number(self.take().text)
        is_proper = upper.is_count and lower.is_count and upper.number < lower.number
        return over(upper, lower) if is_proper else None

    def bracket(self, opened: str) -> Node:
        bars, self.bars = self.bars, int(opened == "|")
        node = self.sum()
        self.expect(_BRACKETS[opened])
        self.bars = bars
        rounded = {"lfloor": "floor", "lceil": "ceil"}.get(opened)
        if rounded:
            return Node("function", (node,), rounded)
        return Node("absolute", (node,)) if opened == "|" else node

    def argument(self, whole: bool = False) -> Node:
        """Read what a command or `^` takes: braces, or one digit, letter or atom; all digits if `whole`."""
        if whole and self.next.text == "-":
            self.take()
            return negative(self.argument(whole))
        token = self.next
        if token.kind == "number" and not whole:
            return number(self.cut().text)
        if token.kind == "number":
            return number(self.take().text)
        return self.atom()

    def cut(self) -> Token:
        """Take the first character of the next token."""
        token = self.take()
        if len(token.text) > 1:
            self.left.append(Token(token.kind, token.text[1:]))
        return Token(token.kind, token.text[0], token.gap, token.prose)

    def group(self) -> list[Token]:
        """Take braces with all in them, or one token."""
        if not self.skip("{"):
            return [self.take()]
        found: list[Token] = []
        depth = 1
        while True:
            depth += {"{": 1, "}": -1}.get(self.next.text, 0)
            token = self.take()
            if not depth:
                return found
            found.append(token)

    def root(self, token: Token) -> Node:
        index = count(_ROOTS[token.text])
        if token.kind == "command" and self.skip("["):
            index = self.sum()
            self.expect("]")
        return Node("root", (self.argument(whole=token.text == "surd" or token.kind == "letters"), index))

    def letter(self, token: Token) -> Node:
        """Read the first letter of several as a symbol, a constant or a call of a function."""
        if token.prose and len(token.text) > 1:
            raise Unreadable
        self.left.append(token)
        name = self.cut().text
        if name in _UNKNOWN_FUNCTIONS and self.next.text in ("(", "'"):
            return self.call(name)
        if name in _LETTERS:
            return Node("constant", name=name)
        return self.symbol(name)

    def symbol(self, name: str) -> Node:
        while self.next.text in ("_", "'"):
            name += self.take().text
            if name.endswith("_"):
                name += plain(self.group())
        return Node("symbol", name=name)

    def call(self, name: str) -> Node:
        while self.skip("'"):
            name += "'"
        self.expect("(")
        node = Node("call", (self.sum(),), name)
        self.expect(")")
        return node

    def function(self, name: str) -> Node:
        base = _LOGARITHMS.get(name)
        exponent = None
        while self.next.text in ("^", "_"):
            if self.take().text == "^":
                exponent = self.argument(whole=True)
            else:
                base = self.argument(whole=True)
        operand = self.operand()
        if name in _LOGARITHMS and base is not None:
            node = Node("logarithm", (operand, base))
        elif f"arc{name}" in values.INVERSES and exponent == negative(count(1)):
            return Node("function", (operand,), f"arc{name}")
        else:
            node = Node("function", (in_radians(operand),), _FUNCTIONS[name])
        return node if exponent is None else Node("power", (node, exponent))

    def operand(self) -> Node:
        """Read what a function is of: a bracket, or all factors up to a sign, a bracket or another function."""
        if self.next.text in ("(", "["):
            return self.atom()
        factors = [self.signed(self.factor)]
        while self.starts_factor() and self.next.text not in ("(", "[") and not self.names_function():
            factors.append(self.factor())
        return times(*factors)

    def names_function(self) -> bool:
        return self.next.text in _FUNCTIONS or self.next.text in _LOGARITHMS
