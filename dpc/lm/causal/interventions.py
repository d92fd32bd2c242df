"""Every test of docs/methods.md, "Causal evidence", on one batch of stored rationales.

Axes: B batch, N prompt vector, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dpc.lm.causal.attributions import flows, gradient_times_input
from dpc.lm.causal.continuing import Begun, continued
from dpc.lm.causal.heads import Head, head_of, swapped
from dpc.lm.causal.passes import Body, Cut, token_nll
from dpc.lm.decoding import Limits, Request, finish, generate
from dpc.lm.layout import Layout, layout_of
from dpc.lm.models import LanguageModel
from dpc.storage.hashing import hash_order

DOSES = (0.0, 0.25, 0.5, 0.75, 1.25, 1.5)
"""Factors of a vector; at 1 nothing is changed."""
Row = tuple[str, str, str, float]
"""Question, test, target and value, as in table `causal`."""


@dataclass(frozen=True)
class Case:
    """A question and what is known of it."""

    problem_id: str
    question_ids: list[int]
    rationale_ids: list[int]
    former: int
    """Tokens of the former half."""
    saliency_N: list[float]
    """c_j."""
    marked: int | None = None
    """Tokens up to the answer mark, the mark included; None without one."""
    gold_ids: tuple[int, ...] = ()
    """The gold answer as it would stand behind the mark."""
    unprompted_ids: tuple[int, ...] = ()
    """The answer without a prompt; empty unless that is right and this one wrong."""
    sampled: bool = True
    """One of the sample that tests about all questions look at."""

    @property
    def located(self) -> int:
        """Return j*; of equal ones the first."""
        return self.saliency_N.index(max(self.saliency_N))

    @property
    def other(self) -> int | None:
        """Return another vector, drawn for the question; None if there is none."""
        others = [j for j in range(len(self.saliency_N)) if j != self.located]
        return others[self.draw("other") % len(others)] if others else None

    def draw(self, what: str) -> int:
        """Return a number that depends on question and purpose alone."""
        return int(hash_order(self.problem_id, f"causal:{what}")[:8], 16)

    @property
    def parting(self) -> int | None:
        """Return the first token at which the answers with and without the prompt differ; None if none is known."""
        pairs = zip(self.rationale_ids, self.unprompted_ids, strict=False)
        return next((place for place, (mine, free) in enumerate(pairs) if mine != free), None)


@dataclass(frozen=True)
class Bench:
    """A model under one prompt, and how its answers are graded."""

    lm: LanguageModel
    layout: Layout
    prompt_ND: Tensor
    other_ND: Tensor | None
    """The prompt of another seed, as long as this one."""
    bands: dict[str, range]
    """Layers by name: shallow, deep, all."""
    limits: Limits
    generated_at_once: int
    is_checkpointed: bool
    right: Callable[[str, str, bool], bool]
    """Says of a question and a text whether its answer is right, read leniently or not."""

    @cached_property
    def head(self) -> Head:
        """Return the head of the prompt as it is."""
        return self.head_of(self.prompt_ND)

    def head_of(self, prompts_BND: Tensor, extra_D: Tensor | None = None, layout: Layout | None = None) -> Head:
        """Return the head of each prompt, or of one."""
        prompts_BND = prompts_BND if prompts_BND.dim() == 3 else prompts_BND[None]
        return head_of(self.lm, layout or self.layout, prompts_BND, extra_D)

    def scaled(self, vector: int, factor: float) -> Tensor:
        """Return the prompt with one vector times `factor`."""
        edited_ND = self.prompt_ND.clone()
        edited_ND[vector] *= factor
        return edited_ND

    def graded(self, cases: Sequence[Case], rationales: Iterable[list[int]], leniently: bool = False) -> list[float]:
        """Return 1 for every right rationale, else 0."""
        texts = [finish(self.lm, ids, self.limits, 0.0).text for ids in rationales]
        return [float(self.right(case.problem_id, text, leniently)) for case, text in zip(cases, texts, strict=True)]


def body_of(cases: Sequence[Case]) -> Body:
    """Return questions and rationales of the cases."""
    return Body([case.question_ids for case in cases], [case.rationale_ids for case in cases])


def losses(bench: Bench, cases: Sequence[Case], head: Head, cut: Cut | None = None, late: bool = False) -> list[float]:
    """Return the mean NLL of each rationale, or of its latter half."""
    found = token_nll(bench.lm, head, body_of(cases), cut)
    return [float(nll[case.former * late :].mean()) for case, nll in zip(cases, found, strict=True)]


def _rows(
    cases: Sequence[Case], test: str, target: str, after: Iterable[float], before: Iterable[float] = ()
) -> list[Row]:
    less = list(before) or [0.0] * len(cases)
    return [
        (case.problem_id, test, target, value - base)
        for case, value, base in zip(cases, after, less, strict=True)
    ]  # fmt: skip


def masking(bench: Bench, cases: Sequence[Case]) -> list[Row]:
    """Mask each vector in turn; beside it what saliency and other measures say of it."""
    base, vectors, rows = losses(bench, cases, bench.head), range(len(bench.prompt_ND)), list[Row]()
    for j in vectors:
        rows += _rows(cases, "mask", str(j), losses(bench, cases, bench.head_of(bench.scaled(j, 0.0))), base)
    body, shallow = body_of(cases), bench.bands["shallow"]
    attention_BN, flow_BN = flows(bench.lm, bench.head, body, shallow)
    slope_BN = gradient_times_input(bench.lm, bench.layout, bench.prompt_ND, body, bench.is_checkpointed)
    norm_N = bench.prompt_ND.float().norm(dim=1).tolist()
    for j in vectors:
        rows += _rows(cases, "saliency", str(j), [case.saliency_N[j] for case in cases])
        rows += _rows(cases, "attention", str(j), attention_BN[:, j].tolist())
        rows += _rows(cases, "value_flow", str(j), flow_BN[:, j].tolist())
        rows += _rows(cases, "gradient", str(j), slope_BN[:, j].tolist())
        rows += _rows(cases, "norm", str(j), [norm_N[j]] * len(cases))
    return rows


def dosed(bench: Bench, case: Case, what: str, dose: float) -> Tensor:
    """Return the prompt with the located or another vector times `dose`, or with noise of that change's length."""
    if what != "noise":
        return bench.scaled(case.located if what == "located" or case.other is None else case.other, dose)
    vector_D = bench.prompt_ND[case.located]
    noise_D = torch.randn(len(vector_D), generator=torch.Generator().manual_seed(case.draw("noise"))).to(vector_D)
    edited_ND = bench.prompt_ND.clone()
    edited_ND[case.located] += (dose - 1) * vector_D.norm() * noise_D / noise_D.norm()
    return edited_ND


