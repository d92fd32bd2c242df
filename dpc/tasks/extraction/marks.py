"""Where a text says its answer: behind a mark `####`, or after words like `the answer is`.

Which mark counts. To a chat model `####` is a heading (`#### Step 2: multiply by 3`), and a base model runs on into
another question after its answer (`#### 7`, `Question: …`, `#### 9`). So:

1. A mark is a run of four `#` or more. Behind it stands the rest of its line, after words that say an answer follows
   (`Final Answer:`); where nothing is left, the next line that holds something.
   Three options and more in a row (`#### A) 12`, `#### B) 15`, `#### C) 18`) are headings, and answer nothing.
2. The text ends where, after a mark with an answer, a next question begins (`Question:`).
3. The first mark counts that holds an answer and nothing else (wrappers, labels and units aside).
4. Else answers with words behind them count (`#### 18 because …`), and results of equations, if all of them and what is
   said to be the answer later are the same. They may be headings.
5. Else the last line counts, if it is a mark with words before its answer (`#### Total cost: 18`).

Each task brings its own reader of answers; texts went through `wrappers.plain`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import zip_longest
from typing import NamedTuple

from dpc.tasks.extraction.wrappers import BOX, BOX_END


class Lead(Enum):
    """What words stand before an answer."""

    NONE = "none"
    HEADING = "heading"
    """`Answer:` and a line break, with more text behind: workings may follow."""
    LABEL = "label"
    """`Answer:`; a sentence may follow."""
    VERB = "verb"
    """`The answer is`, or a box: the answer follows."""


class Reading(NamedTuple):
    """An answer at the start of a text."""

    answer: str
    is_alone: bool
    """Nothing but the answer stands on that line."""


Reader = Callable[[str, Lead], Reading | None]
"""How a task reads the answer that a paragraph begins with, after words of that kind."""
Listed = Callable[[Sequence[str]], list[bool]]
"""Which of the answers behind marks list the options, and answer nothing."""


def _none(answers: Sequence[str]) -> list[bool]:
    return [False] * len(answers)


_MARK = re.compile(r"#{4,}")
_QUESTION = re.compile(
    r"(?:^|(?<=\s))(?:[Nn]ext |[Nn]ew )?(?:Question|QUESTION|Problem|PROBLEM|Exercise|Q)[ ]?[0-9]*[ ]?:"
)
_ASKED = (
    r"(?:[ ]*\([^()\n]{3,40}\))?(?:\s+in(?:\s+[a-z]+){1,4}?)?"
    r"(?:\s+(?:to|for|of)\s+(?:the|this|our|that|your)\s+(?:[a-z]+\s+){0,3}?(?:question|problem|puzzle|exercise))?"
)
_VERB = r"\s+(?:is|are|was|equals|(?:would|will|should|must|has\s+to|ought\s+to)\s+be|comes\s+(?:out\s+)?(?:to|as))\b"
_FILLER = (
    r"therefore|thus|then|hence|so|now|simply|just|indeed|approximately|about|around|roughly|exactly|only|clearly"
    r"|obviously|equal\s+to|given\s+by|that|be|a\s+total\s+of|the|an?\s+(?=option|answer)|answer|option|choice|letter"
    r"|not\s+[^.,\n]{1,20}?,?\s+but(?:\s+rather)?"
)
_LINK = (
    rf"(?:(?P<verb>{_VERB})|\s*[:=≈⇒]|\s+-+(?=\s))"
    rf"(?:\s*[:=≈⇒,]|\s+(?:{_FILLER})\b){{0,8}}"
)
_SUBJECT = r"\b(?:answers?|ans)\b\.?"
_ADJECTIVES = (
    r"(?:(?:so|thus|therefore|hence)\b,?\s*)?(?:(?:the|my|our)\s+)?(?:(?:final|correct|right|best|numerical)\s+)*"
)
_NUMBERED = r"\W{0,20}(?:(?:step\s*)?[0-9]{1,2}\s*[.):-]\W{0,5})?"

_SAID = re.compile(rf"(?i){_SUBJECT}{_ASKED}{_LINK}|{BOX}")
_HEADING = re.compile(rf"(?im)^{_NUMBERED}{_ADJECTIVES}{_SUBJECT}{_ASKED}[ ]*$")
_BESIDE = r"[ ]*(?=\n|\Z)|[ ]+(?=[-$(]*[0-9]|\(?[A-E]\b)"
_SAID_HERE = re.compile(rf"(?i:{_NUMBERED}{_ADJECTIVES}{_SUBJECT}{_ASKED}(?:{_LINK}|(?-i:{_BESIDE})))|[^\n]*{BOX}")
_BREAK = re.compile(r"[ \t]*\n")
_BLANK = re.compile(r"\n\s*\n")
_LONGEST = 1000
"""Characters of a paragraph that are looked at."""
_LABEL = re.compile(r"[^\w\s]*\s*[A-Za-z]{2}[A-Za-z' ()/-]{0,60}(?:[:=]|\b(?:is|are|equals)\b)")


class Answered(NamedTuple):
    """The strict reading of a text."""

    answer: str
    mark: int
    """Which mark it stands behind, from 0."""


class _Marked(NamedTuple):
    """A mark with what stands behind it."""

    start: int
    end: int
    content: str
    reading: Reading | None


def behind_mark(text: str, read: Reader, listed: Listed = _none) -> Answered | None:
    """Return the answer behind the mark that counts, None where none does; of marks that agree the first."""
    marked = list(_marked(text, read))
    answered = next((mark for mark in marked if mark.reading), None)
    if answered is None:
        closing = _closing(text, marked[-1], read) if marked else None
        return None if closing is None else Answered(closing, len(marked) - 1)
    text = text[: next_question(text, answered.end)]
    marked = _unlisted([mark for mark in marked if mark.start < len(text)], listed)
    readings = [(mark.reading, number) for number, mark in enumerate(marked) if mark.reading]
    alone = (Answered(reading.answer, number) for reading, number in readings if reading.is_alone)
    return next(alone, None) or _agreed(text, marked, readings, read)


def _agreed(text: str, marked: list[_Marked], readings: list[tuple[Reading, int]], read: Reader) -> Answered | None:
    """Return what all marks say with words behind, and what is said to be the answer later; None where they differ."""
    if not readings:
        return None
    (reading, first), *_ = readings
    later = {answer for start, answer in said(text, read) if start > marked[first].start}
    is_one = {one.answer for one, _ in readings} | later == {reading.answer}
    return Answered(reading.answer, first) if is_one else None


def _unlisted(marked: list[_Marked], listed: Listed) -> list[_Marked]:
    """Return the marks, those without a reading that do no more than list an option."""
    answered = [number for number, mark in enumerate(marked) if mark.reading]
    answers = [mark.reading.answer for mark in marked if mark.reading]
    lists = {number for number, is_listed in zip(answered, listed(answers), strict=True) if is_listed}
    return [mark._replace(reading=None) if number in lists else mark for number, mark in enumerate(marked)]


def mark_end(text: str, plain: Callable[[str], str], read: Reader, listed: Listed = _none) -> int | None:
    """Return where in `text` the mark ends that counts once `plain` is done with it, None where none does."""
    found = behind_mark(plain(text), read, listed)
    if found is None:
        return None
    # `plain` moves places, but no mark before another
    return bisect_left(range(len(text)), True, key=lambda end: len(_MARK.findall(plain(text[:end]))) > found.mark)


def said(text: str, read: Reader) -> list[tuple[int, str]]:
    """Return every answer that words say is one, with the place of the words, up to a next question."""
    found: list[tuple[int, str]] = []
    end = len(text)
    for match in sorted([*_SAID.finditer(text), *_HEADING.finditer(text)], key=lambda match: match.start()):
        reading = _read_behind(text, match, read)[1] if match.start() < end else None
        if reading:
            end = end if found else next_question(text, match.end())
            found.append((match.start(), reading.answer))
    return found


def next_question(text: str, position: int) -> int:
    """Return where the first question behind `position` begins, or the length of `text`."""
    question = _QUESTION.search(text, position)
    return question.start() if question else len(text)


def _marked(text: str, read: Reader) -> Iterator[_Marked]:
    marks = list(_MARK.finditer(text))
    for mark, following in zip_longest(marks, marks[1:]):
        own = text[: following.start() if following else None]
        own = own[: next_question(own, mark.end())]
        label = _SAID_HERE.match(own, mark.end())
        while label and (again := _SAID_HERE.match(own, label.end())):
            label = again
        if label:
            content, reading = _read_behind(own, label, read)
        else:
            content, _ = _paragraph(own, mark.end())
            reading = read(content, Lead.NONE)
        yield _Marked(mark.start(), mark.end(), content, reading)


def _read_behind(text: str, said: re.Match[str], read: Reader) -> tuple[str, Reading | None]:
    """Return what stands behind words that say an answer follows, and the answer read there."""
    content, is_last = _paragraph(text, said.end())
    if said.group().endswith(BOX):
        return content, read(content.partition(BOX_END)[0], Lead.VERB)
    if not _BREAK.match(text, said.end()):
        return content, read(content, Lead.VERB if said.groupdict().get("verb") else Lead.LABEL)
    return content, read(content, Lead.LABEL if is_last else Lead.HEADING)


def _paragraph(text: str, position: int) -> tuple[str, bool]:
    """Return the rest of the paragraph at `position`, or the next one where nothing stands there; is it the last?"""
    rest = text[position : position + _LONGEST].lstrip()
    content = _BLANK.split(rest, maxsplit=1)[0].rstrip()
    return content, text.rstrip().endswith(content) and len(rest.rstrip()) == len(content)


def _closing(text: str, last: _Marked, read: Reader) -> str | None:
    """Return the answer behind the label of the last mark, if nothing follows its line."""
    label = _LABEL.match(last.content)
    is_closing = label and "\n" not in last.content and text.rstrip().endswith(last.content)
    reading = read(last.content[label.end() :], Lead.LABEL) if label and is_closing else None
    return reading.answer if reading else None
