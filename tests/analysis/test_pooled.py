"""Statistics over seeds and questions: hand arithmetic, scipy, leave-one-out, and how often intervals cover."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.analysis.stats import pooled, statistics
from dpc.analysis.stats.pooled import FISHER, LOGIT, Pooled, Scale, pool

LEVEL = 0.95
Draw = np.random.Generator


def columns(draw: Draw, rows: int) -> dict[str, np.ndarray]:
    x, y, z = draw.normal(size=(3, rows))
    return {"x": x + z, "y": (y + 0.7 * x + z).round(1), "z": z, "right": y + x > 0.3, "part": (x > 0) & (y > 0)}


STATISTICS: dict[str, Callable[[dict[str, np.ndarray]], pooled.Result]] = {
    "mean": lambda c: pooled.mean(c["x"]),
    "ratio": lambda c: pooled.ratio(c["part"], c["right"] | c["part"]),
    "disagreement": lambda c: pooled.disagreement(c["y"].round()),
    "log_ratio": lambda c: pooled.log_ratio(np.exp(c["x"] / 3), c["right"]),
    "auc": lambda c: pooled.auc(c["y"], c["right"]),
    "average_precision": lambda c: pooled.average_precision(c["y"], c["right"]),
    "spearman": lambda c: pooled.rank_correlation(c["x"], c["y"]),
    "partial": lambda c: pooled.rank_correlation(c["x"], c["y"], c["z"]),
    "phi": lambda c: pooled.rank_correlation(c["part"], c["right"]),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_influence_is_what_leaving_a_row_out_changes(name: str) -> None:
    """The jackknife's pseudo-values approach the influence as rows grow; both have mean 0."""
    rows, statistic = 400, STATISTICS[name]
    whole = columns(np.random.default_rng(3), rows)
    value, pull = statistic(whole)
    assert abs(pull.mean()) < 1e-9
    left_out = [statistic({k: np.delete(c, i) for k, c in whole.items()})[0] for i in range(rows)]
    jackknife = (rows - 1) * (value - np.array(left_out))
    assert np.corrcoef(jackknife, pull)[0, 1] > 0.999
    assert pull.std() == pytest.approx(jackknife.std(), rel=0.02)


def test_values_are_scipys_and_by_hand() -> None:
    found = columns(np.random.default_rng(1), 60)
    assert pooled.rank_correlation(found["x"], found["y"])[0] == pytest.approx(
        scipy.stats.spearmanr(found["x"], found["y"]).statistic
    )
    table = [[(found["part"] & found["right"]).sum(), (found["part"] & ~found["right"]).sum()]]
    table.append([(~found["part"] & found["right"]).sum(), (~found["part"] & ~found["right"]).sum()])
    assert pooled.rank_correlation(found["part"], found["right"])[0] == pytest.approx(statistics.phi(table))
    assert pooled.disagreement(["a", "a", "b", "c"])[0] == pytest.approx(5 / 6)  # of 6 pairs one agrees
    assert pooled.disagreement([7, 7, 7])[0] == 0
    assert math.isnan(pooled.disagreement([7])[0])
    assert pooled.average_precision([4, 3, 2, 1], [1, 0, 1, 0])[0] == pytest.approx((1 + 2 / 3) / 2)
    assert pooled.average_precision([1, 1, 1, 1], [1, 0, 0, 0])[0] == pytest.approx(0.25)
    assert pooled.log_ratio([2, 4, 1, 1], [1, 1, 0, 0])[0] == pytest.approx(math.log(3))
    assert pooled.ratio([1, 0, 0], [1, 1, 0])[0] == 0.5


