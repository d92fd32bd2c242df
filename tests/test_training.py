"""Prompt tuning and the loss it shares with saliency."""

from __future__ import annotations

import pytest
import torch

from dpc.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.layout import Layout, right_padded
from dpc.lm.training import Example, learning_rate, target_nll, tune
from tests import tiny

LAYOUT = Layout("bos_first", True)


def examples(count: int = 24) -> list[Example]:
    """Answers that repeat the question's first token: learnable by a prompt, not known to a random model."""
    generator = torch.Generator().manual_seed(2)
    questions = [torch.randint(3, 20, (2 + i % 4,), generator=generator).tolist() for i in range(count)]
    return [Example(q, [40 + len(q), 41, 2][: 1 + i % 3]) for i, q in enumerate(questions)]


def recipe(**changes: object) -> Recipe:
    values = {"vectors": 4, "learning_rate": 0.1, "batch_size": 8, "steps": 30, "validate_every": 10, "warmup": 5}
    return Recipe.model_validate(values | changes)


def test_target_nll_equals_the_full_logits() -> None:
    lm = tiny.model(dtype=torch.float64)
    prompt = torch.randn(4, tiny.SHAPE["hidden_size"], dtype=torch.float64)
    chosen = examples(6)
    batch = right_padded(lm, LAYOUT, prompt, [e.question_ids for e in chosen], [e.rationale_ids for e in chosen])
    found = target_nll(lm, batch)
    logits = lm.model(inputs_embeds=batch.embeds_BSD).logits.log_softmax(-1)
    for b, example in enumerate(chosen):
        rows = batch.predicting_rows(b)
        truth = [-float(logits[b, s, t]) for s, t in zip(rows, example.rationale_ids, strict=True)]
        assert found[b].tolist() == pytest.approx(truth, rel=1e-6)
    assert [len(nll) for nll in target_nll(lm, batch, limit=1)] == [1] * 6


def test_tuning_lowers_the_validation_loss_and_touches_no_weight() -> None:
    lm = tiny.model()
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    prompt, looks, kept = tune(lm, LAYOUT, recipe(steps=80), 0, examples(), examples(8))
    assert prompt.shape == (4, tiny.SHAPE["hidden_size"])
    assert looks[-1].validation_loss < looks[0].validation_loss - 0.3
    assert kept == min(looks, key=lambda look: look.validation_loss).step
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in lm.model.named_parameters())


def test_the_same_seed_gives_the_same_prompt_and_another_one_does_not() -> None:
    lm = tiny.model()
    one, again, other = (tune(lm, LAYOUT, recipe(steps=10), s, examples(), examples(8))[0] for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_kept_prompt_is_the_best_or_the_last_one() -> None:
    lm = tiny.model()
    wild = {"learning_rate": 30.0, "steps": 20, "validate_every": 5, "warmup": 1}
    best, looks, kept = tune(lm, LAYOUT, recipe(**wild), 0, examples(), examples(8))
    last, same_looks, last_step = tune(lm, LAYOUT, recipe(**wild, keep="last"), 0, examples(), examples(8))
    assert kept == min(looks, key=lambda look: look.validation_loss).step
    assert last_step == same_looks[-1].step == 20
    assert torch.equal(best, last) == (kept == last_step)


def test_patience_ends_the_tuning() -> None:
    lm = tiny.model()
    stuck = recipe(learning_rate=1e-12, steps=100, validate_every=2, patience=3)
    _, looks, kept = tune(lm, LAYOUT, stuck, 0, examples(), examples(8))
    assert looks[-1].step < 100
    assert looks[-1].step - kept == 6


def test_loss_on_the_first_tokens_alone_is_another_loss() -> None:
    lm = tiny.model()
    _, whole, _ = tune(lm, LAYOUT, recipe(steps=10), 0, examples(), examples(8))
    _, first, _ = tune(lm, LAYOUT, recipe(steps=10, first_tokens=1), 0, examples(), examples(8))
    assert whole[0].loss != pytest.approx(first[0].loss, rel=1e-3)


def test_learning_rate_rises_then_falls_to_a_tenth() -> None:
    settings = recipe(steps=100, warmup=10)
    assert learning_rate(settings, 0) == pytest.approx(0.01)
    assert learning_rate(settings, 9) == pytest.approx(0.1 * (1 - 0.9 * 9 / 100))
    assert learning_rate(settings, 99) == pytest.approx(0.1 * (1 - 0.9 * 0.99))


def test_a_loss_that_is_not_finite_is_refused() -> None:
    lm = tiny.model()
    head = lm.model.get_output_embeddings().weight
    head.data[0] = float("nan")
    with pytest.raises(DpcError, match=r"tuning loss is nan at step 1; expected a finite number"):
        tune(lm, LAYOUT, recipe(), 0, examples(), examples(8))
