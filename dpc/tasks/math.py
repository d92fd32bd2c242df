r"""MATH: competition problems with a worked solution that boxes its answer.

A row, made up:

    {"problem": "What is $\\frac12 + \\frac14$?", "solution": "The sum is $\\boxed{\\frac34}$."}

The answer is the content of the last `\boxed`, as in hendrycks/math (`last_boxed_only_string`,
`remove_boxed`); the solution is tuned on as it is, since its answer is already marked. Of the 5,000 test
solutions 90 box more than once and 23 box something else first, which is why the strict reading takes the
last box and not the first. The plain comparison follows the idea of that repository's `is_equiv`: strip what
does not change the value, then compare text.

What differs as text is decided by math-verify, which reads LaTeX into sympy. It has accepted `3x-y+13=0` for
`3x+4y+14=0` and 1-1/e for 1+1/e, so numbers of our own must not speak against what it accepts.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Problem, count_steps
from dpc.tasks.fields import text_of

VERSION = "2"
STEP_END = re.compile(r"\n|[.!?]\$*\s")
"""A line break or the end of a sentence: a third of the solutions are one paragraph."""
CHANCE = 0.0
ANSWER_MARK = r"\boxed"

_log = logging.getLogger(__name__)
_SECONDS = 5.0
_LONGEST = 300
# Powers of powers, long exponents and factorials of large or bracketed numbers: sympy would work them out.
_COSTLY = re.compile(r"\^[\s{+-]*[0-9]{4,}|\^[\s{]*[^{}]*[0-9)]\s*\}?\s*\^|[0-9]{4,}\s*\}?\s*!|[)}!]\s*!")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_SAID = re.compile(r"(?i:answer|result|value)(?i:\s+is|\s*[:=])\s*:?\s*([^\n]+?)(?:\.(?:\s|$)|\n|$)")
_INLINE = re.compile(r"\$([^$\n]+)\$")
_NUMBER = re.compile(r"(?<![\w.])-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")


def parse(row: dict[str, Any]) -> Problem:
    r"""Read `problem` and `solution`; raises DpcError if one is missing or the solution boxes no answer."""
    solution = text_of(row, "solution", r"The sum is $\boxed{\frac34}$.")
    answer = _last_box(solution)
    if answer is None or not canonical(answer):
        raise DpcError(f"field 'solution' ends in {solution[-40:]!r} and boxes no answer; expected '\\boxed{{…}}'")
    problem = text_of(row, "problem", r"What is $\frac12 + \frac14$?")
    return Problem(problem, solution, answer, count_steps(solution, STEP_END))


def extract(text: str) -> tuple[str | None, str | None]:
    r"""Return the content of the last `\boxed`, and that or else the last thing that could be an answer.

    The lenient reading is what `the answer is …` names last, else the last formula between dollars, else the
    last number.
    """
    strict = _last_box(text)
    if strict is not None:
        return strict, strict
    for pattern in (_SAID, _INLINE, _NUMBER):
        found = [match.group(match.lastindex or 0).strip() for match in pattern.finditer(text)]
        if found:
            return None, found[-1].strip("$ ") or None
    return None, None


def grade(extracted: str | None, answer: str) -> bool:
    """Say whether both are the same answer: as canonical text, or else to math-verify and by a numeric check.

    Safe in any thread. A comparison that takes over five seconds counts as unequal, and what looks costly is
    refused beforehand.

    Raises DpcError if `answer` is empty.
    """
    gold = canonical(answer)
    if not gold:
        raise DpcError("gold answer is empty; expected the content of '\\boxed{…}'")
    found = canonical(extracted or "")
    if not found or found == gold:
        return found == gold
    if len(found) > _LONGEST or _COSTLY.search(found) or _bases_differ(gold, found):
        return False
    # A pair without its brackets is still that pair; math-verify would take it for a set.
    bracketed = gold.startswith("(") and gold.endswith(")") and found[0] not in "([\\{"
    return _symbolically_equal(gold, f"({found})" if bracketed and "," in found else found)


_SPACES = re.compile(r"(?<!\\)\\[!,;:> ]|~")
_DROP = re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\^\{?\\circ\}?|\\?%|\\?\$|\\\(|\\\)")
_WORDS = r"\\(?:text|textbf|textit|mbox|mathrm|mathbf|textrm|operatorname)\s*\{([^{}]*)\}"
_REWRITE = (
    (re.compile(r"\{,\}|,\\!"), ""),  # thousands
    (_SPACES, " "),
    (re.compile(r"\\text\s*\{\s*(?:,?\s*and|,?\s*or)\s*\}"), ","),
    (re.compile(rf"(?<=[0-9}})])\s*{_WORDS}(?:\^\{{?[0-9]\}}?)?\s*$"), ""),  # units
    (
        re.compile(r"(?<=[0-9}])\s+(?!pi\b|[apAP][mM]\b)[a-zA-Z]{2,}(?:\s+[a-zA-Z]+)*\.?\s*$"),
        "",
    ),  # without \text
    (_DROP, ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(_WORDS), r"\1"),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*([0-9])\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"\\frac\s*\{([^{}]*)\}\s*([0-9a-z])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\sqrt\s*([0-9a-z])"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![0-9])\.(?=[0-9])"), "0."),
    (re.compile(r",\s*,"), ","),
    (re.compile(r"[.,;]\s*$"), ""),
    (re.compile(r"(?<![a-zA-Z])\s+|\s+(?![a-zA-Z])"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r"^\(([A-Za-z])\)$"), r"\1"),
)
_THOUSANDS = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_WORD = re.compile(r"[a-zA-Z ]{3,}")


def canonical(answer: str) -> str:
    r"""Return LaTeX `answer` without what has no value: spacing, units, `\left`, `%`, degrees, dollars."""
    text = answer.strip()
    for pattern, replacement in _REWRITE:
        text = pattern.sub(replacement, text).strip()
    if _THOUSANDS.fullmatch(text):
        return text.replace(",", "")
    return text.casefold() if _WORD.fullmatch(text) else text


def _last_box(text: str) -> str | None:
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    if text[start : start + 1] != "{":
        bare = re.match(r"[^\s$]+", text[start:])
        return (bare.group().rstrip(".,;") or None) if bare else None
    end = _closing_brace(text, start)
    return (text[start + 1 : end].strip() or None) if end else None


def _closing_brace(text: str, start: int) -> int | None:
    """Return where the brace opened at `start` closes; `\\{` and `\\}` are signs, not braces."""
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0 and brace.group() == "}":
            return brace.start()
    return None


def _bases_differ(gold: str, found: str) -> bool:
    """Say whether `found` names a number base, and not that of `gold`; math-verify drops subscripts of numbers."""
    of_gold, of_found = (re.search(r"[0-9]_\{?([0-9]+)\}?$", text) for text in (gold, found))
    return of_found is not None and of_found.group(1) != (of_gold.group(1) if of_gold else "10")


def _symbolically_equal(gold: str, found: str) -> bool:
    """Compare by numbers, and ask math-verify about what they leave open."""
    from math_verify import verify

    try:
        with _time_limit(_SECONDS):
            left, right = _expression(gold), _expression(found)
            if left is None or right is None or not _may_be_equal(left, right):
                return False
            equal = bool(verify(left, right, timeout_seconds=None))
    except (_TooLong, Exception) as error:
        # sympy raises nearly anything on a formula that makes no sense, and such a formula equals nothing.
        _log.debug("%r against %r: counted as unequal after %s", found, gold, type(error).__name__)
        return False
    if equal:
        _log.debug("%r against %r: differ as text, equal to math-verify", found, gold)
    return equal


@functools.lru_cache(maxsize=16384)
def _expression(latex: str) -> Any:
    """Return the sympy form of `latex`, or None where math-verify cannot read it."""
    from math_verify import parse

    _silence_timeout_warning()
    # Dollars around it: without them math-verify takes the last number, and any two equations `… = 0` agree.
    found = parse(f"${latex}$", [_latex_config()], fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if found else None


@functools.cache
def _latex_config() -> Any:
    """Return math-verify's LaTeX reading without its removal of units, to which `4t` is four tons."""
    from math_verify import LatexExtractionConfig

    usual = LatexExtractionConfig()
    return replace(usual, normalization_config=replace(usual.normalization_config, units=False, boxed="none"))