def test_partial_correlation_is_that_of_the_residuals() -> None:
    found = columns(np.random.default_rng(2), 80)
    x, y, z = (scipy.stats.rankdata(found[name]) for name in "xyz")
    rests = [column - np.polyval(np.polyfit(z, column, 1), z) for column in (x, y)]
    expected = np.corrcoef(*rests)[0, 1]
    assert pooled.rank_correlation(found["x"], found["y"], found["z"])[0] == pytest.approx(expected)
    with_constant = pooled.rank_correlation(found["x"], found["y"], found["z"], np.ones(80), found["z"])[0]
    assert with_constant == pytest.approx(expected)


def test_what_has_no_value_is_nan() -> None:
    ones, zeros = np.ones(5), np.zeros(5)
    for value, pull in (
        pooled.auc(ones, ones), pooled.average_precision(ones, zeros), pooled.ratio(zeros, zeros),
        pooled.rank_correlation(ones, np.arange(5)), pooled.rank_correlation(np.arange(5), np.arange(5), np.arange(5)),
        pooled.log_ratio(zeros, ones > 2),
    ):  # fmt: skip
        assert math.isnan(value)
        assert not pull.any()
    found = pool(pooled.auc, [0, 0, 1, 1], [1, 2, 1, 2], [1, 2, 1, 2], [True, False, True, True], confidence=LEVEL)
    assert math.isnan(found.value)
    assert math.isnan(found.seed_low)
    assert math.isnan(pool(pooled.mean, [], [], [], confidence=LEVEL).value)


@pytest.mark.parametrize("statistic", [pooled.auc, pooled.average_precision, pooled.rank_correlation])
def test_what_is_missing_has_no_rank(statistic: Callable[..., pooled.Result]) -> None:
    scores, positive = np.array([1.0, math.nan, 3.0, 2.0]), np.array([True, False, False, True])
    with pytest.raises(ValueError, match="1 of 4 values to rank are missing"):
        statistic(scores, positive)
    with pytest.raises(ValueError, match="missing"):
        pooled.rank_correlation(positive, positive[::-1], scores)
    assert not math.isnan(statistic(scores[[0, 2, 3]], positive[[0, 2, 3]])[0])


def test_seeds_that_repeat_each_other_count_once() -> None:
    values = np.random.default_rng(0).normal(size=50)
    one = pool(pooled.mean, np.zeros(50), np.arange(50), values, confidence=LEVEL)
    thrice = np.tile(values, 3)
    same = pool(pooled.mean, np.repeat([0, 1, 2], 50), np.tile(np.arange(50), 3), thrice, confidence=LEVEL)
    assert (same.low, same.high) == pytest.approx((one.low, one.high))
    assert one.error == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    other = pool(pooled.mean, np.repeat([0, 1, 2], 50), np.arange(150), thrice, confidence=LEVEL)
    assert other.error == pytest.approx(one.error / math.sqrt(3), rel=0.02)
    assert (same.seed_low, same.seed_high) == pytest.approx((values.mean(), values.mean()))


@pytest.mark.parametrize(
    ("scale", "values"), [(LOGIT, (0.2, 0.41, 0.62)), (LOGIT, (1.0, 0.9, 0.5)), (FISHER, (-0.9, 0.1, 0.7))]
)
def test_the_interval_over_seeds_stays_on_the_scale(scale: Scale, values: tuple[float, ...]) -> None:
    column, two = np.repeat(values, 2), np.tile([-0.01, 0.01], 3)
    made = pool(pooled.mean, [0, 0, 1, 1, 2, 2], range(6), column + two, confidence=LEVEL, scale=scale, null=0.5)
    lowest = -1 if scale is FISHER else 0
    assert lowest < made.seed_low < made.value < made.seed_high < 1
    half = scipy.stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    to, slope = (scipy.special.logit, 1 / (made.value * (1 - made.value)))
    if scale is FISHER:
        to, slope = np.arctanh, 1 / (1 - made.value**2)
    assert to(made.seed_high) - to(made.value) == pytest.approx(half * slope)