def dosing(bench: Bench, cases: Sequence[Case]) -> list[Row]:
    """Scale the located vector and another one, and disturb the located one as much: loss, and right or wrong."""
    base, rows = losses(bench, cases, bench.head), list[Row]()
    answers = list[tuple[str, Case, Tensor]]()
    for what in ("located", "random", "noise") if len(bench.prompt_ND) > 1 else ("located", "noise"):
        for dose in DOSES:
            prompts = [dosed(bench, case, what, dose) for case in cases]
            target = f"{what}:{dose:g}"
            rows += _rows(cases, "dose_loss", target, losses(bench, cases, bench.head_of(torch.stack(prompts))), base)
            if what != "noise":
                answers += [(target, case, prompt_ND) for case, prompt_ND in zip(cases, prompts, strict=True)]
    return rows + _regenerated(bench, answers)


def _regenerated(bench: Bench, wanted: Sequence[tuple[str, Case, Tensor]]) -> list[Row]:
    """Answer again under edited prompts."""
    requests = [
        Request(case.question_ids, prompt_ND, (), len(case.rationale_ids), 0, case.rationale_ids)
        for _, case, prompt_ND in wanted
    ]
    rows = list[Row]()
    for indices, made in generate(bench.lm, bench.layout, requests, bench.limits, bench.generated_at_once):
        for i, answer in zip(indices, made, strict=True):
            target, case, _ = wanted[i]
            rows.append(
                (case.problem_id, "dose_right", target, float(bench.right(case.problem_id, answer.text, False)))
            )
    return rows


def knocking_out(bench: Bench, cases: Sequence[Case]) -> list[Row]:
    """Let latter rows not see the prompt, or as many columns of the question: loss, gold answer, right or wrong."""
    rows, marked = list[Row](), [case for case in cases if case.marked is not None and case.gold_ids]
    base, gold = losses(bench, cases, bench.head, late=True), _gold(bench, marked, None)
    for band, layers in bench.bands.items():
        for what in ("prompt", "question"):
            target = f"{band}:{what}"
            cut = _cut(bench, cases, layers, what)
            rows += _rows(cases, "cut_loss", target, losses(bench, cases, bench.head, cut, late=True), base)
            rows += _rows(marked, "cut_gold", target, _gold(bench, marked, _cut(bench, marked, layers, what)), gold)
            begun = [
                Begun(case.question_ids, case.rationale_ids[: case.former], hidden)
                for case, hidden in zip(cases, cut.columns, strict=True)
            ]
            said = continued(bench.lm, bench.layout, bench.prompt_ND, begun, bench.limits, layers)
            rows += _rows(cases, "cut_right", target, bench.graded(cases, said))
    return rows


