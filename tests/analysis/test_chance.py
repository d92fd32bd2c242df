"""Right answers that guessing may explain are not interpreted."""

from __future__ import annotations

from typing import get_args

import pandas as pd
import pytest

from dpc.analysis.stats import chance
from dpc.config.kinds import TaskName
from dpc.report.tables import findings_table
from dpc.tasks import TASKS, get_task
from dpc.tasks.base import AT_CHANCE


def marked(right: int, of: int, by_chance: float) -> pd.Series:
    names = ("auc_s_ifp", "mean_s_ifp_right", "phi")
    rows = {"value": 0.6, "low": 0.5, "high": 0.7, "p": float("nan"), "n": 9, "note": ""}
    correct = pd.Series([True] * right + [False] * (of - right))
    return chance.mark(pd.DataFrame({"name": names, **rows}), correct, by_chance, 0.95).set_index("name")["at_chance"]


@pytest.mark.parametrize(
    ("right", "of", "by_chance", "is_luck"),
    [(60, 254, 0.2, True), (63, 254, 0.2, True), (70, 254, 0.2, False), (0, 50, 0.0, True), (1, 50, 0.0, False)],
)
def test_the_interval_must_stand_above_chance(right: int, of: int, by_chance: float, is_luck: bool) -> None:
    """Wilson's lower bound of 63/254 at 95 % is .1990, that of 70/254 .2245."""
    wanted = {"auc_s_ifp": is_luck, "mean_s_ifp_right": is_luck, "phi": False, "accuracy": is_luck}
    assert marked(right, of, by_chance).to_dict() == wanted


def test_all_seeds_together_must_stand_above_chance() -> None:
    rows = [{"seed": s, "problem_id": n, "split": "test", "correct": n < 70} for s in (0, 1) for n in range(254)]
    rows += [{"seed": 0, "problem_id": 999, "split": "calibration", "correct": False}] * 500  # not test
    found = pd.DataFrame(rows)
    assert not chance.is_luck(found, 0.2, 0.95)
    assert chance.is_luck(found, 0.25, 0.95)  # Wilson's lower bound of 70/254, as the seeds repeat each other: .2245
    assert not chance.is_luck(found.iloc[:0], 0.2, 0.95)  # nothing asked is not luck


def test_the_table_says_it() -> None:
    row = {"value": 0.6, "low": 0.5, "high": 0.7, "p": float("nan"), "n": 9, "at_chance": True, "note": "8 right"}
    rows = pd.DataFrame([{"name": name, **row} for name in ("mean_s_ifp_right", "auc_s_ifp")])
    assert findings_table._finding_text(rows, "mean_s_ifp_right") == f"0.60 [0.50, 0.70] (n = 9; {AT_CHANCE})"
    assert findings_table._finding_text(rows, "auc_s_ifp") == f"0.60 [0.50, 0.70] (8 right; {AT_CHANCE})"


def test_only_options_can_be_guessed() -> None:
    assert {name: get_task(name).CHANCE for name in get_args(TaskName) if not TASKS[name].takes_options} == {
        "gsm8k": 0,
        "aqua": 0.2,
        "math": 0,
        "arithmetic": 0,
    }
