"""Which stages are told a key of `config.yaml`: found by setting each key otherwise and comparing the slices.

`python -m tests.support.reach` writes what was found as the table of docs/architecture.md (`make schema`).
"""

from __future__ import annotations

from functools import cache
from itertools import groupby
from typing import Any

from dpc.config.settings import load_config
from dpc.config.told import STAGES, slice_for
from tests.support import config_tree as tree
from tests.support.paths import ROOT
from tests.support.workflow import nested, overlay

BASE = tree.demo()
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- `make schema` writes this table -->\n", "<!-- to here -->\n"
OTHER: dict[str, Any] = {
    "study.name": "other",
    "study.results": "elsewhere",
    "study.models": ["builtin", "llama3-8b"],
    "study.datasets": ["arithmetic", "gsm8k"],
    "study.recipes": ["well_tuned"],
    "study.prompt_seeds": [7],
    "study.plans": ["prompt_tuning", "dpc"],
    "study.oracles": [],
    "study.sample.correlation": 7,
    "study.sample.per_class": 7,
    "models.builtin.dtype": "float64",
    "models.builtin.attention": "eager",
    "models.builtin.bos": False,
    "models.llama3-8b.dtype": "float64",
    "models.builtin.builtin.seed": 7,
    "models.builtin.builtin.layers": 7,
    "models.builtin.builtin.feed_forward": 7,
    "models.builtin.builtin.steps": 7,
    "models.builtin.builtin.batch_size": 7,
    "models.builtin.builtin.learning_rate": 7,
    "models.builtin.builtin.width": 32,
    "models.builtin.builtin.heads": 8,
    "models.builtin.builtin.key_value_heads": 2,
    "models.builtin.builtin.question_loss_weight": 0.7,
    "datasets.arithmetic": {"task": "gsm8k", "generate": None, "files": {"test": "x.jsonl"}},
    "datasets.arithmetic.generate": 7,
    "datasets.arithmetic.template": "Ask : {question}",
    "datasets.arithmetic.formats": {"builtin": "plain_4_shot"},
    "formats.chat.template": "{question}!",
    "formats.chat.instruction": "Now",
    "formats.chat.shots": 2,
    "formats.chat.chat": False,
    "datasets.gsm8k.template": "Ask : {question}",
    "datasets.arithmetic.stop": ["Q :"],
    "datasets.arithmetic.max_new_tokens": 7,
    "datasets.arithmetic.splits.tuning": 7,
    "datasets.arithmetic.splits.validation": 7,
    "datasets.arithmetic.splits.calibration": 7,
    "datasets.arithmetic.splits.act_select": 7,
    "datasets.arithmetic.splits.act_confirm": 7,
    "datasets.arithmetic.splits.test": 7,
    "datasets.arithmetic.splits.on_overlap": "drop",
    "recipes.well_tuned.vectors": 7,
    "recipes.well_tuned.learning_rate": 7,
    "recipes.well_tuned.weight_decay": 7,
    "recipes.well_tuned.batch_size": 7,
    "recipes.well_tuned.steps": 7,
    "recipes.well_tuned.warmup": 7,
    "recipes.well_tuned.first_tokens": 7,
    "recipes.well_tuned.validate_every": 7,
    "recipes.well_tuned.patience": 7,
    "recipes.well_tuned.init": "normal",
    "recipes.well_tuned.layout": "prompt_first",
    "recipes.well_tuned.adapter": "adapters/{seed}",
    "recipes.well_tuned.keep": "last",
    "recipes.paper.steps": 7,
    "layout": "prompt_first",
    "flow.shallow_layers": [1, 2],
    "flow.deep_layers": [1, 2],
    "flow.halves": "steps",
    "trigger.kappa": 7.0,
    "trigger.baseline": "detrend",
    "trigger.granularity": "step",
    "trigger.share": 0.7,
    "trigger.grid": [0.7],
    "trigger.choose_by": "youden",
    "trigger.rule": "share_and_accumulation",
    "trigger.min_tokens": 7,
    "locate.receivers": "rationale",
    "locate.masked_vectors": 2,
    "corrupt.mask": "attention",
    "corrupt.mask_value": 0.5,
    "corrupt.gamma": 7.0,
    "corrupt.gamma_scale": 0.5,
    "corrupt.gamma_scope": "all",
    "saliency.head_reduce": "sum_abs",
    "saliency.loss_span": "answer",
    "saliency.band": [1, 2],
    "significance.accumulation_quantile": 0.7,
    "significance.flow_deviations": 7.0,
    "significance.min_cases": 7,
    "act.beta": 0.7,
    "act.threshold": "alpha",
    "act.tau": 0.7,
    "act.layers": [1, 2],
    "act.mode": "released",
    "act.alpha": 7,
    "act.min_rows": 7,
    "act.standard_errors": 7,
    "controls.seed": 7,
    "controls.static_candidates": 7,
    "controls.static_questions": 7,
    "controls.oracle_questions": 7,
    "statistics.confidence": 0.7,
    "statistics.resamples": 7,
    "statistics.seed": 7,
    "mechanism.plans": ["dpc", "always"],
    "validation.recipe": "paper",
    "validation.harmful_recipe": "paper",
    "validation.choosing_seeds": [7],
    "validation.held_out_seeds": [7],
    "validation.planting.positions": 7,
    "validation.planting.questions": 7,
    "validation.planting.steps": 7,
    "validation.planting.batch_size": 7,
    "validation.planting.rate": 7,
    "variants.rows": 7,
    "causal.rows": 7,
    "causal.tests": ["mask"],
    "sensitivity.kappas": [7.0],
    "sensitivity.layers": ["all"],
    "sensitivity.gammas": [7.0],
    "sensitivity.mask_values": [0.7],
    "interpretability.questions": 7,
    "interpretability.draws": 7,
    "interpretability.instruction": "draft :",
    "interpretability.reader": "builtin",
    "figures.cases": 4,
    "figures.position_bins": 7,
    "figures.max_case_tokens": 7,
    "explorer.cases": 7,
    "execution.device": "cuda",
    "execution.checkpoint_activations": True,
    "execution.threads": 7,
    "execution.engine": "vllm",
    "execution.vllm_python": "/opt/vllm/bin/python",
    "execution.builtin_threads": 7,
    "execution.save_every_seconds": 7,
    "execution.batch_size.generate": 7,
    "execution.batch_size.saliency": 7,
    "execution.batch_size.tune": 7,
    "execution.batch_size.act": 7,
    "shards.generate": 7,
    "shards.saliency": 7,
    "cluster.gpus": 7,
    "cluster.gpu_memory_gb": 7,
    "cluster.max_hours": 7,
    "cluster.rates.generate": 7,
    "cluster.rates.saliency": 7,
    "cluster.rates.tune": 7,
    "cluster.cpu_rates.generate": 7,
    "cluster.cpu_rates.saliency": 7,
    "cluster.cpu_rates.tune": 7,
}
"""Key: another value than the embedded study's."""


