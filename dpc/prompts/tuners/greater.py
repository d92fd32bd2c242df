"""GReaTer: a discrete prompt by gradients over the model's own reasoning (arXiv 2412.09722), an adaptation.

Theirs stands behind the question: question, ". Use", prompt. Ours stands in front of it, as every prompt here does:
flow from the prompt to the question, which Dynamic Prompt Corruption reads, exists in that order alone. New tokens are
proposed in their order, behind the question. What their code does otherwise than their text is said at each option.
Axes: B batch, S position, N prompt vector, D width, C candidate, K token asked for, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.batches import in_batches
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, check_length, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.sparing import lean_layers, rows_within
from dpc.prompts import soft_prompt
from dpc.prompts.tuners import tuner
from dpc.prompts.tuners.search import Search
from dpc.prompts.tuners.vocabulary import allowed

TUNER = tuner(label="GReaTer (prompt in front)", searches=True)
Scored = tuple[float, list[int]]


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    start: str = "proper logical reasoning and think step by step. Finally give the actual correct answer."
    """The first prompt, at most `recipes.NAME.vectors` tokens, which is also what the prompt grows to."""
    link: str = ". Use"
    """Text between question and prompt where the next token is proposed."""
    extractor: str = "Therefore, the final answer is"
    """Text between the model's reasoning and the gold answer."""
    steps: kinds.Count = 105
    """Steps; each changes one token."""
    items: kinds.Count = 50
    """Training questions, the same in all steps."""
    reasoning_tokens: kinds.Count = 1024
    """Longest reasoning."""
    stop: list[kinds.StopText] = Field(default=[])
    """Text that ends a reasoning; it is cut off."""
    tokens: Literal["plain", "ordinary"] = "plain"
    """What prompts are made of: `.`, `,`, spaces and ASCII letters; or every token that is text."""
    top_k: kinds.Count = 10
    """Next tokens that a question proposes."""
    groups: kinds.Count = 5
    """Random groups of questions; candidates are what all questions of a group propose."""
    group_size: kinds.Count = 5
    """Questions of a group."""
    fewest: kinds.Count = 6
    """With fewer candidates, every question proposes two more tokens."""
    tried: kinds.Count = 3
    """Candidates with the most negative gradient, whose reasoning is generated."""
    temperature: kinds.Positive = 0.2
    """Logits are divided by it in the loss."""
    fluency: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.2
    """Weight of the mean NLL of the prompt's tokens in the loss."""
    choose: Literal["loss", "released"] = "loss"
    """Of the candidates tried keep that of the lowest loss, as their text says; or, as their code does, that of the
    smallest share of questions with a wrong answer token, plus `released_fluency` times the mean NLL of the prompt."""
    released_fluency: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.02
    """Read where `choose` is `released`."""
    stop_below: Annotated[float, Field(ge=0), kinds.AsNumber] = 0.12
    """Search ends below this score."""
    patience: kinds.Count = 150
    """Or after so many steps without a better one."""
    finalists: kinds.Count = 10
    """Prompts of the lowest scores, of which validation chooses one."""

    def passes(self, validation: int) -> int:
        """Return how many sequences go through the model at most."""
        return self.steps * (self.items * (3 + 2 * self.tried) + 1 + self.tried) + (1 + self.finalists) * validation