def _silence_timeout_warning() -> None:
    """Quiet math-verify's warning that its signal timeouts are off: `_time_limit` stands in for them."""
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _sympy() -> Any:
    """Import sympy, and math-verify with it, only when formulas are compared: it takes a second."""
    import sympy  # type: ignore[import-untyped]

    return sympy


class _TooLong(BaseException):
    """Not an Exception, so that the catch-all handlers of sympy and math-verify let it pass."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _TooLong in the block after `seconds`, on any thread: signals reach the main one alone."""
    here, is_over, lock = ctypes.c_ulong(threading.get_ident()), False, threading.Lock()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def stop() -> None:
        with lock:
            if not is_over:
                raise_in(here, ctypes.py_object(_TooLong))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            is_over = True
            raise_in(here, None)  # one that is on its way must not arrive later
        timer.cancel()


def _may_be_equal(gold: Any, found: Any) -> bool:
    """Return False if numbers speak against equality; they have no say on names and inequalities."""
    if isinstance(gold, _sympy().Eq) and isinstance(found, _sympy().Eq):
        return _same_equation(gold, found)
    if _is_relation(gold) != _is_relation(found):
        return False
    left, right = _values(_right_side(gold)), _values(_right_side(found))
    if left is None or right is None:
        return True
    return len(left) == len(right) and all(_close(a, b) for a, b in zip(left, right, strict=True))


