"""Letters of options, as people and models name them, in text that went through `wrappers.plain`.

B   b   (b)   "B"   B) 21   B: 21   Option B   the answer is B since it fits
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dpc.tasks.extraction.marks import next_question
from dpc.tasks.extraction.wrappers import BOX, BOX_END

_AFTER = r"(?:because|since|as|for|and|or|which|that|with|not|is|was|in|by|at|if)\b"
# `A` is also an article and `E` or `C` a variable: no option before other words, in a formula or in a name.
_LETTER = rf"""
    [\s("'\[<${BOX}]*
    (?: (?P<upper>[A-E]) (?! \w | ['-][A-Za-z] | [ ]*[+*/^×÷][ ]*[\w(] | (?<=A)[ ]+(?!{_AFTER})[a-z] )
      | (?P<lower>[a-e])
        (?= [ .]*[)\]{BOX_END}] | [ .,;:!?']*(?:\n|\Z) | [.,;:]?[ ]+{_AFTER} | [.:][ ]+[-$]?[0-9] )
    )
"""
_LINK = (
    r"(?:\s*[-:=.,⇒]|\s+(?:is|are|was|be|will|would|must|should|therefore|thus|then|hence|so|indeed|clearly|the"
    r"|letter|option|choice|correct|answer|not\s+[^.,\n]{1,20}?,?\s+but(?:\s+rather)?)\b){0,8}"
)
_RIGHT = r"(?:correct|right|true|best)"


def _compiled(*patterns: str) -> list[re.Pattern[str]]:
    return [re.compile(pattern, re.VERBOSE | re.MULTILINE) for pattern in patterns]


_SAID = _compiled(
    rf"{BOX}{_LETTER}",
    rf"(?i:\b(?:answers?|ans|{_RIGHT}\s+(?:option|choice|alternative|letter))\b{_LINK}){_LETTER}",
    rf"(?i:\b(?:choose|chose|select|pick|go\s+with|opt\s+for)\b(?:\s+(?:the|option|choice|answer|letter)){{0,3}}){_LETTER}",
    rf"""(?<![\w'])(?:\((?P<lower>[a-e])(?=\))|(?P<upper>[A-E]))['")\].]*\s+(?i:(?:is|was|(?:must|will)\s+be)\s+(?:indeed\s+)?
         (?:(?:the|our|a)\s+)?(?:(?:{_RIGHT}|only)\b|(?:answer|option|choice)\b))""",
)
_NAMED = _compiled(
    rf"(?i:\b(?:option|choice|alternative)\b{_LINK}){_LETTER}",
    r"(?i:\b(?:be|is|are|so|thus|hence|therefore|gives|get|means)\b|'s\b|[=⇒])[\s,:]*(?:\(?(?P<upper>[A-E])\)|\((?P<lower>[a-e])\))",
    r"(?<![\w'])(?P<upper>[A-E])\)?\s+(?:works|fits|matches|satisfies)\b",
)
_ALONE = _compiled(
    r"(?:(?<=[\s=>⇒:])|^)['(\[]?(?P<upper>[A-E])[')\]]?[ ]*[.)!]?[ ]*$",
    r"\((?P<upper>[A-E])\)",
    r"^[ ]*(?P<upper>[A-E])[).:][ ]+(?:[-$]?[0-9]|None\b)",
    r"^[ ]*\(?(?P<lower>[a-e])\)?[ ]*[.]?[ ]*$",
)
_LEAD = re.compile(r"(?i)\W*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|alternative|letter)\b\s*(?:is\b|[:-])?)?\W*")
_FIRST = re.compile(_LETTER, re.VERBOSE)

_ANOTHER = re.compile(
    r"""(?x) [)\]'.⟧]*\s* (?: (?:or|and|/|&)\s*\(?[A-E]\b(?!\s*is\b)
      | ,\s*(?:(?:or|and)\s+)?\(?[A-E]\)?\s*(?:[,.\n]|\Z|(?:or|and)\b) )"""
)
_IS_NOT = re.compile(
    r"""(?ix) [)\]'⟧]*\s* (?: (?:is|are|was|were|would\s+be|seems)\s+ (?:(?:the|an?|also|therefore|\w+ly)\s+)?
        (?:not|never|wrong|incorrect|false|invalid|impossible|too|out|eliminated|ruled|excluded|rejected)\b
      | (?:isn't|aren't|wasn't|cannot|can't|couldn't|doesn't|don't|won't|(?:does|do|will)\s+not|fails|forgets|ignores)\b
      )"""
)
_NOT = re.compile(
    r"""(?ix) (?:\b(?:not|neither|nor|never|than|instead\s+of|unlike|except|eliminates?|excludes?|rejects?|discards?
        |rules?\s+out)|n't(?:\s+be)?) \s+(?:options?|choices?|answers?)?
        (?:[\s("'\[]*[A-E][)\]']?\s*(?:,|and|or|nor|&)\s){0,4}[\s("'\[]*\Z"""
)


class _Found(NamedTuple):
    place: int
    letter: str


def read(content: str) -> tuple[str, str] | None:
    """Return the letter that `content` begins with, and what stands behind it; None if it begins with none, or two."""
    match = _FIRST.match(content, _LEAD.match(content).end())  # type: ignore[union-attr]  # it matches nothing at least
    found = _accepted(match) if match else None
    return (found.letter, content[found.place + 1 :]) if found else None


def named(text: str) -> str | None:
    """Return the letter that `text` says last is the answer, or names last as an option, or that stands alone last.

    What is said decides over what is named, and that over what stands alone. Letters that are said to be wrong do
    not count, nor do three or more in the order of the alphabet: they list the options.
    """
    said = _all(_SAID, text)
    if said:
        text = text[: next_question(text, min(said).place)]
    for patterns in (_SAID, _NAMED, _ALONE):
        found = sorted(set(_all(patterns, text)))
        is_listed = listed([one.letter for one in found]) if patterns is _ALONE else [False] * len(found)
        letters = [one for one, is_one in zip(found, is_listed, strict=True) if not is_one]
        if letters:
            return letters[-1].letter
    return None


def _all(patterns: Iterable[re.Pattern[str]], text: str) -> list[_Found]:
    found = (_accepted(match) for pattern in patterns for match in pattern.finditer(text))
    return [one for one in found if one]


def _accepted(match: re.Match[str]) -> _Found | None:
    """Return the letter of a match, None where it is said to be wrong or is one of two."""
    which = "upper" if match.groupdict().get("upper") else "lower"
    start, end = match.span(which)
    text = match.string
    if _ANOTHER.match(text, end) or _IS_NOT.match(text, end) or _NOT.search(text[max(0, start - 60) : start]):
        return None
    return _Found(start, match[which].upper())


def listed(letters: Sequence[str]) -> list[bool]:
    """Say which letters stand in a run of three and more in the order of the alphabet: those list the options."""
    runs: list[list[str]] = []
    for letter in letters:
        if runs and ord(letter) == ord(runs[-1][-1]) + 1:
            runs[-1].append(letter)
        else:
            runs.append([letter])
    return [len(run) > 2 for run in runs for _ in run]
