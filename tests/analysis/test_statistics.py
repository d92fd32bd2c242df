"""Oracles: hand arithmetic, textbook values, scipy, invariances; how often each interval covers the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.analysis.stats import statistics as s
from dpc.config.settings import Statistics

FAST = Statistics(resamples=400)
numbers = st.lists(st.integers(-20, 20), min_size=1, max_size=12)


def nan_bounds(estimate: s.Estimate) -> bool:
    return math.isnan(estimate.low) and math.isnan(estimate.high)


# shares


def test_wilson_by_hand() -> None:
    # 15 of 50, z = 1.959964: centre (.3 + .0384146) / 1.0768292, half z sqrt(.0042 + .000384146) / 1.0768292
    found = s.proportion(15, 50, 0.95)
    assert (found.value, found.n) == (0.3, 50)
    assert found.low == pytest.approx(0.191035, abs=1e-6)
    assert found.high == pytest.approx(0.437503, abs=1e-6)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.6, 0.99))
def test_wilson_is_scipys_and_symmetric(case: tuple[int, int], confidence: float) -> None:
    k, n = case
    found = s.proportion(k, n, confidence)
    reference = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    mirrored = s.proportion(n - k, n, confidence)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_share_of_nothing_is_nan_and_no_share_is_refused() -> None:
    found = s.proportion(0, 0, 0.95)
    assert math.isnan(found.value)
    assert nan_bounds(found)
    for k, n in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="not a share"):
            s.proportion(k, n, 0.95)


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    # 2 * (1 + 10) / 2**10; 2 * (1 + 6 + 15) / 2**6; one coin; equal; nothing
    [(9, 1, 22 / 1024), (2, 4, 44 / 64), (1, 0, 1.0), (5, 5, 1.0), (0, 0, 1.0), (10, 0, 2 / 1024)],
)
def test_mcnemar_by_hand(fixed: int, broken: int, p: float) -> None:
    assert s.mcnemar(fixed, broken) == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(fixed: int, broken: int) -> None:
    assert s.mcnemar(fixed, broken) == s.mcnemar(broken, fixed)
    if fixed + broken:
        reference = scipy.stats.binomtest(fixed, fixed + broken).pvalue
        assert s.mcnemar(fixed, broken) == pytest.approx(reference, rel=1e-9)


# 2 x 2 tables


def test_fisher_of_the_lady_tasting_tea() -> None:
    # 3 of 4 cups right: (16 + 1 + 16 + 1) / 70
    assert s.fisher([[3, 1], [1, 3]]) == pytest.approx(34 / 70)
    assert s.fisher([[4, 0], [0, 4]]) == pytest.approx(2 / 70)


def test_phi_by_hand_and_as_a_correlation() -> None:
    # (30 * 20 - 10 * 40) / sqrt(40 * 60 * 70 * 30)
    assert s.phi([[30, 10], [40, 20]]) == pytest.approx(200 / math.sqrt(5_040_000))
    rows = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [30, 10, 40, 20], axis=0)
    assert s.phi([[30, 10], [40, 20]]) == pytest.approx(np.corrcoef(rows.T)[0, 1])
    assert s.phi([[7, 0], [0, 3]]) == 1
    assert s.phi([[0, 7], [3, 0]]) == -1


@pytest.mark.parametrize("table", [[[0, 0], [3, 4]], [[0, 3], [0, 4]], [[0, 0], [0, 0]]])
def test_table_with_an_empty_margin_is_nan(table: list[list[int]]) -> None:
    assert math.isnan(s.phi(table))
    assert math.isnan(s.fisher(table))


# means


def test_mean_interval_by_hand() -> None:
    # mean 3, sd sqrt(2.5), t(4, .975) = 2.776445
    found = s.mean_interval([1, 2, 3, 4, 5], 0.95)
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    assert s.across_seeds([1, 2, 3, 4, 5], 0.95) == found


def test_mean_interval_of_few_or_missing_values() -> None:
    assert math.isnan(s.mean_interval([], 0.95).value)
    one = s.mean_interval([2.5, math.nan], 0.95)
    assert (one.value, one.n, one.note) == (2.5, 1, "1 missing left out")
    assert nan_bounds(one)
    with_gap = s.mean_interval([1, 2, math.nan, 3], 0.9)
    assert (with_gap.low, with_gap.high, with_gap.n) == (*bounds(s.mean_interval([1, 2, 3], 0.9)), 3)


def bounds(estimate: s.Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def test_seed_mean_of_one_seed_is_a_proportion() -> None:
    correct = np.array([[1, 0, 1, 1, 0, 0, 1, 1]])
    found = s.seed_mean(correct, 0.95)
    assert (found.value, *bounds(found)) == pytest.approx((5 / 8, *bounds(s.proportion(5, 8, 0.95))))
    assert found.n == 8


def test_seed_mean_counts_agreeing_seeds_once_and_unlike_ones_more() -> None:
    answers = np.random.default_rng(0).random((4, 200)) < 0.6
    same = s.seed_mean(np.repeat(answers[:1], 4, axis=0), 0.95)
    single = s.proportion(int(answers[0].sum()), 200, 0.95)
    assert bounds(same) == pytest.approx(bounds(single))
    different = s.seed_mean(answers, 0.95)
    assert (different.high - different.low) / (same.high - same.low) == pytest.approx(0.5, abs=0.05)


def test_seed_mean_keeps_a_width_when_all_is_right_or_all_questions_are_alike() -> None:
    assert bounds(s.seed_mean(np.ones((3, 20)), 0.95)) == bounds(s.proportion(20, 20, 0.95))
    alike = s.seed_mean([[1] * 10, [0] * 10], 0.95)
    assert bounds(alike) == pytest.approx(bounds(s.proportion(10, 20, 0.95)))
    assert math.isnan(s.seed_mean(np.empty((3, 0)), 0.95).value)
    assert nan_bounds(s.seed_mean([[1.0, math.nan]], 0.95))


# areas under the curve


def test_auc_by_counting_pairs() -> None:
    # 3 > 1, 3 > 2; 2 > 1, 2 = 2: 3.5 of 4
    assert s.auc([3, 2], [1, 2]) == 3.5 / 4
    assert math.isnan(s.auc([], [1.0]))
    assert s.auc([1, math.nan], [0]) == 1


@given(numbers, numbers)
def test_auc_is_mann_whitneys_u(positive: list[int], negative: list[int]) -> None:
    reference = scipy.stats.mannwhitneyu(positive, negative).statistic / len(positive) / len(negative)
    assert s.auc(positive, negative) == pytest.approx(reference, abs=1e-12)


@given(numbers, numbers)
def test_auc_knows_order_alone_and_swaps(positive: list[int], negative: list[int]) -> None:
    value = s.auc(positive, negative)
    bent = [[math.exp(x / 7) + x**3 for x in group] for group in (positive, negative)]
    assert s.auc(*bent) == value
    assert s.auc(negative, positive) == pytest.approx(1 - value, abs=1e-12)


def test_delong_error_by_hand() -> None:
    # placements: 3 -> 1, 2 -> 3/4 and 1 -> 1, 2 -> 3/4; variances 1/32; error sqrt(2 * 1/32 / 2), area 7/8
    found = s.auc_interval([3, 2], [1, 2], 0.95)
    half = 1.959964 * math.sqrt(1 / 32) / (7 / 64)
    logit = math.log(7)
    expected = [1 / (1 + math.exp(-(logit + sign * half))) for sign in (-1, 1)]
    assert bounds(found) == pytest.approx(tuple(expected), abs=1e-6)
    assert (found.value, found.n) == (7 / 8, 4)


def test_auc_interval_mirrors_and_stays_inside() -> None:
    draw = np.random.default_rng(3)
    positive, negative = draw.normal(1.5, 1, 12), draw.normal(0, 1, 15)
    there, back = s.auc_interval(positive, negative, 0.99), s.auc_interval(negative, positive, 0.99)
    assert bounds(there) == pytest.approx((1 - back.high, 1 - back.low))
    assert 0 < there.low < there.value < there.high < 1


@pytest.mark.parametrize(
    ("positive", "negative", "value"),
    [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1, 1], 0.5), ([2], [1, 3], 0.5)],
)
def test_auc_without_a_standard_error_has_nan_bounds(
    positive: list[float], negative: list[float], value: float
) -> None:
    found = s.auc_interval(positive, negative, 0.95)
    assert found.value == value
    assert nan_bounds(found)
    assert found.note


# bootstrap and rank correlation


def test_bootstrap_of_a_mean_is_the_normal_interval_in_large_samples() -> None:
    values = np.random.default_rng(5).normal(10, 2, 400)
    found = s.bootstrap(np.mean, values, settings=Statistics(resamples=4000))
    error = values.std() / 20
    assert bounds(found) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)


def test_bootstrap_is_decided_by_its_seed_and_not_by_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(30.0)
    first = s.bootstrap(np.mean, values, settings=FAST)
    assert s.bootstrap(np.mean, values, settings=FAST) == first
    assert s.bootstrap(np.mean, values, settings=Statistics(resamples=400, seed=1)) != first
    monkeypatch.setattr(s, "_CHUNK", 70)
    assert s.bootstrap(np.mean, values, settings=FAST) == first
    assert s.bootstrap(lambda x: x.mean(axis=-1), values, settings=FAST, vectorised=True) == first


def test_bootstrap_draws_rows_jointly() -> None:
    x = np.random.default_rng(0).random(25)
    found = s.bootstrap(lambda a, b: float(np.max(np.abs(a - b))), x, x, settings=FAST)
    assert bounds(found) == (0, 0)


def test_bootstrap_counts_resamples_without_a_value() -> None:
    # all five rows miss the single 1 in about (4/5)**5 = 33 % of the resamples
    one = np.array([0, 0, 0, 0, 1.0])
    found = s.bootstrap(lambda x: 1.0 if x.any() else math.nan, one, settings=FAST)
    lost = int(found.note.split()[0])
    assert found.note == f"{lost} of 400 resamples had no value"
    assert lost / 400 == pytest.approx(0.8**5, abs=0.08)
    assert bounds(found) == (1, 1)


def test_bootstrap_of_nothing_is_nan_and_uneven_arrays_are_refused() -> None:
    assert nan_bounds(s.bootstrap(np.mean, [], settings=FAST))
    assert nan_bounds(s.bootstrap(np.mean, [1.0], settings=FAST))
    assert nan_bounds(s.bootstrap(lambda x: math.nan, [1.0, 2.0], settings=FAST))
    with pytest.raises(ValueError, match="common length"):
        s.bootstrap(np.mean, [1, 2], [1], settings=FAST)


def test_spearman_by_hand_and_by_scipy() -> None:
    # rank differences 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15)
    assert s.spearman([1, 2, 3, 4], [1, 3, 2, 9], FAST).value == pytest.approx(0.8)
    draw = np.random.default_rng(2)
    x = draw.integers(0, 8, 40).astype(float)
    y = x + draw.integers(0, 12, 40)
    found, reference = s.spearman(x, y, FAST), scipy.stats.spearmanr(x, y)
    assert (found.value, found.p) == pytest.approx((reference.statistic, reference.pvalue), rel=1e-9)
    assert found.low < found.value < found.high
    bent = s.spearman(np.exp(x), y**3, FAST)
    assert (bent.value, *bounds(bent)) == (found.value, *bounds(found))


def test_spearman_of_few_constant_or_missing_rows() -> None:
    assert math.isnan(s.spearman([1, 2], [2, 1], FAST).value)
    assert math.isnan(s.spearman([1, 1, 1, 1], [1, 2, 3, 4], FAST).value)
    gap = s.spearman([1, 2, 3, 4, math.nan], [1, 3, 2, 9, 5], FAST)
    assert (gap.value, gap.n) == (pytest.approx(0.8), 4)
    assert gap.note.startswith("1 missing left out")
    assert s.spearman([1, 2, 3], [1, 2, 3], FAST).p == 0


# how often the intervals cover the truth

LEVEL = 0.95


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return scipy.stats.norm.cdf(x)


def cover_proportion(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    return s.proportion(int(draw.binomial(254, 0.3)), 254, LEVEL), 0.3


def cover_small_proportion(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    return s.proportion(int(draw.binomial(100, 0.04)), 100, LEVEL), 0.04


def cover_mean(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    return s.mean_interval(draw.normal(1, 3, 8), LEVEL), 1.0


def cover_across_seeds(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    return s.across_seeds(draw.normal(0.6, 0.02, 3), LEVEL), 0.6


def cover_bootstrap(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    values = draw.gamma(2, 1, 100)
    return s.bootstrap(lambda x: x.mean(axis=-1), values, settings=FAST, vectorised=True), 2.0


def cover_spearman(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    # normal pairs of correlation r have Spearman's 6 / pi * asin(r / 2)
    x, noise = draw.normal(size=(2, 100))
    found = s.spearman(x, 0.5 * x + math.sqrt(0.75) * noise, FAST)
    return found, 6 / math.pi * math.asin(0.25)


def cover_auc(shift: float, cases: int = 50) -> Callable[[np.random.Generator], tuple[s.Estimate, float]]:
    def sample(draw: np.random.Generator) -> tuple[s.Estimate, float]:
        found = s.auc_interval(draw.normal(shift, 1, cases), draw.normal(0, 1, cases), LEVEL)
        return found, float(normal_cdf(np.array(shift / math.sqrt(2))))

    return sample


def cover_seed_mean(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    # questions of unlike difficulty, three fixed seeds of unlike strength; the truth is the seeds' mean share
    strength = np.array([0.2, 0.5, 0.9])
    difficulty = draw.normal(0, 1, 200)
    correct = draw.normal(size=(3, 200)) < strength[:, None] + difficulty
    return s.seed_mean(correct, LEVEL), float(normal_cdf(strength / math.sqrt(2)).mean())


def cover_seed_mean_near_one(draw: np.random.Generator) -> tuple[s.Estimate, float]:
    correct = draw.normal(size=(3, 60)) < 2.7 + draw.normal(0, 1, 60)
    return s.seed_mean(correct, LEVEL), float(normal_cdf(np.array(2.7 / math.sqrt(2))))


INTERVALS = [
    cover_proportion,
    cover_small_proportion,
    cover_mean,
    cover_across_seeds,
    cover_bootstrap,
    cover_spearman,
    cover_auc(0.0),
    cover_auc(0.66),
    cover_auc(1.81),
    cover_seed_mean,
    cover_seed_mean_near_one,
]
NAMES = [
    "proportion",
    "small_proportion",
    "mean",
    "across_seeds",
    "bootstrap",
    "spearman",
    "auc_.50",
    "auc_.68",
    "auc_.90",
    "seed_mean",
    "seed_mean_near_one",
]


def coverage(sample: Callable[[np.random.Generator], tuple[s.Estimate, float]], rounds: int) -> float:
    draw = np.random.default_rng(11)
    found = [sample(draw) for _ in range(rounds)]
    return sum(estimate.low <= truth <= estimate.high for estimate, truth in found) / rounds


@pytest.mark.parametrize("sample", INTERVALS, ids=NAMES)
def test_intervals_cover_roughly(sample: Callable[[np.random.Generator], tuple[s.Estimate, float]]) -> None:
    # 300 rounds at .95 have a standard deviation of .0126
    assert 0.90 <= coverage(sample, 300) <= 0.99


@pytest.mark.proof
@pytest.mark.parametrize("sample", INTERVALS, ids=NAMES)
def test_intervals_cover(sample: Callable[[np.random.Generator], tuple[s.Estimate, float]]) -> None:
    # 1,000 rounds at .95 have a standard deviation of .0069
    found = coverage(sample, 1000)
    print(f"covers {found:.3f}")
    assert 0.925 <= found <= 0.975


@settings(max_examples=30, deadline=None)
@given(numbers, numbers)
def test_no_estimate_leaves_its_interval(positive: list[int], negative: list[int]) -> None:
    found = s.auc_interval(positive, negative, 0.9)
    assert nan_bounds(found) or 0 <= found.low <= found.value <= found.high <= 1
