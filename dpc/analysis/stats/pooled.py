"""Statistics over seeds and questions: what every seed finds, and an interval over questions given these seeds.

Rows are (seed, question) pairs, as many per question as there are seeds that look at it. Each statistic is a mean of
one value per seed, and comes with the influence of every row on it: how far a little more weight on the row would move
it. A question's influence is the sum of its rows', so what the seeds share is not counted twice (infinitesimal
jackknife by clusters: Efron (1982), The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6; for areas under
a curve it is Obuchowski (1997), Biometrics 53, 567-578). A second interval, by Student's t over the seeds' values, says
how far another seed may lie: three seeds make it wide, and honest. Both are made on a scale without bounds (logit,
Fisher's z) where the statistic has bounds, by the scale's slope at the value. Axes: A row, V variable, G level of a
score.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpc.analysis.stats import intervals, statistics

Array = NDArray[np.float64]
Result = tuple[float, Array]
"""A value, and the influence of each of the rows it was made from, of mean 0."""


@dataclass(frozen=True)
class Pooled:
    """A mean over seeds with two intervals."""

    value: float
    """Mean of the seeds' values; nan if a seed has none."""
    low: float
    """Over questions, given these seeds; nan where there is none."""
    high: float
    p: float
    """Two-sided, over questions, of `value` being the null value."""
    seed_low: float
    """Over seeds, by Student's t; nan with one seed, and where the value lies on the edge of its scale."""
    seed_high: float
    by_seed: tuple[float, ...]
    questions: int
    """Different questions it rests on."""
    error: float = math.nan
    """Standard error over questions, on the scale of the value."""
    spread: float = math.nan
    """Of gains: standard deviation of one seed's value; nan where no answer changed."""


@dataclass(frozen=True)
class Scale:
    """On which scale an interval is symmetric."""

    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]


PLAIN = Scale(lambda x: x, lambda x: x, lambda x: 1.0)
LOGIT = Scale(lambda x: math.log(x / (1 - x)), lambda x: 1 / (1 + math.exp(-x)), lambda x: 1 / (x * (1 - x)))
FISHER = Scale(math.atanh, math.tanh, lambda x: 1 / (1 - x * x))


def pool(
    statistic: Callable[..., Result], seed: ArrayLike, question: ArrayLike, *columns: ArrayLike,
    confidence: float, scale: Scale = PLAIN, null: float = 0.0,
) -> Pooled:  # fmt: skip
    """Return the mean over seeds of `statistic(*columns)`, made from each seed's rows alone.

    `null` is what `p` tests. Bounds are nan where a seed has no value, where nothing varies, and where the value lies
    on the edge of its scale.
    """
    seeds, questions = np.asarray(seed), np.unique(np.asarray(question), return_inverse=True)[1]
    data, chosen = [np.asarray(column) for column in columns], np.unique(seeds)
    values, influence = [], np.zeros(questions.max() + 1 if questions.size else 0)
    for number in chosen:
        own = seeds == number
        value, pull_A = statistic(*(column[own] for column in data))
        values.append(value)
        influence += np.bincount(questions[own], pull_A / max(own.sum(), 1) / len(chosen), minlength=influence.size)
    count = influence.size
    error = math.sqrt(float((influence**2).sum()) * count / (count - 1)) if count > 1 else math.nan
    return _with_intervals(values, error, count, confidence, scale, null)


def _with_intervals(
    values: Sequence[float], error: float, questions: int, confidence: float, scale: Scale, null: float
) -> Pooled:
    value = float(np.mean(values)) if values else math.nan
    low = high = p = math.nan
    if error > 0 and not math.isnan(value) and (scale is PLAIN or _inside(value, scale)):
        centre, spread = scale.to(value), error * scale.slope(value)
        half = intervals.normal_quantile(confidence) * spread
        low, high = scale.back(centre - half), scale.back(centre + half)
        p = intervals.normal_p((centre - scale.to(null)) / spread)
    bounds = _over_seeds(values, confidence, scale)
    return Pooled(value, low, high, p, *bounds, tuple(map(float, values)), questions, error)


def _over_seeds(values: Sequence[float], confidence: float, scale: Scale) -> tuple[float, float]:
    """Return the t interval over seeds, symmetric on `scale` around the mean, so that it stays within its bounds."""
    over = statistics.across_seeds(values, confidence)
    if math.isnan(over.low) or len(values) != over.n or not (scale is PLAIN or _inside(over.value, scale)):
        return math.nan, math.nan
    centre, half = scale.to(over.value), (over.high - over.value) * scale.slope(over.value)
    return scale.back(centre - half), scale.back(centre + half)


def _inside(value: float, scale: Scale) -> bool:
    return abs(value) < 1 if scale is FISHER else 0 < value < 1


