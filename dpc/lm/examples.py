"""Questions with their gold rationales as token ids: what prompts are tuned and heads are scored on."""

from __future__ import annotations

from bisect import bisect_left
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
    labels: tuple[str, ...] = ()
    """The words of which the gold answer is one, for a tuner that `reads_labels`; none where answers are open."""

    def __len__(self) -> int:
        return len(self.question_ids) + len(self.rationale_ids)


def gold_example(
    lm: LanguageModel, vectors: int, question: str, rationale: str, answer: str = "", labels: tuple[str, ...] = ()
) -> Example:
    """Return a question and its gold rationale as token ids; raises DpcError where they are too long."""
    example = Example(lm.encode(question), [*lm.encode(rationale), lm.end_ids[0]], answer, labels)
    longest = max([len(example.rationale_ids), *(len(lm.encode(label)) for label in labels)])
    check_length(lm, vectors, len(example.question_ids), longest)
    return example


def answer_span(lm: LanguageModel, example: Example) -> range:
    """Return which tokens of the rationale are its answer: where its text stands last.

    A task may write an answer otherwise than its rationale does (1,000 and 1000): where the text is not found, it is
    the last token before the end mark.
    """
    ids = example.rationale_ids
    start = lm.decode(ids).rfind(example.answer) if example.answer else -1
    if start < 0:
        last = max(0, len(ids) - 2)
        return range(last, last + 1)

    def token_behind(place: int) -> int:
        """Return the first token at whose end so many letters are written."""
        return bisect_left(range(len(ids) - 1), place, key=lambda t: len(lm.decode(ids[: t + 1])))

    return range(token_behind(start + 1), token_behind(start + len(example.answer)) + 1)
