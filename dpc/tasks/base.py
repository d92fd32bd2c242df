"""What a question is: read a row, render it, extract an answer, grade it. One file per task."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer."""

    question: str
    """What is asked, options included."""
    rationale: str
    """Gold rationale followed by the answer behind the task's answer mark: what prompts are tuned on."""
    answer: str
    """Gold answer in the form `Task.grade` compares with."""
    steps: int
    """Reasoning steps of the gold rationale."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a task without running it: `FACTS = Facts(...)` in a module of `dpc/tasks` makes it a task."""

    test_rows: int | None = None
    """Rows of the published test file; None where there is none."""
    generates: bool = False
    """Whether its questions are generated, not read; then it has `generate_problems(seed, count)`."""
    marks_once: bool = True
    """Whether the answer mark stands in a gold rationale once; no for MATH, whose last box counts."""
    adds_mark: bool = False
    """Whether the task puts the answer behind a mark that the rows do not have."""
    takes_options: bool = False
    """Whether it is told how rows look: it has `Settings` of `datasets.NAME.options`, and `with_options` of them."""
    asked_in: str = "question"
    """The field of a row that holds the question."""
    row: dict[str, Any] = field(default_factory=dict)
    """A row as its files hold them, made up; its fields are those that `datasets.NAME.columns` may rename."""


class Task(Protocol):
    """How one benchmark is read and graded. Implementations are modules, see `dpc.tasks.get_task`."""

    FACTS: Facts
    VERSION: str
    """Version of extraction and grading; written into every outcome."""
    STEP_END: re.Pattern[str]
    """What ends a reasoning step in a rationale."""
    CHANCE: float
    """Accuracy that guessing reaches: 0 where answers are open."""
    ANSWER_MARK: str
    """Text that introduces the final answer in a rationale."""

    def question(self, row: dict[str, Any]) -> str:
        """Read what is asked, options included, and nothing of gold; raises as `parse` does."""

    def parse(self, row: dict[str, Any]) -> Problem:
        """Read one raw row; raises DpcError that names the missing or unreadable field, see `dpc.tasks.fields`."""

    def extract(self, text: str) -> tuple[str | None, str | None]:
        """Return the strict and the lenient reading of the answer in generated `text`.

        Strict: what stands behind the answer mark that counts, see `marks.py` (MATH: in the last box, as its solutions
        box on the way). Lenient: that, or else what the text says is its answer, or else the last thing that
        could be one. None where there is nothing.
        """

    def mark_end(self, text: str) -> int | None:
        """Return where in `text` the answer mark ends that the strict reading takes; None where it finds nothing."""

    def grade(self, extracted: str | None, answer: str) -> bool:
        """Say whether an extracted answer equals the gold answer."""


class GeneratedTask(Task, Protocol):
    """A task that declares `generates`."""

    def generate_problems(self, seed: int, count: int) -> list[tuple[str, Problem]]:
        """Return so many different problems, each with where it came from; the same for the same seed."""


class OptionsTask(Task, Protocol):
    """A task that declares `takes_options`."""

    labels: tuple[str, ...]
    """The words that answer every question."""


AT_CHANCE = "not interpretable: accuracy is not above chance"
"""Said of what compares right with wrong answers that guessing may explain."""


def count_steps(rationale: str, step_end: re.Pattern[str]) -> int:
    """Return the number of parts of `rationale` between step ends that hold a word."""
    return sum(bool(part.strip()) for part in step_end.split(rationale))


def normalise(question: str) -> str:
    """Return `question` in the form that decides whether two questions are the same: case and spacing aside."""
    return re.sub(r"\s+", " ", question).strip().casefold()


def problem_id(dataset: str, question: str) -> str:
    """Return an id that depends on the normalised question alone: `gsm8k-1f0c9a…`."""
    return f"{dataset}-{hashlib.sha256(normalise(question).encode()).hexdigest()[:16]}"
