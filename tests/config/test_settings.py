"""A wrong configuration gets one line that helps; a stage is told what it depends on and nothing else."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import yaml

from dpc.config.kinds import PlanName
from dpc.config.settings import Config, load_config
from dpc.config.slices import STAGES, slice_for
from dpc.config.versions import VERSIONS
from dpc.errors import DpcError
from tests.support import config_tree as tree
from tests.support.workflow import nested, overlay

BASE = tree.demo()
PLANS = " or ".join(", ".join(map(repr, get_args(PlanName))).rsplit(", ", 1))
LAYERS = "write paper, second_half, inner, all or [first, last], both inclusive, counted from 0"
NAME = "expected letters, digits, `_`, `.` and `-`, with a letter, digit or `_` first"
TWICE = "appears more than once; write it once"
MODEL = "models.builtin: a model needs exactly one of `path`, `hub`, `builtin`; found"
DATASET = "datasets.arithmetic: "

WRONG: list[tuple[str, Any, str]] = [
    # a key nobody knows
    ("flwo", {}, "unknown key `flwo`; did you mean 'flow'?"),
    ("trigger.kapa", 1.0, "unknown key `trigger.kapa`; did you mean 'kappa'?"),
    ("study.sample.per_clas", 5, "unknown key `study.sample.per_clas`; did you mean 'per_class'?"),
    ("models.builtin.builtin.widht", 5, "unknown key `models.builtin.builtin.widht`; did you mean 'width'?"),
    ("models.builtin.dtyp", "x", "unknown key `models.builtin.dtyp`; did you mean 'dtype'?"),
    ("datasets.gsm8k.hub.tests", [], "unknown key `datasets.gsm8k.hub.tests`; did you mean 'test'?"),
    ("recipes.paper.options", {"rank": 4}, "recipes.paper: `options` of tuner prompt_tuning: unknown key `rank`"),
    ("recipes.paper.step", 5, "unknown key `recipes.paper.step`; did you mean 'steps'?"),
    ("execution.batch_size.x", 5, "unknown key `execution.batch_size.x`; known are act, generate, saliency, tune"),
    ("figures.zzz", 5, "unknown key `figures.zzz`; known are cases, max_case_tokens, position_bins"),
    # a value of the wrong type
    ("trigger.kappa", "high", "`trigger.kappa` is 'high': expected a number"),
    ("trigger.kappa", True, "`trigger.kappa` is True: expected a number"),
    ("trigger.kappa", 0, "`trigger.kappa` is 0: expected a value greater than 0"),
    ("trigger.kappa", float("inf"), "`trigger.kappa` is inf: expected a finite number"),
    ("corrupt.mask_value", float("nan"), "`corrupt.mask_value` is nan: expected a finite number"),
    ("corrupt.gamma", 101, "`corrupt.gamma` is 101: expected a value less than or equal to 100"),
    ("controls.seed", 1.5, "`controls.seed` is 1.5: expected a whole number"),
    ("recipes.paper.steps", "1e3", "`recipes.paper.steps` is '1e3': expected a whole number"),
    ("recipes.paper.first_tokens", "x", "`recipes.paper.first_tokens` is 'x': expected a whole number"),
    ("locate.masked_vectors", True, "`locate.masked_vectors` is True: expected a whole number"),
    ("models.llama3-8b.revision", 12, "`models.llama3-8b.revision` is 12: expected text: put it in quotes"),
    ("study.models", "builtin", "`study.models` is 'builtin': expected a list"),
    ("study.prompt_seeds", [0, "1"], "`study.prompt_seeds[1]` is '1': expected a whole number"),
    ("datasets.arithmetic.splits", 5, "`datasets.arithmetic.splits` is 5: expected a map of keys"),
    ("models", None, "`models` is empty: expected a map of keys"),
    ("flow", None, "`flow` is empty: expected a map of keys"),
    # one of several names or shapes
    ("study.plans", ["prompt_tuning", "dcp"], f"`study.plans[1]` is 'dcp': expected {PLANS}; did you mean 'dpc'?"),
    ("study.plans", ["prompt_tuning", "x"], f"`study.plans[1]` is 'x': expected {PLANS}"),
    ("study.oracles", ["oracle"], "`study.oracles[0]` is 'oracle': expected 'oracle_trigger' or 'oracle_token'"),
    ("trigger.baseline", "latter", "`trigger.baseline` is 'latter': expected 'former', 'constant' or 'detrend'"),
    ("flow.halves", "token", "`flow.halves` is 'token': expected 'tokens' or 'steps'; did you mean 'tokens'?"),
    ("trigger.share", "fited", "`trigger.share` is 'fited': expected 'fitted' or a number"),
    ("trigger.share", 2, "`trigger.share` is 2: expected 'fitted' or a value less than or equal to 1"),
    ("trigger.grid", [], "`trigger.grid` is []: expected 1 or more in it"),
    ("execution.device", "gpu", "`execution.device` is 'gpu': expected 'cuda' or 'cpu'; did you mean 'cuda'?"),
    (
        "models.builtin.builtin.width",
        60,
        "models.builtin.builtin: `width` is 60, expected a multiple of 2 x `heads`, 8",
    ),
    (
        "models.builtin.builtin.key_value_heads",
        3,
        "models.builtin.builtin: `heads` is 4, expected a multiple of 3 `key_value_heads`",
    ),
    ("trigger.grid", [0.5, 5], "`trigger.grid[1]` is 5: expected a value less than or equal to 1"),
    ("flow.shallow_layers", [1], f"`flow.shallow_layers` is [1]: {LAYERS}"),
    ("flow.shallow_layers", [1, 2, 3], f"`flow.shallow_layers` is [1, 2, 3]: {LAYERS}"),
    ("flow.deep_layers", [9, 2], f"`flow.deep_layers` is [9, 2]: {LAYERS}"),
    ("flow.deep_layers", [-1, 2], f"`flow.deep_layers` is [-1, 2]: {LAYERS}"),
    ("flow.deep_layers", "deep", f"`flow.deep_layers` is 'deep': {LAYERS}"),
    ("saliency.band", 3, f"`saliency.band` is 3: {LAYERS}"),
    ("act.layers", [5, 3], f"`act.layers` is [5, 3]: {LAYERS}"),
    ("act.beta", 1.5, "`act.beta` is 1.5: expected a value less than or equal to 1"),
    ("act.mode", "release", "`act.mode` is 'release': expected 'prefill_sets' or 'released'; did you mean 'released'?"),
    ("execution.engine", "vlm", "`execution.engine` is 'vlm': expected 'torch' or 'vllm'; did you mean 'vllm'?"),
    ("execution.engine", "vllm", "execution.engine is vllm: write the python of its environment as execution."),
    ("execution.vllm_python", "", "`execution.vllm_python` is '': expected the path of a file, without { and }"),
    # names
    ("study.models", ["builtn"], "study.models names 'builtn', which is not in `models`; did you mean 'builtin'?"),
    ("study.datasets", ["gsm8"], "study.datasets names 'gsm8', which is not in `datasets`; did you mean 'gsm8k'?"),
    ("study.recipes", ["papr"], "study.recipes names 'papr', which is not in `recipes`; did you mean 'paper'?"),
    ("study.models", ["builtin", "builtin"], f"`study.models` is ['builtin', 'builtin']: 'builtin' {TWICE}"),
    ("study.datasets", ["math", "math"], f"`study.datasets` is ['math', 'math']: 'math' {TWICE}"),
    ("study.recipes", ["paper", "paper"], f"`study.recipes` is ['paper', 'paper']: 'paper' {TWICE}"),
    ("study.prompt_seeds", [0, 1, 0], f"`study.prompt_seeds` is [0, 1, 0]: 0 {TWICE}"),
    ("study.plans", ["dpc", "dpc"], f"`study.plans` is ['dpc', 'dpc']: 'dpc' {TWICE}"),
    ("study.results", "out/{model}", "`study.results` is 'out/{model}': expected text without { and }"),
    # combinations
    ("models.builtin.path", "x", f"{MODEL} path and builtin: write null for the others"),
    ("models.builtin.builtin", None, f"{MODEL} none"),
    ("models.llama3-8b.revision", None, "models.llama3-8b: a model from the hub needs `revision`"),
    ("models.llama3-8b.parameters", None, "models.llama3-8b: a model from the hub needs `parameters`"),
    ("datasets.arithmetic.template", "Q:", DATASET + "`template` must contain {question}"),
    ("datasets.arithmetic.splits.test", None, DATASET + "generated questions need a number: set `splits.test`"),
    ("datasets.arithmetic.task", "gsm8k", DATASET + "`generate` goes with task `arithmetic`"),
    ("datasets.arithmetic.files", {"test": "x"}, DATASET + "a dataset needs exactly one of `files`, `hub`, "),
    ("study.plans", ["dpc"], "study.plans lacks prompt_tuning"),
    ("recipes.paper.adapter", "a/{modle}", "recipes.paper: `adapter` has {modle}; known are {model}, {dataset} and"),
    ("recipes.paper.adapter", "a/{seed", "recipes.paper: `adapter` has {seed; known are {model}, {dataset} and {seed}"),
    ("recipes.paper.adapter", "a/{seed}}", "recipes.paper: `adapter` has }; known are {model}, {dataset} and {seed}"),
    ("recipes.well_tuned.adapter", "a/{model}", "recipes.well_tuned.adapter is 'a/{model}', one prompt for the 3 seeds "
     "of study.prompt_seeds, whose spread would be none; write {seed} into it, or one seed"),
    ("formats.chat.template", "Q:", "formats.chat: `template` must contain {question}"),
    ("formats.chat.shots", -1, "`formats.chat.shots` is -1: expected a value greater than or equal to 0"),
    ("datasets.gsm8k.formats", {"llama3-8b": "cat"}, "datasets.gsm8k.formats names 'cat', which is not in `formats`; "
     "did you mean 'chat'?"),
    ("datasets.gsm8k.formats", {"llama3": "chat"}, "datasets.gsm8k.formats names 'llama3', which is not in `models`"),
    ("datasets.arithmetic.splits.act_confirm", 0, "study.plans names act, whose heads are selected on questions of "
     "their own: set `act_select` and `act_confirm` of datasets.arithmetic.splits to 2 at least"),
]  # fmt: skip


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(DpcError) as error:
        load_config(raw)
    return str(error.value)


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_a_wrong_value_is_refused_in_one_line(key: str, value: Any, message: str) -> None:
    found = refusal(overlay(BASE, nested(key, value)))
    assert found.startswith(f"config: {message}")
    assert "\n" not in found


def test_a_recipes_layout_goes_before_the_studys() -> None:
    config = load_config(overlay(BASE, {"recipes": {"well_tuned": {"layout": "prompt_first"}}}))
    for name, layout in (("well_tuned", "prompt_first"), ("over_reaching", "bos_first")):
        wanted = {"model_name": "builtin", "dataset_name": "arithmetic", "recipe": config.recipes[name], "seed": 0}
        assert json.loads(slice_for("tune_prompt", config, **wanted))["layout"] == config.layouts[name] == layout


@pytest.mark.parametrize(
    ("adapter", "seeds"), [("a/{model}/{dataset}/{seed}", [0, 1, 2]), ("a/{model}", [0]), (None, [0, 1, 2])]
)
def test_an_adapter_stands_for_one_seed_or_names_it(adapter: str | None, seeds: list[int]) -> None:
    study = {"study": {"prompt_seeds": seeds}, "recipes": {"well_tuned": {"adapter": adapter}}}
    assert load_config(overlay(BASE, study)).recipes["well_tuned"].adapter == adapter


@pytest.mark.parametrize("catalogue", ["models", "datasets", "recipes"])
@pytest.mark.parametrize("name", ["a/b", "{a}", "..", ".a", "-a", "a b", "a*", "", "ä"])
def test_names_that_break_paths_are_refused(catalogue: str, name: str) -> None:
    entry = dict(BASE[catalogue][BASE["study"][catalogue][0]])
    raw = overlay(BASE, {catalogue: {name: entry}, "study": {catalogue: [name]}})
    assert refusal(raw) == f"config: `{catalogue}.{name}` is {name!r}: {NAME}"


def test_a_name_that_is_a_number_is_refused() -> None:
    assert refusal(overlay(BASE, {"models": {7: {"path": "x"}}})) == (
        "config: `models[7]` is 7: expected text: put it in quotes"
    )


@pytest.mark.parametrize("key", ["saliency.loss_target", "corrupt.regenerate", "corrupt.rounds"])
def test_what_is_not_implemented_has_no_key(key: str) -> None:
    with pytest.raises(DpcError, match=f"unknown key `{key}`"):
        load_config(overlay(BASE, nested(key, "own")))


@pytest.mark.parametrize("key", ["study", "study.name", "datasets.gsm8k.task", "datasets.gsm8k.hub.revision"])
def test_a_missing_key_is_named(key: str) -> None:
    raw = json.loads(json.dumps(BASE))
    *above, last = key.split(".")
    here = raw
    for part in above:
        here = here[part]
    del here[last]
    assert refusal(raw) == f"config: `{key}` is missing: add it"


def test_a_misspelt_key_is_named_before_the_key_it_should_have_been() -> None:
    raw = json.loads(json.dumps(BASE))
    raw["study"]["nam"] = raw["study"].pop("name")
    assert refusal(raw) == "config: unknown key `study.nam`; did you mean 'name'?"


def test_affected_receivers_need_the_band_of_the_shallow_layers() -> None:
    rows = {"locate": {"receivers": "affected"}}
    assert load_config(overlay(BASE, rows)).locate.receivers == "affected"
    for other in ({"saliency": {"band": [1, 3]}}, {"flow": {"shallow_layers": [1, 3]}}):
        assert refusal(overlay(BASE, overlay(rows, other))) == (
            "config: locate.receivers: affected needs saliency.band equal to flow.shallow_layers"
        )


NUMBERS = [
    "trigger.kappa", "trigger.share", "corrupt.gamma", "corrupt.mask_value", "recipes.paper.learning_rate",
    "recipes.paper.weight_decay", "significance.flow_deviations", "statistics.confidence",
]  # fmt: skip


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_may_be_written_as_powers_of_ten(key: str) -> None:
    """YAML 1.1 reads 6e-1 as text."""
    read = yaml.safe_load("6e-1")
    assert read == "6e-1"
    found: Any = load_config(overlay(BASE, nested(key, read))).model_dump()
    for part in key.split("."):
        found = found[part]
    assert found == 0.6


LM = (
    "tune_prompt generate_base select_act_heads generate_act extract_saliency extract_exemplars regenerate "
    "extract_corrupted extract_variants plant_harm"
)
GENERATE = "generate_base generate_act regenerate plant_harm"
REPORT = "draw_figures draw_overview write_tables"
SWEEP = "plan_sweep sweep_choices"
STORED = f"gather_evidence compare_variants {SWEEP}"
PLANNED = f"plan {REPORT}"
READ = f"read_flow run_study compare_variants sweep_choices compare_flows plant_harm {REPORT}"
MEASURE = "extract_saliency extract_exemplars extract_corrupted extract_variants plant_harm"
TASK = (
    f"{REPORT} load_problems generate_base generate_act regenerate extract_saliency extract_exemplars run_study "
    "extract_corrupted extract_variants plant_harm grade_answers"
)


def several(group: str, keys: str, stages: str) -> dict[str, tuple[Any, str]]:
    return {f"{group}.{key}": (7, stages) for key in keys.split()}


REACH: dict[str, tuple[Any, str]] = {
    "study.name": ("other", f"write_validation {REPORT}"),
    "study.results": ("elsewhere", ""),
    "study.models": (["builtin", "llama3-8b"], f"write_validation {REPORT}"),
    "study.datasets": (["arithmetic", "gsm8k"], f"write_validation {REPORT}"),
    "study.recipes": (["well_tuned"], REPORT),
    "study.prompt_seeds": ([7], REPORT),
    "study.plans": (["prompt_tuning", "dpc"], f"evaluate {PLANNED}"),
    "study.oracles": ([], f"evaluate {REPORT}"),
    "study.sample.correlation": (7, "run_study gather_evidence"),
    "study.sample.per_class": (7, "run_study gather_evidence"),
    "models.builtin.dtype": ("float64", LM),
    "models.builtin.attention": ("eager", LM),
    "models.builtin.bos": (False, f"render_questions {LM}"),
    "models.llama3-8b.dtype": ("float64", ""),
    **several(
        "models.builtin.builtin",
        "seed layers feed_forward steps batch_size learning_rate",
        "train_builtin_model",
    ),
    "models.builtin.builtin.width": (32, "train_builtin_model"),
    "models.builtin.builtin.heads": (8, "train_builtin_model"),
    "models.builtin.builtin.key_value_heads": (2, "train_builtin_model"),
    "models.builtin.builtin.question_loss_weight": (0.7, "train_builtin_model"),
    "datasets.arithmetic": (
        {"task": "gsm8k", "generate": None, "files": {"test": "x.jsonl"}},
        f"{TASK} write_validation",
    ),
    "datasets.arithmetic.generate": (7, "load_problems"),
    "datasets.arithmetic.template": ("Ask : {question}", "load_problems render_questions"),
    "datasets.arithmetic.formats": ({"builtin": "plain_4_shot"}, "render_questions"),
    "formats.chat.template": ("{question}!", ""),
    "formats.chat.instruction": ("Now", ""),
    "formats.chat.shots": (2, ""),
    "formats.chat.chat": (False, ""),
    "datasets.gsm8k.template": ("Ask : {question}", ""),
    "datasets.arithmetic.stop": (["Q :"], GENERATE),
    "datasets.arithmetic.max_new_tokens": (7, GENERATE),
    **several(
        "datasets.arithmetic.splits", "tuning validation calibration act_select act_confirm test", "load_problems"
    ),
    "datasets.arithmetic.splits.on_overlap": ("drop", "load_problems"),
    **several(
        "recipes.well_tuned",
        "vectors learning_rate weight_decay batch_size steps warmup first_tokens validate_every patience",
        "tune_prompt",
    ),
    "recipes.well_tuned.init": ("normal", "tune_prompt"),
    "recipes.well_tuned.layout": ("prompt_first", f"{LM} {REPORT}"),
    "recipes.well_tuned.adapter": ("adapters/{seed}", "tune_prompt"),
    "recipes.well_tuned.keep": ("last", "tune_prompt"),
    "recipes.paper.steps": (7, ""),
    "layout": ("prompt_first", f"{LM} {REPORT}"),
    "flow.shallow_layers": ([1, 2], READ),
    "flow.deep_layers": ([1, 2], READ),
    "flow.halves": ("steps", READ),
    "trigger.kappa": (7.0, f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "trigger.baseline": ("detrend", f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "trigger.granularity": ("step", f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "trigger.share": (0.7, f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "trigger.grid": ([0.7], f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "trigger.choose_by": ("youden", f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "trigger.rule": (
        "share_and_accumulation",
        f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}",
    ),
    "trigger.min_tokens": (7, f"fit_thresholds evaluate plant_harm write_validation {STORED} {PLANNED}"),
    "locate.receivers": ("rationale", f"read_flow run_study fit_thresholds write_validation {STORED} {PLANNED}"),
    "locate.masked_vectors": (2, f"read_flow run_study fit_thresholds write_validation {STORED} {PLANNED}"),
    "corrupt.mask": ("attention", f"compare_variants {SWEEP} {PLANNED} plant_harm"),
    "corrupt.mask_value": (0.5, f"compare_variants {SWEEP} {PLANNED} plant_harm"),
    "corrupt.gamma": (7.0, f"compare_variants {SWEEP} {PLANNED} plant_harm"),
    "corrupt.gamma_scale": (0.5, f"compare_variants {SWEEP} {PLANNED} plant_harm"),
    "corrupt.gamma_scope": ("all", f"compare_variants {SWEEP} {PLANNED} plant_harm"),
    "saliency.head_reduce": ("sum_abs", f"{MEASURE} {REPORT}"),
    "saliency.loss_span": ("answer", f"{MEASURE} {REPORT}"),
    "saliency.band": ([1, 2], f"{MEASURE} {REPORT}"),
    "significance.accumulation_quantile": (0.7, "run_study fit_thresholds sweep_choices"),
    "significance.flow_deviations": (7.0, "run_study fit_thresholds sweep_choices"),
    "significance.min_cases": (7, "run_study fit_thresholds sweep_choices"),
    "act.beta": (0.7, f"select_act_heads generate_act {REPORT}"),
    "act.threshold": ("alpha", f"select_act_heads generate_act {REPORT}"),
    "act.tau": (0.7, f"select_act_heads generate_act {REPORT}"),
    "act.layers": ([1, 2], f"select_act_heads generate_act {REPORT}"),
    "act.mode": ("released", f"select_act_heads generate_act {REPORT}"),
    **several("act", "alpha min_rows standard_errors", f"select_act_heads generate_act {REPORT}"),
    **several("controls", "seed static_candidates static_questions oracle_questions", "plan"),
    "statistics.confidence": (0.7, f"run_study evaluate write_validation {REPORT}"),
    "statistics.resamples": (7, f"run_study evaluate write_validation {REPORT}"),
    "statistics.seed": (7, f"run_study evaluate write_validation {REPORT}"),
    "mechanism.plans": (["dpc", "always"], "extract_corrupted compare_flows"),
    "validation.recipe": ("paper", "write_validation"),
    "validation.harmful_recipe": ("paper", "write_validation"),
    "validation.choosing_seeds": ([7], "write_validation"),
    "validation.held_out_seeds": ([7], "write_validation"),
    **several("validation.planting", "positions questions steps batch_size rate", "plant_harm write_validation"),
    "variants.rows": (7, "extract_variants"),
    "sensitivity.kappas": ([7.0], SWEEP),
    "sensitivity.layers": (["all"], SWEEP),
    "sensitivity.gammas": ([7.0], SWEEP),
    "sensitivity.mask_values": ([0.7], SWEEP),
    "figures.cases": (4, "draw_figures"),
    "figures.position_bins": (7, "run_study draw_figures"),
    "figures.max_case_tokens": (7, "draw_figures"),
    "execution.device": ("cuda", ""),
    "execution.checkpoint_activations": (True, ""),
    **several("execution", "threads builtin_threads save_every_seconds", ""),
    **several("execution.batch_size", "generate saliency tune act", ""),
    "shards.generate": (7, ""),
    "shards.saliency": (7, ""),
    **several("cluster", "gpus gpu_memory_gb max_hours rates.generate rates.saliency rates.tune", ""),
}
"""Key: another value, and the stages whose settings it changes."""
INPUTS = {
    "models.*.path", "models.*.hub", "models.*.revision", "models.*.parameters", "datasets.*.task",
    "datasets.*.files.train", "datasets.*.files.test", "datasets.*.hub.id", "datasets.*.hub.revision",
    "datasets.*.hub.train", "datasets.*.hub.test", "recipes.*.tuner", "recipes.*.options",
}  # fmt: skip
"""Files are inputs of a rule; the task is changed above with the rows it reads; there is one tuner, without
options of its own."""


def slices(raw: dict[str, Any]) -> dict[str, str]:
    """Return every stage's settings as a rule hands them over, for the embedded model and its first recipe."""
    config = load_config(raw)
    wanted = {
        "model_name": "builtin", "dataset_name": "arithmetic", "dataset": "arithmetic", "seed": 0,
        "recipe": config.recipes["well_tuned"], "position_bins": config.figures.position_bins,
        "study": config.study.name, "format": config.format_of("builtin", "arithmetic"),
    }  # fmt: skip
    of = {
        "plant_harm": {**wanted, "planting": config.validation.planting, "splits": ["test"], "is_planted": True},
        "write_validation": config.validation.model_dump() | {"study": config.study.name},
    }
    return {stage: slice_for(stage, config, **of.get(stage, wanted)) for stage in STAGES}


BEFORE = slices(BASE)


@pytest.mark.parametrize("key", REACH)
def test_a_key_reaches_the_stages_that_use_it_and_no_other(key: str) -> None:
    value, stages = REACH[key]
    after = slices(overlay(BASE, nested(key, value)))
    assert {stage for stage in STAGES if after[stage] != BEFORE[stage]} == set(stages.split())


def test_every_key_is_tried() -> None:
    tried = {
        ".".join(
            "*" if n == 1 and key.split(".")[0] in tree.CATALOGUES else part for n, part in enumerate(key.split("."))
        )
        for key in REACH
    }
    assert set(tree.model_leaves()) - tried == INPUTS


@pytest.mark.parametrize("stage", STAGES)
def test_a_slice_is_the_settings_of_its_stage(stage: str) -> None:
    assert set(json.loads(BEFORE[stage])) == set(STAGES[stage].model_fields)
    assert STAGES[stage].model_validate_json(BEFORE[stage]).model_dump_json() == BEFORE[stage]


def test_every_stage_has_a_version_and_every_version_a_stage() -> None:
    assert set(VERSIONS) == set(STAGES)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config(BASE).layout = "prompt_first"  # type: ignore[misc]
    assert load_config(BASE) == Config.model_validate(BASE)
