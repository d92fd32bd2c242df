"""Prompt tuning: the model is frozen, the prompt's vectors are all that learns.

Axes: B batch, S position, N prompt vector, D width, V vocabulary, K target token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dpc.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm import soft_prompt
from dpc.lm.layout import Layout, RightPadded, right_padded
from dpc.lm.models import LanguageModel

VALIDATION_BATCH = 50
POOL = 8
"""Batches whose examples are sorted by length among themselves."""


@dataclass(frozen=True)
class Example:
    """A question and its gold rationale, answer and end mark included, as token ids."""

    question_ids: list[int]
    rationale_ids: list[int]


@dataclass(frozen=True)
class Look:
    """One look at the losses while tuning (nats per target token)."""

    step: int
    loss: float
    validation_loss: float
    learning_rate: float


def target_nll(lm: LanguageModel, batch: RightPadded, limit: int | None = None) -> list[Tensor]:
    """Return, per row, the NLL in nats of its first `limit` rationale tokens (all if None).

    Logits are made at the predicting rows only: a vocabulary of 128k times every position would be gigabytes.
    """
    kept = [batch.predicting_rows(b)[:limit] for b in range(len(batch.rationale_ids))]
    rows = torch.tensor([b for b, positions in enumerate(kept) for _ in positions], device=lm.device)
    columns = torch.tensor([s for positions in kept for s in positions], device=lm.device)
    # rows are padded on the right: positions count from 0 and the causal mask is all, transformers' defaults
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=batch.embeds_BSD, use_cache=False).last_hidden_state
    logits_KV = lm.model.get_output_embeddings()(hidden_BSD[rows, columns])
    wide = logits_KV.dtype if logits_KV.dtype == torch.float64 else torch.float32
    targets_K = torch.tensor([t for ids in batch.rationale_ids for t in ids[:limit]], device=lm.device)
    nll_K = functional.cross_entropy(logits_KV.to(wide), targets_K, reduction="none")
    return list(nll_K.split([len(positions) for positions in kept]))


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate at `step` (from 0): linear warm-up, then linear fall to a tenth of the peak."""
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup) * (1 - 0.9 * step / recipe.steps)


def _batch_loss(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor, recipe: Recipe, batch: Sequence[Example]
) -> Tensor:
    laid = right_padded(lm, layout, prompt_ND, [e.question_ids for e in batch], [e.rationale_ids for e in batch])
    return torch.cat(target_nll(lm, laid, recipe.first_tokens)).mean()


@torch.no_grad()
def _validation_loss(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor, recipe: Recipe, examples: Sequence[Example]
) -> float:
    total, tokens = 0.0, 0
    ordered = sorted(examples, key=lambda e: len(e.question_ids) + len(e.rationale_ids))
    for start in range(0, len(ordered), VALIDATION_BATCH):
        batch = ordered[start : start + VALIDATION_BATCH]
        laid = right_padded(lm, layout, prompt_ND, [e.question_ids for e in batch], [e.rationale_ids for e in batch])
        nll_K = torch.cat(target_nll(lm, laid, recipe.first_tokens))
        total, tokens = total + float(nll_K.sum()), tokens + len(nll_K)
    return total / tokens


class _Batches:
    """Shuffled passes over the examples in batches of similar length, the same for the same seed.

    A pass is shuffled, cut into pools of `POOL` batches, and each pool is cut by length: little is padding, and which
    examples meet still changes from pass to pass. The last examples of a pass that fill no batch wait for none.
    """

    def __init__(self, examples: Sequence[Example], size: int, generator: torch.Generator):
        self.examples, self.size, self.generator = examples, min(size, len(examples)), generator
        self.waiting: list[list[int]] = []

    def next(self) -> list[Example]:
        if not self.waiting:
            self.waiting = self._pass()
        return [self.examples[i] for i in self.waiting.pop()]

    def _pass(self) -> list[list[int]]:
        order = torch.randperm(len(self.examples), generator=self.generator).tolist()
        batches = []
        for start in range(0, len(order), POOL * self.size):
            pool = sorted(order[start : start + POOL * self.size], key=self._length)
            batches += [pool[i : i + self.size] for i in range(0, len(pool) - self.size + 1, self.size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=self.generator).tolist()]

    def _length(self, index: int) -> int:
        return len(self.examples[index].question_ids) + len(self.examples[index].rationale_ids)


def tune(
    lm: LanguageModel,
    layout: Layout,
    recipe: Recipe,
    seed: int,
    examples: Sequence[Example],
    validation: Sequence[Example],
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Tensor, list[Look], int]:
    """Tune a soft prompt on gold rationales (choice D2).

    Returns the prompt (N x D, float32), the looks at the losses, and the step of the prompt that was kept: the one of
    the lowest validation loss, or the last. Stops early after `recipe.patience` looks without improvement. Raises
    DpcError when the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    prompt_ND = soft_prompt.initial(lm, recipe, generator).requires_grad_(True)
    optimiser = torch.optim.AdamW([prompt_ND], lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches, looks, recent = _Batches(examples, recipe.batch_size, generator), list[Look](), list[float]()
    best, kept_step, kept_ND = math.inf, 0, prompt_ND.detach().clone()
    for step in range(recipe.steps):
        recent.append(_step(lm, layout, recipe, prompt_ND, optimiser, step, batches.next()))
        on_step(step + 1, recent[-1])
        if (step + 1) % recipe.validate_every and step + 1 < recipe.steps:
            continue
        found = _finite(
            _validation_loss(lm, layout, prompt_ND.detach(), recipe, validation), "validation", step, recipe
        )
        looks.append(Look(step + 1, sum(recent) / len(recent), found, learning_rate(recipe, step)))
        recent.clear()
        if found < best or recipe.keep == "last":
            best, kept_step, kept_ND = min(best, found), step + 1, prompt_ND.detach().clone()
        elif step + 1 - kept_step >= recipe.patience * recipe.validate_every:
            break
    return kept_ND, looks, kept_step


def _finite(loss: float, kind: str, step: int, recipe: Recipe) -> float:
    if not math.isfinite(loss):
        raise DpcError(
            f"{kind} loss is {loss} at step {step + 1}; expected a finite number: lower recipes.NAME.learning_rate "
            f"(now {recipe.learning_rate}) or use dtype float32"
        )
    return loss


def _step(
    lm: LanguageModel,
    layout: Layout,
    recipe: Recipe,
    prompt_ND: Tensor,
    optimiser: torch.optim.Optimizer,
    step: int,
    batch: Sequence[Example],
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(recipe, step)
    loss = _batch_loss(lm, layout, prompt_ND, recipe, batch)
    value = _finite(float(loss.detach()), "tuning", step, recipe)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return value
