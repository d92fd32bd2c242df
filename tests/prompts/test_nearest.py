"""A prompt's nearest tokens: exact where vectors are tokens, by brute force elsewhere."""

from __future__ import annotations

import pytest
import torch

from dpc.lm.models import LanguageModel
from dpc.prompts import nearest
from dpc.prompts.edits import NEAREST, Edit
from dpc.prompts.soft_prompt import corrupt
from tests.support import tiny

FAMILIES = ["llama-gqa", "gemma2"]
"""Gemma scales its embeddings."""


def no_text(lm: LanguageModel) -> list[int]:
    """Marks, and the rows of the embedding that no token has."""
    return [*lm.tokenizer.all_special_ids, *range(len(lm.tokenizer), lm.embedding.num_embeddings)]


def between(lm: LanguageModel, count: int = 9) -> torch.Tensor:
    return lm.vocabulary_VD[5 : 5 + count] + 0.3 * torch.randn(
        count, lm.vocabulary_VD.shape[1], generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_their_own_nearest_tokens_at_distance_zero(family: str) -> None:
    lm = tiny.model(family)
    ids = [7, 140, 7, 33]
    found = nearest.nearest(lm, lm.vocabulary_VD[ids])
    assert found.ids == ids
    assert found.distance_N.tolist() == [0.0] * 4
    assert found.cosine_N.tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    assert torch.equal(nearest.projected(lm, lm.vocabulary_VD[ids]), lm.vocabulary_VD[ids])


def test_the_nearest_token_is_the_one_that_brute_force_finds() -> None:
    lm = tiny.model()
    prompt, rows = between(lm), lm.vocabulary_VD.double()
    distance = (rows[None] - prompt.double()[:, None]).square().sum(2)
    distance[:, no_text(lm)] = torch.inf
    found = nearest.nearest(lm, prompt)
    assert found.ids == distance.argmin(1).tolist()
    assert torch.allclose(found.distance_N.double(), distance.amin(1), rtol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(prompt.double()[:, None], rows[None], dim=2)
    cosine[:, no_text(lm)] = -torch.inf
    assert torch.allclose(found.cosine_N.double(), 1 - cosine.amax(1), atol=1e-6)


def test_cosine_distance_does_not_depend_on_a_prompts_size_and_euclids_does() -> None:
    lm = tiny.model()
    prompt = between(lm)
    small, large = nearest.nearest(lm, prompt), nearest.nearest(lm, 7 * prompt)
    assert torch.allclose(small.cosine_N, large.cosine_N, atol=1e-6)
    assert (large.distance_N > small.distance_N).all()


def test_special_added_and_unused_rows_are_no_text() -> None:
    lm = tiny.model()
    lm.tokenizer.add_tokens(["<|im_start|>"], special_tokens=True)
    marks = [*no_text(lm), lm.tokenizer.convert_tokens_to_ids("<|im_start|>")]
    assert len(marks) > len(lm.tokenizer.all_special_ids) + 2, "transformers names only some of them"
    assert not set(nearest.nearest(lm, lm.vocabulary_VD[marks]).ids) & set(marks)


def test_the_median_distance_to_the_next_token_is_that_of_brute_force() -> None:
    lm = tiny.model()
    rows = lm.vocabulary_VD[[i for i in range(160) if i not in no_text(lm)]].double()
    distance = (rows[None] - rows[:, None]).square().sum(2)
    distance.fill_diagonal_(torch.inf)
    assert nearest.spacing(lm) == pytest.approx(
        float(distance.amin(1).median()), rel=1e-4
    )  # fewer than the sample: all


def test_an_edit_puts_in_nearest_tokens_or_the_mean() -> None:
    lm = tiny.model()
    prompt = between(lm)
    put_in = nearest.replacements(lm)
    text, mean = Edit(mask=NEAREST), Edit((1,), mask="vocabulary_mean")
    assert torch.equal(corrupt(prompt, text, put_in(prompt, text)), nearest.projected(lm, prompt))
    assert torch.equal(corrupt(prompt, mean, put_in(prompt, mean))[1], lm.vocabulary_VD.mean(0))
