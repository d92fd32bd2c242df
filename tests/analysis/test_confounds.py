"""Confounds: nested logistic models by hand and with planted truth, separation, partial correlations."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from dpc.analysis.stats.verdicts import TOO_LITTLE
from dpc.analysis.studies import confounds as c

Draw = np.random.Generator


def evidence(draw: Draw, questions: int = 300, reading: float = 0.0, seeds: int = 2) -> pd.DataFrame:
    """Error depends on NLL and, by `reading`, on S_IFP; S_IFP depends on NLL."""
    tables = []
    for seed in range(seeds):
        nll, noise, more = draw.normal(size=(3, questions))
        s_ifp = 0.8 * nll + noise
        wrong = draw.random(questions) < 1 / (1 + np.exp(-(1.5 * nll + reading * noise)))
        columns = {
            "seed": seed, "problem_id": [f"q{n}" for n in range(questions)], "split": "test", "correct": ~wrong,
            "nll": nll, "rationale_tokens": draw.integers(8, 40, questions), "steps": draw.integers(2, 7, questions),
            "accumulation": more, "accumulation_beyond_zero": more, "flow_changed": s_ifp > 1, "s_ifp": s_ifp,
            "flow_latter": np.exp(s_ifp), "located": 0,
        }  # fmt: skip
        tables.append(pd.DataFrame(columns).astype({"flow_changed": "boolean"}))
    return pd.concat(tables, ignore_index=True)


def test_a_logistic_fit_is_the_maximum_of_the_likelihood() -> None:
    draw = np.random.default_rng(0)
    x, positive = draw.normal(size=(80, 2)) * [1, 9] + 3, draw.random(80) < 0.4
    fit = c.logistic(x, positive)
    design = c.standardised(x)

    def loss(b: np.ndarray) -> float:
        return float(np.logaddexp(0, -np.where(positive, 1, -1) * (design @ b)).sum())

    best = scipy.optimize.minimize(loss, np.zeros(3), tol=1e-12)
    assert fit.log_likelihood == pytest.approx(-best.fun, rel=1e-9)
    assert fit.coefficients == pytest.approx(best.x, abs=1e-4)


def test_one_yes_no_column_by_hand() -> None:
    # of 40 with the trait 30 are positive, of 60 without it 20: odds ratio 3 / 0.5, as in the 2 x 2 table
    trait, positive = np.repeat([1.0, 0.0], [40, 60]), np.array([True] * 30 + [False] * 10 + [True] * 20 + [False] * 40)
    fit = c.logistic(trait[:, None], positive)
    assert math.exp(fit.coefficients[1] / trait.std()) == pytest.approx(6)
    expected = 30 * math.log(0.75) + 10 * math.log(0.25) + 20 * math.log(1 / 3) + 40 * math.log(2 / 3)
    assert fit.log_likelihood == pytest.approx(expected)


def test_the_likelihood_ratio_is_uniform_without_an_effect_and_small_with_one() -> None:
    ps = []
    for number in range(200):
        draw = np.random.default_rng(number)
        x, extra = draw.normal(size=(2, 150))
        positive = draw.random(150) < 1 / (1 + np.exp(-x))
        small, large = c.logistic(x[:, None], positive), c.logistic(np.column_stack([x, extra]), positive)
        ps.append(c.likelihood_ratio_p(small, large, 1))
    assert 0.02 <= np.mean(np.array(ps) < 0.05) <= 0.09
    assert 0.4 <= np.mean(ps) <= 0.6


def test_separation_is_found_whole_and_with_ties() -> None:
    ones, positive = np.ones(6), np.array([False, False, False, True, True, True])
    whole = c.separated(np.column_stack([ones, [1, 2, 3, 4, 5, 6]]), positive)
    tied = c.separated(np.column_stack([ones, [1, 2, 3, 3, 5, 6]]), positive)
    mixed = c.separated(np.column_stack([ones, [1, 2, 4, 3, 5, 6]]), positive)
    assert whole.sum() >= 5  # any direction that parts them will do, one row may lie on its edge
    assert tied.tolist() == [True, True, False, False, True, True]
    assert not mixed.any()
    for column, parts in (([1, 2, 3, 4, 5, 6], True), ([1, 2, 3, 3, 5, 6], True), ([1, 2, 4, 3, 5, 6], False)):
        assert c.logistic(np.array(column, dtype=float)[:, None], positive).converged != parts


def test_a_reading_that_is_only_confidence_vanishes_and_one_that_is_more_stays() -> None:
    by_name = {
        e: c.confounds(evidence(np.random.default_rng(1), reading=e), 0.95).set_index("reading") for e in (0.0, 1.5)
    }
    only, more = by_name[0.0].loc["s_ifp"], by_name[1.5].loc["s_ifp"]
    assert only["raw_low"] > 0.1
    assert only["partial_low"] < 0 < only["partial_high"]
    assert min(only["likelihood_ratio_p"]) > 0.01
    assert more["partial_low"] > 0
    assert max(more["likelihood_ratio_p"]) < 1e-6
    assert min(more["odds_ratio"]) > 2


def test_what_the_confounds_predict_without_error_is_left_out_and_said() -> None:
    rows = evidence(np.random.default_rng(2), seeds=1)
    rows["steps"] = 3
    rows.loc[rows.index[:4], ["steps", "correct"]] = [9, False]
    found = c.confounds(rows, 0.95).set_index("reading").loc["s_ifp"]
    assert "4 rows left out that the confounds predict without error" in found["note"]
    assert not np.isnan(found["likelihood_ratio_p"]).any()


def test_degenerate_tables_say_why() -> None:
    rows = evidence(np.random.default_rng(3), questions=40)
    right = c.confounds(rows.assign(correct=True), 0.95)
    assert right["likelihood_ratio_p"].map(lambda ps: np.isnan(ps).all()).all()
    assert right["note"].str.contains(TOO_LITTLE).all()
    assert right["note"].str.contains("one kind of answer").all()
    parted = rows.assign(s_ifp=np.where(rows["correct"], 0.1, 0.9) + rows["nll"] / 100)
    assert "separation" in c.confounds(parted, 0.95).set_index("reading").loc["s_ifp", "note"]
    none = c.confounds(rows.assign(split="calibration"), 0.95)
    assert none["raw"].isna().all()
    assert len(none) == len(c.READINGS)


def test_rows_without_a_reading_are_left_out() -> None:
    rows = evidence(np.random.default_rng(4))
    rows.loc[rows.index[:50], "s_ifp"] = math.nan
    rows["flow_changed"] = rows["flow_changed"].mask(rows.index > 100)
    found = c.confounds(rows, 0.95).set_index("reading")
    assert len(c.usable(rows)) == 550
    assert found.loc["flow_changed", "questions"] < found.loc["s_ifp", "questions"] <= 300
