"""Figures of a dataset whose answers are labelled options."""

import numpy as np
import pandas as pd
import pytest

from dpc.report.figures import accumulation_figure, plans_figure
from dpc.storage import tables
from tests.support.report_samples import accuracy_rows, evaluation_rows, settings


def test_accuracy_of_options_stands_beside_chance():
    rows = [evaluation_rows(np.random.default_rng(0))]
    for datasets, wanted in ((["aqua"], [20.0]), (["gsm8k"], [])):
        drawn = plans_figure.draw(rows, accuracy_rows(rows), settings(prompt_seeds=[0], datasets=datasets))
        lines = [line for axes in drawn.figure.axes for line in axes.lines if line.get_gid() == "chance"]
        assert [line.get_xdata()[0] for line in lines] == pytest.approx(wanted)
        assert ("Dashed line: 20 %, what guessing reaches." in drawn.caption) == bool(wanted)


def test_what_other_seeds_locate_is_said():
    others = {1: pd.Series([75, 2, 75, 75]), 2: pd.Series([], dtype=int), 3: pd.Series([0.0])}
    assert accumulation_figure._elsewhere(others) == (
        "What the others locate most often: vector 75, at 75 % of the questions (seed 1); "
        "vector 0, at 100 % of the questions (seed 3). "
    )
    assert accumulation_figure._elsewhere({}) == ""


def test_vectors_are_located_in_answers_too_short_to_be_an_instance():
    """Labels are one token: no instance of the accumulation study, and a located vector all the same."""
    drawn = accumulation_figure.draw(tables.empty("accumulation"), pd.Series([0, 1, 1]), settings())
    assert "Top:" not in drawn.caption
    assert "mean over 0 test instances" in drawn.caption
