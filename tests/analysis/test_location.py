"""How located vectors spread over a prompt, by hand arithmetic and against what chance gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.studies.location import spread


def test_by_hand() -> None:
    found = spread(pd.Series([3, 3, 3, 3, 0, 0, 5, 5]), 10)
    assert (found.questions, found.located, found.most_share) == (8, 3, 0.5)
    assert found.effective == pytest.approx(np.exp(0.5 * np.log(2) + 0.5 * np.log(4)))


def test_one_vector_for_everybody_counts_as_one() -> None:
    found = spread(pd.Series([7] * 50), 100)
    assert (found.located, found.most_share, found.effective) == (1, 1.0, 1.0)
    assert found.relabelled > 35


def test_names_drawn_anew_are_what_relabelling_gives() -> None:
    drawn = pd.Series(np.random.default_rng(1).integers(0, 20, 5000))
    found = spread(drawn, 20)
    assert found.effective == pytest.approx(found.relabelled, rel=0.01)
    assert found.relabelled == pytest.approx(20, rel=0.01)


def test_without_a_question_there_is_no_spread() -> None:
    with pytest.raises(ValueError, match="no question"):
        spread(pd.Series([], dtype=float), 4)
