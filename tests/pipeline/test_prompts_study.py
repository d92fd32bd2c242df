"""The embedded study of all tuners, and a planted task on its model: the one token is known that shows all steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.tasks.arithmetic import DAYS
from tests.support.wide_vocabulary import widened
from tests.support.workflow import Workflow

pytestmark = [pytest.mark.proof, pytest.mark.long]

OVERLAY = "workflow/prompts.yaml"
RECIPES = ["prompt_tuning", "placebo", "pez", "greater", "rlprompt", "random_text", "written"]
"""One of each kind; those left out are soft prompts as prompt tuning's, and searches with another weight."""
BUDGET = 3000
SEEDS, VALIDATION = range(5, 10), 12
"""The settings below were tried on seeds 0 to 4, and 10 to 17."""
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
def small(study: Path) -> Any:
    """The study's model: 147 tokens that are text."""
    from dpc.config.execution import Execution
    from dpc.lm import models

    return models.load(study / "models/builtin", "float32", Execution(device="cpu"), "auto", True)


@pytest.fixture(scope="module")
def wide(small: Any) -> Any:
    """It with 4,000 tokens more: to try each on the validation questions is 50,000 passes."""
    return widened(small, 4000)


def begin(lm: Any, tuner: str, seed: int, vectors: int, options: dict[str, Any]) -> Any:
    """Begin a search where the model answers directly by habit, and what is asked for is a first step's first word.

    So all searches minimise one loss. GReaTer takes reasoning for constant text, and no gradient says that another
    prompt would make the model reason: its reasoning is cut before a step, and the step's word is its answer.
    """
    from dpc.config.catalogue import Recipe
    from dpc.lm.examples import gold_example
    from dpc.lm.layout import layout_of
    from dpc.prompts.tuners import tuning_of
    from dpc.tasks.arithmetic import OBJECTS, generate_problems

    problems = [problem for _, problem in generate_problems(1, 400)]
    direct = [problem for problem in problems if set(problem.question.split()) & set(OBJECTS["B"])]
    first = [(f"Q : {problem.question} A :", problem.rationale.split()[0]) for problem in direct]
    examples = [gold_example(lm, 8, question, word, word) for question, word in first]
    recipe = Recipe(tuner=tuner, vectors=vectors, first_tokens=1, options=options)
    order = layout_of(lm, "bos_first")
    return tuning_of(tuner)(lm, order, recipe, seed, examples[VALIDATION:], examples[:VALIDATION], 64)


@pytest.fixture(scope="module")
def known(small: Any, wide: Any) -> int:
    """The best token of all, by trying each: by the loss of first tokens, and among the model's own by GReaTer's."""
    from dpc.prompts import soft_prompt
    from dpc.prompts.tuners.vocabulary import ordinary

    own, every = ordinary(small), ordinary(wide)
    search = begin(small, "greater", 0, *SOLVERS["greater"])
    objective, held_out = begin(wide, "pez", 0, *SOLVERS["pez"]).objective, search.validation[:4]
    prompts = soft_prompt.spelled(wide, every)[:, None].split(64)
    losses = [nll for some_CND in prompts for nll in objective.sums(some_CND, held_out).sum(1).tolist()]
    found = set()
    for tokens, scores in ((every, losses), (own, [search.score([token]) for token in own])):
        first, second, *_ = sorted(zip(scores, tokens, strict=True))
        assert first[0] < second[0] / 2
        found.add(first[1])
    (best,) = found
    assert small.decode([best]) in SHOWS_STEPS.split()
    return best


def solved(lm: Any, known: int, tuner: str) -> tuple[list[bool], int]:
    """Return in which seeds the known token is found, and the most passes that a seed took."""
    found, passes = [], 0
    for seed in SEEDS:
        search = begin(lm, tuner, seed, *SOLVERS[tuner])
        while not search.is_over:
            search.advance()
        found.append(known in search.kept_ids)
        passes = max(passes, search.cost.passes)
    return found, passes


SOLVERS: dict[str, tuple[int, dict[str, Any]]] = {
    "pez": (6, {"steps": 80, "batch_size": 4, "validate_every": 5}),
    "rlprompt": (1, {"steps": 80, "prompts": 48, "batch_size": 1, "hidden": 64, "learning_rate": 0.003,
                     "validate_every": 4}),
    "greater": (4, {"start": "has has has has", "link": ".", "extractor": "", "stop": ["####", *DAYS], "items": 5,
                    "steps": 8, "reasoning_tokens": 1, "tokens": "ordinary", "top_k": 150, "tried": 12, "fluency": 0,
                    "stop_below": 0, "finalists": 3}),
}  # fmt: skip
"""By tuner: tokens of the prompt, and options for few steps.

PEZ needs several vectors: with one or two it may go round between two tokens for ever. The likelihood of GReaTer's
prompt is no part of the task.
"""
COSTS = [("pez", 524), ("rlprompt", 7640)]
"""Passes that a seed takes at most; to try out every token would be six times as many or more."""


@pytest.mark.parametrize(("tuner", "cost"), COSTS)
def test_the_planted_token_is_found_among_thousands_in_every_seed(tuner: str, cost: int, wide: Any, known: int) -> None:
    found, passes = solved(wide, known, tuner)
    assert found == [True] * len(SEEDS)
    assert passes <= cost < len(wide.tokenizer) * VALIDATION / 6


def test_greater_finds_the_planted_token_in_the_small_vocabulary_in_every_seed(small: Any, known: int) -> None:
    """Among thousands it does so in three or four seeds of five, see docs/methods.md."""
    assert solved(small, known, "greater")[0] == [True] * len(SEEDS)


@pytest.mark.parametrize(("tuner", "cost"), COSTS)
def test_random_text_meets_it_in_few_seeds_at_their_cost(tuner: str, cost: int, wide: Any, known: int) -> None:
    """What is not drawn is not found: so no string has to be scored."""
    met = []
    for seed in SEEDS:
        search = begin(wide, "random_text", seed, SOLVERS[tuner][0], {"tokens": "ordinary"})
        met.append(any(known in search._drawn() for _ in range(-(-cost // VALIDATION))))
    assert sum(met) < len(SEEDS) / 2
