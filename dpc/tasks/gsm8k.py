"""GSM8K: grade-school word problems with a worked answer that ends in a number.

A row, made up:

    {"question": "Ann has 3 pens and buys 4. How many has she?",
     "answer": "She has 3 + 4 = <<3+4=7>>7 pens.\\n#### 7"}

Each line of the rationale is a step. The `<<…>>` marks are for a calculator and are removed; the last line
stays as the answer mark. The convention, the number behind `####` with commas aside, is that of
openai/grade-school-math (`dataset.py`). Three additions: numbers are compared by value, so `$7.00` equals
`7` (`numerals.py`); of several marks one counts (`marks.py`); and there is a lenient reading.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Facts, Problem, count_steps
from dpc.tasks.extraction import marks, numerals
from dpc.tasks.extraction.marks import Lead, Reading
from dpc.tasks.extraction.wrappers import plain
from dpc.tasks.fields import brief, number, shortened, text_of

FACTS = Facts(
    test_rows=1319,
    row={"question": "Ann has 3 pens and buys 4. How many has she?", "answer": "She has 3 + 4 = 7 pens.\n#### 7"},
)
VERSION = "3"
STEP_END = re.compile(r"\n")
CHANCE = 0.0
ANSWER_MARK = "####"

_WHOLE = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_NUMBERED = re.compile(r"\W*[1-9](?:\s*[.):]\s+[A-Za-z]|\s*-?\s+[A-Z]\w*\s+\w)")
"""A numbered heading: `2. Compute the total`, `1 Understand the problem`."""
_FEW_WORDS = r"[^\w\n]*(?![A-Z][a-z])(?:[A-Za-z°][^\s\d]*[^\w\n]*){0,3}"
"""A unit: `dollars per day`."""
_GOES_ON = r"(?<=[,;(])|(?<=\.)(?![0-9])|(?<=\s)(?:because|since|as|which|in|for|so|if|when|but)\b"
_END_OF_LINE = re.compile(rf"{_FEW_WORDS}(?:\n|\Z)")
_END = re.compile(rf"{_FEW_WORDS}(?:\n|\Z|{_GOES_ON})")


def question(row: dict[str, Any]) -> str:
    """Read `question`; raises DpcError if it is missing or no text."""
    return text_of(row, "question", "Ann has 3 pens and buys 4. How many has she?")


def parse(row: dict[str, Any]) -> Problem:
    """Read `question` and `answer`.

    An answer that is one number and nothing else, as text or as a number, is a rationale without a step.

    Raises DpcError if one is missing or no text, or if anything but one number stands behind the last `####`.
    """
    asked = question(row)
    given = number(row.get("answer")) or text_of(row, "answer", "She has 3 + 4 = 7 pens.\n#### 7")
    worked = _CALCULATOR.sub("", given).strip()
    if (bare := extract(f"{ANSWER_MARK} {worked}")[0]) and _is_number(worked, bare):
        worked = f"{ANSWER_MARK} {worked}"
    reasoning, mark, behind = worked.rpartition(ANSWER_MARK)
    return Problem(asked, worked, _gold(worked, mark, behind), count_steps(reasoning, STEP_END))


def _gold(worked: str, mark: str, behind: str) -> str:
    """Return the number that stands behind the last mark of a gold answer; raises DpcError where that is none."""
    answer = extract(ANSWER_MARK + behind)[0]
    if answer is None or not mark:
        raise DpcError(f"field 'answer' ends in {worked[-40:]!r}; expected a last line like '#### 72'")
    if not _is_number(behind, answer):
        raise DpcError(
            f"field 'answer' has {brief(behind.strip())} behind '####'; expected one number and nothing else: "
            f"write '#### {shortened(answer)}', if that is the answer"
        )
    return answer


def _is_number(written: str, answer: str) -> bool:
    """Say whether `written` as a whole, signs of currency, per cent and thousands aside, is the number `answer`."""
    digits = re.sub(r"[\s,$€£]", "", written).replace("−", "-").rstrip(".%")
    try:
        return _WHOLE.fullmatch(digits) is not None and Fraction(digits) == Fraction(answer)
    except (ValueError, ZeroDivisionError):  # 7/0, or digits by the thousand
        return False


def extract(text: str) -> tuple[str | None, str | None]:
    """Return the number behind the `####` that counts, and that or else what the text last says is the answer.

    Where it says so of no number, the lenient reading is its last number.
    """
    text = _plain(text)
    strict = marks.behind_mark(text, _read)
    if strict:
        return strict.answer, strict.answer
    numbers = [number for _, number in marks.said(text, _read)] or numerals.numbers(text)
    return None, numbers[-1] if numbers else None


def mark_end(text: str) -> int | None:
    """Return where the `####` that counts ends, None where none does."""
    return marks.mark_end(text, _plain, _read)


def _plain(text: str) -> str:
    return plain(_CALCULATOR.sub("", text))


def grade(extracted: str | None, answer: str) -> bool:
    """Say whether both are the same number; raises DpcError if the gold answer is none."""
    gold = numerals.values(answer)
    if not gold:
        raise DpcError(f"gold answer {answer!r} is not a number; expected one like '72'")
    return extracted is not None and not gold.isdisjoint(numerals.values(extracted))


def _read(content: str, lead: Lead) -> Reading | None:
    """Read the number that `content` begins with, or the only one of a paragraph: `Answer: Ann has 7 pens.`

    Behind a label a sentence may begin with another number (`Answer: 8 pens cost $12`), behind a heading workings may.
    """
    is_heading = lead in (Lead.NONE, Lead.HEADING) and _NUMBERED.match(content)
    found = None if is_heading else numerals.read(content, is_named=lead is Lead.VERB)
    is_sure = lead in (Lead.NONE, Lead.VERB) or (found is not None and _END.match(found.rest) is not None)
    if found and is_sure and not (lead is Lead.HEADING and found.is_computed):
        return Reading(found.number, not found.is_computed and _END_OF_LINE.match(found.rest) is not None)
    only = set(numerals.numbers(content)) if lead is not Lead.NONE else set()
    return Reading(only.pop(), False) if len(only) == 1 else None
