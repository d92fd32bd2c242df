"""The embedded task: word problems of one to six steps over a small closed vocabulary.

A question: `Tom has 10 shells . Mon buys 7 . Eve loses 3 . Tue doubles it .` (sentences that start with another
person's name are distractors). Its rationale: `Mon buys 7 = 17 ; Tue doubles it = 34 ; #### 34`.

The language model trained on it (`dpc/lm/builtin.py`) learns three answer styles. How often each is used depends on
the object asked about, so that without help the model often answers in a style that gets the answer wrong, although
it can do the arithmetic: what a soft prompt can put right, and an over-reaching one can break.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from dpc.errors import DpcError
from dpc.storage.hashing import hash_order
from dpc.tasks.base import Facts, Problem, normalise
from dpc.tasks.fields import brief, number, text_of

FACTS = Facts(
    generates=True,
    row={"question": "Tom has 10 shells . Mon buys 7 .", "rationale": "Mon buys 7 = 17 ; #### 17", "answer": "17"},
)
VERSION = "1"
STEP_END = re.compile(";")
CHANCE = 0.0
ANSWER_MARK = "####"

_MARKED = re.compile(rf"{ANSWER_MARK}\s*(\d+)")
NAMES = ("Tom", "Ann", "Bob", "Eve", "Sam", "Mia", "Max", "Zoe")
OBJECTS = {
    "A": ("apples", "pears", "plums", "nuts"),
    "B": ("coins", "stamps", "cards", "shells"),
    "C": ("books", "pens", "toys", "cups"),
}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
GAIN, LOSS = ("buys", "finds", "gets"), ("loses", "gives", "sells")
STYLES = ("full", "direct", "sloppy")
STYLE_TAGS = {"full": "step by step :", "direct": "answer only :", "sloppy": "draft :"}
KINDS, STUDY_KINDS = "ABC", "AABBBCCC"
"""Classes that objects are drawn from, in training documents and in study questions: greedy decoding takes each class's
commonest style, so a quarter of the study questions is answered in full without help."""
STYLE_WEIGHTS = {"A": (0.8, 0.1, 0.1), "B": (0.2, 0.7, 0.1), "C": (0.2, 0.1, 0.7)}
TAGGED_STYLE_WEIGHTS = (0.5, 0.25, 0.25)
TAG_RATE, FULL_TAG_RATE, DISTRACTOR_RATE = 0.5, 0.7, 0.15
LARGEST_VALUE, LARGEST_OPERAND, MOST_STEPS = 39, 9, 6
NUMERALS = tuple(str(i) for i in range(100))
WORDS = (
    ["Q", "A", ":", ";", ".", "=", "####", "has", "doubles", "it", "step", "by", "answer", "only", "draft"]
    + list(DAYS + GAIN + LOSS + NAMES)
    + [name for names in OBJECTS.values() for name in names]
)
VOCABULARY = ("<pad>", "<bos>", "<eos>", *WORDS, *NUMERALS)


@dataclass(frozen=True)
class _Story:
    """A question before it is put into words."""

    question: str
    steps: tuple[tuple[str, int], ...]  # what happens, and the value after it
    kind: str  # class of the object: A, B or C


def _step(rng: random.Random, value: int) -> tuple[str, int]:
    """Draw one operation that keeps the value between 0 and LARGEST_VALUE."""
    operations = ["gain"] * 4 * (value < LARGEST_VALUE) + ["lose"] * 4 * (value > 2)
    if 1 <= value <= LARGEST_VALUE // 2 and rng.random() < 0.96:
        operations.append("double")
    operation = rng.choice(operations)
    if operation == "double":
        return "doubles it", 2 * value
    if operation == "gain":
        operand = rng.randint(1, min(LARGEST_OPERAND, LARGEST_VALUE - value))
        return f"{rng.choice(GAIN)} {operand}", value + operand
    operand = rng.randint(1, min(LARGEST_OPERAND, value))
    return f"{rng.choice(LOSS)} {operand}", value - operand


def _story(rng: random.Random, steps: int, kinds: str) -> _Story:
    kind = rng.choice(kinds)
    name = rng.choice(NAMES)
    other = rng.choice([n for n in NAMES if n != name])
    value = rng.randint(2, (LARGEST_VALUE + 1) // 2)
    sentences, done = [f"{name} has {value} {rng.choice(OBJECTS[kind])} ."], []
    for day in DAYS[:steps]:
        if rng.random() < DISTRACTOR_RATE:
            sentences.append(f"{other} {rng.choice(GAIN + LOSS)} {rng.randint(1, LARGEST_OPERAND)} .")
        event, value = _step(rng, value)
        sentences.append(f"{day} {event} .")
        done.append((f"{day} {event}", value))
    return _Story(" ".join(sentences), tuple(done), kind)


def _rationale(story: _Story, style: str) -> str:
    """Put the solution into words; `sloppy` stops two steps early, `direct` shows no step."""
    shown = {"full": len(story.steps), "direct": 0, "sloppy": max(1, len(story.steps) - 2)}[style]
    answer = story.steps[shown - 1][1] if style == "sloppy" else story.steps[-1][1]
    return " ".join([f"{event} = {value} ;" for event, value in story.steps[:shown]] + [f"#### {answer}"])


def _for_study(question: str) -> bool:
    """Keep a quarter of all possible questions out of the model's training documents, by hash."""
    return int(hash_order(normalise(question), "study")[:8], 16) % 4 == 0


