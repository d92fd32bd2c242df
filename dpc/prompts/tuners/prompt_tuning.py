"""Prompt tuning: the model is frozen, the prompt's vectors are all that learns.

All rows of a batch begin with the same prompt, so `[BOS][prompt]` goes through the model once a step, as one row. Its
keys and values are leaves that every row attends to; their gradients, summed over the rows, go back to the prompt in
one piece. A step may therefore be cut into as many parts as memory asks for, and is still the same step.

Axes: B batch, S position, P prefix position, N prompt vector, D width, K target token, C prompt of several, E example.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.batches import in_batches
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, RightPadded, right_padded, shared_prefix
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.tiled import Passage, before, behind, tiled
from dpc.lm.sparing import lean_layers, only_last_rows, rows_within
from dpc.prompts import soft_prompt
from dpc.prompts.tuners import tuner
from dpc.prompts.tuners.looks import Look
from dpc.prompts.tuners.spent import Cost

Asked = TypeVar("Asked", bound=Example)
Result = TypeVar("Result")
POOL = 8
"""Batches whose examples are sorted by length among themselves."""


TUNER = tuner(label="Prompt tuning")


class Settings(kinds.Settings):
    """Nothing of its own: what every recipe sets is all that it needs."""


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate at `step` (from 0): linear warm-up, then linear fall to a tenth of the peak."""
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup) * (1 - 0.9 * step / recipe.steps)


def of_step(seed: int, step: int) -> torch.Generator:
    """Return the source of what a tuner draws in one step: nothing of it has to be kept for a resume."""
    return torch.Generator().manual_seed(1_000_003 * seed + step)


@dataclass(frozen=True)
class Pair(Example):
    """An example under one of several prompts."""

    prompt: int = 0
    place: int = 0
    """Where the example stands among the others."""


