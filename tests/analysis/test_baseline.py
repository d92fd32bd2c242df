"""Where beta comes from calibration instead of the instance (D9): hand arithmetic, and invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.readings import baseline
from dpc.analysis.readings.baseline import Baseline
from dpc.analysis.readings.flow import Instance
from dpc.config.settings import Flow, Trigger
from dpc.storage import tables
from tests.support.derived import affected_in, usual_of
from tests.support.saliency_rows import Places, flow_maps, instance

FLOW = Flow(deep_layers=[0, 0])
RIGHT = ([1.0, 3.0, 5.0, 5.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
"""Flow per token of two right cases: means of the former halves 2 and 2, of all 3.5 and 2."""


def cases_of(*cases: list[float]) -> list[Instance]:
    places = [Places(2, 3, (0,) * len(s_T)) for s_T in cases]
    return [instance(flow_maps(s, p, 2), p) for s, p in zip(cases, places, strict=True)]


def affected(s_T: list[float], trigger: Trigger, known: Baseline | None) -> list[bool]:
    one = instance(flow_maps(s_T, Places(2, 3, (0,) * len(s_T)), 2), Places(2, 3, (0,) * len(s_T)))
    return affected_in(one, FLOW, trigger, known)[0]


def test_the_constant_is_the_mean_of_the_cases_former_halves() -> None:
    known = usual_of(cases_of(*RIGHT), FLOW, Trigger(baseline="constant"), 2)
    assert known is not None
    assert known.constant == pytest.approx(2.0)
    # own former half 4: nothing above 4 but 5; the constant 2 is passed by 3 too
    s_T = [4.0, 4.0, 3.0, 5.0]
    assert affected(s_T, Trigger(), None) == [False, False, False, True]
    assert affected(s_T, Trigger(baseline="constant"), known) == [False, False, True, True]
    assert affected(s_T, Trigger(baseline="constant", kappa=2.4), known) == [False, False, False, True]


def test_detrending_forgives_what_right_cases_show_as_well() -> None:
    usual = [1.0, 1.0, 2.0, 4.0]
    known = usual_of(cases_of(usual), FLOW, Trigger(baseline="detrend"), 1)
    assert known is not None
    assert affected(usual, Trigger(), None) == [False, False, True, True]
    assert affected(usual, Trigger(baseline="detrend"), known) == [False] * 4
    assert affected([1.0, 1.0, 2.0, 8.0], Trigger(baseline="detrend"), known) == [False, False, False, True]
    # scaling the flow of the instance, or of the calibration cases, changes nothing
    assert affected([5.0, 5.0, 10.0, 40.0], Trigger(baseline="detrend"), known) == [False, False, False, True]


def test_the_profile_is_by_relative_position_and_counts_each_case_once() -> None:
    one = baseline.of_cases([(np.array([1.0, 3.0]), 1), (np.full(40, 5.0), 20)], 2)
    assert one is not None
    assert one.profile_P[0] == pytest.approx((1 + 5) / 2)
    assert one.profile_P[-1] == pytest.approx((3 + 5) / 2)
    assert np.all(np.diff(one.profile_P) >= 0)


@pytest.mark.parametrize("kind", ["constant", "detrend"])
def test_too_few_right_cases_affect_nothing(kind: str) -> None:
    trigger = Trigger.model_validate({"baseline": kind})
    assert usual_of(cases_of(*RIGHT), FLOW, trigger, 3) is None
    assert affected([1.0, 1.0, 9.0, 9.0], trigger, None) == [False] * 4


def test_nothing_is_fitted_where_the_instance_is_its_own_measure() -> None:
    assert usual_of(cases_of(*RIGHT), FLOW, Trigger(), 1) is None


def test_it_travels_in_the_table_of_thresholds() -> None:
    known = usual_of(cases_of(*RIGHT), FLOW, Trigger(baseline="detrend"), 1)
    assert known is not None
    assert set(known.columns()) == set(baseline.NOTHING) <= set(tables.SCHEMAS["thresholds"])
    again = baseline.of_row(pd.Series(known.columns()))
    assert again is not None
    assert again.constant == known.constant
    assert np.array_equal(again.profile_P, known.profile_P)
    assert baseline.of_row(pd.Series(baseline.NOTHING)) is None
