"""The embedded study of all tuners, and a planted task on its model: the one token is known that shows all steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.tasks.arithmetic import DAYS
from tests.support.workflow import Workflow

pytestmark = [pytest.mark.proof, pytest.mark.long]

OVERLAY = "workflow/prompts.yaml"
RECIPES = ["prompt_tuning", "placebo", "pez", "greater", "rlprompt", "random_text", "written"]
"""One of each kind; those left out are soft prompts as prompt tuning's, and searches with another weight."""
BUDGET = 3000
SEEDS, VALIDATION = range(5, 10), 12
"""The settings below were tried on seeds 0 to 4."""
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
    """Begin a search where the model answers directly by habit, and what is asked for is a first step's first word.

    So all searches minimise one loss. GReaTer takes reasoning for constant text, and no gradient says that another
    prompt would make the model reason: its reasoning is cut before a step, and the step's word is its answer.
    """
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
    examples = [gold_example(lm, 8, f"Q : {p.question} A :", p.rationale, p.rationale.split()[0]) for p in direct]

    def begin(tuner: str, seed: int, vectors: int, options: dict[str, Any]) -> Any:
        recipe = Recipe(tuner=tuner, vectors=vectors, first_tokens=1, options=options)
        order = layout_of(lm, "bos_first")
        return tuning_of(tuner)(lm, order, recipe, seed, examples[VALIDATION:], examples[:VALIDATION], 64)

    return begin


@pytest.fixture(scope="module")
def known(planted: Callable[..., Any]) -> int:
    """The best token of all, by trying each: by the loss of first tokens, and by GReaTer's own score."""
    from dpc.prompts import soft_prompt
    from dpc.prompts.tuners.vocabulary import ordinary

    search = planted("greater", 0, *SOLVERS["greater"])

    def loss(token: int) -> float:
        return float(search.objective.value(soft_prompt.spelled(search.lm, [token]), search.validation))

    found = []
    for score in (loss, lambda token: search.score([token])):
        scores = {token: score(token) for token in ordinary(search.lm)}
        first, second, *_ = sorted(scores, key=scores.__getitem__)
        assert scores[first] < scores[second] / 2
        found.append(first)
    assert found[0] == found[1]
    assert search.lm.decode(found[:1]) in SHOWS_STEPS.split()
    return found[0]


def solved(begin: Callable[..., Any], known: int, tuner: str, *told: Any) -> tuple[list[bool], int]:
    """Return in which seeds the known token is found, and the most passes that a seed took."""
    found, passes = [], 0
    for seed in SEEDS:
        search = begin(tuner, seed, *told)
        while not search.is_over:
            search.advance()
        found.append(known in search.kept_ids)
        passes = max(passes, search.cost.passes)
    return found, passes


# With one or two vectors PEZ may go round between two tokens for ever. With rewards times 5 RLPrompt says one token
# alone before it has met all. The likelihood of GReaTer's prompt is no part of the task.
SOLVERS: dict[str, tuple[int, dict[str, Any]]] = {
    "pez": (4, {"steps": 40, "batch_size": 4, "validate_every": 5}),
    "greater": (4, {"start": "has has has has", "link": ".", "extractor": "", "stop": ["####", *DAYS], "items": 5,
                    "steps": 8, "reasoning_tokens": 1, "tokens": "ordinary", "top_k": 150, "tried": 12, "fluency": 0,
                    "stop_below": 0, "finalists": 3}),
    "rlprompt": (1, {"steps": 40, "prompts": 24, "batch_size": 1, "hidden": 64, "learning_rate": 0.003,
                     "reward_scale": 1, "validate_every": 4}),
}  # fmt: skip
"""By tuner: tokens of the prompt, and options for few steps."""


@pytest.mark.parametrize("tuner", SOLVERS)
def test_the_planted_token_is_found_in_every_seed(tuner: str, planted: Callable[..., Any], known: int) -> None:
    assert solved(planted, known, tuner, *SOLVERS[tuner])[0] == [True] * len(SEEDS)


def test_random_text_does_not_find_it_in_every_seed_at_the_cost_of_pez(planted: Callable[..., Any], known: int) -> None:
    vectors, options = SOLVERS["pez"]
    cost = options["steps"] * options["batch_size"] + (1 + options["steps"] // options["validate_every"]) * VALIDATION
    strings = {"strings": -(-cost // VALIDATION), "tokens": "ordinary"}
    found, passes = solved(planted, known, "random_text", vectors, strings)
    assert cost <= passes < cost + VALIDATION
    assert sum(found) < len(SEEDS)