def mean(values_A: ArrayLike) -> Result:
    """Return the mean."""
    values = np.asarray(values_A, dtype=np.float64)
    value = float(values.mean()) if values.size else math.nan
    return value, values - value


def ratio(part_A: ArrayLike, whole_A: ArrayLike) -> Result:
    """Return sum(part) / sum(whole): a share of the rows that count; nan if none does."""
    part, whole = np.asarray(part_A, dtype=np.float64), np.asarray(whole_A, dtype=np.float64)
    if not whole.sum():
        return math.nan, np.zeros(part.size)
    value = float(part.sum() / whole.sum())
    return value, (part - value * whole) / whole.mean()


def disagreement(labels_A: ArrayLike) -> Result:
    """Return the probability that two different rows have different labels; nan for fewer than two rows.

    One minus Simpson's index without replacement: Simpson (1949), Nature 163, 688. A mean over pairs, so a row's
    influence is twice what its own pairs differ from the mean: Hoeffding (1948), Ann. Math. Statist. 19, 293-325.
    """
    _, place, counts_G = np.unique(np.asarray(labels_A), return_inverse=True, return_counts=True)
    if place.size < 2:
        return math.nan, np.zeros(place.size)
    different = 1 - (counts_G[place] - 1) / (place.size - 1)
    value = float(different.mean())
    return value, 2 * (different - value)


def all_agree(found: Pooled, confidence: float) -> Pooled:
    """Return `found`, a `disagreement` of 0, with the bounds that its number of questions n gives.

    Where rows disagree with probability d, the most frequent label has share m >= 1 - d, and all n agree with
    probability sum p^n <= m^(n - 2) sum p^2. At d = 1/2, where m^2 <= 1/2, that is at most 2^(-n/2): the p. The upper
    bound is the d at which m^n falls to 1 - confidence, with one label beside the most frequent one.
    """
    most = (1 - confidence) ** (1 / found.questions)
    return replace(found, low=0.0, high=min(1.0, 2 * most * (1 - most)), p=min(1.0, 2 ** (1 - found.questions / 2)))


def log_ratio(values_A: ArrayLike, group_A: ArrayLike) -> Result:
    """Return the log of mean(values in the group) / mean(values outside); nan unless both are positive."""
    values, inside = np.asarray(values_A, dtype=np.float64), np.asarray(group_A, dtype=bool)
    above, below = values[inside], values[~inside]
    if not above.size or not below.size or above.mean() <= 0 or below.mean() <= 0:
        return math.nan, np.zeros(values.size)
    pull = np.where(inside, (values / above.mean() - 1) / inside.mean(), (1 - values / below.mean()) / (~inside).mean())
    return math.log(above.mean() / below.mean()), pull


def _known(values_A: ArrayLike) -> Array:
    """Return the values as numbers; missing ones have no rank: raises ValueError."""
    values = np.asarray(values_A, dtype=np.float64)
    if missing := int(np.isnan(values).sum()):
        raise ValueError(f"{missing} of {values.size} values to rank are missing; leave their rows out first")
    return values


def auc(scores_A: ArrayLike, positive_A: ArrayLike) -> Result:
    """Return the probability that a positive's score exceeds a negative's, ties counting one half.

    Raises ValueError where a score is missing.
    """
    scores, positive = _known(scores_A), np.asarray(positive_A, dtype=bool)
    if not positive.any() or positive.all():
        return math.nan, np.zeros(scores.size)
    above, below = scores[positive], scores[~positive]
    value = statistics.auc(above, below)
    pull = np.empty(scores.size)
    pull[positive] = (statistics.share_below(above, below) - value) / positive.mean()
    pull[~positive] = (1 - statistics.share_below(below, above) - value) / (~positive).mean()
    return value, pull


def average_precision(scores_A: ArrayLike, positive_A: ArrayLike) -> Result:
    """Return the area under the precision-recall curve: the mean over positives of the precision at their score.

    Raises ValueError where a score is missing.
    """
    scores, positive = _known(scores_A), np.asarray(positive_A, dtype=np.float64)
    if not positive.any():
        return math.nan, np.zeros(scores.size)
    levels, place = np.unique(-scores, return_inverse=True)  # the highest score first
    hits_G = np.bincount(place, positive, minlength=levels.size)
    found_G, told_G = np.cumsum(hits_G), np.cumsum(np.bincount(place, minlength=levels.size))
    value = float((hits_G * found_G / told_G).sum() / positive.sum())
    # a row is among what is told at its own score and at every lower one
    gain_G = np.cumsum((hits_G / told_G)[::-1])[::-1]
    loss_G = np.cumsum((hits_G * found_G / told_G**2)[::-1])[::-1]
    pull = positive * ((found_G / told_G)[place] - value + gain_G[place]) - loss_G[place]
    return value, pull / positive.mean()


