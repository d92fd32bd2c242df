"""Questions with their gold rationales as token ids: what prompts are tuned and heads are scored on."""

from __future__ import annotations

from dataclasses import dataclass

from dpc.lm.layout import check_length
from dpc.lm.models import LanguageModel


@dataclass(frozen=True)
class Example:
    """A question and its gold rationale, answer and end mark included, as token ids."""

    question_ids: list[int]
    rationale_ids: list[int]
    answer: str = ""
    """The gold answer alone, as text, for a tuner that asks for it."""

    def __len__(self) -> int:
        return len(self.question_ids) + len(self.rationale_ids)


def gold_example(lm: LanguageModel, vectors: int, question: str, rationale: str, answer: str = "") -> Example:
    """Return a question and its gold rationale as token ids; raises DpcError where they are too long."""
    example = Example(lm.encode(question), [*lm.encode(rationale), lm.end_ids[0]], answer)
    check_length(lm, vectors, len(example.question_ids), len(example.rationale_ids))
    return example
