"""Flow before and after corruption: joined by content, summed up by outcome, drawn so that it can be read."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from dpc.analysis.studies.flow_change import before_and_after, fired_rows, goes_with_repair, summary
from dpc.config.kinds import PlanName
from dpc.config.settings import Flow, Locate
from dpc.config.slices import FiguresStage
from dpc.plans.declaration import label as plan_label
from dpc.report import colours
from dpc.report.figures import mechanism_figure
from dpc.report.tables import mechanism_table
from dpc.storage import tables
from tests.support import report_samples
from tests.support.derived import flow_of
from tests.support.legible import assert_legible, texts
from tests.support.saliency_rows import Places, flow_maps, generation, saliency_row

PLACES = Places(2, 3, (0, 0, 1, 1))
FLOW = Flow(deep_layers=[3, 4])


def measured(key: str, latter: float, **more: Any) -> dict[str, Any]:
    return {**saliency_row(flow_maps([1, 1, latter, latter], PLACES), PLACES, key), **more}


def outcome(plan: str, key: str, correct: bool) -> dict[str, Any]:
    return {"plan": plan, "problem_id": key, "correct": correct}


def joined() -> pd.DataFrame:
    planned = pd.DataFrame(
        [("dpc", "a", True, "e1"), ("dpc", "b", False, "base"), ("random_token", "a", True, "e2")],
        columns=["plan", "problem_id", "fired", "edit_id"],
    )
    saliency = pd.DataFrame([measured("a", 4.0), measured("b", 2.0), measured("of another split", 9.0)])
    corrupted = pd.DataFrame([measured("a", 1.0, edit_id="e1"), measured("a", 3.0, edit_id="e2")])
    outcomes = [outcome("dpc", "a", True), outcome("dpc", "b", True), outcome("random_token", "a", False)]
    outcomes += [outcome("prompt_tuning", "a", False), outcome("prompt_tuning", "b", True)]
    outcomes += [outcome("oracle_token", "a", right) for right in (False, True)]
    made = pd.DataFrame([generation(key, "test", "1") for key in saliency["problem_id"]])
    base = flow_of(saliency, made, FLOW, Locate())
    return before_and_after(planned, base, tables.rows(corrupted), pd.DataFrame(outcomes), FLOW)


def test_rows_hold_what_was_measured_before_and_after() -> None:
    found = joined().set_index(["plan", "problem_id"])
    assert found["flow_latter_before"].to_dict() == {("dpc", "a"): 4.0, ("dpc", "b"): 2.0, ("random_token", "a"): 4.0}
    assert found.loc[("dpc", "a"), "flow_latter_after"] == 1.0
    assert found.loc[("random_token", "a"), "flow_latter_after"] == 3.0
    assert math.isnan(found.loc[("dpc", "b"), "flow_latter_after"])
    # of equal sources question and former half give 1 each
    assert found.loc[("dpc", "a"), "s_ifp_before"] == pytest.approx(4 / (4 + 1 + 1))
    assert found.loc[("dpc", "a"), "s_ifp_after"] == pytest.approx(1 / 3)
    assert found["correct_before"].tolist() == [False, True, False]
    assert found["correct_after"].tolist() == [True, True, False]


def rows(*cases: tuple[float, bool, bool], plan: str = "dpc") -> pd.DataFrame:
    """Fired rows: flow after (before: 1), right before, right after."""
    after, before_right, after_right = zip(*cases, strict=True)
    table = pd.DataFrame({"flow_latter_after": after, "correct_before": before_right, "correct_after": after_right})
    readings = {"flow_latter_before": 1.0, "s_ifp_before": 0.5, "s_ifp_after": 0.4, "nll_before": 0.2, "nll_after": 0.3}
    names = [f"q{k}" for k in range(len(table))]
    return table.assign(plan=plan, problem_id=names, edit_id="e", fired=True, seed=0, **readings)


CASES = rows((0.5, False, True), (0.25, False, True), (2.0, False, False), (0.4, False, False), (0.5, True, False))


def test_the_summary_by_hand() -> None:
    idle = CASES.assign(fired=False, flow_latter_after=math.nan)
    found = summary(pd.concat([CASES, idle]), 0.95).set_index("outcome")
    assert found["fired"].to_dict() == {"all": 5, "repaired": 2, "still wrong": 2, "still right": 0, "broken": 1}
    assert found["fell"].dropna().to_dict() == {"all": 0.8, "repaired": 1.0, "still wrong": 0.5, "broken": 1.0}
    assert found.loc["all", "ratio"] == pytest.approx(2)
    assert found.loc["repaired", "ratio"] == pytest.approx(math.sqrt(2 * 4))
    assert found.loc["all", ["s_ifp", "nll"]].tolist() == pytest.approx([0.1, -0.1])


def test_the_fall_is_compared_among_wrong_answers_only() -> None:
    found = goes_with_repair(CASES, 0.95).set_index("reading")
    # falls of the repaired: log 2 and log 4; of the others: -log 2 and log 2.5
    assert found.loc["flow", "auc"] == pytest.approx(3 / 4)
    assert found.loc["flow", "n"] == 4
    assert found.loc["nll", "auc"] == 0.5


def test_seeds_are_compared_one_by_one_and_a_question_counts_once() -> None:
    # under seed 1 all flows are a tenth, so that mixed seeds would rank seed 1's falls above seed 0's
    lower = CASES.assign(seed=1, flow_latter_after=CASES["flow_latter_after"] / 10)
    lone = rows((0.1, False, True)).assign(seed=2)  # one kind only: no area of its own
    found = goes_with_repair(pd.concat([CASES, lower, lone]), 0.95).set_index("reading").loc["flow"]
    assert (found["auc"], found["n"]) == (pytest.approx(3 / 4), 8)
    one, twice = (summary(t, 0.95).set_index("outcome").loc["all"] for t in (CASES, pd.concat([CASES, CASES])))
    assert (twice["fired"], twice["low"]) == (10, pytest.approx(one["low"]))


def test_nothing_fired_gives_empty_tables() -> None:
    idle = CASES.assign(fired=False)
    assert fired_rows(idle).empty
    assert summary(idle, 0.95).empty
    assert goes_with_repair(idle, 0.95).empty


def correlated(draw: np.random.Generator, count: int = 300) -> pd.DataFrame:
    """Three seeds that share nine tenths of what makes the flow fall and answers repaired."""

    def alike() -> np.ndarray:
        return math.sqrt(0.9) * draw.normal(size=count) + math.sqrt(0.1) * draw.normal(size=(3, count))

    repaired = alike() > 0.4
    fall = 0.3 + 0.5 * repaired + alike()
    seeds = [
        rows(*((math.exp(-f), False, bool(r)) for f, r in zip(fall[s], repaired[s], strict=True))) for s in range(3)
    ]
    return pd.concat([table.assign(seed=seed) for seed, table in enumerate(seeds)], ignore_index=True)


@pytest.mark.proof
def test_intervals_cover_where_seeds_share_their_questions() -> None:
    draw, normal = np.random.default_rng(0), scipy.stats.norm.cdf
    chance = normal(-0.4)
    fell = chance * normal(0.8) + (1 - chance) * normal(0.3)
    hits = {"fell": 0, "auc": 0}
    for _ in range(400):
        made = correlated(draw)
        found = summary(made, 0.95).set_index("outcome").loc["all"]
        area = goes_with_repair(made, 0.95).set_index("reading").loc["flow"]
        hits["fell"] += found["low"] <= fell <= found["high"]
        hits["auc"] += area["low"] <= normal(0.5 / math.sqrt(2)) <= area["high"]
    print({name: hit / 400 for name, hit in hits.items()})
    assert {name: hit for name, hit in hits.items() if not 0.92 <= hit / 400 <= 0.98} == {}


def many(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    drawn = [(float(rng.lognormal(-0.5)), bool(rng.random() < 0.3), bool(rng.random() < 0.4)) for _ in range(count)]
    return pd.concat([rows(*drawn), rows(*drawn, plan="random_token")])


def test_more_plans_than_colours_are_drawn_side_by_side() -> None:
    drawn = many(40, 0)
    plans = list(get_args(PlanName))
    whole = pd.concat([drawn[drawn["plan"] == "dpc"].assign(plan=name) for name in plans], ignore_index=True)
    falls = summary(whole, 0.95)
    compared = mechanism_figure.Comparison(whole, fired_rows(whole), falls, goes_with_repair(whole, 0.95))
    made = mechanism_figure.draw(compared, report_samples.settings(FiguresStage))
    assert_legible(made.figure)
    points = [line for line in made.figure.axes[1].lines if line.get_label() in map(plan_label, plans)]
    assert len(points) == len(plans) > len(colours.SEED_COLOURS)
    ends = [(min(x), max(x)) for x in zip(*(line.get_xdata() for line in points), strict=True)]
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))


@pytest.mark.parametrize("kind", ["many", "one", "idle", "empty"])
def test_the_figure_can_be_read(kind: str) -> None:
    seeds = {
        "many": [many(200, seed) for seed in range(3)],
        "one": [many(1, 0)],
        "idle": [many(20, 0).assign(fired=False)],
        "empty": [tables.empty("mechanism")],
    }[kind]
    settings = report_samples.settings(FiguresStage, prompt_seeds=list(range(len(seeds))))
    whole = pd.concat([table.assign(seed=seed) for seed, table in enumerate(seeds)], ignore_index=True)
    falls = summary(whole, 0.95)
    compared = mechanism_figure.Comparison(whole, fired_rows(whole), falls, goes_with_repair(whole, 0.95))
    drawn = mechanism_figure.draw(compared, settings)
    assert_legible(drawn.figure)
    assert ("no fired question was measured" in texts(drawn.figure)) == (kind in ("idle", "empty"))
    assert "Does corruption reduce the flow" in drawn.caption
    for phrase in ("Area under the ROC curve", "Above 0.5"):
        assert (phrase in drawn.caption) == (kind == "many")
    made = mechanism_table.build(falls, settings)
    assert len(made.text) == {"many": 10, "one": 10, "idle": 0, "empty": 0}[kind]
