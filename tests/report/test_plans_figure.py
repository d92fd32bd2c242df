"""The figure of plans: what does nothing says so, and both readings stand."""

import numpy as np
import pytest

from dpc.report.figures import plans_figure
from tests.support.report_samples import accuracy_rows, evaluation_rows, settings


def test_a_plan_that_does_nothing_says_so():
    rows = [evaluation_rows(np.random.default_rng(0), plans=("prompt_tuning", "act", "dpc")) for _ in range(2)]
    for seed, plan in ((0, "act"), (0, "prompt_tuning"), (0, "dpc"), (1, "dpc")):
        rows[seed].loc[rows[seed]["plan"] == plan, "fire_rate"] = 0.0
    made = plans_figure.draw(rows, accuracy_rows(rows), settings(prompt_seeds=[0, 1]))
    said = [text.get_text() for text in made.figure.axes[0].texts]
    assert ["†" in text for text in said] == [False, True, True, False]  # prompt tuning, ACT, DPC, the heading
    assert "† Prompt tuning's answers stand there. ACT: no head confirmed under 1 of 2 seeds; " in made.caption
    assert "DPC: no question fires under 2 of 2 seeds." in made.caption


def test_both_readings_and_answers_cut_short_stand_in_the_figure():
    """The prompt lowers accuracy here: only the lenient reading shows it."""
    rows = evaluation_rows(np.random.default_rng(0), plans=("no_prompt", "prompt_tuning", "dpc"))
    rows["accuracy"], rows["accuracy_lenient"], rows["truncated"] = [0.0, 0.2, 0.2], [0.24, 0.208, 0.208], [30, 0, 2]
    made = plans_figure.draw([rows], accuracy_rows([rows]), settings(prompt_seeds=[0]))
    axes = made.figure.axes[0]
    assert [text.get_text() for text in axes.texts if "." in text.get_text()] == [
        "0.0 / 24.0", "20.0 / 20.8", "20.0 / 20.8",
    ]  # fmt: skip
    lenient = {line.get_gid(): line.get_xdata()[0] for line in axes.lines if str(line.get_gid()).startswith("lenient")}
    assert lenient == pytest.approx({"lenient no_prompt": 24.0, "lenient prompt_tuning": 20.8, "lenient dpc": 20.8})
    assert "Cut short at max_new_tokens: No prompt 30 of 40, DPC 2 of 40 answers." in made.caption
    shown = [share for row in rows[["low", "high"]].to_numpy() for share in 100 * row]
    low, high = axes.get_xlim()
    assert low < min(0.0, *shown) <= max(24.0, *shown) < high < max(24.0, *shown) + 12  # no axis to 100 for nothing
