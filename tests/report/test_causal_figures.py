"""The figures of causal evidence: they read what stands in table `causal`, and say what was not run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.studies.causal import MEASURES
from dpc.report.figures import attribution_figure, interventions_figure
from dpc.storage import tables
from tests.analysis.test_causal_claims import SEEDS, VECTORS, long, simulated
from tests.support.legible import assert_legible
from tests.support.report_samples import settings

BANDS, OF = ("shallow", "deep", "all"), ("prompt", "question")
DRAW = np.random.default_rng(0)


def test_a_measure_is_drawn_where_its_correlation_lies() -> None:
    cell = simulated(DRAW, 60, 1.0)
    found = attribution_figure.draw(cell.causal, settings())
    left, right = found.figure.axes
    marks = [line.get_xdata()[0] for line in left.lines if len(line.get_xdata()) == 1]
    assert len(marks) == SEEDS  # saliency alone was measured
    assert min(marks) > 0.3
    assert [text.get_text() for text in right.texts] == ["not run: see causal.tests"]
    assert len(left.get_yticks()) == len(MEASURES)


def test_the_first_vector_is_held_against_an_even_share() -> None:
    one, many = np.ones((SEEDS, 4)), range(VECTORS)
    rows = [long("sink_attention", f"prompt_first:plain:{j}", one * (3.0 if j == 0 else 1.0)) for j in many]
    found = attribution_figure._first_vector(
        attribution_figure.wide(pd.concat(rows, ignore_index=True), "sink_attention")
    )
    assert found["prompt_first:plain"].unique() == pytest.approx(3 / 1.5)


def test_interventions_that_were_not_run_are_named() -> None:
    cell = simulated(DRAW, 60, 1.0)
    nothing = tables.empty("causal").assign(seed=0)
    found = interventions_figure.draw(nothing, cell.evidence, settings())
    assert [axes.texts[0].get_text() for axes in found.figure.axes] == ["not run"] * 6


@pytest.mark.parametrize("figure", ["attribution", "interventions"])
def test_what_was_run_can_be_read(figure: str) -> None:
    cell = simulated(DRAW, 60, 1.0)
    if figure == "attribution":
        assert_legible(attribution_figure.draw(cell.causal, settings()).figure)
        return
    share = np.full((SEEDS, 60), 0.5)
    cuts = [long(f"cut_{what}", f"{band}:{of}", share) for what in ("loss", "right") for band in BANDS for of in OF]
    cuts.append(long("divergence", "unprompted", share))
    one_cut = cell.causal["test"] == "cut_loss"
    made = interventions_figure.draw(pd.concat([cell.causal[~one_cut], *cuts]), cell.evidence, settings()).figure
    assert [bool(axes.get_legend()) for axes in made.axes] == [True, False, True, False, False, True]
    assert_legible(made)
