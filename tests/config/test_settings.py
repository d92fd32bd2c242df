"""A wrong configuration gets one line that helps; a stage is told what it depends on and nothing else."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import yaml

from dpc.config.kinds import PlanName
from dpc.config.settings import Config, load_config
from dpc.config.stages import VERSIONS
from dpc.config.told import STAGES, slice_for
from dpc.errors import DpcError
from tests.support import config_tree as tree
from tests.support.reach import BASE, BEFORE, OTHER, PAGE, page, told
from tests.support.workflow import nested, overlay

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
    ("interpretability.reader", "builtn", "interpretability.reader names 'builtn', which is not in `models`; did you"),
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
    ("datasets.gsm8k.columns", {"query": "q"}, "datasets.gsm8k: `columns` names 'query', no field of task gsm8k; kno"),
    ("datasets.gsm8k.columns", {"question": "q", "answer": "q"}, "datasets.gsm8k: `columns` gives 'q' for two fields"),
    ("datasets.gsm8k.columns", {"question": 5}, "`datasets.gsm8k.columns.question` is 5: expected text: put it in q"),
    ("datasets.arithmetic.columns", {"question": "q"}, DATASET + "`columns` goes with rows of files"),
    ("recipes.paper.adapter", "a/{modle}", "recipes.paper: `adapter` has {modle}; known are {model}, {dataset} and"),
    ("recipes.paper.adapter", "a/{seed", "recipes.paper: `adapter` has {seed; known are {model}, {dataset} and {seed}"),
    ("recipes.paper.adapter", "a/{seed}}", "recipes.paper: `adapter` has }; known are {model}, {dataset} and {seed}"),
    ("recipes.well_tuned.adapter", "a/{seed}", "recipes.well_tuned: `adapter` needs `layout`, the order it was tuned"),
    ("recipes.well_tuned", {"adapter": "a/{model}", "layout": "prompt_first"},
     "recipes.well_tuned.adapter is 'a/{model}', one prompt for the 3 seeds "
     "of study.prompt_seeds, whose spread would be none; write {seed} into it, or one seed"),
    ("formats.chat.template", "Q:", "formats.chat: `template` must contain {question}"),
    ("formats.chat.shots", -1, "`formats.chat.shots` is -1: expected a value greater than or equal to 0"),
    ("datasets.gsm8k.formats", {"llama3-8b": "cat"}, "datasets.gsm8k.formats names 'cat', which is not in `formats`; "
     "did you mean 'chat'?"),
    ("datasets.gsm8k.formats", {"llama3": "chat"}, "datasets.gsm8k.formats names 'llama3', which is not in `models`"),
    ("datasets.arithmetic.splits.act_confirm", 0, "study.plans names act, whose heads are selected on questions of "
     "their own: set `act_select` and `act_confirm` of datasets.arithmetic.splits to 2 at least"),
]  # fmt: skip


def test_an_embedded_model_reads_prompts_only_where_it_runs() -> None:
    reads = nested("interpretability.reader", "builtin")
    assert load_config(overlay(BASE, reads)).loaded == ["builtin"]
    said = refusal(overlay(overlay(BASE, reads), {"study": {"models": ["llama3-8b"]}}))
    assert said == (
        "config: interpretability.reader names 'builtin', an embedded model that is trained only where it runs; "
        "add it to study.models, or write a model with `path` or `hub`"
    )


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
    study = {"study": {"prompt_seeds": seeds}, "recipes": {"well_tuned": {"adapter": adapter, "layout": "bos_first"}}}
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


INPUTS = {
    "models.*.path", "models.*.hub", "models.*.revision", "models.*.parameters", "datasets.*.task",
    "datasets.*.options", "datasets.*.files.train", "datasets.*.files.test", "datasets.*.hub.id",
    "datasets.*.hub.revision", "datasets.*.hub.train", "datasets.*.hub.test", "datasets.*.columns", "recipes.*.tuner",
    "recipes.*.options",
}  # fmt: skip
"""Files are inputs of a rule; a task is changed above with the rows it reads; options of tasks and tuners are tried
with them."""


@pytest.mark.parametrize("key", OTHER)
def test_a_key_is_told_to_no_stage_where_it_is_no_part_of_a_result(key: str) -> None:
    """How work is done and shared out; what does not run; where results and adapters lie."""
    above, name = key.split(".")[:2] if "." in key else (key, "")
    is_none = above in ("execution", "shards", "cluster", "formats")
    is_none |= key in ("study.results", "recipes.well_tuned.adapter")
    is_none |= above in ("models", "datasets", "recipes") and name not in ("builtin", "arithmetic", "well_tuned")
    assert (not told(key)) == is_none


def test_how_r_is_chosen_reruns_nothing_that_generates_or_measures() -> None:
    assert set(told("trigger.choose_by")) == {
        "fit_thresholds", "compare_variants", "sweep_choices", "write_validation", "write_tables"
    }  # fmt: skip


def test_the_page_says_which_stages_are_told_a_key() -> None:
    assert page() == PAGE.read_text(), "run `make schema`"


def test_every_key_is_tried() -> None:
    tried = {
        ".".join(
            "*" if n == 1 and key.split(".")[0] in tree.CATALOGUES else part for n, part in enumerate(key.split("."))
        )
        for key in OTHER
    }
    assert set(tree.model_leaves()) - tried == INPUTS


@pytest.mark.parametrize("stage", STAGES)
def test_a_slice_is_the_settings_of_its_stage(stage: str) -> None:
    always = {name for name, field in STAGES[stage].model_fields.items() if not field.exclude_if}
    assert set(json.loads(BEFORE[stage])) == always
    assert STAGES[stage].model_validate_json(BEFORE[stage]).model_dump_json() == BEFORE[stage]


def test_every_stage_has_a_version_and_every_version_a_stage() -> None:
    assert set(VERSIONS) == set(STAGES)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config(BASE).layout = "prompt_first"  # type: ignore[misc]
    assert load_config(BASE) == Config.model_validate(BASE)
