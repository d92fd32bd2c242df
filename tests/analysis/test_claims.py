"""Claims: verdicts on planted truth, and on cells where something was not run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.stats.verdicts import NOT_JUDGED, NOT_SUPPORTED, SUPPORTED, TOO_LITTLE
from dpc.analysis.studies import claims
from dpc.storage import tables

SEEDS = (0, 1, 2)


def cell(draw: np.random.Generator, gain: float = 0.0, separation: float = 0.0, questions: int = 400) -> dict[str, Any]:
    """The tables of one cell with planted effects; seeds share the questions."""
    found: dict[str, list[pd.DataFrame]] = {"evidence": [], "outcomes": []}
    ids = [f"q{n:04d}" for n in range(questions)]
    for _ in SEEDS:
        before = draw.random(questions) < 0.5
        after = before ^ (draw.random(questions) < np.where(before, 0.05, 0.05 + gain))
        s_ifp, noise = draw.normal(0.3, 0.1, questions) + 0.1 * separation * ~before, draw.random((4, questions))
        accumulation = 0.3 + 0.5 * separation * (s_ifp - 0.3) + 0.05 * noise[0]
        shared = {
            "problem_id": ids, "correct": before, "nll": noise[1], "rationale_tokens": draw.integers(9, 40, questions),
            "steps": draw.integers(2, 7, questions), "accumulation": accumulation, "located": 1,
            "located_at_zero": False, "s_ifp": s_ifp, "flow_latter": np.exp(s_ifp), "flow_changed": s_ifp > 0.4,
        }  # fmt: skip
        found["evidence"].append(pd.DataFrame({
            **shared, "split": np.where(np.arange(questions) < questions // 4, "calibration", "test"),
            "correct_unprompted": noise[2] < 0.4, "eligible": True, "affected_share": noise[3], "fired": noise[3] > 0.5,
            "accumulation_beyond_zero": accumulation, "concentration": 3 * accumulation, "band_log_ratio": noise[0],
            "in_correlation": np.arange(questions) % 2 == 0, "in_separation": True, "accumulation_z": noise[0],
            "accumulated": accumulation > 0.3,
        }))  # fmt: skip
        plans = {"prompt_tuning": before, "dpc": after, "always": before & (noise[2] < 0.5)}
        found["outcomes"].append(pd.concat([
            pd.DataFrame({"problem_id": ids, "plan": name, "candidate": -1, "fired": True, "correct": right})
            for name, right in plans.items()
        ]))  # fmt: skip
    found |= {name: [tables.empty(name)] * len(SEEDS) for name in ("mechanism", "causal", "thresholds")}
    return {
        name: pd.concat([t.assign(seed=s) for s, t in zip(SEEDS, parts, strict=True)]) for name, parts in found.items()
    }


def judged(**effects: float) -> pd.DataFrame:
    one = claims.Cell(**cell(np.random.default_rng(4), **effects))
    return claims.judge_all({("m", "d", "r"): one}).set_index("claim")


def test_planted_effects_are_supported_and_their_absence_is_not() -> None:
    with_effect, without = judged(gain=0.3, separation=1.0), judged()
    supported = ["a1", "a2", "b1", "b2", "b3", "d", "e", "f1"]
    assert with_effect.loc[supported, "verdict"].tolist() == [SUPPORTED] * len(supported)
    assert without.loc[["a1", "b1", "b2", "b3", "e"], "verdict"].tolist() == [NOT_SUPPORTED] * 5
    assert with_effect.loc["e", "value"] == pytest.approx(15, abs=3)
    assert with_effect.loc["b2", "value"] == pytest.approx(math.exp(0.1), abs=0.03)
    assert with_effect.loc["e", "detectable"] < 15
    made = cell(np.random.default_rng(4))
    never = made["outcomes"][made["outcomes"]["plan"] == "prompt_tuning"]
    made["outcomes"] = pd.concat([never, never.assign(plan="dpc", fired=False)])
    silent = claims.judge_all({("m", "d", "r"): claims.Cell(**made)}).set_index("claim").loc["e"]
    assert (silent["verdict"], silent["reason"]) == (NOT_JUDGED, "DPC never fired: it is prompt tuning")
    assert math.isnan(silent["detectable"])  # a DPC that never fires excludes nothing
    assert (with_effect["low"].dropna() <= with_effect["value"].dropna()).all()


def test_the_p_of_a_claim_tests_what_its_value_is_held_against() -> None:
    """An interval of 95 % excludes the null exactly where p is below .05: c1 holds shares against 1, areas .5."""
    by_key = {claim.key: claim for claim in claims.CLAIMS}
    seen = set[tuple[str, bool]]()
    for seed, effects in ((4, {"gain": 0.3, "separation": 1.0}), (4, {}), (5, {"gain": 0.02, "separation": 0.1})):
        made = cell(np.random.default_rng(seed), **effects)
        for factor in (1.0, 1.05):  # largest shares of about 1, which no claim may call clear
            largest = made["evidence"]["concentration"]
            near = made["evidence"].assign(concentration=factor * largest / largest.mean())
            one = claims.Cell(**{**made, "evidence": near})
            for key in ("a1", "a2", "b1", "b2", "b3", "c1", "d", "e", "f1"):
                found = by_key[key].measure(one)
                assert isinstance(found, claims.Found)
                low, null, high = found.pooled.low, by_key[key].null, found.pooled.high
                is_clear = not (math.isnan(low) or low <= null <= high)
                assert (found.pooled.p < 0.05) == is_clear, key
                seen.add((key, is_clear))
    assert {("c1", True), ("c1", False), ("b1", False)} <= seen


def test_what_compares_right_with_wrong_is_not_judged_where_right_answers_may_be_luck() -> None:
    made = cell(np.random.default_rng(4), gain=0.3, separation=1.0)  # half the answers are right
    for by_chance, verdict in ((0.4, SUPPORTED), (0.5, TOO_LITTLE)):
        found = claims.judge_all({("m", "d", "r"): claims.Cell(**made, chance=by_chance)}).set_index("claim")
        assert found.loc[["b1", "b2", "b3"], "verdict"].tolist() == [verdict] * 3
        assert found.loc[["a1", "d", "e"], "verdict"].tolist() == [SUPPORTED] * 3
    assert set(found.loc[["b1", "b2", "b3"], "reason"]) == {"accuracy is not above chance"}


def test_what_was_not_run_has_no_verdict() -> None:
    found = judged()
    assert found.loc[["f2", "f3", "f4", "g", "h"], "verdict"].tolist() == [NOT_JUDGED] * 5
    assert found.loc["g", "reason"] == "not run: study.plans has no act"
    assert found.loc["h", "reason"] == "not run: mechanism.plans or study.plans has no dpc"


def with_act(made: dict[str, Any], fired_seeds: tuple[int, ...]) -> dict[str, Any]:
    """Add plan `act`: prompt tuning's answers in seeds where no head was confirmed, wrong answers in the others."""
    base = made["outcomes"][made["outcomes"]["plan"] == "prompt_tuning"]
    fired = base["seed"].isin(fired_seeds)
    act = base.assign(plan="act", fired=fired, correct=base["correct"] & ~fired)
    return made | {"outcomes": pd.concat([made["outcomes"], act])}


