"""Invariances of the evaluation over random outcomes."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.analysis.studies.outcomes import evaluate
from tests.support.outcomes import ONE_PASS, STATISTICS, random_outcomes


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_order_of_rows_changes_nothing(seed: int, shuffle: int) -> None:
    rows = random_outcomes(seed)
    first = evaluate(rows, STATISTICS, ONE_PASS).set_index("plan").sort_index()
    mixed = rows.sample(frac=1, random_state=shuffle)
    again = evaluate(mixed, STATISTICS, ONE_PASS)
    assert again["plan"].tolist() == list(dict.fromkeys(mixed["plan"]))
    pd.testing.assert_frame_equal(again.set_index("plan").sort_index(), first, check_exact=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_fixed_minus_broken_is_the_gain_in_accuracy(seed: int) -> None:
    found = evaluate(random_outcomes(seed), STATISTICS, ONE_PASS).set_index("plan")
    found = found.drop("oracle_token", errors="ignore")
    gain = (found["accuracy"] - found.loc["prompt_tuning", "accuracy"]) * found["questions"]
    assert (found["fixed"] - found["broken"]).to_numpy() == pytest.approx(gain.to_numpy(), abs=1e-9)
    # precision times fired is recall times wrong: the same hits
    dpc, wrong = found.loc["dpc"], 1 - found.loc["prompt_tuning", "accuracy"]
    if 0 < dpc["fire_rate"] < 1 and wrong:
        assert dpc["precision_wrong"] * dpc["fire_rate"] == pytest.approx(dpc["recall_wrong"] * wrong)
