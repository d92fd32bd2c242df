"""What all tuners share that look for a discrete prompt: tokens whose embeddings are the prompt's vectors.

Axes: C prompt of several, N prompt vector, P position, D width, K token asked for, V vocabulary.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, shared_prefix
from dpc.lm.models import LanguageModel
from dpc.prompts import soft_prompt
from dpc.prompts.tuners.looks import Look
from dpc.prompts.tuners.prompt_tuning import Objective
from dpc.prompts.tuners.spent import Cost
from dpc.storage.adapter_files import Tokens


@dataclass(frozen=True)
class Trial:
    """A prompt that was tried: one row of table `search`."""

    step: int
    token_ids: list[int]
    text: str
    score: float
    """What the tuner chooses by at this point; lower is better."""
    passes: int
    """Sequences that had gone through the model by then."""
    seconds: float
    """Time that had gone by."""


class Search(ABC):
    """A search: `try_out` scores a prompt on the validation questions, and the best one is kept, ties to the later.

    A tuner defines `_step`, and for a resume `_own` and `_take_up`: tensors and plain values that are its own.
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
        steps: int,
    ):
        """Take what every tuner takes, and the number of steps."""
        self.lm, self.layout, self.recipe, self.steps = lm, layout, recipe, steps
        self.examples, self.validation = examples, validation
        self.objective = Objective(lm, layout, recipe.first_tokens, rows)
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.seconds, self.is_stopped = 0, 0.0, False
        self.looks, self.trials, self.recent = list[Look](), list[Trial](), list[float]()
        self.kept_step, self.kept_ids = 0, list[int]()
        self._brought: Tensor | None = None

    @property
    def cost(self) -> Cost:
        """Return what has gone through the model so far."""
        return self.objective.cost

    @property
    def is_over(self) -> bool:
        """Return whether all steps are done, or the tuner has found enough."""
        return self.is_stopped or self.step >= self.steps

    @property
    def kept_ND(self) -> Tensor:
        """Return the best prompt's vectors (N x D, float32)."""
        return soft_prompt.spelled(self.lm, self.kept_ids) if self._brought is None else self._brought

    @property
    def tokens(self) -> Tokens:
        """Return what the best prompt says."""
        return Tokens(tuple(self.kept_ids), self.lm.decode(self.kept_ids))

    def advance(self) -> float:
        """Do a step and return its loss; raises DpcError where that is not finite."""
        started = time.perf_counter()
        self.step += 1
        loss = self._step()
        if not math.isfinite(loss):
            raise DpcError(
                f"tuning loss is {loss} at step {self.step}; expected a finite number: lower "
                "recipes.NAME.options.learning_rate, or use dtype float32"
            )
        self.seconds += time.perf_counter() - started
        return loss

    @abstractmethod
    def _step(self) -> float:
        """Do a step and return its loss."""

    def try_out(self, token_ids: Sequence[int], rate: float = 0.0, step: int | None = None) -> float:
        """Return the prompt's validation loss, note it, and keep the prompt if none before was better."""
        step = self.step if step is None else step
        found = self.objective.value(soft_prompt.spelled(self.lm, token_ids), self.validation)
        if not math.isfinite(found):
            raise DpcError(f"validation loss is {found} at step {step}; expected a finite number: use dtype float32")
        self.note(token_ids, found, step)
        if found <= min((look.validation_loss for look in self.looks), default=math.inf):
            self.kept_step, self.kept_ids = step, list(token_ids)
        loss = sum(self.recent) / len(self.recent) if self.recent else math.nan
        self.looks.append(Look(step, loss, found, rate))
        self.recent = []
        return found

    def note(self, token_ids: Sequence[int], score: float, step: int | None = None) -> None:
        """Add a row to table `search`."""
        step = self.step if step is None else step
        text = self.lm.decode(list(token_ids))
        self.trials.append(Trial(step, list(token_ids), text, score, self.cost.passes, self.seconds))

    def own_nll(self, prompt_ND: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Return the mean NLL of the prompt's tokens under the model, in nats; differentiable in `prompt_ND`."""
        return self.own_nlls(prompt_ND[None], [token_ids])[0]

    def own_nlls(self, prompts_CND: Tensor, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Return that of several prompts of one length (C).

        The first token counts where BOS stands in front of it. Rows that follow change nothing: attention is causal.
        """
        heads_CPD = torch.stack([shared_prefix(self.lm, self.layout, [each_ND], [()]) for each_ND in prompts_CND])
        self.cost.add(len(heads_CPD), heads_CPD[..., 0].numel(), gradient=prompts_CND.requires_grad)
        start = self.layout.prompt_start()
        unread = 0 if start else 1
        hidden_CPD = self.lm.model.get_decoder()(inputs_embeds=heads_CPD, use_cache=False).last_hidden_state
        rows_CKD = hidden_CPD[:, start + unread - 1 : start + prompts_CND.shape[1] - 1]
        targets_CK = torch.tensor(token_ids, device=rows_CKD.device)[:, unread:]
        if not targets_CK.numel():
            return hidden_CPD.sum((1, 2)) * 0
        logits_CKV = self.lm.logits(rows_CKD.flatten(0, 1)).float().unflatten(0, targets_CK.shape)
        return torch.stack([functional.cross_entropy(*each) for each in zip(logits_CKV, targets_CK, strict=True)])

    def encoded(self, key: str, text: str) -> list[int]:
        """Return the ids of a text of the options.

        Raises DpcError where the tokenizer does not know a word, or a prompt of it would be too long.
        """
        token_ids = self.lm.encode(text)
        if strange := set(token_ids) & set(self.lm.tokenizer.all_special_ids):
            word = self.lm.tokenizer.convert_ids_to_tokens(min(strange))
            raise DpcError(
                f"recipes.NAME.options.{key} is {text!r}: to this model's tokenizer it holds {word!r}, which stands "
                "for no word; use words of its vocabulary"
            )
        return token_ids

    def fitting(self, key: str, text: str) -> list[int]:
        """Return the ids of a prompt that stands in the options. Raises DpcError where it is empty or too long."""
        token_ids, most = self.encoded(key, text), self.recipe.vectors
        if not 0 < len(token_ids) <= most:
            raise DpcError(
                f"recipes.NAME.options.{key} is {text!r}: {len(token_ids)} tokens, expected 1 to recipes.NAME.vectors "
                f"({most}); shorten it or raise that"
            )
        return token_ids

    def bring_in(self, prompt_ND: Tensor) -> None:
        """Keep a prompt (N x D, float32) that was made elsewhere, and look at its validation loss."""
        self._brought = prompt_ND
        self.looks.append(Look(0, math.nan, self.objective.value(prompt_ND, self.validation), 0.0))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that the steps to come depend on, as tensors and as plain values."""
        tensors, values = self._own()
        shared = {
            "step": self.step,
            "seconds": self.seconds,
            "is_stopped": self.is_stopped,
            "kept_step": self.kept_step,
            "kept_ids": self.kept_ids,
            "recent": self.recent,
            "looks": [vars(look) for look in self.looks],
            "trials": [vars(trial) for trial in self.trials],
            "cost": self.cost.state(),
        }
        return tensors | {"generator": self.generator.get_state()}, values | shared

    def resume(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on where the search was that had this `state`; settings, model and examples have to be the same."""
        self.generator.set_state(tensors["generator"])
        for name in ("step", "seconds", "is_stopped", "kept_step", "kept_ids", "recent"):
            setattr(self, name, values[name])
        self.looks = [Look(**look) for look in values["looks"]]
        self.trials = [Trial(**trial) for trial in values["trials"]]
        self.cost.take_up(values["cost"])
        self._take_up(tensors, values)

    def _own(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {}

    def _take_up(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:  # noqa: B027  # none of its own
        """Go on from what `_own` returned; a search may have nothing of its own."""
