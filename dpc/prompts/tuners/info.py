"""InfoPrompt (arXiv 2306.04933), adapted: prompt tuning with two bounds on what the prompt tells, as more losses.

Each is a contrast (InfoNCE): how likely is the right one among others, by its product with the mean prompt vector?
The head loss has the mean output row of the gold answer's tokens against the question's input embeddings. The
representation loss has the decoder's output where the answer begins, with the prompt, against those of other questions
without one. The paper's own prompt comes from an MLP on the input, and it learns a head: here the prompt is plain, and
the model's head stays what it is. Axes: B batch, S position, X others, N prompt vector, D width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.batches import in_batches
from dpc.lm.examples import Example, answer_span
from dpc.lm.layout import Layout, RightPadded, right_padded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners import prompt_tuning, tuner
from dpc.prompts.tuners.prompt_tuning import of_step

TUNER = tuner(label="InfoPrompt, adapted")
log = logging.getLogger("dpc")


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    head_weight: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.1
    """Weight of the head loss."""
    representation_weight: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.2
    """Weight of the representation loss."""
    others: kinds.Count = 4
    """Other questions per question of a step, for the representation loss."""
    worst: kinds.Positive = 2.0
    """Nats: a contrast that is worse counts as this and has no gradient; among N others chance is log(1 + N)."""
    bank: kinds.Count = 512
    """Tuning questions at most whose states without a prompt are made at the beginning, and drawn from."""


def contrast(positive: Tensor, negatives_X: Tensor) -> Tensor:
    """Return -log of the softmax share of `positive` among it and the negatives, in nats."""
    return torch.cat([positive[None], negatives_X]).logsumexp(0) - positive


class Objective(prompt_tuning.Objective):
    """The NLL of rationales plus both contrasts, the means over questions; `value` is the NLL alone."""

    def __init__(self, lm: LanguageModel, layout: Layout, limit: int | None, rows: int, options: Settings):
        super().__init__(lm, layout, limit, rows)
        self.options = options
        self.others_XD = lm.embedding.weight.new_zeros(0, lm.embedding.weight.shape[1], dtype=torch.float32)
        """States of other questions, for the next gradient."""
        self.contrasts, self.too_bad = 0, 0
        """Contrasts so far, and how many of them had no gradient."""

    def _states(self, prompt_ND: Tensor) -> list[Tensor]:
        """Return what rows are given, the mean prompt vector as the last."""
        return [*super()._states(prompt_ND), prompt_ND.mean(0)]

    def _sum(self, prompt_ND: Tensor, states: Sequence[Tensor], part: Sequence[Example], tokens: float) -> Tensor:
        """Return a part's share of the loss, times all target tokens; `tokens` is their number per question."""
        laid, hidden_BSD = self._decoded(prompt_ND, states, part)
        nll_K = torch.cat(rationale_nll(self.lm, laid, hidden_BSD, laid.question_start, self.limit))
        mean_D, options = states[-1] / states[-1].shape[0] ** 0.5, self.options
        answers_BD = states_at_answers(self.lm, laid, hidden_BSD, laid.question_start, part)
        head = self._head_loss(mean_D, part)
        told = self._representation_loss(mean_D, answers_BD)
        return nll_K.sum() + tokens * (options.head_weight * head + options.representation_weight * told)

    def _head_loss(self, mean_D: Tensor, part: Sequence[Example]) -> Tensor:
        """Return the sum over a part's questions."""
        output_VD, found = self.lm.model.get_output_embeddings().weight, []
        for example in part:
            span = answer_span(self.lm, example)
            answer = torch.tensor(example.rationale_ids[span.start : span.stop], device=output_VD.device)
            class_D = output_VD[answer].to(mean_D).mean(0)
            input_XD = self.lm.embedding(torch.tensor(example.question_ids, device=self.lm.device)).to(mean_D)
            found.append(contrast(class_D @ mean_D, input_XD @ mean_D))
        return self._total(found)

    def _representation_loss(self, mean_D: Tensor, answers_BD: Tensor) -> Tensor:
        """Return the sum over a part's questions."""
        others_X = self.others_XD.to(mean_D) @ mean_D
        found = [contrast(answer, others_X) for answer in answers_BD.to(mean_D) @ mean_D]
        return self._total(found)

    def _total(self, contrasts: Sequence[Tensor]) -> Tensor:
        found, worst = torch.stack(list(contrasts)), self.options.worst
        self.contrasts, self.too_bad = self.contrasts + len(found), self.too_bad + int((found > worst).sum())
        return found.clamp(max=worst).sum()


def states_at_answers(
    lm: LanguageModel, laid: RightPadded, hidden_BSD: Tensor, first: int, part: Sequence[Example]
) -> Tensor:
    """Return the outputs (B x D) that predict the first token of each answer; `hidden_BSD` begins at row `first`."""
    rows = [laid.predicting_rows(b)[answer_span(lm, each).start] - first for b, each in enumerate(part)]
    return hidden_BSD[list(range(len(rows))), rows]


class Bank:
    """States of tuning questions without a prompt, where their answers begin."""

    def __init__(self, lm: LanguageModel, layout: Layout, examples: Sequence[Example], rows: int):
        """Make them, `rows` at once at most."""
        self.examples = sorted(examples, key=len, reverse=True)

        @torch.no_grad()
        def states(part: Sequence[Example]) -> Tensor:
            laid = right_padded(lm, layout, None, [e.question_ids for e in part], [e.rationale_ids for e in part])
            hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD, use_cache=False).last_hidden_state
            return states_at_answers(lm, laid, hidden_BSD, 0, part)

        found = [made_BD for _, made_BD in in_batches(self.examples, rows, states)]
        self.states_XD = torch.cat(found).float()

    def others(self, batch: Sequence[Example], count: int, generator: torch.Generator) -> Tensor:
        """Return the states (X x D) of at most `count` questions, drawn among those that are not in the batch."""
        here = {id(example) for example in batch}
        free = [place for place, example in enumerate(self.examples) if id(example) not in here]
        drawn = torch.randperm(len(free), generator=generator)[:count].tolist()
        return self.states_XD[[free[i] for i in drawn]]


class Tuning(prompt_tuning.Tuning):
    """Prompt tuning with both losses beside; the step that is kept is chosen by the NLL, as in prompt tuning."""

    objective: Objective

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
        """Take what prompt tuning takes; `seed` decides which others are drawn too."""
        super().__init__(lm, layout, recipe, seed, examples, validation, rows)
        options = Settings.model_validate(recipe.options)
        self.objective = Objective(lm, layout, recipe.first_tokens, rows, options)
        drawn = torch.randperm(len(examples), generator=of_step(seed, 0))[: options.bank].tolist()
        self.bank = Bank(lm, layout, [examples[i] for i in drawn], rows)
        self.objective.cost.add(len(drawn), sum(map(len, self.bank.examples)))

    def gradient(self, batch: Sequence[Example]) -> tuple[float, Tensor]:
        """Return the loss on a batch in nats, and its gradient in the prompt."""
        count = self.objective.options.others * len(batch)
        self.objective.others_XD = self.bank.others(batch, count, of_step(self.seed, self.step + 1))
        return self.objective.gradient(self.learned, batch)

    def _look(self) -> None:
        super()._look()
        made, worst = self.objective, self.objective.options.worst
        log.info("%d of %d contrasts were worse than %g nats: no gradient", made.too_bad, made.contrasts, worst)
        made.contrasts = made.too_bad = 0
