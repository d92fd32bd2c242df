"""Prompt tuning: the gradient of a step, the tuning as a whole, and PEFT's prompt tuning as an oracle."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, layout_of, right_padded
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners.prompt_tuning import Batches, Objective, Tuning, learning_rate
from tests.support import tiny
from tests.support.answers import FAMILIES
from tests.support.paths import ROOT

LAYOUT = Layout("bos_first", True)
WIDTH = tiny.SHAPE["hidden_size"]
ROWS = 32


def examples(count: int = 24) -> list[Example]:
    """Answers that repeat the question's first token: learnable by a prompt, not known to a random model."""
    generator = torch.Generator().manual_seed(2)
    questions = [torch.randint(3, 20, (2 + i % 4,), generator=generator).tolist() for i in range(count)]
    return [Example(q, [40 + len(q), 41, 2][: 1 + i % 3]) for i, q in enumerate(questions)]


def recipe(**changes: object) -> Recipe:
    values = {"vectors": 4, "learning_rate": 0.1, "batch_size": 8, "steps": 30, "validate_every": 10, "warmup": 5}
    return Recipe.model_validate(values | changes)


def tuning(lm: LanguageModel, seed: int = 0, rows: int = ROWS, **changes: object) -> Tuning:
    return Tuning(lm, LAYOUT, recipe(**changes), seed, examples(), examples(8), rows)


def tuned(lm: LanguageModel, seed: int = 0, rows: int = ROWS, **changes: object) -> Tuning:
    work = tuning(lm, seed, rows, **changes)
    while not work.is_over:
        work.advance()
    return work


RAGGED = ((3, 9), (14, 20), (1, 30), (22, 1), (9, 9))
"""Tokens of question and rationale: with the prompt, longer than the sliding window of the tiny models."""


def ragged() -> list[Example]:
    generator = torch.Generator().manual_seed(4)
    return [
        Example(*(torch.randint(3, 150, (length,), generator=generator).tolist() for length in lengths))
        for lengths in RAGGED
    ]


def whole_batch(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor, batch: list[Example], limit: int | None
) -> tuple[float, Tensor]:
    """Return loss and gradient the plain way: the prompt in every row, all logits, one backward pass."""
    laid = right_padded(lm, layout, prompt_ND, [e.question_ids for e in batch], [e.rationale_ids for e in batch])
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD, use_cache=False).last_hidden_state
    log_BSV = lm.logits(hidden_BSD).log_softmax(-1)
    nll = [
        -log_BSV[b, s, token]
        for b, example in enumerate(batch)
        for s, token in zip(laid.predicting_rows(b)[:limit], example.rationale_ids[:limit], strict=True)
    ]
    loss = torch.stack(nll).mean()
    return float(loss.detach()), torch.autograd.grad(loss, prompt_ND)[0]


def prompt(vectors: int = 15) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(vectors, WIDTH, dtype=torch.float64, generator=generator).requires_grad_(True)


