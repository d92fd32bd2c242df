"""The placebo: rationales change hands, and all else is prompt tuning."""

from __future__ import annotations

import pytest
import torch

from dpc.errors import DpcError
from dpc.lm.examples import Example
from dpc.prompts.tuners import placebo, prompt_tuning
from tests.prompts.test_training import LAYOUT, examples, recipe
from tests.support import tiny


def numbered(count: int) -> list[Example]:
    return [Example([question], [100 + question]) for question in range(count)]


@pytest.mark.parametrize("count", [2, 3, 7, 200])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_question_gets_a_rationale_of_another_one(count: int, seed: int) -> None:
    found = placebo.exchanged(numbered(count), seed)
    assert [example.question_ids for example in found] == [[question] for question in range(count)]
    assert all(example.rationale_ids != [100 + example.question_ids[0]] for example in found)
    assert sorted(example.rationale_ids[0] for example in found) == list(range(100, 100 + count))


def test_the_seed_decides_who_gets_what() -> None:
    first, again, other = (placebo.exchanged(numbered(50), seed) for seed in (0, 0, 1))
    assert first == again != other


def test_few_questions_are_no_error() -> None:
    assert placebo.exchanged([], 0) == []
    assert placebo.exchanged(numbered(1), 0) == numbered(1)


def test_a_pair_that_the_model_cannot_read_is_refused() -> None:
    """Each question fits with its own rationale; the longest question and the longest rationale do not."""
    pairs = [Example([5] * 90, [6] * 10), Example([5] * 10, [6] * 90)]
    with pytest.raises(DpcError, match="128"):
        placebo.Tuning(tiny.model(), LAYOUT, recipe(), 0, pairs, examples(8), 32)


def test_on_rationales_that_stay_it_is_prompt_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, given = tiny.model(), (LAYOUT, recipe(steps=6), 0, examples(), examples(8), 32)
    exchanged_ = placebo.Tuning(lm, *given)
    losses = [exchanged_.advance() for _ in range(6)]
    monkeypatch.setattr(placebo, "exchanged", lambda examples, seed: examples)
    kept, plain = placebo.Tuning(lm, *given), prompt_tuning.Tuning(lm, *given)
    of_plain = [plain.advance() for _ in range(6)]
    assert [kept.advance() for _ in range(6)] == of_plain != losses
    assert torch.equal(kept.prompt_ND, plain.prompt_ND)
    assert [vars(look) for look in kept.looks] == [vars(look) for look in plain.looks]
