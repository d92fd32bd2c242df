"""Numbers of an answer: exact fractions as far as they go, a hundred digits beyond.

Every operation is bounded: a number of more bits than `_BITS` is held to a hundred digits, and what no hundred digits
can hold has no value. So no text, however it towers powers or factorials, takes longer than others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath

Number: TypeAlias = Any
"""A Fraction, or where a value is irrational a real or complex number of mpmath."""

_MP = mpmath.MPContext()
_MP.dps = 100
_BITS = 1 << 17
_SIZE = 1 << 40
_FACTORIAL = 5000
_AGREES = _MP.mpf(10) ** -60
_NOISE = _MP.mpf(10) ** -90

INFINITY = _MP.inf
CONSTANTS: dict[str, Number] = {"pi": +_MP.pi, "e": +_MP.e, "i": _MP.mpc(0, 1), "infty": INFINITY}


class NoValue(ArithmeticError):
    """What is asked for has no value, or none within the bounds."""


def add(a: Number, b: Number) -> Number:
    """Return a + b; 0 where they cancel each other to a hundred digits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _held(a + b)
    found = _real(wide(a) + wide(b))
    return Fraction(0) if abs(found) < _NOISE * abs(wide(a)) else found


def multiply(a: Number, b: Number) -> Number:
    """Return a b."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _held(a * b)
    return _real(wide(a) * wide(b))


def divide(a: Number, b: Number) -> Number:
    """Return a / b; raises NoValue if b is 0."""
    if b == 0:
        raise NoValue
    return _held(a / b) if isinstance(a, Fraction) and isinstance(b, Fraction) else _real(wide(a) / wide(b))


def power(a: Number, b: Number) -> Number:
    """Return a to the power b: of a negative real number its real root where there is one."""
    if isinstance(b, Fraction):
        if a == 0 and b < 0:
            raise NoValue
        if b.denominator == 1 and isinstance(a, Fraction) and _bits(a) * abs(b) <= _BITS:
            return a ** int(b)
        if b.denominator % 2 and b.denominator > 1 and is_real(a) and a < 0:
            root = power(-a, b)
            return -root if b.numerator % 2 else root
    base, exponent = wide(a), wide(b)
    if base != 0 and (abs(exponent) > _SIZE or abs(exponent) * abs(_MP.mag(base)) > _SIZE):
        raise NoValue
    return _real(_MP.power(base, exponent))


def root(a: Number, n: Number) -> Number:
    """Return the n-th root of a, exact where a is the n-th power of a fraction."""
    if n == 2 and isinstance(a, Fraction) and a >= 0:
        exact = Fraction(math.isqrt(a.numerator), math.isqrt(a.denominator))
        if exact * exact == a:
            return exact
    return power(a, divide(Fraction(1), n))


def factorial(a: Number) -> Number:
    """Return a!, of a fraction the gamma function's value; raises NoValue above 5,000."""
    return Fraction(math.factorial(int(a))) if _is_whole(a) else _real(_MP.gamma(_small(a) + 1))


def binomial(n: Number, k: Number) -> Number:
    """Return n over k, of fractions the gamma function's value; raises NoValue above 5,000."""
    if _is_whole(n) and _is_whole(k):
        return Fraction(math.comb(int(n), int(k)))
    return _real(_MP.binomial(_small(n), _small(k)))


def magnitude(a: Number) -> Number:
    """Return |a|."""
    return abs(a)


def unknown(name: str, *arguments: Number) -> Number:
    """Return a value for `f(2)` of a function nobody defined: the same for the same name and arguments."""
    return stand_in(f"{name}({','.join(_MP.nstr(wide(argument), 30) for argument in arguments)})", 0)


def stand_in(name: str, point: int) -> Fraction:
    """Return a value for the symbol `name`, different at each of the four points: positive at the first two."""
    draw = int(hashlib.sha256(f"{point}:{name}".encode()).hexdigest()[:6], 16)
    return Fraction(draw + 2**22, 2**23) * (-1 if point > 1 and draw % 2 else 1)


def is_real(a: Number) -> bool:
    """Say whether `a` has no imaginary part."""
    return not isinstance(a, _MP.mpc)


def close(a: Number, b: Number, slack: Fraction) -> bool:
    """Say whether two values are equal: fractions exactly, others to 60 digits.

    With `slack` above 0, which is the last digit of a rounded decimal relative to its value, the values may also differ
    by the half of it (rounded), or `a` may be the nearer to 0 by less than all of it (cut off).
    """
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b or (slack > 0 and _within(a, b, slack))
    a, b = wide(a), wide(b)
    if _MP.isinf(a) or _MP.isinf(b):
        return bool(a == b)
    return bool(abs(a - b) <= _AGREES * max(abs(a), abs(b)) or (slack > 0 and _within(a, b, slack)))


def _within(a: Number, b: Number, slack: Fraction) -> bool:
    unit = multiply(magnitude(a), slack)
    apart = magnitude(add(a, -b))
    return bool(apart <= unit / 2 or (apart < unit and magnitude(a) < magnitude(b)))


def _bounded(function: Callable[[Any], Any]) -> Callable[[Number], Number]:
    def apply(a: Number) -> Number:
        if not abs(a) < _SIZE:
            raise NoValue
        return _real(function(wide(a)))

    return apply


def _circular(function: Callable[[Any], Any]) -> Callable[[Number], Number]:
    """Return a function that is 0 where its argument, rounded to a hundred digits, all but makes it so: sin π."""
    bounded = _bounded(function)

    def apply(a: Number) -> Number:
        found = bounded(a)
        return Fraction(0) if abs(found) < _NOISE * abs(wide(a)) else found

    return apply


_CIRCULAR = ("sin", "cos", "tan", "cot", "sec", "csc")
INVERSES = {f"arc{name}": _bounded(getattr(_MP, f"a{name}")) for name in _CIRCULAR}
FUNCTIONS = {
    **INVERSES,
    **{name: _circular(getattr(_MP, name)) for name in _CIRCULAR},
    **{name: _bounded(getattr(_MP, name)) for name in ("exp", "sinh", "cosh", "tanh", "floor", "ceil")},
    **{"Re": _bounded(_MP.re), "Im": _bounded(_MP.im), "cis": _bounded(_MP.expj)},
}


def logarithm(a: Number, base: Number) -> Number:
    """Return the logarithm of a; raises NoValue for that of 0 and for base 1."""
    if a == 0 or base in (0, 1):
        raise NoValue
    return divide(_real(_MP.log(wide(a))), _real(_MP.log(wide(base))))


def _bits(a: Fraction) -> int:
    return max(a.numerator.bit_length(), a.denominator.bit_length())


def _held(a: Fraction) -> Number:
    return a if _bits(a) <= _BITS else wide(a)


def wide(a: Number) -> Any:
    """Return `a` to a hundred digits, as mpmath has it."""
    return _MP.mpf(a.numerator) / a.denominator if isinstance(a, Fraction) else a


def _real(a: Any) -> Number:
    """Return a number without an imaginary part of 0; raises NoValue if it is none."""
    if isinstance(a, _MP.mpc) and abs(a.imag) <= _AGREES * abs(a.real):
        a = a.real
    if _MP.isnan(a):
        raise NoValue
    return a


def _is_whole(a: Number) -> bool:
    return isinstance(a, Fraction) and a.denominator == 1 and 0 <= a <= _FACTORIAL


def _small(a: Number) -> Any:
    if not abs(a) <= _FACTORIAL:
        raise NoValue
    return wide(a)
