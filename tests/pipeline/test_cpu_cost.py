"""What CPU jobs ask for: every one of them, more for more to read, and little enough for the paper's cells."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from dpc.config.settings import Config, load_config
from dpc.pipeline import cost, cpu_cost, estimate
from dpc.pipeline.cost import Place
from tests.support.config_tree import config
from tests.support.workflow import Workflow, nested, overlay, rules

PAPER = load_config(config())
CELL = Place("llama2-13b", "math", "paper")
SCANNING = {"read_flow", "run_study", "sweep_choices", "compare_flows"}
SMALL = {
    "load_problems", "render_questions", "write_validation", "fetch_model", "fetch_dataset", "train_builtin_model",
    "check", "estimate", "took", "findings",
}  # fmt: skip
"""Rules that ask for the profile's defaults: their work does not grow with a cell."""


def test_every_rule_says_what_it_asks_for() -> None:
    asked = {
        name: re.findall(r'\*\*(cpu|torch)_job\("(\w+)"\)', block)
        for name, block in rules().items()
        if "shell:" in block
    }
    assert {name for name, found in asked.items() if found == [("cpu", name)]} == set(cpu_cost.NEEDS)
    assert {name for name, found in asked.items() if found == [("torch", name)]} == set(cost.RATES) - {"train"}
    assert {name for name, found in asked.items() if not found} <= SMALL


def asked(config_: Config, rule: str) -> tuple[int, int]:
    return cpu_cost.memory_mb(config_, rule, [CELL]), cpu_cost.minutes(config_, rule, [CELL])


@pytest.mark.parametrize("rule", cpu_cost.NEEDS)
def test_a_cell_of_the_paper_fits_a_small_node(rule: str) -> None:
    memory, minutes = asked(PAPER, rule)
    assert cpu_cost.BASE_MB < memory <= 4000
    assert minutes <= 60
    assert cpu_cost.memory_mb(PAPER, rule, [CELL], 2) == 2 * memory


@pytest.mark.parametrize("rule", cpu_cost.NEEDS)
@pytest.mark.parametrize(
    ("key", "value", "which"),
    [
        ("datasets.math.max_new_tokens", 4096, set(cpu_cost.NEEDS) - {r for r in cpu_cost.NEEDS if r[:4] == "draw"}),
        ("datasets.math.splits.test", 50_000, set(cpu_cost.NEEDS) - SCANNING - {"compare_variants"}),
        ("datasets.math.splits.calibration", 4000, {"sweep_choices"}),
        ("recipes.paper.vectors", 400, SCANNING),
        ("study.sample.correlation", 4000, {"run_study"}),
    ],
)
def test_more_to_hold_asks_for_more(rule: str, key: str, value: int, which: set[str]) -> None:
    larger = load_config(overlay(config(), nested(key, value)))
    if rule in which:
        assert asked(larger, rule)[0] >= asked(PAPER, rule)[0]
        if "outcomes" not in rule and rule in SCANNING:
            assert asked(larger, rule)[0] > asked(PAPER, rule)[0]


def test_jobs_about_several_cells_ask_for_all() -> None:
    one, three = (cpu_cost.memory_mb(PAPER, "write_tables", [CELL] * count) for count in (1, 3))
    assert three - cpu_cost.BASE_MB == pytest.approx(3 * (one - cpu_cost.BASE_MB), abs=2)


def test_no_job_of_the_shipped_study_asks_for_more_than_4_gb() -> None:
    study = PAPER.study
    cells = [
        Place(model, data, "paper") for model in study.models for data in study.datasets for _ in study.prompt_seeds
    ]
    assert cpu_cost.memory_mb(PAPER, "write_tables", cells) <= 4000
    for rule in ("draw_figures", "draw_overview"):
        assert cpu_cost.memory_mb(PAPER, rule, [CELL] * len(study.prompt_seeds)) <= 4000


def test_an_unprompted_answer_has_no_recipe() -> None:
    assert cpu_cost.memory_mb(PAPER, "grade_unprompted", [Place("llama2-13b", "math")]) > cpu_cost.BASE_MB


READ: dict[str, Any] = {
    "study": {"results": "results"},
    "models": {"large": {"hub": "x/large", "revision": "main", "parameters": 70.0}},
    "interpretability": {"reader": "large"},
}
"""The paper's grid, its prompts read by a model that is larger than those that run."""


def test_jobs_ask_for_what_the_estimate_prints(tmp_path: Path) -> None:
    """The largest job of every rule, in a study of several models, datasets and seeds."""
    done = Workflow(tmp_path, READ, ()).snakemake("--dry-run")
    study, asked = load_config(overlay(config(), READ)), defaultdict[str, set[int]](set)
    for rule, block in re.findall(r"^rule (\w+):\n((?:    .*\n)+)", done.stdout + done.stderr, re.MULTILINE):
        asked[rule] |= set(map(int, re.findall(r"\bmem_mb=(\d+)", block)))
    printed = estimate.cpu_memory_gb(study) | {rule: line.memory_gb for rule, line in estimate.lines(study).items()}
    assert {rule: max(sizes) / 1e3 for rule, sizes in asked.items() if rule in printed} == {
        rule: size for rule, size in printed.items() if rule != "plan_sweep"
    }
    assert asked["measure_prompt"] == {cost.memory_mb(study, study.models["large"])}
