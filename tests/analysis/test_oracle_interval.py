"""Coverage of the token oracle's interval, which comes from a sample of the wrong questions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.studies.outcomes import COSTS, evaluate
from dpc.config.settings import Statistics

STATISTICS = Statistics()
ONE_PASS = {"no_prompt", "prompt_tuning", "static_mask"}


def oracle_coverage(rounds: int, size: int = 300, tried: int = 100) -> float:
    """Return how often the interval holds what trying all wrong questions, half repairable, would give."""
    draw, covered = np.random.default_rng(5), 0
    ids = [f"q{number:03d}" for number in range(size)]
    blank: dict[str, object] = {"candidate": -1, "fired": False, "stop_reason": "end", "tokens": 1, "seconds": 0.0}
    blank |= dict.fromkeys([*COSTS, "tokens_regeneration"], 0)
    for _ in range(rounds):
        right, repairable = draw.random(size) < 0.4, draw.random(size) < 0.5
        base = pd.DataFrame({"problem_id": ids, "plan": "prompt_tuning", "correct": right, **blank})
        wrong = draw.permutation(np.flatnonzero(~right))[:tried]
        oracle = base.iloc[wrong].assign(plan="oracle_token", candidate=0, correct=repairable[wrong])
        rows = pd.concat([base, oracle]).assign(correct_lenient=lambda table: table["correct"])
        row = evaluate(rows, STATISTICS, ONE_PASS).iloc[1]
        covered += row["low"] <= (right | repairable).mean() <= row["high"]
    return covered / rounds


def test_oracle_interval_holds_what_all_wrong_questions_would_give() -> None:
    # it takes no account of the sample being a good part of the wrong questions: never too narrow
    assert oracle_coverage(60) >= 0.95


@pytest.mark.proof
def test_oracle_interval_holds_over_many_rounds() -> None:
    assert oracle_coverage(400, size=1319) >= 0.95
