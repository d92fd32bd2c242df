"""The tables that compare ways to make a prompt: accuracy, gains and costs by hand, texts, dashes."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.stats import pooled
from dpc.report.cells import Tables
from dpc.report.render import markdown
from dpc.report.tables.texts_table import texts
from dpc.report.tables.tuners_table import tuners
from tests.support.report_samples import interpretability_rows, outcome_rows, prompt_rows, settings, table

NLL = (2.0, 4.0, 6.0, 6.0)


def read_rows(rng: np.random.Generator, nll: float) -> pd.DataFrame:
    """Table `interpretability` whose prompt has this mean NLL; references and corrupted prompts have others."""
    rows = interpretability_rows(rng, nll=9.0)
    return rows.assign(nll=rows["nll"].mask(rows["prompt"] == "own", nll))


@pytest.fixture
def found(tmp_path: Path) -> tuple[Tables, pd.DataFrame]:
    """Two recipes, two seeds: a discrete prompt, and a soft one whose costs are not known."""
    rng = np.random.default_rng(3)
    outcomes = [outcome_rows(rng) for _ in range(4)]
    files = [table(tmp_path / f"{n}.outcomes", "outcomes", rows) for n, rows in enumerate(outcomes)]
    files += [
        table(tmp_path / f"{n}.prompts", "prompts", prompt_rows(n < 2, validation_loss=0.1 * n)) for n in range(4)
    ]
    files += [table(tmp_path / f"{n}.read", "interpretability", read_rows(rng, nll)) for n, nll in enumerate(NLL)]
    chosen = settings(recipes=["hard", "soft"], prompt_seeds=[0, 1])
    return Tables(files, chosen), pd.concat([rows.assign(recipe=n // 2) for n, rows in enumerate(outcomes)])


def test_accuracy_gains_and_costs_are_means_over_seeds(found: tuple[Tables, pd.DataFrame]) -> None:
    made = tuners(found[0], found[0].settings)
    means = found[1].groupby(["recipe", "plan"])["correct"].mean()
    lenient = found[1].groupby(["recipe", "plan"])["correct_lenient"].mean()
    for place, row in enumerate(made.numbers.itertuples()):
        assert row.accuracy == pytest.approx(means[place, "prompt_tuning"])
        assert row.dpc_gain == pytest.approx(means[place, "dpc"] - means[place, "prompt_tuning"])
        assert row.help_gain == pytest.approx(means[place, "prompt_tuning"] - means[place, "no_prompt"])
        assert row.help_lenient_gain == pytest.approx(lenient[place, "prompt_tuning"] - lenient[place, "no_prompt"])
        assert row.dpc_low <= row.dpc_gain <= row.dpc_high
    assert (made.text["read leniently (points)"] != made.text["prompt − no prompt (points)"]).any()
    assert made.numbers["validation_loss"].tolist() == pytest.approx([0.05, 0.25])
    assert made.numbers["nll"].tolist() == [3.0, 6.0]
    assert made.text["perplexity"].tolist() == ["20 (7 to 55)", "403"]  # e cubed, and e to the 2nd, 4th and 6th power
    assert made.text["forward passes"].tolist() == ["3,000", "–"]
    assert made.text["at its start"].tolist() == ["0.500", "–"]
    assert made.text["prompt"].tolist() == ["3 tokens", "3 vectors"]
    assert made.text["tuner"].tolist() == ["PEZ", "Prompt tuning"]


def test_the_interval_of_a_gain_is_that_of_the_claims(found: tuple[Tables, pd.DataFrame]) -> None:
    made = tuners(found[0], found[0].settings)
    for place, row in enumerate(made.numbers.itertuples()):
        rows = found[1][found[1]["recipe"] == place]
        seed = np.repeat([0, 1], len(rows[rows["plan"] == "dpc"]) // 2)
        sides = [rows[rows["plan"] == plan].reset_index(drop=True) for plan in ("dpc", "prompt_tuning")]
        gain = pooled.gain(sides[0]["correct"], sides[1]["correct"], seed, sides[0]["problem_id"], 0.95)
        assert (row.dpc_low, row.dpc_high) == pytest.approx((gain.low, gain.high))


def of_one_seed(folder: Path, rows: pd.DataFrame) -> Tables:
    """Return the tables of one soft prompt whose outcomes are `rows`."""
    files = [
        table(folder / "0.outcomes", "outcomes", rows),
        table(folder / "0.prompts", "prompts", prompt_rows(False)),
        table(folder / "0.read", "interpretability", read_rows(np.random.default_rng(4), 2.0)),
    ]
    return Tables(files, settings(prompt_seeds=[0]))


def test_a_dpc_that_never_fires_is_no_gain_of_zero(tmp_path: Path) -> None:
    rows = outcome_rows(np.random.default_rng(3))
    rows.loc[rows["plan"] == "dpc", "fired"] = False
    one = of_one_seed(tmp_path, rows)
    assert tuners(one, one.settings).text["DPC − prompt (points)"].tolist() == ["never fires"]


def test_as_many_fixed_as_broken_is_a_gain_of_zero_with_an_interval(tmp_path: Path) -> None:
    rows = outcome_rows(np.random.default_rng(3))
    tuned = rows[rows["plan"] == "prompt_tuning"].set_index("problem_id")["correct"]
    right, wrong = tuned.index[tuned][:4], tuned.index[~tuned][:4]
    changed = rows["problem_id"].map(tuned) ^ rows["problem_id"].isin([*right, *wrong])
    rows["correct"] = rows["correct"].mask(rows["plan"] == "dpc", changed).astype(bool)
    one = of_one_seed(tmp_path, rows)
    assert len(right) == len(wrong) == 4
    assert re.fullmatch(r"\+0\.0 \[−[1-9].*, [1-9].*]", tuners(one, one.settings).text["DPC − prompt (points)"].iloc[0])


def test_prompts_of_tokens_are_shown_as_text_and_no_others(found: tuple[Tables, pd.DataFrame]) -> None:
    made = texts(found[0], found[0].settings)
    assert made.text["prompt"].tolist() == ["“step by_100% {step}”"] * 2
    assert made.numbers["seed"].tolist() == [0, 1]
    assert made.caption.startswith("2 prompts made of tokens")


def test_a_line_break_in_a_prompt_does_not_end_a_row(tmp_path: Path) -> None:
    said = prompt_rows(True).assign(text="Think.\nStep by step:")
    one = Tables([table(tmp_path / "0.prompts", "prompts", said)], settings(prompt_seeds=[0]))
    made = texts(one, one.settings)
    (row,) = [line for line in markdown(made).splitlines() if "Think." in line]
    assert row.count("|") == made.text.shape[1] + 1
    assert r"Think.\\nStep by step:" in row
    assert r"(\n: a line break)" in made.caption


def test_a_study_without_discrete_prompts_or_dpc_has_both_tables(tmp_path: Path) -> None:
    rows = outcome_rows(np.random.default_rng(3), plans=["no_prompt", "prompt_tuning"], oracle=False)
    one = of_one_seed(tmp_path, rows)
    assert tuners(one, one.settings).text["DPC − prompt (points)"].tolist() == ["–"]
    assert math.isnan(tuners(one, one.settings).numbers["dpc_gain"].iloc[0])
    assert texts(one, one.settings).text.empty