def exact(family: str, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """Return a model in which float64 means float64, Gemma's softmax included."""
    monkeypatch.setattr(functional, "softmax", lambda scores, dim, dtype=None: scores.softmax(dim))
    lm = tiny.model(family, torch.float64)
    tiny.exact_norms(lm)
    return lm


@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prefix_and_parts_change_neither_loss_nor_gradient(
    family: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, prompt_ND, batch = exact(family, monkeypatch), prompt(), ragged()
    layout = layout_of(lm, order)
    for limit, rows in ((None, 5), (None, 2), (4, 3)):
        loss, gradient = whole_batch(lm, layout, prompt_ND, batch, limit)
        objective = Objective(lm, layout, limit, rows)
        found_loss, found = objective.gradient(prompt_ND, batch)
        assert found_loss == pytest.approx(loss, rel=1e-13)
        assert objective.value(prompt_ND.detach(), batch) == pytest.approx(loss, rel=1e-13)
        assert float((found - gradient).norm() / gradient.norm()) < 1e-13


def test_the_last_layer_works_on_rows_from_the_first_target_on() -> None:
    lm, batch = tiny.model(), ragged()
    rows: dict[int, int] = {}
    for index, layer in enumerate(lm.model.get_decoder().layers):
        layer.mlp.gate_proj.register_forward_pre_hook(
            lambda _, given, index=index: rows.update({index: given[0].shape[1]})
        )
    Objective(lm, layout_of(lm, "bos_first"), None, ROWS).gradient(prompt(1), batch)
    shortest = min(len(example.question_ids) for example in batch)
    assert rows[1] == max(map(len, batch))
    assert rows[2] == rows[1] - shortest + 1


def test_a_family_without_bos_has_a_prefix_of_the_prompt_alone() -> None:
    lm = dataclasses.replace(tiny.model("qwen2", torch.float64), bos_id=None)
    layout, prompt_ND = layout_of(lm, "bos_first"), prompt(1)
    loss, gradient = whole_batch(lm, layout, prompt_ND, ragged(), None)
    found_loss, found = Objective(lm, layout, None, ROWS).gradient(prompt_ND, ragged())
    assert found_loss == pytest.approx(loss, rel=1e-6)
    assert float((found - gradient).norm() / gradient.norm()) < 1e-6


@contextmanager
def little_memory(objective: Objective, rows: int, where: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let memory run out in the middle of a pass of more than `rows` rows; yield the rows of every pass."""
    seen: list[int] = []

    def fail(*_: Tensor) -> None:
        if seen[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def hook(module: Any, given: Any, output: Any) -> None:
        hidden_BSD = output[0] if isinstance(output, tuple) else output
        seen.append(len(hidden_BSD))
        if where == "forward":
            fail()
        elif where == "backward":
            hidden_BSD.register_hook(fail)

    def hooked(prompt_ND: Tensor, states: Sequence[Tensor], part: Sequence[Example]) -> Tensor:
        if where == "prefix":  # the gradients of the layers above have reached the prefix by then
            states[2].register_hook(fail)
        return plain(prompt_ND, states, part)

    plain = objective._nll
    monkeypatch.setattr(objective, "_nll", hooked)
    handle = objective.lm.model.get_decoder().layers[1].register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("where", ["forward", "backward", "prefix"])
def test_a_step_that_runs_out_of_memory_counts_nothing_twice(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lm, prompt_ND, batch = exact("llama-gqa", monkeypatch), prompt(), ragged()
    loss, gradient = whole_batch(lm, LAYOUT, prompt_ND, batch, None)
    objective = Objective(lm, LAYOUT, None, rows=4)
    with little_memory(objective, 1, where, monkeypatch) as seen, caplog.at_level(logging.WARNING):
        for _ in range(2):
            found_loss, found = objective.gradient(prompt_ND, batch)
            assert found_loss == pytest.approx(loss, rel=1e-13)
            assert float((found - gradient).norm() / gradient.norm()) < 1e-13
    assert seen == [1, 4, 2, 1, 1, 1, 1, 1, *[1] * 6]  # a prefix, then parts; the second step knows what fits
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 4 rows in a batch; continuing with 2",
        "out of memory with 2 rows in a batch; continuing with 1",
    ]


def test_a_last_part_that_is_smaller_does_not_shrink_the_parts_to_come() -> None:
    objective = Objective(tiny.model(dtype=torch.float64), LAYOUT, None, rows=3)
    objective.gradient(prompt(), ragged())
    assert objective.rows == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tuning_lowers_the_validation_loss_and_touches_no_weight(dtype: torch.dtype) -> None:
    lm = tiny.model(dtype=dtype)
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    work = tuned(lm, steps=80)
    assert work.kept_ND.shape == (4, WIDTH)
    assert work.prompt_ND.dtype == work.kept_ND.dtype == torch.float32
    assert work.looks[-1].validation_loss < work.looks[0].validation_loss - 0.3
    assert work.kept_step == min(work.looks, key=lambda look: look.validation_loss).step
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in lm.model.named_parameters())


def test_a_small_step_in_bfloat16_is_not_lost() -> None:
    """Steps far below the spacing of bfloat16 add up in a float32 prompt."""
    work = tuned(tiny.model(dtype=torch.bfloat16), learning_rate=1e-6, steps=10)
    first = tuning(tiny.model(dtype=torch.bfloat16), learning_rate=1e-6, steps=10).prompt_ND
    moved = (work.kept_ND - first.detach()).abs()
    assert 0 < float(moved.max()) < 2e-5
    assert torch.equal(work.kept_ND.bfloat16(), first.bfloat16())


def test_parts_of_a_step_give_the_same_tuning() -> None:
    whole, parts = (tuned(tiny.model(), rows=rows, steps=10, learning_rate=0.01) for rows in (ROWS, 3))
    assert torch.allclose(whole.kept_ND, parts.kept_ND, atol=1e-4)
    assert whole.looks[0].validation_loss == pytest.approx(parts.looks[0].validation_loss, abs=1e-4)


def test_the_same_seed_gives_the_same_prompt_and_another_one_does_not() -> None:
    lm = tiny.model()
    one, again, other = (tuned(lm, seed, steps=10).kept_ND for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_kept_prompt_is_the_best_or_the_last_one() -> None:
    lm = tiny.model()
    wild = {"learning_rate": 30.0, "steps": 20, "validate_every": 5, "warmup": 1}
    best, last = tuned(lm, **wild), tuned(lm, **wild, keep="last")
    assert best.kept_step == min(best.looks, key=lambda look: look.validation_loss).step
    assert last.kept_step == last.looks[-1].step == 20
    assert torch.equal(best.kept_ND, last.kept_ND) == (best.kept_step == last.kept_step)
    assert torch.equal(last.kept_ND, last.prompt_ND)


def test_patience_ends_the_tuning() -> None:
    work = tuned(tiny.model(), learning_rate=1e-12, steps=100, validate_every=2, patience=3)
    assert work.step == work.looks[-1].step < 100
    assert work.step - work.kept_step == 6


def test_loss_on_the_first_tokens_alone_is_another_loss() -> None:
    lm = tiny.model()
    whole, first = (tuned(lm, steps=10, first_tokens=limit).looks[0].loss for limit in (None, 1))
    assert whole != pytest.approx(first, rel=1e-3)


def test_learning_rate_rises_then_falls_to_a_tenth() -> None:
    settings = recipe(steps=100, warmup=10)
    assert learning_rate(settings, 0) == pytest.approx(0.01)
    assert learning_rate(settings, 9) == pytest.approx(0.1 * (1 - 0.9 * 9 / 100))
    assert learning_rate(settings, 99) == pytest.approx(0.1 * (1 - 0.9 * 0.99))


@pytest.mark.parametrize(("count", "size"), [(20, 8), (50, 32), (7, 16)])
def test_every_example_is_tuned_on_in_some_pass(count: int, size: int) -> None:
    """What fills no batch is left out by lot: cut off behind sorting, it would be the longest in every pass."""
    given = [Example([1], [2] * length) for length in range(count)]
    batches, passes = Batches(given, size, torch.Generator().manual_seed(0)), count // min(size, count)
    seen = [len(one) for _ in range(30 * passes) for one in batches.next()]
    assert set(seen) == {len(one) for one in given}
    of_a_pass = [len(one) for _ in range(passes) for one in batches.next()]
    assert len(of_a_pass) == len(set(of_a_pass)) == passes * min(size, count)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    lm = tiny.model()
    lm.model.get_output_embeddings().weight.data[0] = float("nan")
    with pytest.raises(DpcError, match=r"tuning loss is nan at step 1; expected a finite number"):
        tuned(lm)


def as_peft_wants(batch: Sequence[Example]) -> dict[str, Tensor]:
    """Return a batch padded on the right: labels are the rationale's tokens, -100 elsewhere."""
    rows = [[1, *e.question_ids, *e.rationale_ids] for e in batch]
    labels = [[*[-100] * (1 + len(e.question_ids)), *e.rationale_ids] for e in batch]
    length = max(map(len, rows))

    def padded(lists: list[list[int]], filler: int) -> Tensor:
        return torch.tensor([row + [filler] * (length - len(row)) for row in lists])

    mask = padded([[1] * len(row) for row in rows], 0)
    return {"input_ids": padded(rows, 0), "attention_mask": mask, "labels": padded(labels, -100)}


def test_the_loss_curve_is_that_of_peft() -> None:
    import peft

    chosen = {"steps": 13, "learning_rate": 0.02, "weight_decay": 0.1, "validate_every": 13}
    lm, settings = tiny.model(), recipe(**chosen)
    ours = Tuning(lm, layout_of(lm, "prompt_first"), settings, 0, examples(), examples(8), ROWS)
    theirs = peft.get_peft_model(
        tiny.model().model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    weight_ND = theirs.prompt_encoder["default"].embedding.weight
    weight_ND.data.copy_(ours.prompt_ND.detach())
    optimiser = torch.optim.AdamW([weight_ND], lr=1.0, weight_decay=0.1)
    batches = Tuning(lm, LAYOUT, settings, 0, examples(), examples(8), ROWS).batches
    curves = []
    for step in range(12):
        loss = theirs(**as_peft_wants(batches.next())).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = learning_rate(settings, step)
        optimiser.step()
        curves.append((ours.advance(), float(loss.detach())))
    assert [mine for mine, _ in curves] == pytest.approx([other for _, other in curves], abs=2e-5)
    assert curves[-1][0] < curves[0][0] - 0.3


@pytest.mark.proof
@pytest.mark.parametrize("lengths", ["ragged", "fixed"])
def test_the_loss_curve_is_that_of_peft_under_trainer(lengths: str) -> None:
    """The very runs of `benchmarks/tuning.py`, on a small shape."""
    shape = "--steps 6 --shape small"
    curves = []
    for method in ("ours", "trainer"):
        command = [sys.executable, "-m", "benchmarks.tuning", f"--method={method}", f"--lengths={lengths}"]
        done = subprocess.run([*command, *shape.split()], cwd=ROOT, capture_output=True, text=True, check=True)
        curves.append(json.loads(next(line for line in done.stdout.splitlines() if '"method"' in line))["losses"])
    assert len(curves[0]) == 6
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
