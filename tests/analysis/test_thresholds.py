"""R, the significance limits and the static mask: hand arithmetic, and the calibration stage on planted tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.analysis.studies.limits import best_limit, choose_share, limits, score_grid, static_vector, threshold_curve
from dpc.config.settings import Controls, Corrupt, Flow, Locate, Significance, Trigger
from dpc.config.slices import ThresholdsStage
from dpc.errors import DpcError
from dpc.pipeline.stages import fit_thresholds as stage
from dpc.plans import registry as plans
from dpc.storage import tables
from tests.support.derived import flow_of, readings_of, verdicts_of
from tests.support.saliency_rows import Places, flow_maps, generation, saliency_row


def curve_of(
    base: Sequence[bool], after: Sequence[bool], shares: Sequence[float], grid: Sequence[float]
) -> pd.DataFrame:
    cases = pd.DataFrame({"base_correct": base, "corrupted_correct": after}, dtype=bool)
    share = pd.Series(shares, dtype=float)
    return threshold_curve(cases, {limit: share > limit for limit in grid})


# the curve

# wrong and mended, wrong and not, right and broken, right and not, wrong and mended
BASE = [False, False, True, True, False]
AFTER = [True, False, False, True, True]
SHARES = [0.9, 0.7, 0.3, 0.1, 0.5]


def test_threshold_curve_by_hand() -> None:
    found = curve_of(BASE, AFTER, SHARES, [0.8, 0.2, 0.4, 1.0]).set_index("share")
    assert found.index.tolist() == [0.2, 0.4, 0.8, 1.0]
    assert found["fired"].tolist() == [4, 3, 1, 0]
    assert found["fixed"].tolist() == [2, 2, 1, 0]
    assert found["broken"].tolist() == [1, 0, 0, 0]
    assert found["net"].tolist() == [1, 2, 1, 0]
    assert found["accuracy"].tolist() == pytest.approx([3 / 5, 4 / 5, 3 / 5, 2 / 5])
    # of three wrong 3, 3, 1, 0 fire; of two right 1, 0, 0, 0
    assert found["youden"].tolist() == pytest.approx([1 - 1 / 2, 1, 1 / 3, 0])


def test_youden_needs_right_and_wrong_cases() -> None:
    for base in (True, False):
        found = curve_of([base] * 2, [True, True], [0.9, 0.1], [0.5])
        assert math.isnan(found["youden"][0])


CASES = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 10).map(lambda k: k / 10)), min_size=1, max_size=20
)
GRID = [0.1, 0.3, 0.5, 0.7, 0.9]


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_accuracy_is_base_accuracy_plus_net(cases: list[tuple[bool, bool, float]]) -> None:
    base, after, shares = zip(*cases, strict=True)
    found = curve_of(base, after, shares, GRID)
    assert found["accuracy"].to_numpy() == pytest.approx(np.mean(base) + found["net"].to_numpy() / len(cases))
    assert (found["fixed"] + found["broken"] <= found["fired"]).all()
    assert found["fired"].is_monotonic_decreasing


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_the_chosen_r_has_the_largest_net(cases: list[tuple[bool, bool, float]]) -> None:
    base, after, shares = zip(*cases, strict=True)
    found = curve_of(base, after, shares, GRID)
    net = {limit: sum((a - b) for b, a, share in cases if share > limit) for limit in GRID}  # worked out case by case
    chosen, _ = choose_share(found, float(np.mean(base)), Trigger())
    best = max(net.values())
    assert chosen == (max(limit for limit in GRID if net[limit] == best) if best > 0 else None)
    by_accuracy, _ = choose_share(found, float(np.mean(base)), Trigger(choose_by="accuracy"))
    assert by_accuracy == chosen


# the choice


def rows(**columns: Sequence[float]) -> pd.DataFrame:
    """A curve whose columns not given speak for firing."""
    gains = {"net": 1, "accuracy": 1.0, "youden": 1.0}
    return pd.DataFrame({"share": [0.1, 0.3, 0.5, 0.7], **gains, **columns})


CURVE = rows(net=[4, 2, 4, 1], accuracy=[0.5, 0.8, 0.6, 0.55], youden=[0.1, 0.2, math.nan, 0.3])


@pytest.mark.parametrize(("by", "share"), [("net", 0.5), ("accuracy", 0.3), ("youden", 0.7)])
def test_each_way_to_choose_and_ties_to_the_larger_r(by: str, share: float) -> None:
    chosen, note = choose_share(CURVE, 0.4, Trigger(choose_by=by))
    assert (chosen, note) == (share, f"largest {by} on calibration")


@pytest.mark.parametrize(
    ("by", "curve"),
    [
        ("net", rows(net=[0, -1, -3, 0])),
        ("accuracy", rows(accuracy=[0.4, 0.3, 0.1, 0.4])),
        ("youden", rows(youden=[0, -0.1, -0.5, 0])),
        ("youden", rows(youden=[math.nan] * 4)),
    ],
)
def test_no_gain_means_never_fire(by: str, curve: pd.DataFrame) -> None:
    chosen, note = choose_share(curve, 0.4, Trigger(choose_by=by))
    assert chosen is None
    assert note == f"never fire: no R has a positive {by} on calibration"


def test_rounding_is_no_gain_and_breaks_no_tie() -> None:
    thirds = rows(accuracy=[0.1 + 0.2, 0.3, 0.3, 0.3])
    assert choose_share(thirds, 0.3, Trigger(choose_by="accuracy"))[0] is None
    assert choose_share(thirds, 0.2, Trigger(choose_by="accuracy"))[0] == 0.7


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_fixed_share_stands_whatever_calibration_says(share: float) -> None:
    assert choose_share(rows(net=[-1] * 4), 0.5, Trigger(share=share)) == (
        share,
        "fixed in the configuration",
    )


# limits of simpler triggers


def test_a_score_is_tried_at_its_quantiles() -> None:
    scores = pd.Series([4.0, 0.0, 1.0, 3.0, 2.0, math.nan])
    assert score_grid(scores, Trigger(grid=[0.5, 0.25, 1.0])) == [1.0, 2.0, 4.0]
    assert score_grid(pd.Series([7.0, 7.0]), Trigger()) == [7.0]
    assert score_grid(scores.iloc[5:], Trigger()) == []


def test_the_best_limit_is_chosen_as_r_is_and_by_nothing_else() -> None:
    assert best_limit(CURVE, 0.4, Trigger()) == 0.5
    assert best_limit(CURVE, 0.4, Trigger(share=0.2)) == 0.5  # a fixed R fixes no other trigger
    assert best_limit(CURVE, 0.4, Trigger(choose_by="youden")) == 0.7
    assert best_limit(rows(net=[0, -1, -3, 0]), 0.4, Trigger()) is None


# limits


def right_cases(count: int) -> pd.DataFrame:
    return pd.DataFrame({"accumulation_z": np.arange(count) * 1.0, "s_ifp": [0.2, 0.4] * (count // 2)})


def test_limits_by_hand() -> None:
    wanted = Significance(accumulation_quantile=0.9, flow_deviations=2.0, min_cases=4)
    found = limits(right_cases(4), wanted)
    # z 0, 1, 2, 3: the quantile lies at 0.9 * 3; S_IFP: mean 0.3, deviation 0.1 * sqrt(4 / 3)
    assert found.accumulation_z == pytest.approx(2.7)
    assert found.flow_change == pytest.approx(0.3 + 2 * 0.1 * math.sqrt(4 / 3))
    assert (found.right_cases, found.note) == (4, "")


def test_too_few_right_cases_are_not_estimable() -> None:
    for cases in (
        right_cases(4),
        right_cases(6).assign(s_ifp=[math.nan, 1, 1, 1, math.nan, 1]),
        right_cases(0),
    ):
        found = limits(cases, Significance(min_cases=5))
        usable = int(cases["s_ifp"].notna().sum())
        assert (found.accumulation_z, found.flow_change, found.right_cases) == (None, None, usable)
        assert found.note == f"not estimable: {usable} right calibration cases, 5 needed"


def test_missing_values_are_left_out_of_limits() -> None:
    holey = pd.concat([right_cases(4), pd.DataFrame({"accumulation_z": [99.0], "s_ifp": [math.nan]})])
    assert limits(holey, Significance(min_cases=4)) == limits(right_cases(4), Significance(min_cases=4))


# the static mask


def tried(*cases: tuple[int, bool, bool]) -> pd.DataFrame:
    return pd.DataFrame(cases, columns=["candidate", "base_correct", "corrupted_correct"])


def test_static_vector_is_the_one_with_the_largest_net() -> None:
    mends, breaks, leaves = (False, True), (True, False), (True, True)
    assert static_vector(tried((4, *mends), (4, *mends), (2, *mends), (2, *leaves)))[0] == 4
    # vector 4 mends two and breaks two
    assert static_vector(tried((4, *mends), (4, *mends), (4, *breaks), (4, *breaks), (2, *mends)))[0] == 2
    assert static_vector(tried((4, *mends), (2, *mends)))[0] == 2
    assert static_vector(tried((4, *mends)))[1] == "static mask: net 1 on calibration"


def test_no_static_vector_where_none_helps() -> None:
    assert static_vector(tried()) == (-1, "")  # none was tried: plan static_mask does not run
    for cases in (tried((0, True, False)), tried((0, True, True), (1, False, False))):
        assert static_vector(cases) == (-1, "no static mask helps on calibration")


# the stage

PLACES = Places(3, 2, (0,) * 4)
SETTINGS = ThresholdsStage(
    trigger=Trigger(grid=[0.2, 0.6, 0.9]),
    locate=Locate(),
    significance=Significance(min_cases=2),
)
# key: the latter half's flow (1 before), base answer, answer after DPC's edit; gold is 1 for all
PLANTED: dict[str, tuple[tuple[float, float], str | None, str]] = {
    "mended": ((2, 2), "0", "1"),
    "mended too": ((3, 2), "0", "1"),
    "broken at half": ((2, 1), "1", "0"),
    "untouched": ((1, 1), "1", "0"),
    "silent": ((2, 2), None, "1"),
}


@dataclass
class Calibration:
    """The tables of a calibration split, as the stage reads them."""

    folder: Path
    measured: pd.DataFrame
    made: pd.DataFrame
    planned: pd.DataFrame
    again: pd.DataFrame

    def run(self, using: ThresholdsStage = SETTINGS) -> tuple[pd.Series[Any], pd.DataFrame]:
        named = {
            "flow": ("flow", flow_of(self.measured, self.made, Flow(), Locate())),
            "base": ("verdicts", verdicts_of(self.made, "calibration")),
            "regenerated": ("verdicts", verdicts_of(self.again)),
            "plans": ("plans", self.planned),
        }
        at = {flag: self.folder / f"{flag}.parquet" for flag in [*named, "thresholds", "threshold_curve"]}
        for flag, (name, table) in named.items():
            tables.write(at[flag], name, table, {})
        read = {flag: at[flag] for flag in named}
        stage.run(using, **read, out=at["thresholds"], curve=at["threshold_curve"])
        fitted = tables.read(at["thresholds"], "thresholds")
        assert len(fitted) == 1
        return fitted.iloc[0], tables.read(at["threshold_curve"], "threshold_curve")


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    def row(key: str, latter: tuple[float, float], split: str) -> dict[str, Any]:
        return saliency_row(flow_maps([1, 1, *latter], PLACES, column=1, peak=2.0), PLACES, key, split)

    measured = pd.DataFrame([row(key, latter, "calibration") for key, (latter, _, _) in PLANTED.items()])
    made = pd.DataFrame([generation(key, "calibration", base) for key, (_, base, _) in PLANTED.items()])
    inputs = plans.Inputs(readings_of(measured, made, Flow(), Trigger(), Locate()), Trigger(), Corrupt(), Controls())
    planned = plans.make(["always", "static_candidates"], "calibration", inputs)
    # vector 1 is located everywhere; static vector 2 mends the two, vector 0 breaks what is right
    static = {0: {"untouched": "0"}, 1: {}, 2: {"mended": "1", "mended too": "1"}}
    again = []
    for edit in tables.rows(plans.edits_of(planned)):
        _, base, after = PLANTED[edit.problem_id]
        answer = after if edit.plan == "always" else static[edit.candidate].get(edit.problem_id, base)
        again.append(generation(edit.problem_id, "calibration", answer, edit.edit_id))
    other = pd.DataFrame([row("of the test", (9, 9), "test")])
    stray = pd.DataFrame([generation("of the test", "test", "1")])
    return Calibration(tmp_path, pd.concat([measured, other]), pd.concat([made, stray]), planned, pd.DataFrame(again))


def test_the_stage_fits_what_was_planted(calibration: Calibration) -> None:
    fitted, curve = calibration.run()
    # at 0.2 three fire, one of them is broken; at 0.6 and above nothing is; the silent one never fires
    assert curve["share"].tolist() == [0.2, 0.6, 0.9]
    assert curve["fired"].tolist() == [3, 2, 2]
    assert curve["net"].tolist() == [1, 2, 2]
    assert curve["accuracy"].tolist() == pytest.approx([3 / 5, 4 / 5, 4 / 5])
    assert curve["chosen"].tolist() == [False, False, True]
    assert (fitted["share"], fitted["net"]) == (0.9, 2)
    assert (fitted["right_cases"], fitted["calibration_questions"]) == (2, 5)
    # vector 1 breaks two and mends three: net 1; vector 2 mends two; what the test split holds counts nowhere
    assert fitted["static_vector"] == 2
    assert fitted["note"] == "largest net on calibration; static mask: net 2 on calibration"
    # attention stands on the latter flow, as R does: (1 + 1 + latter) / 4 x (1 + 2 + 1) columns; entropy is flat
    assert 1.5 * 4 > fitted["attention_limit"] >= 5
    assert fitted[["entropy_limit", "nll_limit"]].isna().all()


def test_the_stage_says_what_it_could_not_fit(calibration: Calibration) -> None:
    strict = SETTINGS.model_copy(update={"significance": Significance(min_cases=3)})
    nothing_helps = calibration.again.assign(extracted="0", extracted_lenient="0")
    calibration.again = nothing_helps
    fitted, curve = calibration.run(strict)
    assert fitted[["share", "accumulation_z_limit", "s_ifp_limit"]].isna().all()
    assert (fitted["static_vector"], fitted["net"]) == (-1, 0)
    assert not curve["chosen"].any()
    assert fitted["note"].startswith("never fire: no R has a positive net on calibration; no static mask helps")
    assert fitted["note"].endswith("not estimable: 2 right calibration cases, 3 needed")


def test_the_stage_takes_a_fixed_share(calibration: Calibration) -> None:
    fitted, curve = calibration.run(SETTINGS.model_copy(update={"trigger": Trigger(share=0.2)}))
    assert curve["share"].tolist() == [0.2]
    assert (fitted["share"], fitted["net"]) == (0.2, 1)


def test_the_stage_refuses_regenerations_of_another_split(calibration: Calibration) -> None:
    stray = pd.DataFrame([generation("of the test", "test", "1", "e")])
    calibration.again = pd.concat([calibration.again, stray])
    with pytest.raises(DpcError, match="found verdicts on another split; expected calibration only"):
        calibration.run()


def test_nothing_of_the_test_split_reaches_the_fit(calibration: Calibration) -> None:
    """Test rows stand in every table the stage shares with the test split, and speak for another fit."""
    fitted, curve = calibration.run()
    tempting = [f"of the test {n}" for n in range(20)]
    row = calibration.measured[calibration.measured["split"] == "test"]
    made = calibration.made[calibration.made["split"] == "test"]
    calibration.measured = pd.concat([calibration.measured, *(row.assign(problem_id=key) for key in tempting)])
    calibration.made = pd.concat([calibration.made, *(made.assign(problem_id=key, extracted="0") for key in tempting)])
    again, same_curve = calibration.run()
    pd.testing.assert_series_equal(fitted, again)
    pd.testing.assert_frame_equal(curve, same_curve)
    # with their plans and regenerations they are refused, also where these are passed off as calibration
    planned = calibration.planned[calibration.planned["plan"] == "always"].head(1)
    calibration.planned = pd.concat([calibration.planned, *(planned.assign(problem_id=key) for key in tempting)])
    edit = planned["edit_id"].iloc[0]
    before = calibration.again
    for split in ("test", "calibration"):
        stray = pd.DataFrame([generation(key, split, "1", edit) for key in tempting])
        calibration.again = pd.concat([before, stray])
        with pytest.raises(DpcError, match=r"another split|is no calibration question"):
            calibration.run()


def test_the_stage_refuses_plans_of_another_split(calibration: Calibration) -> None:
    calibration.planned = pd.concat([calibration.planned, calibration.planned.head(1).assign(problem_id="of the test")])
    with pytest.raises(DpcError):
        calibration.run()


def test_the_stage_refuses_a_lost_regeneration(calibration: Calibration) -> None:
    calibration.again = calibration.again.iloc[1:]
    with pytest.raises(DpcError, match="a planned edit was not regenerated; run regenerate for the calibration"):
        calibration.run()
