"""GSM8K: grade-school word problems with a worked answer that ends in a number.

A row, made up:

    {"question": "Ann has 3 pens and buys 4. How many has she?",
     "answer": "She has 3 + 4 = <<3+4=7>>7 pens.\\n#### 7"}

Each line of the rationale is a step. The `<<…>>` marks are for a calculator and are removed; the last line
stays as the answer mark. The convention, the number behind `####` with commas aside, is that of
openai/grade-school-math (`dataset.py`). Two additions: numbers are compared by value, so `$7.00` equals `7`,
and there is a lenient reading.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Facts, Problem, count_steps, field

FACTS = Facts(test_rows=1319)
VERSION = "1"
STEP_END = re.compile(r"\n")
CHANCE = 0.0
ANSWER_MARK = "####"

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\w)\.[0-9]+"
# A minus belongs to the number unless something stands before it to subtract from.
_NUMBER = re.compile(rf"(?:(?<![\w)\].%])[-−+])?(?:[$€£][-−]?)?(?:{_DIGITS})(?:/[0-9]+)?")


def parse(row: dict[str, Any]) -> Problem:
    """Read `question` and `answer`.

    Raises DpcError if one is missing, or if no number stands behind the last `####`.
    """
    text = _CALCULATOR.sub("", str(field(row, "answer"))).strip()
    reasoning, _, last = text.rpartition(ANSWER_MARK)
    answer = _strict(ANSWER_MARK + last)
    if answer is None:
        raise DpcError(f"field 'answer' ends in {text[-40:]!r}; expected a last line like '#### 72'")
    return Problem(str(field(row, "question")).strip(), text, answer, count_steps(reasoning, STEP_END))


def extract(text: str) -> tuple[str | None, str | None]:
    """Return the number behind the first `####`, and that or else the last number of the text."""
    strict = _strict(text)
    if strict is not None:
        return strict, strict
    numbers = [match.group() for match in _NUMBER.finditer(text)]
    return None, _plain(numbers[-1]) if numbers else None


def grade(extracted: str | None, answer: str) -> bool:
    """Say whether both are the same number; raises DpcError if the gold answer is none."""
    gold = _value(answer)
    if gold is None:
        raise DpcError(f"gold answer {answer!r} is not a number; expected one like '72'")
    return extracted is not None and _value(extracted) == gold


def _strict(text: str) -> str | None:
    _, _, behind = text.partition(ANSWER_MARK)
    match = _NUMBER.match(behind.lstrip(" \t"))
    return _plain(match.group()) if match else None


def _plain(number: str) -> str:
    """Return `number` without currency sign, thousands commas and spaces."""
    return re.sub(r"[\s,$€£]", "", number).replace("−", "-")


def _value(number: str) -> Decimal | None:
    """Return the value of `18`, `18.00` or `7/2`; units behind it do not count."""
    match = _NUMBER.match(number.strip())
    numerator, _, denominator = _plain(match.group() if match else "").partition("/")
    try:
        # A division rounds, so whole numbers of any length are left as they are.
        return Decimal(numerator) / Decimal(denominator) if denominator else Decimal(numerator)
    except (InvalidOperation, ZeroDivisionError):
        return None
