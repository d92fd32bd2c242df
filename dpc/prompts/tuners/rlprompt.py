"""RLPrompt: a discrete prompt by soft Q-learning, with a reward for low perplexity. An adaptation to rationales.

The policy is the task's own frozen model: its last hidden state goes through an MLP that learns, then through the
model's head. Where questions have labels, a prompt's reward is the published one, see `label_rewards`; a label stands
where plan `likelihood` has it, directly behind the question. Else it is minus the NLL of gold rationales. Whether that
of the empty prompt is subtracted makes no difference: the z-score over a step's prompts takes any constant out.
Axes: B prompt of a step, C prompt, each once, T its token, D width, V vocabulary, E question, L label.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.prompts import soft_prompt
from dpc.prompts.tuners import tuner
from dpc.prompts.tuners.prompt_tuning import Batches, Objective
from dpc.prompts.tuners.search import Search
from dpc.prompts.tuners.vocabulary import ordinary

TUNER = tuner(label="RLPrompt (adapted)", searches=True, reads_labels=True)
SPREAD = 1e-4
"""Added to the standard deviation of a step's rewards."""
START = 1e-4
"""Gain of the MLP's first weights, and minus its first biases."""
RIGHT, WRONG = 200.0, 180.0
"""Factors of the gap between probabilities, where the gold label is the likeliest and where it is not."""


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set. Prompts have `recipes.NAME.vectors` tokens; 5 in the paper."""

    steps: kinds.Count = 12_000
    """Steps of the optimiser."""
    prompts: kinds.Count = 16
    """Prompts that are sampled in a step."""
    batch_size: kinds.Count = 16
    """Questions that a step's prompts are rewarded on."""
    hidden: kinds.Count = 2048
    """Width of the MLP."""
    sampled_from: kinds.Count = 256
    """Likeliest tokens among which one is sampled."""
    learning_rate: kinds.Positive = 5e-5
    """Of Adam."""
    clip: kinds.Positive = 5.0
    """Largest norm of a gradient."""
    polyak: kinds.Share = 1e-3
    """How far the target network moves to the learning one before each step."""
    reward_scale: kinds.Positive = 5.0
    """Factor of the z-scored rewards."""
    task: Annotated[float, Field(ge=0), kinds.AsNumber] = 1.0
    """a: weight of the task in the reward, which is between -180 and 200 where questions have labels, else nats."""
    perplexity: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.0
    """α: weight of the perplexity of the prompt's tokens under the task's model, taken off the reward."""
    perplexity_form: Literal["log", "plain"] = "log"
    """Its logarithm is taken off, in nats; or itself, as published."""
    validate_every: kinds.Count = 10
    """Steps between looks at the greedy prompt."""

    def passes(self, validation: int, labels: int = 0) -> int:
        """Return how many sequences go through the model at most, where a question has so many labels."""
        a_step = self.prompts * (1 + self.batch_size * max(1, labels) + bool(self.perplexity))
        return self.steps * a_step + (1 + -(-self.steps // self.validate_every)) * (validation + 1)


def soft_q_loss(q_BT: Tensor, v_BT: Tensor, target_BT: Tensor, reward_B: Tensor) -> Tensor:
    """Return the loss of soft Q-learning (versions 2 and 3 of the public code, averaged).

    `q_BT` holds the chosen tokens' logits, `v_BT` and `target_BT` the log-sum-exps of the learning and of the target
    network. The reward comes behind the last token alone. Summed over tokens, mean over prompts.
    """
    advantage_BT = q_BT - v_BT
    following_BT = torch.cat([target_BT[:, 1:], reward_B[:, None]], 1)
    single_BT = (advantage_BT - (following_BT - target_BT)).square()
    rest_BT = advantage_BT.flip(1).cumsum(1).flip(1)
    whole_BT = (rest_BT - (reward_B[:, None] - target_BT)).square()
    return ((single_BT + whole_BT) / 2).sum(1).mean()


def label_rewards(log_likelihood_EL: Tensor, gold_E: Tensor) -> Tensor:
    """Return each question's reward as RLPrompt's code has it for classification (..., E).

    The gap is the gold label's probability less that of the likeliest other, of probabilities that sum to 1 over the
    labels; it counts 200 times where the gold label is the likeliest, else 180 times.
    """
    chance_EL = log_likelihood_EL.softmax(-1)
    gold_E1 = gold_E.expand(chance_EL.shape[:-1])[..., None]
    gap_E = (chance_EL.gather(-1, gold_E1) - chance_EL.scatter(-1, gold_E1, -1).amax(-1, keepdim=True))[..., 0]
    return gap_E * torch.where(gap_E > 0, RIGHT, WRONG)


def standardised(reward_B: Tensor, scale: float) -> Tensor:
    """Return z-scores (population standard deviation) times `scale`."""
    return scale * (reward_B - reward_B.mean()) / (reward_B.std(correction=0) + SPREAD)


class Tuning(Search):
    """A step samples prompts, rewards them and moves the MLP; every few steps the greedy prompt is looked at."""

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
        """Take what every tuner takes."""
        self.options = Settings.model_validate(recipe.options)
        super().__init__(lm, layout, recipe, seed, examples, validation, rows, self.options.steps)
        self.pool = torch.tensor(ordinary(lm), device=lm.device)
        self.policy = _mlp(lm.embedding.weight.shape[1], self.options.hidden, self.generator).to(lm.device)
        self.target = copy.deepcopy(self.policy).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=self.options.learning_rate)
        self.batches = Batches(examples, self.options.batch_size, self.generator)
        self.labelled = Objective(lm, layout, None, rows)  # all of a label counts, whatever `first_tokens` says
        self.labelled.cost = self.cost

    def _step(self) -> float:
        if not self.looks:
            self.try_out(self.greedy(), self.options.learning_rate, step=0)
        tokens_BT, hidden_BTD = self._sampled(self.options.prompts)
        nll_B, reward_B = self._rewarded(tokens_BT.tolist(), self.batches.next())
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.policy.parameters(), strict=True):
                slow.lerp_(fast, self.options.polyak)
        loss = self.loss(tokens_BT, hidden_BTD, standardised(reward_B, self.options.reward_scale))
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), self.options.clip)
        self.optimiser.step()
        self.recent.append(float(nll_B.mean()))
        if self.step % self.options.validate_every == 0 or self.step == self.steps:
            self.try_out(self.greedy(), self.options.learning_rate)
        return float(loss.detach())

    def loss(self, tokens_BT: Tensor, hidden_BTD: Tensor, reward_B: Tensor) -> Tensor:
        """Return the loss of prompts whose tokens were chosen in these states of the frozen model."""
        logits_BTV = self._logits(self.policy, hidden_BTD)
        with torch.no_grad():
            target_BT = self._logits(self.target, hidden_BTD).logsumexp(-1)
        q_BT = logits_BTV.gather(-1, tokens_BT[..., None])[..., 0]
        return soft_q_loss(q_BT, logits_BTV.logsumexp(-1), target_BT, reward_B)

    def greedy(self) -> list[int]:
        """Return the policy's likeliest prompt."""
        return [int(token) for token in self._sampled(1, is_greedy=True)[0][0]]

    @torch.no_grad()
    def _sampled(self, count: int, is_greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Return so many prompts (B x T), and the frozen model's state before each token (B x T x D)."""
        said_BT = torch.full((count, 1), self.lm.end_ids[0], device=self.lm.device)
        states = list[Tensor]()
        for _ in range(self.recipe.vectors):
            inputs_BTD = self.lm.embedding(said_BT)
            hidden_BTD = self.lm.model.get_decoder()(inputs_embeds=inputs_BTD, use_cache=False).last_hidden_state
            states.append(hidden_BTD[:, -1].contiguous())
            logits_BP = self._logits(self.policy, states[-1])[:, self.pool]
            top = logits_BP.topk(1 if is_greedy else min(self.options.sampled_from, logits_BP.shape[1]))
            chosen_B1 = torch.multinomial(top.values.softmax(-1).cpu(), 1, generator=self.generator)
            token_B1 = self.pool[top.indices.gather(1, chosen_B1.to(self.lm.device))]
            said_BT = torch.cat([said_BT, token_B1], 1)
        self.cost.add(count, said_BT[:, 1:].numel())
        return said_BT[:, 1:], torch.stack(states, 1)

    def _logits(self, mlp: nn.Module, hidden: Tensor) -> Tensor:
        """Return the logits (..., V, float32) that an MLP makes of the frozen model's outputs (..., D)."""
        moved = mlp(hidden.float())
        return self.lm.logits(moved.to(hidden.dtype).reshape(-1, moved.shape[-1])).float().view(*moved.shape[:-1], -1)

    @torch.no_grad()
    def _rewarded(self, prompts: list[list[int]], batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return each prompt's NLL per token that is asked for, and its reward; equal prompts are tried once."""
        each_once = list(dict.fromkeys(map(tuple, prompts)))
        prompts_CND = torch.stack([soft_prompt.spelled(self.lm, token_ids) for token_ids in each_once])
        nll_C, task_C = (self._by_labels if batch[0].labels else self._by_rationales)(prompts_CND, batch)
        reward_C = self.options.task * task_C
        if self.options.perplexity:
            own_C = self.own_nlls(prompts_CND, each_once).cpu()
            reward_C -= self.options.perplexity * (own_C if self.options.perplexity_form == "log" else own_C.exp())
        places = [each_once.index(tuple(token_ids)) for token_ids in prompts]
        return nll_C[places], reward_C[places].float().to(self.lm.device)

    def _by_rationales(self, prompts_CND: Tensor, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return the NLL of the gold rationales per token, and the reward for it (C each)."""
        nll_C = self.objective.sums(prompts_CND, batch).sum(1) / self.objective.tokens(batch)
        return nll_C, -nll_C

    def _by_labels(self, prompts_CND: Tensor, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return the NLL of the gold labels per token, and the mean reward for all labels' likelihoods (C each)."""
        labels = batch[0].labels
        ids = {label: self.lm.encode(label) for label in labels}
        said = [replace(each, rationale_ids=ids[label]) for each in batch for label in labels]
        nll_CEL = self.labelled.sums(prompts_CND, said).unflatten(1, (len(batch), len(labels)))
        gold_E = torch.tensor([labels.index(each.answer) for each in batch])
        nll_C = nll_CEL[:, range(len(batch)), gold_E].sum(1) / sum(len(ids[each.answer]) for each in batch)
        return nll_C, label_rewards(-nll_CEL, gold_E).mean(1)

    def _own(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"policy.{name}": value for name, value in self.policy.state_dict().items()}
        tensors |= {f"target.{name}": value for name, value in self.target.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
        return tensors, {"waiting": self.batches.waiting}

    def _take_up(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            start = len(prefix)
            return {name[start:]: value for name, value in tensors.items() if name.startswith(prefix)}

        self.policy.load_state_dict(under("policy."))
        self.target.load_state_dict(under("target."))
        groups = self.optimiser.state_dict()["param_groups"]
        moments = {i: found for i in range(len(groups[0]["params"])) if (found := under(f"adam.{i}."))}
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.batches.waiting = values["waiting"]


def _mlp(width: int, hidden: int, generator: torch.Generator) -> nn.Sequential:
    """Return the policy's MLP as it starts: next to nothing, so that all tokens are about equally likely."""
    first, second = nn.Linear(width, hidden), nn.Linear(hidden, width)
    for layer in (first, second):
        nn.init.xavier_uniform_(layer.weight, gain=START, generator=generator)
        nn.init.constant_(layer.bias, -START)
    return nn.Sequential(first, nn.ReLU(), second)
