"""What `intervene` writes, value by value: each test of table `causal` against brute force on whole sequences."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dpc.lm.causal.attributions import flows, gradient_times_input
from dpc.lm.causal.continuing import Begun, continued
from dpc.lm.causal.interventions import (
    DOSES,
    Bench,
    Case,
    body_of,
    dosed,
    dosing,
    knocking_out,
    masking,
    parting,
    sinks,
    swapping,
)
from dpc.lm.causal.interventions import _drawn as drawn
from dpc.lm.decoding import Limits
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from tests.lm.test_saliency import VECTORS, prompt, sequences
from tests.support.slow_attention import EXACT, Slow, behind, embeds, model_of, true_nll

pytestmark = pytest.mark.usefixtures("exact_softmax")
LAYOUT = Layout("bos_first", True)
BANDS = {"shallow": range(1, 2), "deep": range(1, 3), "all": range(3)}
SALIENCY = [[0.1, 0.5, 0.2, 0.5, 0.3], [0.2] * 5, [0.0, 0.0, 0.0, 0.0, 1.0]]
LOCATED = (1, 0, 4)
"""Of equal ones the first."""
Key = tuple[str, str]
Values = dict[Key, float]


def case_of(b: int) -> Case:
    questions, rationales = sequences()
    former, marked = (5, 1, 3)[b], (8, None, 2)[b]
    free = (*rationales[b][: b + 2], 44 + b, *range(20, 26))
    gold = (33, 34) if marked else ()
    return Case(f"q{b}", questions[b], rationales[b], former, SALIENCY[b], marked, gold, free)


CASES = [case_of(b) for b in range(3)]


def is_right(problem_id: str, text: str, leniently: bool = False) -> bool:
    """A verdict that hangs on every letter and on the reading: of two texts that differ, half are judged otherwise."""
    return (sum(map(ord, problem_id + text)) + leniently) % 2 == 0


@pytest.fixture(scope="module")
def bench() -> Bench:
    lm = model_of("llama-gqa")
    own_ND = prompt(lm)
    return Bench(lm, LAYOUT, own_ND, own_ND.flip(0) * 0.7, BANDS, Limits(16), 4, False, is_right)


def by_question(rows: list[tuple[str, str, str, float]]) -> list[Values]:
    """The values of each case, none of them twice."""
    assert len({row[:3] for row in rows}) == len(rows)
    return [{(test, target): value for key, test, target, value in rows if key == case.problem_id} for case in CASES]


def mean_loss(lm: LanguageModel, head_KD: Tensor, case: Case, first: int = 0, slow: Slow | None = None) -> float:
    return float(true_nll(lm, head_KD, case.question_ids, case.rationale_ids, slow or Slow())[first:].mean())


def scaled(bench: Bench, j: int, factor: float) -> Tensor:
    """[BOS][prompt] with one vector times `factor`."""
    factors_N = torch.ones(VECTORS, dtype=torch.float64)
    factors_N[j] = factor
    return embeds(bench.lm, LAYOUT, bench.prompt_ND * factors_N[:, None])


def said_right(bench: Bench, case: Case, prompt_ND: Tensor | None, begun: list[int] | None = None) -> float:
    """1 where the greedy answer is right, one question alone; without a prompt it is read leniently (D29)."""
    asked = [Begun(case.question_ids, begun or [])]
    (ids,) = continued(bench.lm, LAYOUT, prompt_ND, asked, bench.limits, range(0))
    return float(is_right(case.problem_id, bench.lm.decode(ids), prompt_ND is None))


def close(value: float, expected: float) -> bool:
    return abs(value - expected) <= EXACT


@torch.no_grad()
def test_masks_stand_beside_what_measures_say(bench: Bench) -> None:
    body = body_of(CASES)
    attention_BN, flow_BN = flows(bench.lm, bench.head, body, BANDS["shallow"])
    slope_BN = gradient_times_input(bench.lm, LAYOUT, bench.prompt_ND, body, False)
    for b, values in enumerate(by_question(masking(bench, CASES))):
        base = mean_loss(bench.lm, embeds(bench.lm, LAYOUT, bench.prompt_ND), CASES[b])
        for j in range(VECTORS):
            cost = mean_loss(bench.lm, scaled(bench, j, 0), CASES[b]) - base
            assert close(values["mask", str(j)], cost)
            assert abs(cost) > 1e-4
            assert values["saliency", str(j)] == SALIENCY[b][j]
            assert close(values["norm", str(j)], float(bench.prompt_ND[j].float().norm()))
            for name, found_BN in (("attention", attention_BN), ("value_flow", flow_BN), ("gradient", slope_BN)):
                assert close(values[name, str(j)], float(found_BN[b, j]))


@torch.no_grad()
def test_doses(bench: Bench) -> None:
    for case, located, values in zip(CASES, LOCATED, by_question(dosing(bench, CASES)), strict=True):
        base = mean_loss(bench.lm, embeds(bench.lm, LAYOUT, bench.prompt_ND), case)
        assert case.other not in (None, located)
        for (what, j), dose in itertools.product((("located", located), ("random", case.other)), DOSES):
            head_KD = scaled(bench, j, dose)
            assert close(values["dose_loss", f"{what}:{dose:g}"], mean_loss(bench.lm, head_KD, case) - base)
            assert values["dose_right", f"{what}:{dose:g}"] == said_right(bench, case, head_KD[1:])
        for dose in DOSES:
            head_KD = embeds(bench.lm, LAYOUT, dosed(bench, case, "noise", dose))
            assert close(values["dose_loss", f"noise:{dose:g}"], mean_loss(bench.lm, head_KD, case) - base)
        assert len(values) == 5 * len(DOSES)


def test_noise_is_as_large_as_the_dose_and_points_the_same_way(bench: Bench) -> None:
    for case, located in zip(CASES, LOCATED, strict=True):
        ways = list[Tensor]()
        for dose in DOSES:
            change_ND = dosed(bench, case, "noise", dose) - bench.prompt_ND
            length = float(change_ND[located].norm())
            assert change_ND.any(1).nonzero().flatten().tolist() == [located]
            assert length == pytest.approx(abs(dose - 1) * float(bench.prompt_ND[located].norm()))
            ways.append(change_ND[located] / length * (1 if dose > 1 else -1))
        assert all(torch.allclose(way, ways[0]) for way in ways)
        assert abs(float(ways[0] @ bench.prompt_ND[located] / bench.prompt_ND[located].norm())) < 0.9


def test_the_other_vector_and_the_drawn_columns_depend_on_the_question_alone() -> None:
    cases = [replace(CASES[0], problem_id=f"p{i}") for i in range(40)]
    assert len({case.other for case in cases}) == VECTORS - 1
    assert [case.other for case in cases] == [replace(case, rationale_ids=[5]).other for case in cases]
    columns = [drawn(case, 7, 4) for case in cases]
    asked = range(7, 7 + len(CASES[0].question_ids))
    assert all(len(set(each)) == 4 and set(each) <= set(asked) for each in columns)
    assert {column for each in columns for column in each} == set(asked)
    assert drawn(CASES[0], 7, 99) == list(asked)


@torch.no_grad()
def test_cuts(bench: Bench) -> None:
    plain_KD = embeds(bench.lm, LAYOUT, bench.prompt_ND)
    for case, values in zip(CASES, by_question(knocking_out(bench, CASES)), strict=True):
        question, row = len(plain_KD), len(plain_KD) + len(case.question_ids) - 1 + case.former
        base = mean_loss(bench.lm, plain_KD, case, case.former)
        for band, layers in BANDS.items():
            hidden = {"prompt": list(range(1, question)), "question": drawn(case, question, VECTORS)}
            for what, columns in hidden.items():
                target = f"{band}:{what}"
                slow = Slow(hidden={layer: [(row, column) for column in columns] for layer in layers})
                cost = mean_loss(bench.lm, plain_KD, case, case.former, slow) - base
                assert close(values["cut_loss", target], cost)
                assert abs(cost) > 1e-5
                begun = Begun(case.question_ids, case.rationale_ids[: case.former], columns)
                (ids,) = continued(bench.lm, LAYOUT, bench.prompt_ND, [begun], bench.limits, layers)
                assert values["cut_right", target] == float(is_right(case.problem_id, bench.lm.decode(ids)))
                if case.marked is not None:
                    gain = gold(bench.lm, plain_KD, case, slow) - gold(bench.lm, plain_KD, case, Slow())
                    assert close(values["cut_gold", target], gain)
        assert len(values) == (3 if case.marked else 2) * 6


def gold(lm: LanguageModel, head_KD: Tensor, case: Case, slow: Slow) -> float:
    """Log P of the gold answer's tokens behind the mark."""
    said = [*case.rationale_ids[: case.marked], *case.gold_ids]
    return -float(true_nll(lm, head_KD, case.question_ids, said, slow)[len(said) - len(case.gold_ids) :].sum())