def test_act_is_held_against_dpc_only_where_its_heads_were_confirmed() -> None:
    made = cell(np.random.default_rng(4), gain=0.3)
    found = {
        fired: claims.judge_all({("m", "d", "r"): claims.Cell(**with_act(made, fired))}).set_index("claim").loc["g"]
        for fired in ((), (0, 2), SEEDS)
    }
    assert (found[()]["verdict"], found[()]["reason"]) == (NOT_JUDGED, "no head confirmed: ACT is prompt tuning")
    dpc = made["outcomes"][made["outcomes"]["plan"] == "dpc"].groupby("seed")["correct"].mean()
    for fired in ((0, 2), SEEDS):  # ACT is always wrong there
        assert found[fired]["value"] == pytest.approx(100 * dpc.loc[list(fired)].mean())


def test_the_flow_after_corruption_is_read_where_it_was_measured() -> None:
    draw = np.random.default_rng(0)
    before = draw.random(120) + 1
    after = before / 2 * np.exp(draw.normal(0, 0.1, 120))
    ids = [f"q{n}" for n in range(40)] * 3
    columns = {
        "seed": np.repeat(SEEDS, 40),
        "problem_id": ids,
        "flow_latter_before": before,
        "flow_latter_after": after,
    }
    mechanism = pd.DataFrame(columns).assign(plan="dpc", fired=True)
    one = claims.Cell(**{**cell(np.random.default_rng(4)), "mechanism": mechanism})
    found = claims.judge_all({("m", "d", "r"): one}).set_index("claim").loc["h"]
    assert found["value"] == pytest.approx(2, abs=0.1)
    assert found["verdict"] == SUPPORTED


def test_holm_corrects_over_the_cells() -> None:
    cells = {("m", "d", str(n)): claims.Cell(**cell(np.random.default_rng(n), gain=0.1)) for n in range(3)}
    rows = claims.judge_all(cells)
    found = rows[rows["claim"] == "e"].sort_values("p")
    assert found["p_holm"].iloc[0] == pytest.approx(min(1, 3 * found["p"].iloc[0]))
    assert (found["p_holm"] >= found["p"]).all()
    assert rows["recipe"].tolist() == [r for r in "012" for _ in claims.CLAIMS]


def test_few_instances_are_too_little_data() -> None:
    few = claims.Cell(**cell(np.random.default_rng(1), gain=0.3, separation=1.0, questions=28))
    found = claims.judge_all({("m", "d", "r"): few}).set_index("claim")
    assert found.loc[["a1", "b1", "d"], "verdict"].tolist() == [TOO_LITTLE] * 3
    nothing = {name: rows.iloc[:0] for name, rows in cell(np.random.default_rng(1)).items()}
    assert set(claims.judge_all({("m", "d", "r"): claims.Cell(**nothing)})["verdict"]) == {NOT_JUDGED}
