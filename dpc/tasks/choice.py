"""Labelled options: questions whose answer is one of a few words, such as BoolQ, SST-2, FOLIO and parts of BBH.

`datasets.NAME.options` says how rows are read. A row of BoolQ, made up, and what is told of it:

    {"question": "is snow cold", "passage": "Snow is frozen water.", "answer": true}

    options: {labels: ["no", "yes"], question: "{passage}\\nQuestion: {question}?"}

Gold is a label, its number from 0, true or false, or (where rows have `texts`) the text of an option. A row without a
rationale is tuned on its label alone, one with a rationale on that and a last line `#### yes`. The strict reading is
the label behind `####`, or the first line of an answer without mark, if that is a label. The lenient one is the label
that is said to be the answer, or else one that the text begins with (`Yes, …`), or else the last one named. A label
behind `not` is not named, nor is `no` before another word. Letters are named as `(A)`, `A)` or `A.` alone.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from dpc.config import kinds
from dpc.errors import DpcError
from dpc.tasks.base import Facts, Problem, Task, count_steps
from dpc.tasks.extraction import marks
from dpc.tasks.extraction.marks import Lead, Reading
from dpc.tasks.extraction.wrappers import plain
from dpc.tasks.fields import Row, brief, number, text_of, texts_of, value_of

FACTS = Facts(marks_once=False, takes_options=True)
_FIELD = re.compile(r"{([^{}]+)}")
_LEAD = r"\W*(?:(?:the\s+)?(?:(?:correct|right)\s+)?(?:option|choice|label|answer)\b\s*(?:is\b|[:-])?)?\W*"
_ENDS = r"[^\w\n]*(?:\n|\Z)"
_PAUSE = re.compile(r"[)*_\"']*(?:[,.;:!–—]|\s-|\s*(?:\n|\Z))")
"""Behind a label that is an answer by itself."""
_NOT = re.compile(r"(?i)(?:\b(?:not|never|neither|nor|cannot)|n't)\s+(?:\w+ly\s+)?(?:(?:be|a|an|the)\s+)?\W*\Z")


class Settings(kinds.Settings):
    """What `datasets.NAME.options` may set."""

    labels: Annotated[list[Annotated[str, Field(max_length=40)]], Field(min_length=2)]
    """The words that answer every question; in quotes, as YAML reads yes and no as true and false."""
    question: str = "{question}"
    """What is asked: text with the names of a row's fields in braces."""
    answer: str = "answer"
    """The field that holds gold: a label, its number from 0, or true and false."""
    texts: str | None = None
    """The field that holds a text for each label, shown under the question as `(A) text`; null where there is none."""
    rationale: str | None = None
    """The field that holds a gold rationale; null tunes on the label alone."""

    @field_validator("labels")
    @classmethod
    def _are_words(cls, labels: list[str]) -> list[str]:
        for label in labels:
            if not (label[:1].isalnum() and label[-1:].isalnum() and label.isprintable()):
                raise ValueError(f"label {label!r} is no word; write one that begins and ends in a letter or digit")
        folded = [label.casefold() for label in labels]
        if len(set(folded)) < len(folded):
            raise ValueError("two labels are the same, capitals aside; write each once")
        return labels

    @field_validator("question")
    @classmethod
    def _asks(cls, question: str) -> str:
        if "{" not in question or "}" not in question:
            raise ValueError("it names no field; write fields of a row in braces, such as {question}")
        return question


