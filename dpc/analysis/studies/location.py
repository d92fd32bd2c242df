"""Is location dynamic: do different questions locate different vectors?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DRAWS = 200
"""Studies drawn for what relabelled vectors give."""


@dataclass(frozen=True)
class Spread:
    """How located vectors spread over a prompt."""

    questions: int
    located: int
    """Vectors that some question locates."""
    most_share: float
    """Share of the questions that locate the most frequent one."""
    effective: float
    """exp(entropy): as many equally frequent vectors have the same entropy (Hill (1973), Ecology 54, 427-432)."""
    relabelled: float
    """The same, mean, where the vectors' names are drawn anew for each question: location as dynamic as can be."""


def spread(located: pd.Series, vectors: int) -> Spread:
    """Return how located vectors, one per question, spread over a prompt of `vectors`. Raises ValueError for none."""
    if located.empty:
        raise ValueError("no question locates a vector")
    count = len(located)
    shares_N = np.bincount(located.to_numpy(int), minlength=vectors) / count
    draw = np.random.default_rng(0)
    null = [_effective(draw.multinomial(count, np.full(vectors, 1 / vectors)) / count) for _ in range(DRAWS)]
    return Spread(count, int((shares_N > 0).sum()), float(shares_N.max()), _effective(shares_N), float(np.mean(null)))


def _effective(shares_N: NDArray[np.float64]) -> float:
    seen = shares_N[shares_N > 0]
    return float(np.exp(-(seen * np.log(seen)).sum()))
