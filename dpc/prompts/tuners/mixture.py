"""Sparse mixture of prompts (SMoP, EMNLP 2023): short prompts, and a router that chooses one for each question.

Nothing balances the router. Axes: B batch, K prompt, M its vectors and the router's row, N prompt vector, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.prompts import routing
from dpc.prompts.tuners import prompt_tuning, tuner
from dpc.prompts.tuners.prompt_tuning import of_step

TUNER = tuner(label="Mixture of prompts", per_question=True)


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    prompts: kinds.Count = 4
    """Prompts that the router chooses among, of `vectors` each: 4 of 5 in the paper."""


@dataclass(frozen=True)
class Noisy(Example):
    """An example of a step, with its router's noise."""

    noise: tuple[float, ...] = ()


class Objective(prompt_tuning.Objective):
    """The NLL of rationales as a function of a mixture; the router hears noise where examples have some."""

    @torch.no_grad()
    def value(self, prompt_ND: Tensor, examples: Sequence[Example]) -> float:
        """Return the mean over all target tokens, in nats; `prompt_ND` is a mixture (K x M x D)."""
        self._count(prompt_ND, examples)
        parts = self._in_parts(examples, lambda part: float(self._of(prompt_ND, part).sum()))
        return sum(parts) / self.tokens(examples)

    def gradient(self, prompt_ND: Tensor, examples: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the mean over all target tokens, in nats, and its gradient in the mixture (K x M x D)."""
        self._count(prompt_ND, examples, gradient=True)
        tokens = self.tokens(examples)

        def of_part(part: Sequence[Example]) -> tuple[float, Tensor]:
            nll = self._of(prompt_ND, part).sum()
            return float(nll.detach()), torch.autograd.grad(nll / tokens, prompt_ND)[0]

        total, slope_KMD = 0.0, torch.zeros_like(prompt_ND)
        for nll, found_KMD in self._in_parts(examples, of_part):
            total, slope_KMD = total + nll, slope_KMD + found_KMD
        return total / tokens, slope_KMD

    def _count(self, prompt_ND: Tensor, examples: Sequence[Example], gradient: bool = False) -> None:
        """Count the pass; each question has its own prompt in front, and the router's row is no vector of it."""
        front = len(examples) * self.layout.question_start(prompt_ND.shape[-2] - 1)
        self.cost.add(len(examples), front + sum(map(len, examples)), gradient)

    def _of(self, mixture_KMD: Tensor, part: Sequence[Example]) -> Tensor:
        """Return the NLL of every target token, each question under its own prompt."""
        heard = [each.noise for each in part if isinstance(each, Noisy)]
        noise_BK = torch.tensor(heard).to(mixture_KMD) if heard else None
        means_BD = routing.means(self.lm, [each.question_ids for each in part])
        prompts_BND = routing.chosen(mixture_KMD, means_BD, noise_BK)
        return self._nll(prompts_BND, self._states(prompts_BND), part)


class Tuning(prompt_tuning.Tuning):
    """Prompt tuning of a mixture (K x M x D): prompts and router learn at one rate."""

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
        """Take what prompt tuning takes; `seed` decides the router's start and noise too."""
        super().__init__(lm, layout, recipe, seed, examples, validation, rows)
        self.objective = Objective(lm, layout, recipe.first_tokens, rows)

    def start(self, lm: LanguageModel, generator: torch.Generator) -> Tensor:
        """Return the mixture: prompts drawn one after the other, an orthogonal router."""
        count = Settings.model_validate(self.recipe.options).prompts
        prompts_KND = torch.stack([super(Tuning, self).start(lm, generator) for _ in range(count)])
        router_KD = torch.empty(count, prompts_KND.shape[-1])
        torch.nn.init.orthogonal_(router_KD, generator=of_step(self.seed, 0))
        return torch.cat([prompts_KND, router_KD.to(prompts_KND)[:, None]], 1)

    def gradient(self, batch: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the loss on a batch in nats, with noise in the router, and its gradient in the mixture."""
        noise_BK = torch.randn(len(batch), len(self.learned), generator=of_step(self.seed, self.step + 1))
        noisy = [Noisy(**vars(each), noise=tuple(row)) for each, row in zip(batch, noise_BK.tolist(), strict=True)]
        return self.objective.gradient(self.learned, noisy)