def _same_equation(gold: Any, found: Any) -> bool:
    """Say whether the two equations, each as left minus right, differ by a nonzero constant factor."""
    if not all(isinstance(side, _sympy().Expr) for side in (*gold.args, *found.args)):
        return True
    ratio = _sympy().simplify((gold.lhs - gold.rhs) / (found.lhs - found.rhs))
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


def _is_relation(form: Any) -> bool:
    """Say whether `form` is an equation of more than a name and its value: `x + y = 0`, not `x = 5`."""
    return isinstance(form, _sympy().Eq) and not isinstance(form.lhs, _sympy().Symbol | _sympy().Function)


def _right_side(form: Any) -> Any:
    """Return `5` for `x = 5`."""
    return form.rhs if isinstance(form, _sympy().Eq) else form


def _values(form: Any) -> list[complex] | None:
    """Return the numbers in `form`, sorted if it is a set; None if something in it has no value."""
    sympy = _sympy()
    if isinstance(form, sympy.MatrixBase | sympy.Tuple):
        parts = list(form)
    elif isinstance(form, sympy.Set):
        parts = list(form.args[:2] if form.is_Interval else form.args)
    else:
        value = _value(form) if isinstance(form, sympy.Basic) else None
        return None if value is None else [value]
    inner = [_values(part) for part in parts]
    if any(values is None for values in inner):
        return None
    flat = [value for values in inner if values is not None for value in values]
    return sorted(flat, key=lambda value: (value.real, value.imag)) if isinstance(form, sympy.Set) else flat


def _value(form: Any) -> complex | None:
    """Return the value of `form` with a fixed number between 1 and 2 for each symbol, or None where it has none.

    Sympy says so with whatever the form stumbles over: answers are any text that a model wrote.
    """
    try:
        return complex(form.subs({symbol: _stand_in(symbol.name) for symbol in form.free_symbols}).doit().evalf(20))
    except (TypeError, ValueError, AttributeError, OverflowError, NotImplementedError, ZeroDivisionError):
        return None


def _stand_in(name: str) -> float:
    return 1 + int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def _close(a: complex, b: complex) -> bool:
    """Six digits, so that 0.333333 is a third."""
    return a == b or abs(a - b) <= 1e-6 * max(1.0, abs(a), abs(b))