WITH = {
    "recipes.well_tuned.adapter": nested("recipes.well_tuned.layout", "bos_first"),
    "execution.engine": nested("execution.vllm_python", "/opt/vllm/bin/python"),
}
"""What a key goes with, as it stands in the embedded study."""


def slices(raw: dict[str, Any]) -> dict[str, str]:
    """Return every stage's settings as a rule hands them over, for the embedded model and its first recipe."""
    config = load_config(raw)
    wanted = {
        "model_name": "builtin", "dataset_name": "arithmetic", "dataset": "arithmetic", "seed": 0,
        "recipe": config.recipes["well_tuned"], "study": config.study.name,
        "format": config.format_of("builtin", "arithmetic"),
    }  # fmt: skip
    of = {
        "plant_harm": {**wanted, "splits": ["test"], "is_planted": True},
        "plan_calibration": {**wanted, "plans": ["always"]},
        "write_validation": {"study": config.study.name},
        "write_explorer": {**wanted, "model": "builtin", "recipe": "well_tuned"},
    }
    return {stage: slice_for(stage, config, **of.get(stage, wanted)) for stage in STAGES}


BEFORE = slices(BASE)


@cache
def told(key: str) -> tuple[str, ...]:
    """Return the stages whose settings change with a key of `OTHER`."""
    after = slices(overlay(overlay(BASE, WITH.get(key, {})), nested(key, OTHER[key])))
    return tuple(stage for stage in STAGES if after[stage] != BEFORE[stage])


def table() -> str:
    """Return the table: keys that the same stages are told share a line."""
    used = {"builtin": "NAME", "arithmetic": "NAME", "well_tuned": "NAME"}
    lines = dict[tuple[str, ...], list[list[str]]]()
    for key in OTHER:
        parts = key.split(".")
        if parts[0] not in tree.CATALOGUES or parts[1] in used:
            named = [used[part] if n == 1 and part in used else part for n, part in enumerate(parts)]
            named += ["task"] if key == "datasets.arithmetic" else []  # set with the rows that it reads
            lines.setdefault(told(key), []).append(named)
    rows = [f"| {_together(keys)} | {', '.join(stages) or 'none'} |\n" for stages, keys in lines.items()]
    return "| keys | stages that are told them |\n|---|---|\n" + "".join(rows)


def _together(keys: list[list[str]]) -> str:
    """Write keys, those of one group in one word: `trigger.kappa, baseline`."""
    groups = groupby(keys, key=lambda parts: parts[:-1])
    return "; ".join(f"`{'.'.join([*above, ', '.join(parts[-1] for parts in of)])}`" for above, of in groups)


def page() -> str:
    """Return docs/architecture.md with the table as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
