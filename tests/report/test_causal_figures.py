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
    (axes,) = found.figure.axes  # no sink test was run
    marks = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(marks) == SEEDS  # saliency alone was measured
    assert min(marks) > 0.3
    assert len(axes.get_yticks()) == len(MEASURES)
    assert "a: which measure says" in found.caption
    assert "first vector in the shallow layers" not in found.caption


def sink_rows(strongest: tuple[int, ...], moved: float = 1.0) -> pd.DataFrame:
    """Attention of 3 to one vector of each seed and of 1 to the others; with the token, and a BOS, times `moved`."""
    parts = []
    for order, factor in (("bos_first", moved), ("prompt_first", 1.0)):
        for name, more in (("plain", 1.0), ("extra", 2.0)):
            for j in range(VECTORS):
                values = np.array([[3.0 if j == own else 1.0] * 4 for own in strongest]) * factor * more
                parts.append(long("sink_attention", f"{order}:{name}:{j}", values))
    return attribution_figure.wide(pd.concat(parts, ignore_index=True), "sink_attention")


def test_the_first_vector_and_the_strongest_are_held_against_an_even_share() -> None:
    attention = sink_rows((0, 2, 3))
    first, most = (attribution_figure._attention_to(attention, is_most) for is_most in (False, True))
    assert first.groupby("seed")["prompt_first:plain"].mean().tolist() == pytest.approx([2, 2 / 3, 2 / 3])
    for name in ("bos_first:plain", "bos_first:extra", "prompt_first:plain", "prompt_first:extra"):
        assert most[name].tolist() == pytest.approx([2.0] * len(most))


def test_of_a_model_that_reads_no_bos_there_is_one_order() -> None:
    assert list(attribution_figure._arrangements(sink_rows((0, 0, 0))).values()) == ["prompt", "token, prompt"]
    assert len(attribution_figure._arrangements(sink_rows((0, 0, 0), moved=0.5))) == 4


def test_what_was_not_run_has_no_panel_and_no_words() -> None:
    cell = simulated(DRAW, 60, 1.0)
    nothing = tables.empty("causal").assign(seed=0)
    for found in (
        interventions_figure.draw(nothing, cell.evidence, settings()),
        attribution_figure.draw(nothing, settings()),
    ):
        (axes,) = found.figure.axes
        assert [text.get_text() for text in axes.texts] == ["not run: see causal.tests"]
        assert "a:" not in found.caption
    forced = [long("divergence", name, np.ones((1, 7))) for name in ("prompted", "unprompted")]
    some = interventions_figure.draw(pd.concat([nothing, *forced]), cell.evidence, settings())
    (axes,) = some.figure.axes
    assert axes.get_title(loc="left") == "a  one forced token"
    assert "a: on 7 test questions that the prompt broke" in some.caption
    assert "b:" not in some.caption


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
    titles = [
        "a  dose: loss",
        "b  cut to late steps",
        "c  another seed's states",
        "d  one forced token",
        "e  cut: accuracy",
    ]
    assert [axes.get_title(loc="left") for axes in made.axes] == titles
    assert [bool(axes.get_legend()) for axes in made.axes] == [True, True, False, False, True]
    assert_legible(made)
