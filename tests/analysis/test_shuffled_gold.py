"""R fitted on shuffled gold gains nothing over a random trigger at the same rate; fitted on test questions it would.

The tables of a cell go through the project's own plans, grading and fitting. The share of affected tokens does say here
what an edit mends, so that the same road finds an effect where gold is not shuffled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.stats.statistics import Estimate, across_seeds
from dpc.analysis.studies import limits as thresholds
from dpc.analysis.studies.outcomes import grade, outcomes
from dpc.config.settings import Controls, Corrupt, Trigger
from dpc.plans import registry as plans
from dpc.plans.declaration import ONE_PASS, TRIGGERED
from dpc.plans.triggers import fires
from dpc.prompts.edits import BASE
from dpc.tasks import get_task

TRIGGER, CORRUPT, TASK = Trigger(), Corrupt(), get_task("aqua")
LETTERS = np.array(list("ABCDE"))
"""Answers are letters, so that shuffled gold still has right answers."""
QUESTIONS, ROUNDS, VECTORS = 300, 50, 4
Draw = np.random.Generator


@dataclass(frozen=True)
class Split:
    """Tables of one split: readings, gold, and generations of every question, as tuned and with DPC's edit."""

    readings: pd.DataFrame
    gold: pd.DataFrame
    base: pd.DataFrame
    edited: pd.DataFrame

    def shuffled(self, draw: Draw) -> Split:
        """Give every question another's gold."""
        answers = draw.permutation(self.gold["answer"].to_numpy())
        return Split(self.readings, self.gold.assign(answer=answers), self.base, self.edited)


def inputs(readings: pd.DataFrame, share: float | None = None, seed: int = 0) -> plans.Inputs:
    return plans.Inputs(readings, TRIGGER, CORRUPT, Controls(seed=seed), share=share)


def generations(ids: pd.Series, edit_id: str | pd.Series, answers: np.ndarray) -> pd.DataFrame:
    made = {"problem_id": ids, "edit_id": edit_id, "extracted": answers, "extracted_lenient": answers, "text": ""}
    return pd.DataFrame(made).assign(stop_reason="end", seconds=0.1, token_ids=[[1]] * len(ids))


@cache
def split_of(name: str, number: int) -> Split:
    """Draw a split; each letter is the gold of as many questions, and the larger the share, the more an edit mends."""
    draw = np.random.default_rng([number, len(name)])
    gold = draw.permutation(np.resize(LETTERS, QUESTIONS))
    base, again = (np.where(draw.random(QUESTIONS) < 0.5, gold, draw.choice(LETTERS, QUESTIONS)) for _ in "ab")
    share = draw.random(QUESTIONS)
    again = np.where(draw.random(QUESTIONS) < 0.4 * share, gold, again)
    readings = pd.DataFrame({
        "problem_id": [f"{name}-{k}" for k in range(QUESTIONS)], "vectors": VECTORS, "affected_share": share,
        "located": [[int(j)] for j in draw.integers(VECTORS, size=QUESTIONS)],
        "eligible": draw.random(QUESTIONS) < 0.95, "accumulation_z": 0.0,
    })  # fmt: skip
    # a rationale without an answer is not eligible (D27), and always wrong
    base = np.where(readings["eligible"], base, None)
    ids, edits = readings["problem_id"], plans.make(["always"], "calibration", inputs(readings))["edit_id"]
    return Split(
        readings, pd.DataFrame({"problem_id": ids, "answer": gold}), generations(ids, BASE, base),
        generations(ids, edits, again),
    )  # fmt: skip


def fitted(split: Split) -> float | None:
    """Return R, fitted on this split's gold as the stage does."""
    before, after = (grade(made, split.gold, TASK)["correct"] for made in (split.base, split.edited))
    cases = pd.DataFrame({"base_correct": before, "corrupted_correct": after})
    fired_at = {share: fires(split.readings, TRIGGER, share, None) for share in TRIGGER.grid}
    curve = thresholds.threshold_curve(cases, fired_at)
    return thresholds.choose_share(curve, float(before.mean()), TRIGGER)[0]


def beyond_random(split: Split, share: float | None, seed: int) -> float:
    """Return DPC's net gain per question at R = `share`, minus that of a random trigger at the same rate."""
    planned = plans.make(["dpc", "random_trigger"], "test", inputs(split.readings, share, seed))
    asked = split.readings[["problem_id"]].assign(question="")
    graded = grade(pd.concat([split.base, split.edited]), split.gold, TASK)
    measured = split.readings[["problem_id"]].assign(seconds_trigger=0.1, seconds_location=0.1)
    found = outcomes(planned, graded, asked, measured, ONE_PASS, TRIGGERED)
    by_plan = found.groupby("plan")[["fired", "correct"]].mean()
    assert by_plan["fired"].nunique() == 1
    return float(by_plan.loc["dpc", "correct"] - by_plan.loc["random_trigger", "correct"])


def gains(shuffled: bool, on_test: bool = False) -> Estimate:
    """Return the mean over rounds and its interval; `on_test` fits R where it is judged."""
    found = []
    for number in range(ROUNDS):
        draw = np.random.default_rng(number)
        calibration, test = (split_of(name, number) for name in ("calibration", "test"))
        if shuffled:
            calibration, test = calibration.shuffled(draw), test.shuffled(draw)
        found.append(beyond_random(test, fitted(test if on_test else calibration), number))
    made = across_seeds(found, 0.95)
    print(f"{made.value:.5f} [{made.low:.5f}, {made.high:.5f}]")
    return made


def test_where_no_plan_fires_all_are_prompt_tuning() -> None:
    assert beyond_random(split_of("test", 0), None, 0) == 0


@pytest.mark.proof
def test_shuffled_gold_gains_nothing_over_a_random_trigger() -> None:
    found = gains(shuffled=True)
    assert found.low <= 0 <= found.high


@pytest.mark.proof
def test_the_measure_sees_a_leak_and_an_effect() -> None:
    assert gains(shuffled=True, on_test=True).low > 0
    assert gains(shuffled=False).low > 0