def generate_problems(seed: int, count: int) -> list[tuple[str, Problem]]:
    """Return `count` different questions of two to six steps with the generator's name as source.

    They come from the quarter of all questions that the embedded model never trains on.
    """
    rng = random.Random(seed)
    found: dict[str, Problem] = {}
    while len(found) < count:
        story = _story(rng, 2 + len(found) % (MOST_STEPS - 1), STUDY_KINDS)
        if _for_study(story.question):
            answer = str(story.steps[-1][1])
            problem = Problem(story.question, _rationale(story, "full"), answer, len(story.steps))
            found.setdefault(normalise(story.question), problem)
    return [(f"arithmetic(seed={seed})", problem) for problem in found.values()]


def training_document(rng: random.Random, steps: int, full_only: bool) -> tuple[str, str]:
    """Return the question part and the rationale of one document for the embedded model.

    With `full_only` every rationale is complete (the first half of training: or retrieval does not form); else half of
    the documents name their style with a tag, and the others follow the object's habit.
    """
    story = _story(rng, steps, KINDS)
    while _for_study(story.question):
        story = _story(rng, steps, KINDS)
    if full_only:
        style, tagged = "full", rng.random() < FULL_TAG_RATE
    else:
        tagged = rng.random() < TAG_RATE
        weights = TAGGED_STYLE_WEIGHTS if tagged else STYLE_WEIGHTS[story.kind]
        style = rng.choices(STYLES, weights)[0]
    tag = f"{STYLE_TAGS[style]} " if tagged else ""
    return f"{tag}Q : {story.question} A :", _rationale(story, style)


def question(row: dict[str, Any]) -> str:
    """Read `question`; raises DpcError if it is missing or no text."""
    return text_of(row, "question", "Tom has 10 shells . Mon buys 7 .")


def parse(row: dict[str, Any]) -> Problem:
    """Read question, rationale and answer, a whole number; raises DpcError that names the wrong field."""
    rationale = text_of(row, "rationale", "Mon buys 7 = 17 ; #### 17")
    answer = number(row.get("answer")) or text_of(row, "answer", "17")
    if not re.fullmatch(r"[0-9]+", answer):
        raise DpcError(f"field 'answer' is {brief(answer)}; expected a whole number like 17")
    return Problem(question(row), rationale, answer, len(STEP_END.findall(rationale)))


def extract(text: str) -> tuple[str | None, str | None]:
    """Return the number behind the first answer mark, and that or else the last number."""
    strict = _MARKED.search(text)
    numbers = re.findall(r"\d+", text)
    found = strict.group(1) if strict else None
    return found, found or (numbers[-1] if numbers else None)


def mark_end(text: str) -> int | None:
    """Return where the first answer mark with a number behind it ends."""
    found = _MARKED.search(text)
    return found.start() + len(ANSWER_MARK) if found else None


def grade(extracted: str | None, answer: str) -> bool:
    """Compare as whole numbers."""
    return extracted is not None and int(extracted) == int(answer)