def test_the_interval_over_seeds_of_a_gain_stays_below_100_points() -> None:
    after = np.concatenate([np.ones(200), np.ones(100), np.zeros(100), np.arange(200) < 40])
    made = pooled.gain(after, np.zeros(600), np.repeat(range(3), 200), np.tile(range(200), 3), LEVEL)
    assert -1 < made.seed_low < made.value < made.seed_high < 1
    whole = pooled.gain(np.ones(6), np.zeros(6), [0, 0, 0, 1, 1, 1], [1, 2, 3] * 2, LEVEL)
    assert math.isnan(whole.seed_low)


def test_one_seed_is_delongs_interval() -> None:
    found = columns(np.random.default_rng(5), 100)
    scores, right = found["y"], found["right"]
    known = statistics.auc_interval(scores[right], scores[~right], LEVEL)
    mine = pool(pooled.auc, np.zeros(100), np.arange(100), scores, right, confidence=LEVEL, scale=LOGIT, null=0.5)
    assert (mine.value, mine.low, mine.high) == pytest.approx((known.value, known.low, known.high), abs=2e-3)
    assert math.isnan(mine.seed_low)


def test_share_of_one_seed_is_wilsons() -> None:
    part, whole = np.array([1] * 12 + [0] * 38), np.array([1] * 40 + [0] * 10)
    known, mine = statistics.proportion(12, 40, LEVEL), pooled.share(part, whole, np.arange(50), LEVEL)
    assert (mine.value, mine.low, mine.high, mine.questions) == pytest.approx((0.3, known.low, known.high, 40))
    none = pooled.share(np.zeros(4), np.ones(4), np.arange(4), LEVEL)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(statistics.proportion(0, 4, LEVEL).high)
    assert math.isnan(pooled.share(np.zeros(4), np.zeros(4), np.arange(4), LEVEL).value)


def test_gain_by_hand_keeps_a_width_where_nothing_changed() -> None:
    right = np.array([1, 1, 0, 0])
    nothing = pooled.gain(right, right, [0] * 4, range(4), LEVEL)
    assert nothing.value == 0
    assert nothing.low == pytest.approx(-nothing.high)
    assert nothing.error == pytest.approx(math.sqrt(1 / 6 / 6))
    assert nothing.p == pytest.approx(1)
    some = pooled.gain([1, 1, 1, 0] * 2, [1, 1, 0, 0] * 2, [0] * 4 + [1] * 4, [*range(4)] * 2, LEVEL)
    assert some.value == 0.25
    assert some.questions == 4
    centre = (some.low + some.high) / 2
    assert centre == pytest.approx(1 / 6)
    assert some.error == pytest.approx(math.sqrt((2 / 6 - 1 / 36) / 6))


def test_difference_by_hand() -> None:
    one, other = (Pooled(v, v - d, v + d, 1, 0, 0, (), 9) for v, d in ((0.7, 0.03), (0.5, 0.04)))
    assert pooled.difference(one, other) == pytest.approx((0.2, 0.15, 0.25))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_shares_of_ranking_stay_in_bounds(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array(rows).T
    for statistic in (pooled.auc, pooled.average_precision):
        value, pull = statistic(scores, positive)
        assert math.isnan(value) or (0 <= value <= 1 and abs(pull.mean()) < 1e-9)


@pytest.mark.parametrize("count", [30, 400])
def test_where_all_agree_the_bound_is_the_disagreement_that_is_still_likely(count: int) -> None:
    """By simulation: at the upper bound all rows agree in one study of twenty, at 1/2 never as often as p says."""
    found = pooled.all_agree(pool(pooled.disagreement, [0] * count, range(count), [3] * count, confidence=LEVEL), LEVEL)
    assert found.value == found.low == 0
    assert found.p <= 2 ** (1 - count / 2)
    draw, rare = np.random.default_rng(2), (1 - math.sqrt(1 - 2 * found.high)) / 2
    agree = [not (draw.random(count) < rare).any() for _ in range(4000)]
    assert np.mean(agree) == pytest.approx(0.05, abs=0.012)
