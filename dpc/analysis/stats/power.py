"""The smallest gain that the rule of `verdicts.py` would support."""

from __future__ import annotations

import math

import numpy as np

from dpc.analysis.stats.intervals import normal_quantile, t_quantile
from dpc.analysis.stats.pooled import Pooled

POWER = 0.8
"""A minimum detectable gain is supported that often."""
PLANNED_CHANGE = 0.1
"""Share of answers that a method is taken to change, where the gain that a dataset can show is planned."""
_POINTS = 1000
"""Of the mean over seeds, at which the chance to pass over seeds is averaged."""


def power(effect: float, error: float, spread: float, seeds: int, cells: int, confidence: float) -> float:
    """Return how often a gain of size `effect` is supported, if there are questions enough.

    The mean over seeds, normal around `effect`, has to exceed z_(1 - a / (2 cells)) `error` over questions (Holm's
    first step) and, over seeds, t_(1 - a / 2, seeds - 1) s / sqrt(seeds), where s² / `spread`² is chi² / (seeds - 1)
    and independent of the mean. The second alone is the power of the t test, by the noncentral t distribution:
    Johnson, Kotz and Balakrishnan (1995), Continuous Univariate Distributions 2, chapter 31; the first alone that of
    the z test: Lehmann and Romano (2005), Testing Statistical Hypotheses, section 3.4.
    """
    from scipy.special import chdtr, ndtr, ndtri

    over = spread / math.sqrt(seeds)
    sway = max(error, over)  # of the mean: what questions give it, or seeds
    least = normal_quantile(1 - (1 - confidence) / cells) * error
    passed = float(ndtr((effect - least) / sway))
    if not (passed and over):
        return passed
    mean = effect - sway * ndtri(passed * (np.arange(_POINTS) + 0.5) / _POINTS)
    freedom = seeds - 1
    return passed * float(chdtr(freedom, freedom * (mean / over / t_quantile(confidence, freedom)) ** 2).mean())


def detectable(error: float, spread: float, seeds: int, cells: int, confidence: float) -> float:
    """Return the smallest gain, a share, that is supported with probability `POWER`.

    nan with one seed, which supports nothing, where no answer changed, and where no gain could be that large.
    """
    from scipy.optimize import brentq

    def missing(effect: float) -> float:
        return power(effect, error, spread, seeds, cells, confidence) - POWER

    if seeds < 2 or not cells or not (error > 0 and spread >= 0) or missing(1.0) < 0:
        return math.nan
    return float(brentq(missing, 0.0, 1.0))


def found_detectable(found: Pooled, cells: int, confidence: float) -> float:
    """Return the smallest gain that data which vary as those of `found` support."""
    return detectable(found.error, found.spread, len(found.by_seed), cells, confidence)


def planned_detectable(questions: int, seeds: int, cells: int, confidence: float) -> float:
    """Return the smallest gain that so many questions support, if each seed changes `PLANNED_CHANGE` of the answers.

    Other ones under each seed, and no seed is better than another: what seeds share would only make it larger.
    """
    one = math.sqrt(PLANNED_CHANGE / questions) if questions else math.nan
    return detectable(one / math.sqrt(max(seeds, 1)), one, seeds, cells, confidence)