@torch.no_grad()
def test_swapped_states(bench: Bench) -> None:
    plain_KD, seen, lm = embeds(bench.lm, LAYOUT, bench.prompt_ND), Slow(), bench.lm
    true_nll(lm, embeds(lm, LAYOUT, bench.other_ND), CASES[0].question_ids, [5, 6], seen)
    where = slice(1, 1 + VECTORS)
    for case, values in zip(CASES, by_question(swapping(bench, CASES)), strict=True):

        def log_odds(layers: range, case: Case = case) -> float:
            given = {n: (seen.seen[n][0][:, :, where], seen.seen[n][1][:, :, where]) for n in layers}
            good, bad = (
                true_nll(lm, plain_KD, case.question_ids, said, behind(given, where, len(plain_KD))).sum()
                for said in (list(case.unprompted_ids), case.rationale_ids)
            )
            return float(bad - good)

        wanted = {"own": range(0), **BANDS}
        assert values.keys() == {("path", name) for name in wanted}
        for name, layers in wanted.items():
            assert values["path", name] == pytest.approx(log_odds(layers), abs=1e-11)  # sums of 40 losses
        assert len(set(values.values())) == 4
    assert swapping(replace(bench, other_ND=None), CASES) == []


@torch.no_grad()
def test_a_forced_token_where_the_answers_part(bench: Bench) -> None:
    for b, (case, values) in enumerate(zip(CASES, by_question(parting(bench, CASES)), strict=True)):
        place = b + 2
        assert values["divergence", "place"] == place
        given, own = [*case.rationale_ids[:place], 44 + b], case.rationale_ids[: place + 1]
        assert values["divergence", "prompted"] == said_right(bench, case, bench.prompt_ND, given)
        assert values["divergence", "unprompted"] == said_right(bench, case, None, own)
    same = replace(CASES[0], unprompted_ids=tuple(CASES[0].rationale_ids))
    assert parting(bench, [same]) == []


@torch.no_grad()
def test_a_neutral_token_in_front(bench: Bench) -> None:
    lm, mean_1D = bench.lm, bench.lm.vocabulary_VD.mean(0)[None]
    masked_ND = bench.prompt_ND.clone()
    masked_ND[0] = 0
    for case, values in zip(CASES, by_question(sinks(bench, CASES)), strict=True):
        for order, extra in itertools.product(("bos_first", "prompt_first"), ("plain", "extra")):
            layout, slow = Layout(order, True), Slow()
            front_ED = mean_1D[: extra == "extra"]
            whole, masked = (torch.cat([front_ED, embeds(lm, layout, each)]) for each in (bench.prompt_ND, masked_ND))
            cost = mean_loss(lm, masked, case) - mean_loss(lm, whole, case, slow=slow)
            assert close(values["sink_mask", f"{order}:{extra}"], cost)
            start = len(front_ED) + layout.prompt_start()
            (a_HQS,) = (slow.seen[layer][2][0] for layer in BANDS["shallow"])
            for j in range(VECTORS):
                seen = float(a_HQS[:, len(whole) : -1, start + j].mean())
                assert close(values["sink_attention", f"{order}:{extra}:{j}"], seen)
