"""Random outcomes of three plans and an oracle of several tries."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dpc.analysis.studies.outcomes import COSTS
from dpc.config.settings import Statistics

STATISTICS = Statistics()
ONE_PASS = {"no_prompt", "prompt_tuning", "static_mask"}


def random_outcomes(seed: int, questions: int = 20) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    rows = []
    for plan in ("dpc", "prompt_tuning", "no_prompt"):
        for number in range(questions):
            right, fired = bool(draw.random() < 0.6), plan == "no_prompt" or bool(draw.random() < 0.4)
            rows.append(
                {
                    "problem_id": f"q{number}",
                    "plan": plan,
                    "candidate": -1,
                    "fired": fired and plan != "prompt_tuning",
                    "correct": right,
                    "correct_lenient": right or bool(draw.random() < 0.2),
                    "stop_reason": str(draw.choice(["end", "length"])),
                    "tokens": int(draw.integers(1, 99)),
                    "seconds": float(draw.random()),
                    **dict.fromkeys(COSTS, 0.1),
                    "tokens_regeneration": 0,
                }
            )
    wrong = [r["problem_id"] for r in rows if r["plan"] == "prompt_tuning" and not r["correct"]][:5]
    tried = [{**rows[0], "problem_id": p, "plan": "oracle_token", "candidate": j} for p in wrong for j in (0, 1)]
    for row in tried:
        row.update(correct=bool(draw.random() < 0.3), tokens=100 + int(draw.integers(50)))
    return pd.DataFrame(rows + tried)
