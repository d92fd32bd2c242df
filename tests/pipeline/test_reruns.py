"""Only what must rerun, reruns: edit one key of the configuration, compare the dry run's jobs exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.workflow import SMALLEST, Workflow, nested, overlay

pytestmark = pytest.mark.long

GRID = {"study": {"results": "results", "prompt_seeds": [0, 1]}}
"""The embedded study with two recipes and two seeds: four cells."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("study"), GRID)
    workflow.pretend()
    return workflow


TABLES = {"write_tables": 1, "all": 1}
FIGURES = {"draw_figures": 2, "draw_overview": 1}
INDEX = {"write_explorer_index": 1}
PAGES = {"write_explorer": 4}
EXPLORED = {**PAGES, **INDEX}
CALIBRATED = {"select_act_heads": 4, "generate_act": 4}
GRADED = {"evaluate": 4, "compare_flows": 4, **FIGURES, **TABLES, **EXPLORED}
TESTED = {"plan": 4, "regenerate": 8, "grade_answers": 8, "extract_corrupted": 4, "sweep_choices": 4, **GRADED}
"""New edits of the test plans; the oracles look at what those have made."""
PLANNED = {
    "plan_calibration": 4,
    "fit_thresholds": 4,
    "plan_oracles": 4,
    "gather_evidence": 4,
    "plan_sweep": 4,
    "compare_variants": 4,
    "measure_prompt": 4,
    **TESTED,
    "regenerate": 16,
    "grade_answers": 16,
}
FITTED = {**TESTED, "fit_thresholds": 4, "gather_evidence": 4, "compare_variants": 4}
"""Neither calibration's edits nor the oracles' depend on when DPC fires."""
BOUNDED = {"plan_oracles": 4, "regenerate": 4, "grade_answers": 4, **GRADED}
TRIED = {**FITTED, "plan_calibration": 4, "measure_prompt": 4, "regenerate": 12, "grade_answers": 12}
"""Candidates for one static mask."""
ANALYSED = {**PLANNED, "read_flow": 4, "run_study": 4, "intervene": 4}
MEASURED = {"extract_saliency": 4, "extract_exemplars": 2, "extract_variants": 4, **ANALYSED}
GENERATED = {"generate_base": 4, "generate_act": 4, "choose_exemplars": 2, **MEASURED, "grade_answers": 28}
PROMPTED = {"tune_prompt": 4, "describe_prompt": 4, **CALIBRATED, **GENERATED}
UNPROMPTED = {"generate_unprompted": 1, "grade_unprompted": 2}
RENDERED = {"render_questions": 1, **UNPROMPTED, **PROMPTED}
ALL_BUT_MODEL = {"load_problems": 1, **UNPROMPTED, **PROMPTED}


ACTED = {**CALIBRATED, **TESTED, "grade_answers": 12}
SWEPT = {
    "plan_sweep": 4,
    "regenerate": 4,
    "grade_answers": 4,
    "sweep_choices": 4,
    "draw_figures": 2,
    **TABLES,
}
"""What is tried beside the configuration."""