def _cut(bench: Bench, cases: Sequence[Case], layers: range, what: str) -> Cut:
    """Return the cut of the prompt's columns, or of as many of the question's, drawn for each question."""
    prompt = list(range(bench.head.prompt.start, bench.head.prompt.stop))
    columns = [prompt if what == "prompt" else _drawn(case, bench.head.columns, len(prompt)) for case in cases]
    return Cut(layers, columns, [case.former for case in cases])


def _drawn(case: Case, start: int, count: int) -> list[int]:
    """Return `count` columns of the question, all if it has fewer."""
    generator = torch.Generator().manual_seed(case.draw("columns"))
    order = torch.randperm(len(case.question_ids), generator=generator).tolist()
    return sorted(start + place for place in order[:count])


def _gold(bench: Bench, cases: Sequence[Case], cut: Cut | None) -> list[float]:
    """Return log P of the gold answer behind the mark of each rationale."""
    if not cases:
        return []
    said = [[*case.rationale_ids[: case.marked], *case.gold_ids] for case in cases]
    found = token_nll(bench.lm, bench.head, Body([case.question_ids for case in cases], said), cut)
    return [-float(nll[-len(case.gold_ids) :].sum()) for case, nll in zip(cases, found, strict=True)]


def swapping(bench: Bench, cases: Sequence[Case]) -> list[Row]:
    """Take the prompt's states of some layers from another seed's prompt: log-odds of the right answer's text."""
    if bench.other_ND is None:
        return []
    other = bench.head_of(bench.other_ND)
    heads = {"own": bench.head} | {
        band: swapped(bench.head, other, layers) for band, layers in bench.bands.items()
    }  # fmt: skip
    rows = list[Row]()
    for name, head in heads.items():
        rows += _rows(cases, "path", name, _log_odds(bench, cases, head))
    return rows


def _log_odds(bench: Bench, cases: Sequence[Case], head: Head) -> list[float]:
    """Return log P of the answer without a prompt, which is right, less log P of the wrong one."""
    questions = [case.question_ids for case in cases]
    right, wrong = (
        [-float(nll.sum()) for nll in token_nll(bench.lm, head, Body(questions, said))]
        for said in ([list(case.unprompted_ids) for case in cases], [case.rationale_ids for case in cases])
    )
    return [good - bad for good, bad in zip(right, wrong, strict=True)]


def parting(bench: Bench, cases: Sequence[Case]) -> list[Row]:
    """Force the token at which the answers with and without the prompt part, each into the other's place.

    What is said without the prompt is read leniently: nobody told the model the form of an answer.
    """
    parted = [(case, place) for case in cases if (place := case.parting) is not None]
    if not parted:
        return []
    broken, places = [case for case, _ in parted], [float(place) for _, place in parted]
    rows = _rows(broken, "divergence", "place", places)
    for name, prompt_ND, other in (("prompted", bench.prompt_ND, True), ("unprompted", None, False)):
        begun = [
            Begun(case.question_ids, (case.unprompted_ids if other else case.rationale_ids)[: place + 1])
            for case, place in parted
        ]
        said = continued(bench.lm, bench.layout, prompt_ND, begun, bench.limits, range(0))
        rows += _rows(broken, "divergence", name, bench.graded(broken, said, leniently=prompt_ND is None))
    return rows


def sinks(bench: Bench, cases: Sequence[Case]) -> list[Row]:
    """Put a neutral token at position 0, in both orders: attention to each vector, and what masking the first does."""
    rows, body = list[Row](), body_of(cases)
    mean_D = bench.lm.vocabulary_VD.mean(0)
    for order in ("bos_first", "prompt_first"):
        layout = layout_of(bench.lm, order)
        for name, extra_D in (("plain", None), ("extra", mean_D)):
            head = bench.head_of(bench.prompt_ND, extra_D, layout)
            attention_BN, _ = flows(bench.lm, head, body, bench.bands["shallow"])
            for j in range(len(bench.prompt_ND)):
                rows += _rows(cases, "sink_attention", f"{order}:{name}:{j}", attention_BN[:, j].tolist())
            masked = bench.head_of(bench.scaled(0, 0.0), extra_D, layout)
            effect = losses(bench, cases, masked), losses(bench, cases, head)
            rows += _rows(cases, "sink_mask", f"{order}:{name}", *effect)
    return rows


TESTS: dict[str, Callable[[Bench, Sequence[Case]], list[Row]]] = {
    "mask": masking,
    "dose": dosing,
    "knock_out": knocking_out,
    "path": swapping,
    "divergence": parting,
    "sink": sinks,
}
"""What `causal.tests` names."""
OF_BROKEN = {"path", "divergence"}
"""Tests about questions that the prompt broke."""