def rank_correlation(x_A: ArrayLike, y_A: ArrayLike, *given_A: ArrayLike) -> Result:
    """Return the partial rank correlation of x and y given the other columns (Spearman's without any).

    All columns are turned into ranks, x and y are freed of what is linear in the others' ranks, and the rests are
    correlated: Kendall and Stuart (1973), The Advanced Theory of Statistics, volume 2, chapter 27. Of two yes/no
    columns it is phi. Given columns that do not vary, or repeat others, take nothing away. nan where a rest is
    constant. Raises ValueError where a value is missing.
    """
    columns = [_known(column) for column in (x_A, y_A, *given_A)]
    ranks_VA = np.array([_fractions(column) for column in columns])
    centred_VA = ranks_VA - ranks_VA.mean(1, keepdims=True)
    coefficients = [_rest(centred_VA, 0), _rest(centred_VA, 1)]
    rests = [coefficient @ centred_VA for coefficient in coefficients]
    sizes = [float(np.sqrt((rest**2).mean())) for rest in rests]
    if min(sizes) < 1e-9:
        return math.nan, np.zeros(ranks_VA.shape[1])
    left, right = rests[0] / sizes[0], rests[1] / sizes[1]
    value = float(np.clip((left * right).mean(), -1, 1))
    pull = left * right - value / 2 * (left**2 + right**2)
    # a row also moves the ranks of all rows above it
    slope_VA = np.outer(coefficients[0] / sizes[0], right - value * left)
    slope_VA += np.outer(coefficients[1] / sizes[1], left - value * right)
    for column, slope_A, rank_A in zip(columns, slope_VA, ranks_VA, strict=True):
        pull = pull + _moved(column, slope_A) - (slope_A * rank_A).mean()
    return value, pull


def _fractions(values_A: Array) -> Array:
    """Return, for each value, the share of all rows below it, equal ones counting one half."""
    return statistics.share_below(values_A, values_A)


def _rest(centred_VA: Array, which: int) -> Array:
    """Return the coefficients [V] of column `which` freed of the given ones, those from 2 on."""
    coefficients = np.zeros(len(centred_VA))
    coefficients[which] = 1.0
    if len(centred_VA) > 2:
        coefficients[2:] = -np.linalg.lstsq(centred_VA[2:].T, centred_VA[which], rcond=1e-9)[0]
    return coefficients


def _moved(values_A: Array, slope_A: Array) -> Array:
    """Return, for each row q, the mean over rows i of slope_i where row q lies below row i, half where equal."""
    levels, place = np.unique(values_A, return_inverse=True)
    sums_G = np.bincount(place, slope_A, minlength=levels.size)
    from_here_G = np.cumsum(sums_G[::-1])[::-1]
    return np.asarray((from_here_G - sums_G / 2)[place] / values_A.size)


def share(part: ArrayLike, whole: ArrayLike, question: ArrayLike, confidence: float) -> Pooled:
    """Return sum(part) / sum(whole) over all seeds, with Wilson's interval at the effective number of rows.

    The effective number is what makes a binomial share vary as questions do: see `statistics.seed_mean`.
    """
    whole_A = np.asarray(whole, dtype=np.float64)
    value, pull_A = ratio(part, whole)
    codes = np.unique(np.asarray(question), return_inverse=True)[1]
    if math.isnan(value):
        return _with_intervals([value], math.nan, 0, confidence, PLAIN, 0.0)
    influence = np.bincount(codes, pull_A / whole_A.size)
    variance, spread = float((influence**2).sum()), value * (1 - value)
    counting = np.unique(codes[whole_A > 0]).size
    # fewer than one per question only where seeds agree; where nothing varies each question counts once
    effective = min(spread / variance, float(whole_A.sum())) if variance and spread else float(counting)
    low, high = intervals.wilson(value, effective, confidence)
    return Pooled(value, low, high, math.nan, math.nan, math.nan, (), counting, math.sqrt(variance))


def gain(after: ArrayLike, before: ArrayLike, seed: ArrayLike, question: ArrayLike, confidence: float) -> Pooled:
    """Return the mean over seeds of right(after) - right(before), paired by seed and question.

    The interval over questions adds half a fixed and half a broken question to what was seen, so that it keeps a width
    where little or nothing changed: Agresti and Min (2005), Statistics in Medicine 24, 729-740. A question counts with
    its mean over seeds. A gain lies in [-1, 1], as a correlation does: Fisher's scale serves its interval over seeds.
    """
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    seeds, codes = np.asarray(seed), np.unique(np.asarray(question), return_inverse=True)[1]
    if not change.size:
        return _with_intervals([], math.nan, 0, confidence, PLAIN, 0.0)
    per_question = np.bincount(codes, change) / np.bincount(codes)
    count = per_question.size + 2
    centre = float(per_question.sum()) / count
    error = math.sqrt((float((per_question**2).sum() + 1) / count - centre**2) / count)
    half = intervals.normal_quantile(confidence) * error
    values = [float(change[seeds == number].mean()) for number in np.unique(seeds)]
    p = intervals.normal_p(centre / error)
    bounds = (centre - half, centre + half, p, *_over_seeds(values, confidence, FISHER))
    spread = _spread(change, values, seeds, codes, per_question)
    return Pooled(float(np.mean(values)), *bounds, tuple(values), per_question.size, error, spread)


