"""Low-rank prompt tuning (LoPT, arXiv 2406.19486): the prompt is a product of two narrow matrices, which learn.

Axes: N prompt vector, D width, R rank, M rows of both matrices, one over the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from dpc.config import kinds
from dpc.errors import DpcError
from dpc.lm.examples import Example
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners import prompt_tuning, tuner

TUNER = tuner(label="Low-rank prompt tuning")


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    rank: kinds.Count = 4
    """The prompt's rank at most; with `product`, as many as there are vectors is prompt tuning itself."""
    form: Literal["product", "projected"] = "product"
    """`product`: U V, U one row a vector (LoPT-1); `projected`: sigmoid(X0 U) V, X0 the fixed start (LoPT-2)."""


class Form(Protocol):
    """How a prompt (N x D) is made of what learns."""

    def start(self, first_ND: Tensor, rank: int, generator: torch.Generator) -> Tensor:
        """Return what learns, for a prompt as near to `first_ND` as the rank allows (float32)."""

    def prompt(self, learned: Tensor) -> Tensor:
        """Return the prompt (N x D)."""


@dataclass(frozen=True)
class Whole:
    """At full rank one of the two matrices can stay the identity: the other is the prompt, and learns as it would."""

    def start(self, first_ND: Tensor, rank: int, generator: torch.Generator) -> Tensor:
        """Return the prompt."""
        return first_ND

    def prompt(self, learned: Tensor) -> Tensor:
        """Return the prompt."""
        return learned


@dataclass(frozen=True)
class Product:
    """U V: r (n + d) numbers, U over V transposed."""

    vectors: int

    def start(self, first_ND: Tensor, rank: int, generator: torch.Generator) -> Tensor:
        """Return the truncated singular value decomposition, its singular values shared by both matrices."""
        left_NR, values_R, right_RD = torch.linalg.svd(first_ND.double().cpu(), full_matrices=False)
        roots_R = values_R[:rank].sqrt()
        return torch.cat([left_NR[:, :rank] * roots_R, right_RD[:rank].T * roots_R]).to(first_ND)

    def prompt(self, learned: Tensor) -> Tensor:
        """Return the prompt (N x D)."""
        return learned[: self.vectors] @ learned[self.vectors :].T


@dataclass(frozen=True)
class Projected:
    """sigmoid(X0 U) V: 2 r d numbers, U over V transposed."""

    first_ND: Tensor
    """X0."""

    def start(self, first_ND: Tensor, rank: int, generator: torch.Generator) -> Tensor:
        """Return U that spreads X0 U to a standard deviation of 1, and the V that then comes nearest to X0."""
        exact_ND, width = first_ND.double().cpu(), first_ND.shape[1]
        up_DR = torch.randn(width, rank, generator=generator, dtype=torch.float64) / (exact_ND.std() * width**0.5)
        down_RD = torch.linalg.pinv((exact_ND @ up_DR).sigmoid()) @ exact_ND
        return torch.cat([up_DR, down_RD.T]).to(first_ND)

    def prompt(self, learned: Tensor) -> Tensor:
        """Return the prompt (N x D)."""
        width = self.first_ND.shape[1]
        return (self.first_ND @ learned[:width]).sigmoid() @ learned[width:].T


class Tuning(prompt_tuning.Tuning):
    """Prompt tuning of a prompt whose rank is bounded; what comes out is a prompt like any other."""

    form: Form

    def start(self, lm: LanguageModel, generator: torch.Generator) -> Tensor:
        """Return the matrices (M x R), from a prompt that prompt tuning would start from.

        Raises DpcError where the rank is larger than a prompt's can be.
        """
        first_ND = super().start(lm, generator)
        options, most = Settings.model_validate(self.recipe.options), min(first_ND.shape)
        if options.rank > most:
            raise DpcError(f"recipes.NAME.options.rank is {options.rank}; expected at most {most}, a prompt's own rank")
        if options.form == "projected":
            self.form = Projected(first_ND)
        else:
            self.form = Whole() if options.rank == most else Product(len(first_ND))
        return self.form.start(first_ND, options.rank, generator)

    @property
    def prompt_ND(self) -> Tensor:
        """Return the prompt (N x D), on a graph from the matrices."""
        return self.form.prompt(self.learned)

    def gradient(self, batch: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the loss on a batch in nats, and its gradient in the matrices."""
        leaf_ND = self.prompt_ND.detach().requires_grad_(True)
        loss, slope_ND = self.objective.gradient(leaf_ND, batch)
        return loss, torch.autograd.grad(self.prompt_ND, self.learned, slope_ND)[0]
