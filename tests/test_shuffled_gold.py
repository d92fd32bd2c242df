"""Fitting R on gold that was shuffled gains nothing over a random trigger; fitting on the test questions would."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.statistics import across_seeds
from dpc.analysis.thresholds import choose_share, threshold_curve
from dpc.settings import Trigger

TRIGGER = Trigger()
CHOICES = 5
"""Answers are letters, as in AQuA, so that shuffled gold still has right answers."""
Draw = np.random.Generator


def answered(draw: Draw, questions: int, link: float) -> pd.DataFrame:
    """Return questions with the share of affected tokens and two answers; `link` ties the share to what mends."""
    gold = draw.integers(CHOICES, size=questions)
    share = draw.random(questions)
    base, again = (np.where(draw.random(questions) < 0.5, gold, draw.integers(CHOICES, size=questions)) for _ in "ab")
    mended = draw.random(questions) < link * share
    return pd.DataFrame({"gold": gold, "share": share, "base": base, "again": np.where(mended, gold, again)})


def graded(rows: pd.DataFrame, gold: np.ndarray) -> pd.DataFrame:
    return rows.assign(base_correct=rows["base"] == gold, corrupted_correct=rows["again"] == gold)


def fitted(cases: pd.DataFrame) -> float | None:
    curve = threshold_curve(cases, {share: cases["share"] > share for share in TRIGGER.grid})
    return choose_share(curve, float(cases["base_correct"].mean()), TRIGGER)[0]


def beyond_random(test: pd.DataFrame, share: float | None) -> float:
    """Return the net gain of firing above `share`, minus what a random trigger gains at the same rate, per question."""
    change = test["corrupted_correct"].astype(int) - test["base_correct"].astype(int)
    fired = test["share"] > share if share is not None else np.zeros(len(test), dtype=bool)
    return float(change[fired].sum() - fired.mean() * change.sum()) / len(test)


def gains(shuffled: bool, link: float, on_test: bool = False, rounds: int = 50) -> list[float]:
    found = []
    for number in range(rounds):
        draw = np.random.default_rng(number)
        calibration, test = (answered(draw, count, link) for count in (400, 400))
        gold = calibration["gold"].to_numpy()
        cases = graded(calibration, draw.permutation(gold) if shuffled else gold)
        test = graded(test, test["gold"].to_numpy())
        found.append(beyond_random(test, fitted(test if on_test else cases)))
    return found


def contains_zero(values: list[float]) -> bool:
    found = across_seeds(values, 0.95)
    print(f"{found.value:.5f} [{found.low:.5f}, {found.high:.5f}]")
    return found.low <= 0 <= found.high


@pytest.mark.proof
def test_shuffled_calibration_gold_gains_nothing_over_a_random_trigger() -> None:
    assert contains_zero(gains(shuffled=True, link=0.0))
    assert contains_zero(gains(shuffled=False, link=0.0))


@pytest.mark.proof
def test_the_measure_sees_a_leak_and_an_effect() -> None:
    leak, effect = (across_seeds(gains(**how), 0.95) for how in (
        {"shuffled": False, "link": 0.0, "on_test": True}, {"shuffled": False, "link": 0.3}
    ))  # fmt: skip
    assert leak.low > 0
    assert effect.low > 0
