"""AQuA-RAT: algebra word problems with five options.

A row, made up:

    {"question": "What is 2 + 3?", "options": ["A)3", "B)4", "C)5", "D)6", "E)7"],
     "rationale": "2 + 3 = 5\\nAnswer: C", "correct": "C"}

The options belong to the question, one per line. The gold rationales end in no fixed way (`Answer: C`,
`Option C`, `(C) is correct`, or no letter at all), so the rationale to tune on gets a last line `#### C`.
The data are those of google-deepmind/AQuA, whose paper (Ling et al. 2017, arXiv:1705.04146) scores the
letter alone. The lenient reading, a letter from A to E found in the text, is the habit of zero-shot
evaluations (Kojima et al. 2022, arXiv:2205.11916); which letter counts as said to be the answer was read off
gold rationales. `letters.py` reads them, and `marks.py` says which
of several marks counts.
"""

from __future__ import annotations

import re
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Facts, Problem, count_steps
from dpc.tasks.extraction import letters, marks
from dpc.tasks.extraction.marks import Lead, Reading
from dpc.tasks.extraction.wrappers import plain
from dpc.tasks.fields import brief, text_of, texts_of

FACTS = Facts(
    test_rows=254,
    adds_mark=True,
    row={
        "question": "What is 2 + 3?",
        "options": ["A)3", "B)4", "C)5", "D)6", "E)7"],
        "rationale": "2 + 3 = 5",
        "correct": "C",
    },
)
VERSION = "4"
STEP_END = re.compile(r"\n")
CHANCE = 0.2
ANSWER_MARK = "####"

_LETTERS = "ABCDE"
_OPTION_TEXT = re.compile(r"[^\w\n]*(?:[0-9][^\n]{0,40})?(?:\n|\Z)")


def question(row: dict[str, Any]) -> str:
    """Read `question` and `options`, one per line; raises DpcError that names the wrong field."""
    return "\n".join([text_of(row, "question", "What is 2 + 3?"), *_options(row)])


def parse(row: dict[str, Any]) -> Problem:
    """Read `question`, `options`, `rationale` and `correct`; raises DpcError that names the wrong field."""
    letter = text_of(row, "correct", "C")
    if letter not in tuple(_LETTERS):
        raise DpcError(f"field 'correct' is {brief(letter)}; expected one letter from A to E")
    asked = question(row)
    reasoning = text_of(row, "rationale", "2 + 3 = 5\nAnswer: C")
    return Problem(asked, f"{reasoning}\n{ANSWER_MARK} {letter}", letter, count_steps(reasoning, STEP_END))


def extract(text: str) -> tuple[str | None, str | None]:
    """Return the letter behind the `####` that counts, and that or else the letter last said to be the answer.

    Where no letter is said to be it, the lenient reading is the last option named, or else the last letter that stands
    alone: in brackets, or at the end of a line.
    """
    text = plain(text)
    strict = marks.behind_mark(text, _read, letters.listed)
    return (strict.answer, strict.answer) if strict else (None, letters.named(text))


def mark_end(text: str) -> int | None:
    """Return where the `####` that counts ends, None where none does."""
    return marks.mark_end(text, plain, _read, letters.listed)


def grade(extracted: str | None, answer: str) -> bool:
    """Say whether both are the same letter; raises DpcError if the gold answer is no letter from A to E."""
    if answer not in tuple(_LETTERS):
        raise DpcError(f"gold answer {answer!r} is no option; expected a letter from A to E")
    return extracted == answer


def _read(content: str, _lead: Lead) -> Reading | None:
    """Read a letter, whatever words stand before it."""
    found = letters.read(content)
    return Reading(found[0], _OPTION_TEXT.match(found[1]) is not None) if found else None


def _options(row: dict[str, Any]) -> list[str]:
    expected = "a list of five like 'A)12'"
    options = texts_of(row, "options", expected, "A)12")
    if len(options) != len(_LETTERS):
        raise DpcError(f"field 'options' is {len(options)} options; expected {expected}")
    for letter, option in zip(_LETTERS, options, strict=True):
        if not option.startswith(f"{letter})"):
            raise DpcError(f"field 'options' has {brief(option)} where option {letter} is due; expected '{letter})…'")
    return options
