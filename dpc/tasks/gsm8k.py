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
from fractions import Fraction
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Problem, count_steps
from dpc.tasks.fields import number, text_of

VERSION = "1"
STEP_END = re.compile(r"\n")
CHANCE = 0.0
ANSWER_MARK = "####"

_WHOLE = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\w)\.[0-9]+"
# A minus belongs to the number unless something stands before it to subtract from.
_NUMBER = re.compile(rf"(?:(?<![\w)\].%])[-−+])?(?:[$€£][-−]?)?(?:{_DIGITS})(?:/[0-9]+)?")


def parse(row: dict[str, Any]) -> Problem:
    """Read `question` and `answer`.

    Raises DpcError if one is missing or no text, or if anything but one number stands behind the last `####`.
    """
    digits = number(row.get("answer"))
    if digits is not None:
        raise DpcError(f"field 'answer' is the number {digits}; expected a rationale that ends in '#### {digits}'")
    question = text_of(row, "question", "Ann has 3 pens and buys 4. How many has she?")
    worked = _CALCULATOR.sub("", text_of(row, "answer", "She has 3 + 4 = 7 pens.\n#### 7")).strip()
    reasoning, mark, behind = worked.rpartition(ANSWER_MARK)
    return Problem(question, worked, _gold(worked, mark, behind), count_steps(reasoning, STEP_END))


def _gold(worked: str, mark: str, behind: str) -> str:
    """Return the number that stands behind the last mark of a gold answer; raises DpcError where that is none."""
    answer = extract(ANSWER_MARK + behind)[0]
    if answer is None or not mark:
        like = behind if answer is not None and _is_number(behind, answer) else "72"
        raise DpcError(f"field 'answer' ends in {worked[-40:]!r}; expected a last line like '#### {like}'")
    if not _is_number(behind, answer):
        raise DpcError(
            f"field 'answer' has {behind.strip()[:40]!r} behind '####'; expected one number and nothing else: "
            f"write '#### {answer}', if that is the answer"
        )
    return answer


def _is_number(written: str, answer: str) -> bool:
    """Say whether `written` as a whole, signs of currency, per cent and thousands aside, is the number `answer`."""
    plain = re.sub(r"[\s,$€£]", "", written).replace("−", "-").rstrip(".%")
    try:
        return _WHOLE.fullmatch(plain) is not None and Fraction(plain) == Fraction(answer)
    except (ValueError, ZeroDivisionError):  # 7/0, or digits by the thousand
        return False


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
