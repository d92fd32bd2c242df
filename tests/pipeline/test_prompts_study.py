"""The embedded study of all tuners, and a planted task on its model: the one token is known that shows all steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.workflow import Workflow

pytestmark = [pytest.mark.proof, pytest.mark.long]

OVERLAY = "workflow/prompts.yaml"
RECIPES = ["prompt_tuning", "placebo", "mixture", "pez", "greater", "rlprompt", "random_text", "written"]
"""One of each kind; those left out are soft prompts as prompt tuning's, and searches with another weight."""
BUDGET = 3000
SEEDS = range(5)
SHOWS_STEPS = "step by step :"
"""The style tag of the model's training documents: one of its tokens is what the planted task asks for."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed of the study, to its tables."""
    few: dict[str, Any] = {"study": {"prompt_seeds": [0], "recipes": RECIPES}, "execution": {"builtin_threads": 1}}
    few["datasets"] = {"arithmetic": {"splits": {"calibration": 60, "test": 120}}}
    work = Workflow(tmp_path_factory.mktemp("prompts"), few, over=(OVERLAY,))
    work.run("tuners")
    return work.folder / "results/prompts"


def test_all_tuners_stand_in_one_table_at_equal_cost(study: Path) -> None:
    table = pd.read_csv(study / "figures/builtin/arithmetic/tuners.csv").set_index("recipe")
    assert set(table.index) == set(RECIPES)
    searched = table.drop(index="written")
    assert searched["passes"].between(0.8 * BUDGET, 1.1 * BUDGET).all()
    assert table.loc["prompt_tuning", "accuracy"] > table.loc["placebo", "accuracy"]
    assert table[["accuracy", "low", "high", "dpc_gain"]].notna().all().all()
    # GReaTer may keep its start: at so few passes nothing better need come by. Random text has none.
    assert (table.loc[["pez", "rlprompt"], "validation_loss"] < table.loc[["pez", "rlprompt"], "start_loss"]).all()
    assert table.loc["greater", "validation_loss"] <= table.loc["greater", "start_loss"]


def test_discrete_prompts_are_shown_as_text_and_their_search_is_kept(study: Path) -> None:
    texts = pd.read_csv(study / "figures/builtin/arithmetic/texts.csv").set_index("recipe")
    assert texts.loc["written", "text"] == SHOWS_STEPS
    for recipe in texts.index.drop("written"):
        search = pd.read_parquet(study / f"builtin/arithmetic/{recipe}/seed0/search.parquet")
        kept = search[search["kept"]]
        assert len(search) > 3
        assert set(kept["text"]) == {texts.loc[recipe, "text"]}
        assert kept["score"].min() == pytest.approx(texts.loc[recipe, "validation_loss"], rel=1e-5)
        assert search["passes"].is_monotonic_increasing


@pytest.fixture(scope="module")
def planted(study: Path) -> Callable[..., Any]:
    """Begin a search where the model answers directly by habit and the loss asks whether it begins with a step."""
    from dpc.config.catalogue import Recipe
    from dpc.config.execution import Execution
    from dpc.lm import models
    from dpc.lm.examples import gold_example
    from dpc.lm.layout import layout_of
    from dpc.prompts.tuners import tuning_of
    from dpc.tasks.arithmetic import OBJECTS, generate_problems

    lm = models.load(study / "models/builtin", "float32", Execution(device="cpu"), "auto", True)
    problems = [problem for _, problem in generate_problems(1, 400)]
    direct = [problem for problem in problems if set(problem.question.split()) & set(OBJECTS["B"])]
    examples = [gold_example(lm, 8, f"Q : {p.question} A :", p.rationale, p.answer) for p in direct]

    def begin(tuner: str, seed: int, options: dict[str, Any]) -> Any:
        recipe = Recipe(tuner=tuner, vectors=2, first_tokens=1, options=options)
        return tuning_of(tuner)(lm, layout_of(lm, "bos_first"), recipe, seed, examples[30:], examples[:30], 64)

    return begin


@pytest.fixture(scope="module")
def known(planted: Callable[..., Any]) -> int:
    """The best token of all, by trying each."""
    from dpc.prompts import soft_prompt
    from dpc.prompts.tuners.vocabulary import ordinary

    search = planted("random_text", 0, {})
    losses = {
        token: search.objective.value(soft_prompt.spelled(search.lm, [token]), search.validation[:12])
        for token in ordinary(search.lm)
    }
    first, second, *_ = sorted(losses, key=losses.__getitem__)
    assert search.lm.decode([first]) in SHOWS_STEPS.split()
    assert losses[first] < losses[second] / 2
    return first


def solved(begin: Callable[..., Any], tuner: str, options: dict[str, Any], known: int) -> tuple[list[bool], int]:
    """Return in which seeds the known token is found, and the passes of one search."""
    found, passes = [], 0
    for seed in SEEDS:
        search = begin(tuner, seed, options)
        while not search.is_over:
            search.advance()
        found.append(known in search.kept_ids)
        passes = search.cost.passes
    return found, passes


# GReaTer is not among them: it minimises the loss of answers, not of first tokens, and by that another may be best
SOLVERS: dict[str, dict[str, Any]] = {
    "pez": {"steps": 60, "batch_size": 8, "validate_every": 5},
    "rlprompt": {"steps": 40, "learning_rate": 0.003, "hidden": 64, "batch_size": 2, "validate_every": 5,
                 "prompts": 24},
}  # fmt: skip


@pytest.mark.parametrize("tuner", SOLVERS)
def test_the_planted_token_is_found_in_nearly_every_seed(tuner: str, planted: Callable[..., Any], known: int) -> None:
    assert sum(solved(planted, tuner, SOLVERS[tuner], known)[0]) >= len(SEEDS) - 1


def test_random_text_does_not_find_it_in_every_seed_at_the_cost_of_pez(planted: Callable[..., Any], known: int) -> None:
    strings = 870 // 30
    found, passes = solved(planted, "random_text", {"strings": strings, "tokens": "ordinary"}, known)
    assert passes == 870
    assert sum(found) < len(SEEDS)
