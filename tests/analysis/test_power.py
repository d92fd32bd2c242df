"""Detectable gains: hand arithmetic, the noncentral t, and in simulations how often such a gain is supported."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from dpc.analysis.stats import pooled
from dpc.analysis.stats.power import POWER, detectable, found_detectable, planned_detectable, power
from dpc.analysis.stats.verdicts import SUPPORTED, judge

LEVEL = 0.95
CHANGED = 0.1
"""Share of answers that change."""


def study(
    draw: np.random.Generator, gain: float, count: int, spread: float, shared: float, seeds: int
) -> pooled.Pooled:
    """Return the gain found; seeds' true gains vary by `spread`, a share `shared` of questions changes alike."""
    gains = gain + draw.normal(0, spread, seeds)[:, None]
    chance = np.where(draw.random(count) < shared, draw.random(count), draw.random((seeds, count)))
    fixed, broken = chance < (CHANGED + gains) / 2, chance > 1 - (CHANGED - gains) / 2
    question = np.tile(np.arange(count), seeds)
    return pooled.gain(fixed.ravel(), broken.ravel(), np.repeat(range(seeds), count), question, LEVEL)


def test_alone_each_condition_is_the_known_test() -> None:
    known = 1.959964 + 0.841621
    assert detectable(0.01, 0, 3, 1, LEVEL) == pytest.approx(0.01 * known, rel=1e-4)
    assert detectable(0.01, 0, 3, 9, LEVEL) == pytest.approx(0.01 * (2.772921 + 0.841621), rel=1e-4)
    for seeds in (2, 3, 5):
        limit = scipy.stats.t.ppf(0.975, seeds - 1)
        expected = scipy.stats.nct.sf(limit, seeds - 1, 0.03 / (0.01 / math.sqrt(seeds)))
        assert power(0.03, 1e-9, 0.01, seeds, 1, LEVEL) == pytest.approx(expected, abs=1e-3)
    both = power(0.03, 0.01, 0.01, 3, 1, LEVEL)
    assert both < min(power(0.03, 0.01, 0, 3, 1, LEVEL), power(0.03, 1e-9, 0.01, 3, 1, LEVEL))


def test_more_seeds_and_questions_show_smaller_gains_and_more_cells_larger_ones() -> None:
    assert planned_detectable(254, 3, 1, LEVEL) > planned_detectable(1319, 3, 1, LEVEL)
    assert planned_detectable(254, 3, 1, LEVEL) > planned_detectable(254, 5, 1, LEVEL)
    assert planned_detectable(254, 5, 9, LEVEL) > planned_detectable(254, 5, 1, LEVEL)
    found = planned_detectable(1319, 5, 9, LEVEL)
    one = math.sqrt(CHANGED / 1319)
    assert power(found, one / math.sqrt(5), one, 5, 9, LEVEL) == pytest.approx(POWER, abs=1e-4)


def test_where_nothing_can_be_shown_there_is_no_number() -> None:
    assert math.isnan(planned_detectable(0, 3, 1, LEVEL))
    assert math.isnan(planned_detectable(5000, 1, 1, LEVEL))  # one seed supports nothing
    assert math.isnan(detectable(0.5, 0.5, 3, 1, LEVEL))  # no gain exceeds 1
    right = np.tile([1, 0], 3000)
    never = pooled.gain(right, right, np.repeat(range(3), 2000), np.tile(range(2000), 3), LEVEL)
    assert never.error > 0  # pseudo-counts alone, which say nothing of what DPC might have done
    assert math.isnan(found_detectable(never, 1, LEVEL))


def test_seeds_alike_by_luck_vary_at_least_as_their_questions_do() -> None:
    # both seeds fix one of four questions, each another one: alike in gain, but not in what they change
    made = pooled.gain([1, 0, 0, 0, 0, 1, 0, 0], [0] * 8, [0] * 4 + [1] * 4, [*range(4)] * 2, LEVEL)
    assert made.by_seed == (0.25, 0.25)
    assert made.spread == pytest.approx(math.sqrt(1 / 3 / 4))  # 4 rests of 1/2 over 3 degrees of freedom
    same = pooled.gain([1, 0, 0, 0] * 2, [0] * 8, [0] * 4 + [1] * 4, [*range(4)] * 2, LEVEL)
    assert same.spread == 0
    unlike = pooled.gain([1, 1, 1, 1, 0, 0, 0, 0], [0] * 8, [0] * 4 + [1] * 4, [*range(4)] * 2, LEVEL)
    assert unlike.spread == pytest.approx(math.sqrt(0.5))


@pytest.mark.proof
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("cells", [1, 9])
@pytest.mark.parametrize(("spread", "shared"), [(0, 0), (0.01, 0), (0, 0.5)], ids=["alike", "unlike", "shared"])
def test_a_detectable_gain_is_supported_four_times_in_five(
    seeds: int, cells: int, spread: float, shared: float
) -> None:
    one = CHANGED / 1319
    error = math.sqrt(one * (shared + (1 - shared) / seeds))
    least = detectable(error, math.sqrt(one * (1 - shared) + spread**2), seeds, cells, LEVEL)
    draw, supported = np.random.default_rng(3), 0
    for _ in range(600):
        found = study(draw, least, 1319, spread, shared, seeds)
        supported += judge(found, found.questions, found.p * cells, LEVEL).verdict == SUPPORTED
    print(seeds, cells, spread, shared, least, supported / 600)
    assert 0.72 <= supported / 600 <= 0.88


@pytest.mark.proof
@pytest.mark.parametrize("seeds", [3, 5])
def test_the_number_that_a_study_prints_is_supported_by_the_next(seeds: int) -> None:
    """Of seeds that are equally good: where they differ, three know their spread too badly for this."""
    draw, supported = np.random.default_rng(4), 0
    for _ in range(600):
        printed = found_detectable(study(draw, 0.02, 1319, 0, 0.3, seeds), 1, LEVEL)
        found = study(draw, printed, 1319, 0, 0.3, seeds)
        supported += judge(found, found.questions, found.p, LEVEL).verdict == SUPPORTED
    print(seeds, supported / 600)
    assert 0.72 <= supported / 600 <= 0.88