class Tuning(Search):
    """A step: reason, propose tokens for one position, rank them by gradient, reason anew with the best, take one."""

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
        """Take what every tuner takes. Raises DpcError where a text of the options has a word that the model lacks."""
        self.options = Settings.model_validate(recipe.options)
        super().__init__(lm, layout, recipe, seed, examples, validation, rows, self.options.steps)
        self.token_ids = self.fitting("start", self.options.start)
        self.link_ids = self.encoded("link", self.options.link)
        self.encoded("extractor", self.options.extractor)
        self.pool = set(allowed(lm, self.options.tokens))
        drawn = torch.randperm(len(examples), generator=self.generator)[: self.options.items].tolist()
        self.items = [examples[i] for i in drawn]
        self.tails = {item.answer: _answer(lm, self.options.extractor, item.answer) for item in self.items}
        self.position, self.best_score, self.best_step = 0, math.inf, 0
        self.finalists = list[Scored]()

    def _step(self) -> float:
        if not self.looks:
            self.try_out(self.token_ids, step=0)
        reasoned = self.reasoned(self.token_ids)
        candidates = self.candidates(self.position)
        slope_ND = self.gradient(self.token_ids, reasoned)
        slopes_C = soft_prompt.spelled(self.lm, candidates) @ slope_ND[self.position]
        scored = []
        for place in slopes_C.argsort(stable=True)[: self.options.tried].tolist():
            token_ids = [*self.token_ids[: self.position], candidates[place], *self.token_ids[self.position + 1 :]]
            scored.append((self.score(token_ids), token_ids))
            self.note(token_ids, scored[-1][0])
        score, self.token_ids = min(reversed(scored), key=lambda each: each[0])  # ties to the later
        self._remember(scored)
        self.recent.append(score)
        self._move_on()
        if score < self.best_score:
            self.best_score, self.best_step = score, self.step
        opts = self.options
        self.is_stopped = self.best_score < opts.stop_below or self.step - self.best_step >= opts.patience
        if self.is_over:
            for _, token_ids in self.finalists:
                self.try_out(token_ids)
        return score

    def _remember(self, scored: Sequence[Scored]) -> None:
        """Keep the prompts of the lowest scores so far, each once, the worst of them first."""
        known = {tuple(token_ids): score for score, token_ids in [*self.finalists, *scored]}
        best = sorted(((score, list(token_ids)) for token_ids, score in known.items()), key=lambda each: each[0])
        self.finalists = best[: self.options.finalists][::-1]

    def _move_on(self) -> None:
        """Go to the next position: behind the last token wrap round at a full stop, or let the prompt grow by one."""
        self.position += 1
        if self.position < len(self.token_ids):
            return
        is_full = len(self.token_ids) >= self.recipe.vectors
        if is_full or "." in self.lm.tokenizer.decode(self.token_ids[-1:]):
            self.position = 0
        else:
            self.token_ids = [*self.token_ids, self.token_ids[-1]]  # a placeholder, replaced in the next step

    def reasoned(self, token_ids: Sequence[int]) -> list[Example]:
        """Return the items with the model's greedy reasoning under a prompt, extractor and gold answer behind it.

        `rationale_ids` holds all three. They are plain numbers: no gradient flows through the generation.
        """
        prompt_ND = soft_prompt.spelled(self.lm, token_ids)
        requests = [Request(item.question_ids, prompt_ND) for item in self.items]
        limits = Limits(self.options.reasoning_tokens, tuple(self.options.stop))
        batches = generate(self.lm, self.layout, requests, limits, self.objective.rows)
        said = {i: answer for indices, answers in batches for i, answer in zip(indices, answers, strict=True)}
        found = list[Example]()
        for i, item in enumerate(self.items):
            self.cost.add(1, len(token_ids) + len(item.question_ids) + len(said[i].token_ids))
            tail_ids, answer_ids = self.tails[item.answer]
            reasoned_ids = [*self.lm.encode(said[i].text.rstrip()), *tail_ids, *answer_ids]
            check_length(self.lm, len(token_ids), len(item.question_ids), len(reasoned_ids))
            found.append(replace(item, rationale_ids=reasoned_ids))
        return found

    @torch.no_grad()
    def candidates(self, position: int) -> list[int]:
        """Return the tokens that may stand at `position`, in order of ids, the one that stands there among them.

        Each item proposes the likeliest next tokens behind question, link and the prompt before `position`; the token
        before it (the last one, before the first) is out, and so is a placeholder, which repeats it.
        """
        contexts = [[*item.question_ids, *self.link_ids, *self.token_ids[:position]] for item in self.items]
        orders = list[list[int]]()
        for part, ranked in in_batches(contexts, self.objective.rows, self._ranked):
            self.cost.add(len(part), sum(map(len, part)))
            orders += ranked
        groups = self._groups()
        allowed = self.pool - {self.token_ids[position - 1]}
        top_k, found = min(self.options.top_k, len(orders[0])), set[int]()
        while len(found) < self.options.fewest and top_k <= len(orders[0]) + 1:
            proposed = [allowed.intersection(order[:top_k]) for order in orders]
            found = set().union(*(set.intersection(*(proposed[i] for i in group)) for group in groups))
            top_k += 2
        current = self.token_ids[position]
        return sorted(found | ({current} - {self.token_ids[position - 1]})) or [current]

    def _groups(self) -> list[list[int]]:
        size, count = self.options.group_size, len(self.items)
        if count < size:
            return [list(range(count))]
        return [torch.randperm(count, generator=self.generator)[:size].tolist() for _ in range(self.options.groups)]

    def _ranked(self, contexts: Sequence[list[int]]) -> list[list[int]]:
        """Return all tokens behind each context, the likeliest first."""
        laid = right_padded(self.lm, self.layout, None, contexts, [[] for _ in contexts])
        hidden_BSD = self.lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD, use_cache=False).last_hidden_state
        last_B = torch.tensor([laid.predicting_rows(b).start for b in range(len(contexts))])
        logits_BV = self.lm.logits(hidden_BSD[torch.arange(len(contexts)), last_B])
        most = min(logits_BV.shape[1], 1000 + self.options.top_k)
        return logits_BV.topk(most).indices.tolist()

    def gradient(self, token_ids: Sequence[int], reasoned: Sequence[Example]) -> Tensor:
        """Return the gradient of the loss in the prompt's vectors (N x D), summed over the items.

        The reasoning is constant text. The gradient in a one-hot vector over candidates is their embeddings times it.
        """
        slope_ND = torch.zeros(len(token_ids), self.lm.embedding.weight.shape[1], device=self.lm.device)
        weight, count = self.options.fluency, len(reasoned)

        def of_part(part: Sequence[Example]) -> Tensor:
            prompt_ND = soft_prompt.spelled(self.lm, token_ids).requires_grad_(True)
            loss = torch.stack([nll.mean() for nll, _ in self._answers(prompt_ND, part)]).sum()
            return torch.autograd.grad(loss, prompt_ND)[0]

        longest = self.layout.question_start(len(token_ids)) + max(map(len, reasoned))
        rows = min(self.objective.rows, rows_within(self.lm, longest))
        with lean_layers(self.lm):
            for part, found in in_batches(list(reasoned), rows, of_part):
                self._count(part, len(token_ids), gradient=True)
                slope_ND += found
        prompt_ND = soft_prompt.spelled(self.lm, token_ids).requires_grad_(True)
        own = self.own_nll(prompt_ND, token_ids)
        return slope_ND + count * weight * torch.autograd.grad(own, prompt_ND)[0]

    @torch.no_grad()
    def score(self, token_ids: Sequence[int]) -> float:
        """Return what candidates are chosen by, with reasoning that is generated for this prompt."""
        prompt_ND, options = soft_prompt.spelled(self.lm, token_ids), self.options
        losses, wrong = list[float](), list[bool]()
        for part, found in in_batches(
            self.reasoned(token_ids), self.objective.rows, lambda part: self._answers(prompt_ND, part)
        ):
            self._count(part, len(token_ids), gradient=False)
            losses += [float(nll.mean()) for nll, _ in found]
            wrong += [not is_right for _, is_right in found]
        own = float(self.own_nll(prompt_ND, token_ids))
        if options.choose == "released":
            return sum(wrong) / len(wrong) + options.released_fluency * own
        return sum(losses) / len(losses) + options.fluency * own

    def _count(self, part: Sequence[Example], vectors: int, gradient: bool) -> None:
        self.cost.add(len(part), len(part) * self.layout.question_start(vectors) + sum(map(len, part)), gradient)

    def _answers(self, prompt_ND: Tensor, part: Sequence[Example]) -> list[tuple[Tensor, bool]]:
        """Return, per item, the NLL of each answer token at the loss's temperature, and whether all are the argmax."""
        laid = right_padded(
            self.lm, self.layout, prompt_ND, [e.question_ids for e in part], [e.rationale_ids for e in part]
        )
        hidden_BSD = self.lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD, use_cache=False).last_hidden_state
        found = []
        for b, example in enumerate(part):
            targets_K = torch.tensor(self.tails[example.answer][1], device=hidden_BSD.device)
            rows = laid.predicting_rows(b)[-len(targets_K) :]
            logits_KV = self.lm.logits(hidden_BSD[b, rows.start : rows.stop].contiguous()).float()
            nll_K = functional.cross_entropy(logits_KV / self.options.temperature, targets_K, reduction="none")
            found.append((nll_K, bool((logits_KV.argmax(-1) == targets_K).all())))
        return found

    def _own(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        names = ("token_ids", "position", "best_score", "best_step", "finalists")
        return {}, {name: getattr(self, name) for name in names}

    def _take_up(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.token_ids, self.position = values["token_ids"], values["position"]
        self.best_score, self.best_step = values["best_score"], values["best_step"]
        self.finalists = [(score, token_ids) for score, token_ids in values["finalists"]]


def _answer(lm: LanguageModel, extractor: str, answer: str) -> tuple[list[int], list[int]]:
    """Return the ids of the extractor, and of the answer behind it: what both together have beyond the extractor."""
    alone, both = lm.encode(extractor), lm.encode(f"{extractor} {answer}")
    shared = next((i for i, pair in enumerate(zip(alone, both, strict=False)) if pair[0] != pair[1]), len(alone))
    if len(both) <= shared:
        raise DpcError(f"found no gold answer behind {extractor!r} ({answer!r}); tuner greater needs one per question")
    return both[:shared], both[shared:]
