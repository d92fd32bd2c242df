r"""MATH: competition problems with a worked solution that boxes its answer.

A row, made up:

    {"problem": "What is $\\frac12 + \\frac14$?", "solution": "The sum is $\\boxed{\\frac34}$."}

The answer is the content of the last `\boxed`, as in hendrycks/math (`last_boxed_only_string`,
`remove_boxed`); the solution is tuned on as it is, since its answer is already marked. Of the 5,000 test
solutions 90 box more than once and 23 box something else first, which is why the strict reading takes the
last box and not the first.

Two answers are compared by what they say (`symbolic/answers.py`) and not as text: numbers exactly, expressions by their
values, lists in any order, units where both name one. All of it is bounded, so that no text takes long.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Facts, Problem, count_steps
from dpc.tasks.fields import text_of
from dpc.tasks.symbolic import equality
from dpc.tasks.symbolic.answers import Quantity, Words
from dpc.tasks.symbolic.grammar import readings
from dpc.tasks.symbolic.latex import closing_brace, scan

FACTS = Facts(
    test_rows=5000,
    marks_once=False,
    asked_in="problem",
    row={"problem": "What is $\\frac12 + \\frac14$?", "solution": "The sum is $\\boxed{\\frac34}$."},
)
VERSION = "3"
STEP_END = re.compile(r"\n|[.!?]\$*\s")
"""A line break or the end of a sentence: a third of the solutions are one paragraph."""
CHANCE = 0.0
ANSWER_MARK = r"\boxed"

_BOX = re.compile(r"(\\(?:boxed|fbox))(?![a-zA-Z])\s*")
_SAID = re.compile(
    r"\b(?:answer|result|value|solution)s?\b[^.\n:=$]{0,40}?(?:\s(?:is|are)\b\s*:?|\s*[:=])[\s*]*", re.IGNORECASE
)
_FORMULA = re.compile(r"(?<!\\)\$\$?([^$]+?)(?<!\\)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.\\])-?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?%?")
_SENTENCE = re.compile(r"(?:\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]|[^.!?\n]|[.!?](?!\s|$))+", re.DOTALL)
_AFTERTHOUGHT = re.compile(r"[,;]?\s+(?:which|since|because|as|so|where|when|if|for|and thus|that)\b")
_PROSE = re.compile(
    r"(?<![\\a-zA-Z{])(?!(?:and|sqrt|sin|cos|tan|log|infinity)\b)(?:[a-zA-Z]{3,}|[a-zA-Z]{2}\s+[a-zA-Z]{2,})"
)
_IS = re.compile(r"\b(?:is|are|equals)\b:?")
_FEW = 3


def question(row: dict[str, Any]) -> str:
    """Read `problem`; raises DpcError if it is missing or no text."""
    return text_of(row, "problem", r"What is $\frac12 + \frac14$?")


def parse(row: dict[str, Any]) -> Problem:
    r"""Read `problem` and `solution`; raises DpcError if one is missing or the solution boxes no answer."""
    solution = text_of(row, "solution", r"The sum is $\boxed{\frac34}$.")
    answer = _last_box(solution)
    if answer is None or not scan(answer):
        raise DpcError(f"field 'solution' ends in {solution[-40:]!r} and boxes no answer; expected '\\boxed{{…}}'")
    return Problem(question(row), solution, answer, count_steps(solution, STEP_END))


def extract(text: str) -> tuple[str | None, str | None]:
    r"""Return the content of the last `\boxed`, and that or else the last thing that could be an answer.

    The lenient reading is what `the answer is …` names last, else the last formula or number.
    """
    strict = _last_box(text)
    if strict is not None:
        return strict, strict
    said = (_stated(text[match.end() :]) for match in reversed(list(_SAID.finditer(text))))
    return None, next(filter(None, said), None) or _alone(text) or _last(text)


def mark_end(text: str) -> int | None:
    r"""Return where the `\boxed` of the last box ends, None where the strict reading finds nothing in it."""
    return None if _last_box(text) is None else list(_BOX.finditer(text))[-1].end(1)


def _alone(text: str) -> str | None:
    """Return a text that is an answer and nothing else."""
    return text.strip() if _is_answer(text.strip()) else None


def _stated(rest: str) -> str | None:
    """Return the answer that `rest` starts with: a formula and its unit, a number, or a few words."""
    match = _SENTENCE.match(rest)
    sentence = match.group().strip(' *"\n') if match else ""
    short = _AFTERTHOUGHT.split(sentence)[0].strip()
    for part in (sentence, short, _IS.split(sentence)[-1]):
        if _is_answer(part):
            whole = _FORMULA.fullmatch(part)
            return _content(whole) if whole else part
    return _last(sentence) or (short if 0 < len(short.split()) <= _FEW else None)


def _is_answer(text: str) -> bool:
    """Say whether `text` reads as an answer and not as prose: a unit may stand behind it."""
    words = _PROSE.search(re.sub(r"\\[a-z]+\{[^{}]*\}", "", text))
    return bool(text) and any(
        isinstance(one, Quantity) and bool(one.unit) if words else type(one) is not Words for one in readings(text)
    )


def _last(text: str) -> str | None:
    """Return the last formula that is more than a name, or the last number behind it."""
    formulas = [match for match in _FORMULA.finditer(text) if not re.fullmatch(r"[a-zA-Z(),\s]*", _content(match))]
    numbers = [match for match in _NUMBER.finditer(text) if not formulas or match.start() > formulas[-1].end()]
    found = [*formulas, *numbers]
    return _content(found[-1]) if found else None


def _content(match: re.Match[str]) -> str:
    return match.group(match.lastindex or 0).strip()


def grade(extracted: str | None, answer: str) -> bool:
    """Say whether both are the same answer. Safe in any thread, and fast whatever the text.

    Raises DpcError if `answer` is empty.
    """
    if not any(one.text for one in readings(answer, is_gold=True)):
        raise DpcError("gold answer is empty; expected the content of '\\boxed{…}'")
    return extracted is not None and _equal(answer, extracted)


@functools.lru_cache(maxsize=1 << 16)
def _equal(answer: str, found: str) -> bool:
    """Return the verdict, once for each pair: the stages grade the same answers several times."""
    return equality.equal(answer, found)


def _last_box(text: str) -> str | None:
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    if text[start : start + 1] != "{":
        bare = re.match(r"[^\s$]+", text[start:])
        return (bare.group().rstrip(".,;") or None) if bare else None
    end = closing_brace(text, start)
    return (text[start + 1 : end].strip() or None) if end < len(text) else None