def one_recipe(jobs: dict[str, int]) -> dict[str, int]:
    """Half of the cells: what a change of one recipe reruns."""
    whole = {"write_tables", "draw_overview", "write_explorer_index", "all"}
    return {rule: count if rule in whole else count // 2 for rule, count in jobs.items()}


EDITS: list[tuple[str, Any, dict[str, int]]] = [
    # analysis from stored saliency: no torch but the regeneration of new edits
    ("flow.deep_layers", [1, 2], ANALYSED),
    ("flow.shallow_layers", [0, 1], ANALYSED),
    ("flow.halves", "steps", ANALYSED),
    ("locate.receivers", "rationale", ANALYSED),
    ("locate.masked_vectors", 2, {**PLANNED, "run_study": 4}),
    ("trigger.kappa", 1.2, FITTED),
    ("trigger.grid", [0.25, 0.5], FITTED),
    ("trigger.choose_by", "youden", FITTED),
    ("significance.flow_deviations", 2.0, {**FITTED, "run_study": 4}),
    (
        "study.sample.correlation",
        50,
        {"run_study": 4, "gather_evidence": 4, "draw_figures": 2, **TABLES, **PAGES},
    ),
    # new edits
    ("corrupt.gamma", 20.0, {**PLANNED}),
    ("corrupt.mask_value", 0.5, {**PLANNED}),
    ("controls.oracle_questions", 20, BOUNDED),
    ("controls.static_candidates", 3, TRIED),
    ("controls.seed", 1, TESTED),
    ("sensitivity.kappas", [1.0, 4.0], {"sweep_choices": 4, "draw_figures": 2, **TABLES}),
    ("sensitivity.gammas", [50.0], SWEPT),
    ("study.plans", ["no_prompt", "prompt_tuning", "dpc", "always", "static_mask"], TESTED),
    ("study.plans", ["no_prompt", "prompt_tuning", "dpc", "always"], TRIED),  # no candidates for a static mask
    # new GPU work
    ("act.tau", 0.2, ACTED),
    ("act.mode", "released", ACTED),
    (
        "mechanism.plans",
        ["dpc"],
        {"extract_corrupted": 4, "compare_flows": 4, "draw_figures": 2, **TABLES},
    ),
    ("interpretability.draws", 7, {"measure_prompt": 4, "draw_overview": 1, **TABLES}),
    ("variants.rows", 7, {"extract_variants": 4, "compare_variants": 4, **TABLES}),
    ("causal.rows", 7, {"intervene": 4, "draw_figures": 2, **TABLES, **PAGES}),
    ("validation.planting.steps", 7, {}),
    ("saliency.head_reduce", "sum_abs", MEASURED),
    ("saliency.band", [0, 1], {rule: count for rule, count in MEASURED.items() if rule != "extract_exemplars"}),
    ("datasets.arithmetic.max_new_tokens", 40, {**UNPROMPTED, **GENERATED}),
    ("recipes.over_reaching.learning_rate", 0.2, one_recipe(PROMPTED)),
    ("recipes.over_reaching.layout", "prompt_first", {**one_recipe(PROMPTED), **FIGURES, **TABLES}),
    ("layout", "prompt_first", {**PROMPTED, **UNPROMPTED}),
    ("models.builtin.bos", False, {**PROMPTED, **UNPROMPTED}),
    ("datasets.arithmetic.template", "Q : {question} now A :", ALL_BUT_MODEL),
    ("datasets.arithmetic.formats", {"builtin": "plain_4_shot"}, RENDERED),
    ("datasets.arithmetic.generate", 7, ALL_BUT_MODEL),
    ("models.builtin.builtin.seed", 1, {"train_builtin_model": 1, **UNPROMPTED, **PROMPTED}),
    # looks and names
    ("figures.cases", 4, {"draw_figures": 2, "all": 1}),
    ("explorer.cases", 20, {**PAGES, "all": 1}),
    ("figures.position_bins", 5, {"run_study": 4, "draw_figures": 2, **TABLES}),
    ("study.name", "again", {**FIGURES, **TABLES, **EXPLORED}),
    # a seed less: pooled figures and tables, and what takes states of another seed's prompt
    ("study.prompt_seeds", [0], {"intervene": 2, "write_explorer": 2, **FIGURES, **TABLES, **INDEX}),
    # how the work is done is no part of a result
    ("execution.batch_size.generate", 7, {}),
    ("execution.batch_size.saliency", 2, {}),
    ("execution.batch_size.tune", 2, {}),
    ("execution.threads", 2, {}),
    ("execution.save_every_seconds", 5, {}),
]


@pytest.mark.parametrize(("key", "value", "jobs"), EDITS, ids=[key for key, _, _ in EDITS])
def test_an_edit_reruns_exactly_what_uses_it(made: Workflow, key: str, value: Any, jobs: dict[str, int]) -> None:
    assert made.planned(change=nested(key, value)) == jobs


def test_another_path_of_a_dataset_reads_it_again(tmp_path: Path) -> None:
    rows = {name: tmp_path / f"{name}.jsonl" for name in ("here", "there")}
    for file in rows.values():
        file.write_text("\n".join(f'{{"question": "How many are {n}?", "answer": "#### {n}"}}' for n in range(10)))
    splits = {"tuning": 1, "validation": 1, "calibration": 1, "act_select": 2, "act_confirm": 2}
    local = {"task": "gsm8k", "files": {"test": str(rows["here"])}, "template": "{question}", "splits": splits}
    more = {"study": {"datasets": ["local"], "results": "results"}, "datasets": {"local": local}}
    workflow = Workflow(tmp_path / "study", overlay(GRID, more))
    workflow.pretend()
    assert workflow.planned() == {}
    assert workflow.planned(change=nested("datasets.local.files.test", str(rows["there"]))) == ALL_BUT_MODEL


def test_a_file_of_questions_that_is_copied_anew_reruns_nothing(tmp_path: Path) -> None:
    """Its content decides, as of files under Snakemake's own limit of 1 MB: GSM8K's has 4 MB."""
    file, long = tmp_path / "questions.jsonl", "many " * 4000
    questions = [f'{{"question": "How {long} are {n}?", "answer": "#### {n}"}}\n' for n in range(100)]
    file.write_text("".join(questions))
    assert file.stat().st_size > 1_500_000
    splits = {"tuning": 4, "validation": 2, "calibration": 2, "act_select": 2, "act_confirm": 2}
    local = {"task": "gsm8k", "files": {"test": str(file)}, "template": "{question}", "splits": splits}
    change = overlay(SMALLEST, {"study": {"datasets": ["local"]}, "datasets": {"local": local}})
    workflow = Workflow(tmp_path / "study", {})
    told = ["--configfile", str(ROOT / "workflow/demo.yaml"), "overlay.yaml", "--", "problems"]
    made = workflow.plainly("--cores", "1", *told, change=change)
    assert made.returncode == 0, made.stdout + made.stderr
    for text, says in (("".join(questions), "nothing to be done"), ("".join(questions[1:]), "load_problems")):
        file.write_text(text)
        planned = workflow.plainly("-n", *told, change=change)
        assert says in (planned.stdout + planned.stderr).lower()


def test_nothing_reruns_without_an_edit(made: Workflow) -> None:
    assert made.planned() == {}


def test_one_stage_can_be_forced(made: Workflow) -> None:
    measured_apart = ("extract_exemplars", "extract_variants")
    assert made.planned("-R", "extract_saliency") == {k: v for k, v in MEASURED.items() if k not in measured_apart}


def test_a_new_seed_makes_its_own_cells_only(made: Workflow) -> None:
    jobs = made.planned(change=nested("study.prompt_seeds", [0, 1, 2]))
    new = {rule: count for rule, count in one_recipe(PROMPTED).items() if "exemplars" not in rule}
    assert jobs == {**new, "draw_figures": 2}


TARGETS = {
    "problems": {"load_problems"},
    "models": {"train_builtin_model"},
    "prompts": {"load_problems", "train_builtin_model", "tune_prompt"},
    "saliency": {"load_problems", "train_builtin_model", "tune_prompt", "generate_base", "extract_saliency"},
    "study": {
        "load_problems",
        "train_builtin_model",
        "tune_prompt",
        "generate_base",
        "extract_saliency",
        "read_flow",
        "grade_answers",
        "run_study",
    },
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_just_up_to_there(tmp_path: Path, target: str) -> None:
    assert set(Workflow(tmp_path, GRID).planned(target)) == {*TARGETS[target], target}


@pytest.mark.parametrize("target", ["generations", "plans", "regenerations", "thresholds", "evaluation", "tables"])
def test_every_other_target_plans(tmp_path: Path, target: str) -> None:
    jobs = Workflow(tmp_path, GRID).planned(target)
    assert jobs[target] == 1
    assert "draw_figures" not in jobs


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """Rule, inputs and outputs of every job of the study."""
    done = Workflow(tmp_path_factory.mktemp("planned"), GRID).snakemake("--dry-run", "--printshellcmds")
    blocks = re.split(r"\n(?:local)?rule ", done.stdout + done.stderr)[1:]
    made = [re.match(r"(\w+):\n\s+input: (.*)\n\s+output: (.*)", block) for block in blocks]
    return [(one[1], one[2], one[3]) for one in made if one]


def readers(jobs: list[tuple[str, str, str]], part: str) -> set[str]:
    return {rule for rule, inputs, _ in jobs if part in inputs}


def test_gold_reaches_only_what_may_see_it(jobs: list[tuple[str, str, str]]) -> None:
    """Between prompt and evaluation no rule reads gold but for its own splits; verdicts stand in its place."""
    graders = {"grade_answers", "grade_unprompted"}
    assert readers(jobs, "/gold/") == {"tune_prompt", "select_act_heads", "extract_variants", *graders}
    assert readers(jobs, "/gold/test.") == graders
    for rule, inputs, outputs in jobs:
        if rule in graders:
            (split,) = re.findall(r"/gold/(\w+)\.", inputs)
            assert f"/verdicts/{split}" in outputs


REPORTED = {"run_study", "gather_evidence", "sweep_choices"}
"""They see the verdicts of both splits, and nothing that generates or plans reads what they write."""


def test_verdicts_reach_only_what_may_see_them(jobs: list[tuple[str, str, str]]) -> None:
    assert readers(jobs, "/verdicts/calibration") == {"fit_thresholds", "compare_variants", *REPORTED}
    assert readers(jobs, "/verdicts/test") == {"plan_oracles", "choose_exemplars", "evaluate", "intervene", *REPORTED}
    report = {"draw_figures", "write_tables", "write_explorer"}
    assert readers(jobs, "/study/e") | readers(jobs, "/study/s") <= report
    assert readers(jobs, "/causal.parquet") <= report
    assert readers(jobs, "/plans/oracles") == {"regenerate", "evaluate", "write_explorer"}
