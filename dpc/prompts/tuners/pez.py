"""PEZ: hard prompts by projected gradients, with the optional terms of fluency and perplexity.

A continuous prompt P is kept. A step feeds its projection P', the nearest vocabulary rows by cosine, and applies the
gradient there to P. Here: NLL of gold rationales, `[BOS, P', question]`. With `perplexity` it is the method that
"Towards Interpretable Soft Prompts" proposes and did not run. Axes: N prompt vector, D width, T token that may be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.prompts import soft_prompt
from dpc.prompts.tuners import tuner
from dpc.prompts.tuners.prompt_tuning import Batches
from dpc.prompts.tuners.search import Search
from dpc.prompts.tuners.vocabulary import ordinary

TUNER = tuner(label="PEZ", searches=True)


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    steps: kinds.Count = 5000
    """Steps of the optimiser."""
    batch_size: kinds.Count = 16
    """Questions per step."""
    learning_rate: kinds.Positive = 0.3
    """Constant rate."""
    optimiser: Literal["adafactor", "sgd"] = "adafactor"
    """Adafactor without relative steps and without scaling by the parameter's size; or plain descent."""
    clip: kinds.Positive = 1.0
    """Largest norm of a gradient."""
    validate_every: kinds.Count = 100
    """Steps between looks at the projected prompt."""
    fluency: kinds.Share = 0.0
    """λ: the loss is λ times the mean NLL of the prompt's own tokens, plus 1 − λ times the task's."""
    perplexity: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.0
    """Weight of the perplexity of the prompt's tokens under the task's model, added to the loss."""

    def passes(self, validation: int) -> int:
        """Return how many sequences go through the model."""
        terms = bool(self.fluency or self.perplexity)
        return self.steps * (self.batch_size + terms) + (1 + -(-self.steps // self.validate_every)) * validation


class Tuning(Search):
    """The projection with the lowest validation loss is kept."""

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
        """Take what every tuner takes; P starts at random vocabulary rows."""
        self.options = Settings.model_validate(recipe.options)
        super().__init__(lm, layout, recipe, seed, examples, validation, rows, self.options.steps)
        self.pool = ordinary(lm)
        self.unit_TD = functional.normalize(soft_prompt.spelled(lm, self.pool), dim=-1)
        places = torch.randint(len(self.pool), (recipe.vectors,), generator=self.generator)
        self.prompt_ND = soft_prompt.spelled(lm, [self.pool[place] for place in places.tolist()]).requires_grad_(True)
        self.optimiser = self._optimiser()
        self.batches = Batches(examples, self.options.batch_size, self.generator)

    def _optimiser(self) -> torch.optim.Optimizer:
        rate = self.options.learning_rate
        if self.options.optimiser == "sgd":
            return torch.optim.SGD([self.prompt_ND], lr=rate)
        from transformers.optimization import Adafactor

        return Adafactor([self.prompt_ND], lr=rate, relative_step=False, scale_parameter=False)

    @torch.no_grad()
    def projected(self, prompt_ND: Tensor) -> list[int]:
        """Return for each vector the token whose embedding has the largest cosine with it (float32)."""
        return [self.pool[place] for place in (prompt_ND.float() @ self.unit_TD.T).argmax(-1).tolist()]

    def gradient(self, token_ids: Sequence[int], batch: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the loss at a projected prompt, and its gradient there (N x D)."""
        at_ND = soft_prompt.spelled(self.lm, token_ids).requires_grad_(True)
        loss, slope_ND = self.objective.gradient(at_ND, batch)
        share, weight = self.options.fluency, self.options.perplexity
        if not share and not weight:
            return loss, slope_ND
        own = self.own_nll(at_ND, token_ids)
        term = share * own + weight * own.exp()
        return (1 - share) * loss + float(term.detach()), (1 - share) * slope_ND + torch.autograd.grad(term, at_ND)[0]

    def _step(self) -> float:
        if not self.looks:
            self.try_out(self.projected(self.prompt_ND), self.options.learning_rate, step=0)
        loss, slope_ND = self.gradient(self.projected(self.prompt_ND), self.batches.next())
        self.prompt_ND.grad = slope_ND
        torch.nn.utils.clip_grad_norm_([self.prompt_ND], self.options.clip)
        self.optimiser.step()
        self.recent.append(loss)
        if self.step % self.options.validate_every == 0 or self.step == self.steps:
            self.try_out(self.projected(self.prompt_ND), self.options.learning_rate)
        return loss

    def _own(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        moments = self.optimiser.state_dict()["state"].get(0, {})
        tensors = {f"moment.{name}": value for name, value in moments.items() if isinstance(value, Tensor)}
        plain = {name: value for name, value in moments.items() if not isinstance(value, Tensor)}
        return tensors | {"prompt": self.prompt_ND.detach()}, {"moments": plain, "waiting": self.batches.waiting}

    def _take_up(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        moments = {name[7:]: value for name, value in tensors.items() if name.startswith("moment.")} | values["moments"]
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": {0: moments} if moments else {}, "param_groups": groups})
        self.prompt_ND.data.copy_(tensors["prompt"])
        self.batches.waiting = values["waiting"]