def _spread(
    change_A: Array, by_seed: Sequence[float], seed_A: Array, code_A: NDArray[np.int64], by_question: Array
) -> float:
    """Return the standard deviation of seeds' gains, at least what questions give seeds that are equally good.

    Few seeds may come out alike by luck; how their questions differ is known from many. That is the mean square of
    question x seed over the questions: Scheffe (1959), The Analysis of Variance, section 4.3.
    """
    if not change_A.any() or len(by_seed) < 2:
        return math.nan
    place = np.unique(seed_A, return_inverse=True)[1]
    rest = change_A - by_question[code_A] - (np.asarray(by_seed) - change_A.mean())[place]
    freedom = (len(by_seed) - 1) * max(by_question.size - 1, 1)
    least = float((rest**2).sum()) / freedom / by_question.size
    return math.sqrt(max(float(np.var(by_seed, ddof=1)), least))


def step(values_A: ArrayLike, above_A: ArrayLike) -> Result:
    """Return mean(values above) - mean(values below); nan unless there are rows on both sides."""
    values, above = np.asarray(values_A, dtype=np.float64), np.asarray(above_A, dtype=bool)
    if not above.any() or above.all():
        return math.nan, np.zeros(values.size)
    high, low = float(values[above].mean()), float(values[~above].mean())
    return high - low, np.where(above, (values - high) / above.mean(), (low - values) / (~above).mean())


def matched(
    values: ArrayLike, positive: ArrayLike, seed: ArrayLike, question: ArrayLike, confidence: float
) -> Pooled | None:
    """Return the mean difference in `values` between a positive and a negative row of one question under two seeds.

    A mean over pairs of seeds, each over the questions at which the two differ: what is hard is hard under both, so
    difficulty is taken away. Each seed's values are turned into ranks (fractions) first, or a seed whose values are all
    higher would decide. Seeds share pairs; the interval over seeds rests on the jackknife's pseudo-values (Arvesen
    (1969), Ann. Math. Statist. 40, 2076-2100), for which three seeds are needed. None with one seed.
    """
    seeds, codes = np.unique(np.asarray(seed)), np.unique(np.asarray(question), return_inverse=True)[1]
    count = int(codes.max()) + 1 if codes.size else 0
    ranks, signs = np.full((2, seeds.size, count), np.nan)
    for place, number in enumerate(seeds):
        own = np.asarray(seed) == number
        ranks[place, codes[own]] = _fractions(_known(np.asarray(values)[own]))
        signs[place, codes[own]] = np.where(np.asarray(positive, dtype=bool)[own], 1.0, -1.0)
    means, pulls, is_used = dict[tuple[int, int], float](), np.zeros(count), np.zeros(count, dtype=bool)
    pairs = list(itertools.combinations(range(seeds.size), 2))
    for one, other in pairs:
        places = np.flatnonzero(signs[one] * signs[other] < 0)
        is_used[places] = True
        gaps = (ranks[one] - ranks[other])[places] * signs[one, places]
        means[one, other] = float(gaps.mean()) if gaps.size else math.nan
        pulls[places] += (gaps - means[one, other]) / max(gaps.size, 1) / len(pairs)
    if not pairs:
        return None
    whole, used = float(np.mean(list(means.values()))), int(is_used.sum())
    error = math.sqrt(float((pulls**2).sum()) * used / (used - 1)) if used > 1 else math.nan
    left_out = [
        float(np.mean([mean for pair, mean in means.items() if place not in pair] or [math.nan]))
        for place in range(seeds.size)
    ]
    pseudo = [seeds.size * whole - (seeds.size - 1) * rest for rest in left_out] if seeds.size > 2 else [whole]
    return _with_intervals(pseudo, error, used, confidence, PLAIN, 0.0)


def difference(one: Pooled, other: Pooled) -> tuple[float, float, float]:
    """Return one - other and bounds, from two independent estimates' own bounds.

    Source: Zou and Donner (2008), Statistics in Medicine 27, 1693-1702 (variance estimates recovered from bounds).
    """
    gap = one.value - other.value
    low = gap - math.hypot(one.value - one.low, other.high - other.value)
    high = gap + math.hypot(one.high - one.value, other.value - other.low)
    return gap, low, high