class Objective:
    """The NLL of rationales (choice D2) as a function of the prompt.

    `limit` counts the first rationale tokens that matter (all if None). `rows` go through the model at once; where
    memory runs out they are halved, for good.
    """

    def __init__(self, lm: LanguageModel, layout: Layout, limit: int | None, rows: int):
        self.lm, self.layout, self.limit, self.rows = lm, layout, limit, rows
        self.cost = Cost()

    @torch.no_grad()
    def value(self, prompt_ND: Tensor, examples: Sequence[Example]) -> float:
        """Return the mean over all target tokens, in nats."""
        self._count(prompt_ND, examples)
        states = self._states(prompt_ND)
        parts = self._in_parts(examples, lambda part: float(self._nll(prompt_ND, states, part).sum()))
        return sum(parts) / self.tokens(examples)

    def gradient(self, prompt_ND: Tensor, examples: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the mean over all target tokens, in nats, and its gradient in the prompt."""
        self._count(prompt_ND, examples, gradient=True)
        states, tokens = self._states(prompt_ND), self.tokens(examples)
        leaves = [state.detach().requires_grad_(True) for state in states]

        def of_part(part: Sequence[Example]) -> tuple[float, list[Tensor]]:
            nll = self._sum(prompt_ND, leaves, part, tokens / len(examples))
            return float(nll.detach()), [found.to(nll.dtype) for found in torch.autograd.grad(nll / tokens, leaves)]

        total, sums = 0.0, [torch.zeros(())] * len(leaves)
        for nll, found in self._in_parts(examples, of_part):
            total, sums = total + nll, [a + b for a, b in zip(sums, found, strict=True)]
        sums = [a.to(state) for a, state in zip(sums, states, strict=True)]
        return total / tokens, torch.autograd.grad(states, [prompt_ND], sums)[0]

    @torch.no_grad()
    def sums(self, prompts_CND: Tensor, examples: Sequence[Example]) -> Tensor:
        """Return the NLL of each example's target tokens under each prompt (C x E, nats, float64).

        Examples of several prompts go through the model together: what small models take time for is passes.
        """
        for prompt_ND in prompts_CND:
            self._count(prompt_ND, examples)
        states = self._states(prompts_CND)
        each_under = itertools.product(range(len(prompts_CND)), enumerate(examples))
        pairs = [Pair(**vars(example), prompt=c, place=e) for c, (e, example) in each_under]

        def of_part(part: Sequence[Pair]) -> list[tuple[Pair, float]]:
            own = [pair.prompt for pair in part]
            nll_K = self._nll(prompts_CND[own], [state[own] for state in states], part)
            each = nll_K.split([self.tokens([pair]) for pair in part])
            return [(pair, float(nll_k.sum())) for pair, nll_k in zip(part, each, strict=True)]

        sums_CE = torch.empty(len(prompts_CND), len(examples), dtype=torch.float64)
        for found in self._in_parts(pairs, of_part):
            for pair, nll in found:
                sums_CE[pair.prompt, pair.place] = nll
        return sums_CE

    def tokens(self, examples: Sequence[Example]) -> int:
        """Return how many target tokens the examples have."""
        return sum(len(e.rationale_ids[: self.limit]) for e in examples)

    def _count(self, prompt_ND: Tensor, examples: Sequence[Example], gradient: bool = False) -> None:
        prefix = self.layout.question_start(prompt_ND.shape[-2])
        self.cost.add(len(examples), prefix + sum(map(len, examples)), gradient)

    def _in_parts(self, examples: Sequence[Asked], work: Callable[[Sequence[Asked]], Result]) -> Iterator[Result]:
        """Yield what `work` makes of the examples, as many at once as memory holds."""
        left = sorted(examples, key=len, reverse=True)
        rows = min(self.rows, rows_within(self.lm, len(left[0])))
        for part, found in in_batches(left, rows, work):
            if len(part) < min(rows, len(left)):
                rows = self.rows = len(part)
            left = left[len(part) :]
            yield found

    def _states(self, prompt_ND: Tensor) -> list[Tensor]:
        """Return what rows are given: keys and values of `[BOS][prompt]` (1 x J x P x D), layer by layer.

        They are on a graph from the prompt on. Of prompts of their own (B x N x D) every row is given its own.
        """
        prompts = [prompt_ND] if prompt_ND.dim() == 2 else list(prompt_ND)
        prefix_BPD = torch.stack([shared_prefix(self.lm, self.layout, [each_ND], [()]) for each_ND in prompts])
        return [states for given in before(self.lm, prefix_BPD) for states in given]

    def _sum(self, prompt_ND: Tensor, states: Sequence[Tensor], part: Sequence[Example], tokens: float) -> Tensor:
        """Return a part's share of the loss, times all target tokens; `tokens` is their number per question."""
        return self._nll(prompt_ND, states, part).sum()

    def _nll(self, prompt_ND: Tensor, states: Sequence[Tensor], part: Sequence[Example]) -> Tensor:
        """Return the NLL of every target token (K), on a graph that begins at the prefix's keys and values."""
        laid, hidden_BSD = self._decoded(prompt_ND, states, part)
        return torch.cat(rationale_nll(self.lm, laid, hidden_BSD, laid.question_start, self.limit))

    def _decoded(
        self, prompt_ND: Tensor, states: Sequence[Tensor], part: Sequence[Example]
    ) -> tuple[RightPadded, Tensor]:
        """Return a part laid out, and the decoder's outputs (B x S x D) from the question's first token on."""
        questions, rationales = [e.question_ids for e in part], [e.rationale_ids for e in part]
        laid = right_padded(self.lm, self.layout, prompt_ND.detach(), questions, rationales)
        first, length = laid.question_start, laid.embeds_BSD.shape[1]
        targets, last = min(laid.predicting_rows(b).start for b in range(len(part))), len(states) // 2 - 1

        def passage(layer: int) -> Passage:
            rows = range(targets - first if layer == last else 0, length - first)
            return Passage((states[2 * layer], states[2 * layer + 1]), rows)

        with lean_layers(self.lm), only_last_rows(self.lm, length - targets), tiled(self.lm, passage):
            return laid, behind(self.lm, laid.embeds_BSD, first)


class Batches:
    """Shuffled passes over the examples in batches of similar length, the same for the same seed.

    A pass is shuffled, loses the last examples, which fill no batch, and is cut into pools of `POOL` batches, each of
    which is cut by length: little is padding. Which examples are left out, and which ones meet, changes from pass to
    pass.
    """

    def __init__(self, examples: Sequence[Example], size: int, generator: torch.Generator):
        self.examples, self.size, self.generator = examples, min(size, len(examples)), generator
        self.waiting: list[list[int]] = []

    def next(self) -> list[Example]:
        """Return the next batch."""
        if not self.waiting:
            self.waiting = self._pass()
        return [self.examples[i] for i in self.waiting.pop()]

    def _pass(self) -> list[list[int]]:
        order = torch.randperm(len(self.examples), generator=self.generator).tolist()
        order = order[: len(order) // self.size * self.size]  # before sorting: else the longest would be left out
        batches = []
        for start in range(0, len(order), POOL * self.size):
            pool = sorted(order[start : start + POOL * self.size], key=lambda i: len(self.examples[i]))
            batches += [pool[i : i + self.size] for i in range(0, len(pool), self.size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=self.generator).tolist()]


class Tuning:
    """A soft prompt that is being tuned on gold rationales (choice D2): `advance` until it `is_over`.

    Then `kept_ND` is the prompt (N x D, float32) of step `kept_step`: the one of the lowest validation loss, or the
    last. Ends early after `recipe.patience` looks without improvement. `state` and `resume` carry a tuning over to
    another process, which goes on as this one would have.
    """

    def __init__(
        self,
        lm: LanguageModel,
        layout: Layout,
        recipe: Recipe,
        seed: int,
        examples: Sequence[Example],
        validation: Sequence[Example],
        rows: int,
    ):
        """`rows` questions go through the model at once; the recipe's batch size says how many make a step."""
        self.recipe, self.steps, self.seed, self.validation = recipe, recipe.steps, seed, validation
        self.objective = Objective(lm, layout, recipe.first_tokens, rows)
        generator = torch.Generator().manual_seed(seed)
        self.learned = self.start(lm, generator).requires_grad_(True)
        self.optimiser = torch.optim.AdamW([self.learned], lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.batches = Batches(examples, recipe.batch_size, generator)
        self.step, self.recent, self.looks = 0, list[float](), list[Look]()
        self.kept_step, self.kept_ND = 0, self.prompt_ND.detach().clone()

    def start(self, lm: LanguageModel, generator: torch.Generator) -> Tensor:
        """Return what learns, in float32; for prompt tuning the prompt itself."""
        return soft_prompt.initial(lm, self.recipe, generator)

    @property
    def prompt_ND(self) -> Tensor:
        """Return the prompt (N x D), on a graph from what learns."""
        return self.learned

    def gradient(self, batch: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the loss on a batch in nats, and its gradient in what learns."""
        return self.objective.gradient(self.learned, batch)

    @property
    def cost(self) -> Cost:
        """Return what has gone through the model so far."""
        return self.objective.cost

    @property
    def is_over(self) -> bool:
        """Return whether all steps are done, or too many looks found no improvement."""
        stale = self.step - self.kept_step >= self.recipe.patience * self.recipe.validate_every
        return self.step >= self.steps or stale

    def advance(self) -> float:
        """Do a step, and look at the validation loss where that is due; return the step's loss before it.

        Raises DpcError where a loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        loss, self.learned.grad = self.gradient(self.batches.next())
        self.recent.append(self._finite(loss, "tuning", self.step + 1))
        self.optimiser.step()
        self.step += 1
        if self.step % self.recipe.validate_every == 0 or self.step == self.steps:
            self._look()
        return loss

    def bring_in(self, prompt_ND: Tensor) -> None:
        """Keep a prompt (N x D, float32) that was tuned elsewhere, and look at its validation loss."""
        found = self._finite(self.objective.value(prompt_ND, self.validation), "validation", 0)
        self.kept_step, self.kept_ND = 0, prompt_ND
        self.looks.append(Look(0, math.nan, found, 0.0))

    def _look(self) -> None:
        found = self._finite(self.objective.value(self.prompt_ND, self.validation), "validation", self.step)
        best = min((look.validation_loss for look in self.looks), default=math.inf)
        loss, rate = sum(self.recent) / len(self.recent), learning_rate(self.recipe, self.step - 1)
        self.looks.append(Look(self.step, loss, found, rate))
        self.recent = []
        if found < best or self.recipe.keep == "last":
            self.kept_step, self.kept_ND = self.step, self.prompt_ND.detach().clone()

    def _finite(self, loss: float, kind: str, step: int) -> float:
        if not math.isfinite(loss):
            raise DpcError(
                f"{kind} loss is {loss} at step {step}; expected a finite number: lower recipes.NAME.learning_rate "
                f"(now {self.recipe.learning_rate}) or use dtype float32"
            )
        return loss

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that the steps to come depend on, as tensors and as plain values."""
        moments = self.optimiser.state_dict()["state"][0]
        generator = self.batches.generator.get_state()
        kept = {"prompt": self.learned.detach(), "kept": self.kept_ND, "generator": generator}
        values = {
            "step": self.step,
            "kept_step": self.kept_step,
            "waiting": self.batches.waiting,
            "recent": self.recent,
            "looks": [vars(look) for look in self.looks],
            "cost": self.cost.state(),
        }
        return kept | {f"adam.{name}": moment for name, moment in moments.items()}, values

    def resume(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on where the tuning was that had this `state`; settings, model and examples have to be the same."""
        moments = {name[5:]: moment for name, moment in tensors.items() if name.startswith("adam.")}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": {0: moments}, "param_groups": groups})
        self.learned.data.copy_(tensors["prompt"])
        self.kept_ND.copy_(tensors["kept"])
        self.batches.generator.set_state(tensors["generator"])
        self.batches.waiting, self.recent = values["waiting"], values["recent"]
        self.step, self.kept_step = values["step"], values["kept_step"]
        self.looks = [Look(**look) for look in values["looks"]]
        self.cost.take_up(values.get("cost"))
