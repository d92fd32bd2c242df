"""The two analyses: who is sampled, what the curves average, and what findings say on planted truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.analysis.readings.flow import Instance, block_means, largest_z
from dpc.analysis.studies import correlation as study
from dpc.analysis.studies.limits import Limits
from dpc.config.settings import Flow, Sample, Statistics
from dpc.storage import tables
from tests.support.saliency_rows import (
    Places,
    even_steps,
    flow_maps,
    instance,
    random_maps,
)

QUICK = Statistics(resamples=200)
KNOWN = Limits(1.0, 0.5, 40, "")
UNKNOWN = Limits(None, None, 3, "not estimable: 3 right calibration cases, 30 needed")


def readings(correct: Sequence[bool], **more: Any) -> pd.DataFrame:
    """Readings of questions q0, q1, …."""
    count = len(correct)
    table = pd.DataFrame(
        {
            "problem_id": [f"q{k}" for k in range(count)],
            "correct": pd.Series(correct, dtype=bool),
            "nll": np.linspace(0.1, 1, count),
            "accumulation": np.linspace(0.2, 0.3, count),
            "accumulation_z": 1.0,
            "vectors": 20,
            "located": [[k % 3, 7] for k in range(count)],
            "first_position": True,
            "s_ifp": np.linspace(0.3, 0.6, count),
            "flow_latter": np.linspace(1, 2, count),
        }
    )
    return table.assign(**more)


# the sample


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_sample_sizes_and_row_order(correct: list[bool], wanted: int, per_class: int, shuffle: int) -> None:
    table, sizes = readings(correct), Sample(correlation=wanted, per_class=per_class)
    chosen = study.sample_instances(table, sizes)
    assert chosen["in_correlation"].sum() == min(wanted, len(correct))
    separated = chosen[chosen["in_separation"]]
    assert separated["correct"].sum() == min(per_class, sum(correct))
    assert (~separated["correct"]).sum() == min(per_class, len(correct) - sum(correct))
    assert (chosen["in_correlation"] | chosen["in_separation"]).all()
    mixed = study.sample_instances(table.sample(frac=1, random_state=shuffle), sizes)
    pd.testing.assert_frame_equal(mixed, chosen)


def test_the_sample_is_fixed_by_the_id_alone() -> None:
    sizes, right = Sample(correlation=5, per_class=3), [True, False] * 10
    first = study.sample_instances(readings(right), sizes)
    other = study.sample_instances(readings(right, nll=9.0, s_ifp=np.linspace(0.9, 0.1, 20)), sizes)
    assert first["problem_id"].tolist() == other["problem_id"].tolist()
    # ten questions less: who stays keeps the order
    fewer = study.sample_instances(readings(right).iloc[:10], Sample(correlation=20, per_class=1))
    whole = study.sample_instances(readings(right), Sample(correlation=20, per_class=1))
    kept = whole[whole["problem_id"].isin(fewer["problem_id"])]
    assert kept["problem_id"].tolist() == fewer["problem_id"].tolist()
    # and it is no simple order of ids
    assert whole["problem_id"].tolist() not in (
        sorted(whole["problem_id"]),
        readings(right)["problem_id"].tolist(),
    )


def test_instances_without_both_halves_are_left_out() -> None:
    table = readings([True] * 4, s_ifp=[math.nan, 0.5, 0.5, 0.5], accumulation=[0.5, math.nan, 0.5, 0.5])
    assert set(study.sample_instances(table, Sample())["problem_id"]) == {"q2", "q3"}


def test_significance_is_strict_and_null_where_not_estimable() -> None:
    table = readings([True] * 3, accumulation_z=[1.0, 1.1, math.nan], s_ifp=[0.6, 0.5, 0.4])
    known = study.mark_significant(table, KNOWN)
    assert known["accumulated"].tolist() == [False, True, False]
    assert known["flow_changed"].tolist() == [True, False, False]
    assert known["located"].tolist() == [0, 1, 2]
    assert known["located_at_zero"].tolist() == [True, False, False]
    unknown = study.mark_significant(table.assign(first_position=False), UNKNOWN)
    assert unknown[["accumulated", "flow_changed"]].isna().all(axis=None)
    assert unknown["located_at_zero"].tolist() == [False] * 3
    half = study.mark_significant(table, Limits(1.0, None, 40, ""))
    assert half["accumulated"].notna().all()
    assert half["flow_changed"].isna().all()


# curves


def layers_of(instances: Sequence[Instance]) -> pd.DataFrame:
    return study.layer_curves(instances, 0.95).set_index(["block", "layer"])


def test_layer_curves_are_means_of_block_means() -> None:
    shapes = [Places(2, 3, even_steps(6, 2)), Places(2, 5, even_steps(4, 3)), Places(2, 1, even_steps(2, 1))]
    instances = [instance(random_maps(k, 4, places), places) for k, places in enumerate(shapes)]
    found, blocks = layers_of(instances), [block_means(one, "tokens") for one in instances]
    assert set(found.index.get_level_values("block")) == {"p→q", "p→r", "q→r", "r→r"}
    for block, layer in found.index:
        truth = np.array([of[block][layer] for of in blocks])
        there = truth[~np.isnan(truth)]
        assert found.loc[(block, layer), "mean"] == pytest.approx(there.mean())
        assert found.loc[(block, layer), "instances"] == len(there)
        # one question token has no row of its own, two rationale tokens no pair
        assert len(there) == (2 if block in ("p→q", "r→r") else 3)
        assert found.loc[(block, layer), "low"] < there.mean() < found.loc[(block, layer), "high"]


def test_accumulation_by_layer_is_the_mean_of_shares() -> None:
    places = [Places(2, 2, (0, 0)), Places(2, 3, (0,) * 4)]
    weights = [np.array([[1.0, 3], [2, 2], [0, 0]]), np.array([[3.0, 1], [0, 5], [1, 3]])]
    instances = []
    for spot, weight_LN in zip(places, weights, strict=True):
        maps = np.zeros((3, spot.size, spot.size))
        maps[:, spot.q[0] :, spot.p[0] : spot.p[-1] + 1] = weight_LN[:, None]
        instances.append(instance(maps, spot))
    found = study.accumulation_by_layer(instances).pivot(index="layer", columns="vector", values="mean")
    # the third layer of the first instance receives nothing and has no shares
    assert found.to_numpy() == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75], [0.25, 0.75]]))
    assert set(study.accumulation_by_layer(instances)["instances"]) == {2}


def test_accumulation_counts_question_and_rationale_rows() -> None:
    # one question row gives 1 and 3, each of two rationale rows 3 and 1
    spot = Places(2, 2, (0, 0))
    maps = np.zeros((1, spot.size, spot.size))
    maps[0, spot.q_rows, 1:3] = [1, 3]
    maps[0, spot.r_rows, 1:3] = [3, 1]
    assert study.accumulation_by_layer([instance(maps, spot)])["mean"].tolist() == pytest.approx([7 / 12, 5 / 12])


def position_of(groups: dict[str, Sequence[Instance]], bins: int) -> pd.DataFrame:
    found = study.position_curves(groups, Flow(deep_layers=[0, 5]), bins, 0.95)
    return found.set_index(["group", "bin"])


def test_position_curves_by_hand() -> None:
    long, short = Places(2, 2, (0,) * 8), Places(2, 2, (0,) * 2)
    eight = instance(flow_maps([1, 3, 5, 5, 2, 4, 0, 8], long), long)
    two = instance(flow_maps([10, 20], short), short)
    found = position_of({"right": [eight], "wrong": [eight, two]}, 4)
    assert found.loc["right", "mean"].tolist() == [2, 5, 3, 4]
    # two tokens fall into the first and the third quarter, and weigh as much as two of the eight
    assert found.loc["wrong", "mean"].tolist() == [6, 5, 11.5, 4]
    assert found.loc["wrong", "instances"].tolist() == [2, 1, 2, 1]


def test_curves_of_no_instances_fit_their_tables(tmp_path: Path) -> None:
    made = {
        "layers": study.layer_curves([], 0.95),
        "accumulation": study.accumulation_by_layer([]),
        "positions": study.position_curves({"right": []}, Flow(), 4, 0.95),
    }
    for name, rows in made.items():
        tables.write(tmp_path / name, name, rows, {})
    assert made["layers"].empty
    assert made["positions"]["instances"].tolist() == [0] * 4


# findings


def findings_of(table: pd.DataFrame, limits: Limits = KNOWN) -> pd.DataFrame:
    sampled = study.mark_significant(table, limits)
    sampled = sampled.assign(in_correlation=True, in_separation=True)
    return study.findings(sampled, QUICK, limits.note).set_index("name")


def test_perfectly_dependent_accumulation_and_change() -> None:
    high = np.arange(40) % 4 == 0
    found = findings_of(readings([True] * 40, accumulation_z=high + 0.5, s_ifp=np.where(high, 0.6, 0.4)))
    assert found.loc["phi", ["value", "low", "high", "n"]].tolist() == pytest.approx([1, 1, 1, 40])
    assert found.loc["phi", "note"] == "changed/unchanged: accumulated 10/0, not 0/30"
    assert found.loc["p_change_given_accumulation", ["value", "n"]].tolist() == [1, 10]
    assert found.loc["p_change_given_none", ["value", "n"]].tolist() == [0, 30]
    # one table of so many: 1 / (40 choose 10)
    assert found.loc["fisher", "p"] == pytest.approx(1 / math.comb(40, 10))
    opposite = findings_of(readings([True] * 40, accumulation_z=1.5 - high, s_ifp=np.where(high, 0.6, 0.4)))
    assert opposite.loc["phi", "value"] == pytest.approx(-1)


def test_independent_accumulation_and_change() -> None:
    k = np.arange(80)
    table = readings([True] * 80, accumulation_z=(k % 2 == 0) + 0.5, s_ifp=np.where(k // 2 % 4 == 0, 0.6, 0.4))
    found = findings_of(table)
    value, low, high, p = found.loc["phi", ["value", "low", "high", "p"]]
    assert (value, p) == (0, 1)
    assert -0.4 < low < 0 < high < 0.4
    assert found.loc["p_change_given_none", "value"] == found.loc["p_change_given_accumulation", "value"] == 0.25


@pytest.mark.parametrize(("vectors", "value"), [(4, math.nan), (10, math.nan), (11, 0.25)])
def test_no_vector_of_ten_can_stand_three_deviations_above_the_mean(vectors: int, value: float) -> None:
    z = largest_z(np.eye(vectors)[0])  # one has all: the most there can be
    assert z == pytest.approx(math.sqrt(vectors - 1))
    found = findings_of(readings([True] * 4, vectors=vectors, accumulation_z=[z, 1, 1, 1]))
    row = found.loc["share_accumulated_3sd"]
    assert row["value"] == pytest.approx(value, nan_ok=True)
    expected = f"not estimable: of {vectors} vectors none can exceed mean + {z:.2f} SD" if vectors <= 10 else ""
    assert row["note"] == expected
    assert found.loc["share_accumulated", "value"] >= 0


def test_conditional_shares_by_hand() -> None:
    # accumulated: 3 changed, 1 not; not accumulated: 1 changed, 5 not
    z, s = [2] * 4 + [0] * 6, [0.6] * 3 + [0.4] + [0.6] + [0.4] * 5
    found = findings_of(readings([True] * 10, accumulation_z=z, s_ifp=s))
    assert found.loc["p_change_given_accumulation", "value"] == 3 / 4
    assert found.loc["p_change_given_none", "value"] == 1 / 6
    assert found.loc["phi", "value"] == pytest.approx((3 * 5 - 1 * 1) / math.sqrt(4 * 6 * 4 * 6))
    assert found.loc["phi", "note"] == "changed/unchanged: accumulated 3/1, not 1/5"


def test_ranks_of_the_shares() -> None:
    rising = np.linspace(1, 2, 12)
    found = findings_of(readings([True] * 12, accumulation=rising, s_ifp=rising**2, nll=-rising))
    names = ["spearman_accumulation_s_ifp", "spearman_accumulation_nll", "spearman_s_ifp_nll"]
    assert found.loc[names, "value"].tolist() == pytest.approx([1, -1, -1])
    # vectors 0, 1, 2 in turn are located
    assert found.loc["share_located_at_zero", ["value", "n"]].tolist() == pytest.approx([1 / 3, 12])


def test_separation_by_hand() -> None:
    right = [True, True, True, False, False]
    table = readings(
        right, s_ifp=[0.1, 0.2, 0.3, 0.25, 0.4], flow_latter=[1.0, 2, 3, 3, 5], nll=[0.5, 0.6, 0.7, 0.1, 0.2]
    )
    found = findings_of(table)
    # of six pairs wrong exceeds right in 2 + 3; with one tie 2.5 + 3; and never
    assert found.loc["auc_s_ifp", "value"] == pytest.approx(5 / 6)
    assert found.loc["auc_flow_latter", "value"] == pytest.approx(5.5 / 6)
    assert found.loc["auc_nll", "value"] == 0
    assert found.loc["flow_ratio_wrong_right", "value"] == pytest.approx(4 / 2)
    assert found.loc["mean_s_ifp_right", ["value", "n"]].tolist() == pytest.approx([0.2, 3])
    assert found.loc["mean_s_ifp_wrong", ["value", "n"]].tolist() == pytest.approx([0.325, 2])


def test_each_analysis_uses_its_own_sample() -> None:
    table = study.mark_significant(readings([True, False] * 10), KNOWN)
    first = np.arange(20) < 8
    found = study.findings(table.assign(in_correlation=first, in_separation=~first), QUICK, "").set_index("name")
    assert found.loc[["phi", "spearman_s_ifp_nll", "share_located_at_zero"], "n"].tolist() == [8, 8, 8]
    assert found.loc[["auc_s_ifp", "mean_s_ifp_right"], "n"].tolist() == [12, 6]


@pytest.mark.parametrize("right", [True, False])
def test_one_class_alone_has_no_separation(right: bool) -> None:
    found = findings_of(readings([right] * 6), UNKNOWN)
    needs_both = ["auc_s_ifp", "auc_flow_latter", "auc_nll", "flow_ratio_wrong_right"]
    assert found.loc[needs_both, "value"].isna().all()
    assert found.loc[needs_both, "note"].map(bool).all()
    there, lacking = ("right", "wrong") if right else ("wrong", "right")
    assert found.loc[f"mean_s_ifp_{there}", "n"] == 6
    assert math.isnan(found.loc[f"mean_s_ifp_{lacking}", "value"])


def test_a_single_case_of_a_class_gives_a_ratio_without_an_interval() -> None:
    found = findings_of(readings([True] + [False] * 5, flow_latter=[2.0, 1, 2, 3, 4, 5]))
    assert found.loc["flow_ratio_wrong_right", "value"] == pytest.approx(1.5)
    assert found.loc["flow_ratio_wrong_right", ["low", "high"]].isna().all()
    assert "fewer than two cases" in found.loc["flow_ratio_wrong_right", "note"]


def test_findings_without_limits_say_why() -> None:
    found = findings_of(readings([True, False] * 3), UNKNOWN)
    contingency = ["p_change_given_accumulation", "p_change_given_none", "phi", "fisher"]
    assert found.loc[contingency, ["value", "p"]].isna().all(axis=None)
    assert set(found.loc[contingency, "note"]) == {UNKNOWN.note}
    assert not math.isnan(found.loc["spearman_s_ifp_nll", "value"])
    assert set(findings_of(readings([]), KNOWN).loc[contingency, "note"]) == {"no instance"}