class Choice:
    """The task, told how its rows look; see `dpc.tasks.base.Task`."""

    FACTS = FACTS
    VERSION = "2"
    STEP_END = re.compile(r"\n|(?<=[.!?])\s")
    ANSWER_MARK = "####"

    def __init__(self, options: dict[str, Any]):
        """Take what `Settings` may set, which is checked where the configuration is read."""
        self.told = Settings.model_validate(options)
        self.labels = tuple(self.told.labels)
        self.CHANCE = 1 / len(self.told.labels)
        self._label_of = {label.casefold(): label for label in self.told.labels}
        self._first, self._named = _patterns(self.told.labels)

    def question(self, row: Row) -> str:
        """Fill the fields of `row` into `options.question`, options below; raises DpcError that names the field."""
        asked = _FIELD.sub(lambda field: text_of(row, field[1], "Is snow cold?"), self.told.question)
        return "\n".join([asked, *(f"({label}) {text}" for label, text in self._texts(row).items())])

    def parse(self, row: Row) -> Problem:
        """Read question, gold label and rationale, if there is one; raises DpcError that names the wrong field."""
        asked, label = self.question(row), self._gold(row)
        if self.told.rationale is None:
            return Problem(asked, label, label, 1)
        reasoning = text_of(row, self.told.rationale, "Snow is frozen water.")
        return Problem(asked, f"{reasoning}\n{self.ANSWER_MARK} {label}", label, count_steps(reasoning, self.STEP_END))

    def extract(self, text: str) -> tuple[str | None, str | None]:
        """Return the label behind the `####` that counts or on the first line alone; that, or else the label named."""
        text = plain(text)
        if strict := self._strict(text):
            return strict, strict
        said = [label for _, label in marks.said(text, self._read)]
        return None, said[-1] if said else self._begun(text) or self._last_named(text)

    def mark_end(self, text: str) -> int | None:
        """Return where the `####` that counts ends, 0 where the answer begins with its label, None where neither is."""
        end = marks.mark_end(text, plain, self._read)
        return 0 if end is None and self._strict(plain(text)) else end

    def grade(self, extracted: str | None, answer: str) -> bool:
        """Say whether both are the same label; raises DpcError if the gold answer is none."""
        if answer not in self.told.labels:
            raise DpcError(f"gold answer {answer!r} is no option; expected one of {', '.join(self.told.labels)}")
        return extracted == answer

    def _strict(self, text: str) -> str | None:
        if marked := marks.behind_mark(text, self._read):
            return marked.answer
        begun = self._read(text.lstrip(), Lead.NONE)
        return begun.answer if begun and begun.is_alone and self.ANSWER_MARK not in text else None

    def _begun(self, text: str) -> str | None:
        """Return the label that a text begins with, if it pauses behind it."""
        found = self._first.match(text)
        return self._label(found) if found and _PAUSE.match(text, found.end()) else None

    def _last_named(self, text: str) -> str | None:
        named = [found for found in self._named.finditer(text) if not _NOT.search(text[: found.start()])]
        return self._label(named[-1]) if named else None

    def _read(self, content: str, _lead: Lead) -> Reading | None:
        """Read the label that `content` begins with, whatever words stand before it."""
        found = self._first.match(content)
        if not found:
            return None
        return Reading(self._label(found), re.compile(_ENDS).match(content, found.end()) is not None)

    def _label(self, found: re.Match[str]) -> str:
        groups = found.groupdict()
        written = groups.get("label") or groups.get("bracketed") or groups["alone"]
        return self._label_of[written.casefold()]

    def _texts(self, row: Row) -> dict[str, str]:
        """Return the texts of a row's options by label; nothing where rows have none."""
        name, labels = self.told.texts, self.told.labels
        if name is None:
            return {}
        expected = f"a list of {len(labels)} texts, one for each of options.labels"
        texts = texts_of(row, name, expected, "snow")
        if len(texts) != len(labels):
            raise DpcError(f"field {name!r} has {len(texts)} texts; expected {expected}")
        return dict(zip(labels, texts, strict=True))

    def _gold(self, row: Row) -> str:
        """Return the gold label. Raises DpcError for what is no label, number of one, truth or text of an option."""
        name, labels = self.told.answer, self.told.labels
        value = value_of(row, name)
        if isinstance(value, bool) and json.dumps(value) in self._label_of:
            return self._label_of[json.dumps(value)]
        if isinstance(value, bool) and len(labels) == 2:
            return labels[value]
        place = number(value)
        if place is not None and place in map(str, range(len(labels))):
            return labels[int(place)]
        if isinstance(value, str | bytes):
            texts = {text: label for label, text in self._texts(row).items()}
            written = text_of(row, name, labels[0])
            if label := texts.get(written) or self._label_of.get(written.strip("() .").casefold()):
                return label
        told = brief(value) if place is None else place
        raise DpcError(f"field {name!r} is {told}; expected one of {', '.join(labels)}, or its number from 0")


def _patterns(labels: list[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds the label that a text begins with, and each label that is named in a text.

    A word is found in capitals and small letters, a single letter as it is written: `a` is an article too.
    """
    letters = "".join(label for label in labels if len(label) == 1 and label.isupper())
    words = sorted(({*labels} - {*letters}), key=lambda label: (-len(label), label))
    never = r"(?!)"
    word, named = (rf"(?<![\w-])(?i:{each})(?!\w|['-]\w)" if words else never for each in _spelled(words))
    letter = rf"(?<![\w'-])[{letters}](?![\w'-])" if letters else never
    bracketed = rf"\(\s*(?P<bracketed>[{letters}])\s*\)" if letters else rf"(?P<bracketed>{never})"
    first = rf"{_LEAD}(?P<label>{word}|{letter})"
    return re.compile(first), re.compile(rf"(?P<label>{named})|{bracketed}|(?P<alone>{letter})(?=[).:]|{_ENDS})")


def _spelled(words: list[str]) -> tuple[str, str]:
    """Return what finds any of the words, and what finds them where `no` is an answer: before a word it denies that."""
    every = [re.escape(word) for word in words]
    return "|".join(every), "|".join(rf"{word}(?!\s+\w)" if word.casefold() == "no" else word for word in every)


def with_options(options: dict[str, Any]) -> Task:
    """Return the task that reads rows as `options` say."""
    return Choice(options)
