"""Bounds of an interval from an estimate and its error: normal, Student, Wilson. scipy is imported where it is used."""

from __future__ import annotations

import math


def normal_quantile(confidence: float) -> float:
    """Return how many standard errors a two-sided interval reaches."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def normal_p(z: float) -> float:
    """Return the two-sided p of a standard normal value."""
    from scipy.special import ndtr

    return 2 * float(ndtr(-abs(z)))


def t_quantile(confidence: float, freedom: int) -> float:
    """Return how many standard errors a two-sided Student's interval reaches."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def wilson(share: float, n: float, confidence: float) -> tuple[float, float]:
    """Return the bounds of Wilson's interval; `n` need not be whole."""
    z2 = normal_quantile(confidence) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # exact arithmetic keeps the share and [0, 1]; rounding at 0 and 1 does not
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
