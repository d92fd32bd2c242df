"""The cost model against hand arithmetic: what a 7B, 8B and 13B job asks for."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.pipeline import cost, cpu_cost, estimate
from dpc.storage import tables
from dpc.storage.meanings import meaning
from tests.support import config_tree as tree
from tests.support import model_folders
from tests.support.paths import ROOT
from tests.support.workflow import Workflow, nested, overlay


def paper(key: str = "study.name", value: Any = "x") -> Config:
    return load_config(overlay(tree.config(), nested(key, value)))


GSM8K = cost.Place("llama2-13b", "gsm8k", "paper")


def test_work_is_counted_by_hand() -> None:
    config = paper()
    assert cost.work(config, "generate_base", GSM8K) == cost.Work(1719, 1719 * 256)
    assert cost.work(config, "extract_saliency", GSM8K) == cost.Work(1719, 1719 * (100 + 100 + 256))
    assert cost.work(config, "extract_variants", GSM8K) == cost.Work(4 * 100, 4 * 100 * (100 + 100 + 256))
    assert cost.work(paper("variants.rows", 900), "extract_variants", GSM8K).rows == 4 * 400
    assert cost.work(config, "tune_prompt", GSM8K) == cost.Work(4400 * 16, 4400 * 16 * 456)
    test_part = cost.Place("llama2-13b", "gsm8k", "paper", "test")
    # of 16 plans 3 ask for nothing and 5 for what `always` makes
    assert cost.work(config, "regenerate", test_part).rows == 8 * 1319
    assert cost.work(config, "generate_act", GSM8K) == cost.Work(1319, 1319 * 256)
    layers = (13e9 / (12 * 128**2)) ** (1 / 3)  # 40.4, as many heads; each a forward pass through half of the layers
    assert cost.work(config, "select_act_heads", GSM8K) == cost.Work(200, round(200 * 456 * layers**2 / 2 / 3))
    calibration = cost.Place("llama2-13b", "gsm8k", "paper", "calibration")
    assert cost.work(config, "regenerate", calibration).rows == 400 + 8 * 200


def test_a_trigger_is_estimated_to_fire_on_a_quarter_and_may_fire_on_all() -> None:
    config, part = paper(), cost.Place("llama2-13b", "gsm8k", "paper", "test")
    # 6 of the 8 that make answers of their own fire where a trigger does, `always` and `static_mask` everywhere
    assert cost.work(config, "regenerate", part, cost.FIRED).rows == 6 * round(1319 / 4) + 2 * 1319
    assert cost.work(config, "extract_corrupted", GSM8K, cost.FIRED).rows == round(1319 / 4)  # of dpc
    line = estimate.lines(paper("study.recipes", ["paper"]))["extract_corrupted"]
    of = {"gsm8k": 1319, "math": 5000, "aqua": 254}
    assert line.rows == 3 * 3 * sum(round(rows / 4) for rows in of.values())  # models, seeds
    assert cost.hours(config, "regenerate", part) > 2 * cost.hours(config, "regenerate", part, cost.FIRED)
    seconds = 8 * 1319 * 256 * 13 / 8000
    assert cost.minutes(config, "regenerate", part, 1) == math.ceil(15 + 2 * seconds / 60)  # limits are for all
    assert "fire on 25% of questions" in estimate.table(config)


def test_time_follows_tokens_size_rate_and_attempt() -> None:
    config = paper()
    seconds = 4400 * 16 * 456 * 13 / 12000
    assert cost.hours(config, "tune_prompt", GSM8K) == pytest.approx(seconds / 3600)
    assert cost.minutes(config, "tune_prompt", GSM8K, 1) == min(24 * 60, math.ceil(15 + 2 * seconds / 60))
    small = cost.Place("mistral-7b", "aqua", "paper")
    once = cost.minutes(config, "generate_base", small, 1)
    assert cost.minutes(config, "generate_base", small, 1, attempt=2) == pytest.approx(2 * once, abs=1)
    assert cost.minutes(config, "generate_base", small, 2) < once
    longest = paper("cluster.max_hours", 2)
    assert cost.minutes(longest, "tune_prompt", GSM8K, 1, attempt=3) == 120


def test_a_core_has_rates_of_its_own() -> None:
    tree_of = {"execution": {"device": "cpu"}, "cluster": {"cpu_rates": {"tune": 50}, "rates": {"tune": 1}}}
    config = load_config(overlay(tree.config(), tree_of))
    assert cost.hours(config, "tune_prompt", GSM8K) == pytest.approx(4400 * 16 * 456 * 13 / 50 / 3600)
    assert "cluster.cpu_rates" in estimate.table(config)
    assert "cluster.rates" in estimate.table(paper())


@pytest.mark.parametrize(
    ("model", "card", "cards"),
    [("mistral-7b", 24, 1), ("llama3-8b", 24, 2), ("llama2-13b", 80, 1), ("llama2-13b", 40, 1), ("llama2-13b", 24, 2)],
)
def test_cards_hold_weights_a_quarter_more_and_three_gigabytes(model: str, card: float, cards: int) -> None:
    config = paper("cluster.gpu_memory_gb", card)
    assert cost.gpus(config, config.models[model]) == cards


def test_cards_are_asked_for_where_torch_runs_on_them_or_by_name() -> None:
    model = tree.config()["study"]["models"][0]
    for key, value, cards in (("execution.device", "cpu", 0), ("cluster.gpus", 3, 3), ("cluster.gpus", 0, 0)):
        config = paper(key, value)
        assert cost.gpus(config, config.models[model]) == cards
    on_cpu = load_config(overlay(tree.config(), {"execution": {"device": "cpu"}, "cluster": {"gpus": 3}}))
    assert cost.gpus(on_cpu, on_cpu.models[model]) == 3  # tests/cluster pretends cards so


def test_memory_holds_the_weights_and_grows_with_attempts() -> None:
    config = paper()
    sizes = [cost.memory_mb(config, config.models[name]) for name in ("mistral-7b", "llama3-8b", "llama2-13b")]
    assert sizes == [4000 + round(1200 * 2 * billions) for billions in (7.2, 8.0, 13.0)]
    assert cost.memory_mb(config, config.models["llama3-8b"], 3) == 3 * sizes[1]


def test_auto_shards_last_about_an_hour_and_numbers_are_taken() -> None:
    config = paper()
    for model in config.study.models:
        for dataset in config.study.datasets:
            place = cost.Place(model, dataset, "paper", "test")
            count = cost.shards(config, "regenerate", place)
            assert count == 1 or 0.6 < cost.hours(config, "regenerate", place) / count < 1.5
            for fewer in (["prompt_tuning", "dpc"], ["prompt_tuning", "always", "projected"]):
                for part in ("calibration", "test", "oracles"):
                    place = cost.Place(model, dataset, "paper", part)
                    assert cost.shards(paper("study.plans", fewer), "regenerate", place) == cost.shards(
                        config, "regenerate", place
                    )
    assert cost.shards(paper("shards.generate", 5), "regenerate", GSM8K) == 5


def test_parameters_of_a_local_folder_are_counted_in_the_headers(tmp_path: Path) -> None:
    save_file({"a": np.zeros((100, 20)), "b": np.zeros(500), "c": np.array(1.0)}, tmp_path / "model.safetensors")
    assert cost.counted(tmp_path) * 1e9 == pytest.approx(100 * 20 + 500 + 1)
    with pytest.raises(DpcError, match="found no safetensors file"):
        cost.counted(tmp_path / "elsewhere")


def test_the_depth_of_a_local_folder_is_that_of_its_config(tmp_path: Path) -> None:
    """A narrow model of 30 layers: 12 L D^2 with D = 128 L would have 4."""
    model_folders.write(tmp_path / "deep", num_hidden_layers=30)
    config = paper("models.deep", {"path": str(tmp_path / "deep")})
    place, shape = cost.Place("deep", "gsm8k", "paper"), json.loads((tmp_path / "deep/config.json").read_text())
    assert cost.depth(config.models["deep"]) == cost.Depth(30, shape["num_attention_heads"])
    guessed = paper("models.deep", {"path": str(tmp_path / "deep"), "parameters": 0.001})
    assert cost.depth(guessed.models["deep"]) == cost.Depth(4, 4, is_guess=True)
    assert cost.output_gb(config, "extract_saliency", place) > 2 * cost.output_gb(guessed, "extract_saliency", place)
    act, few = (cost.work(made, "select_act_heads", place).tokens for made in (config, guessed))
    assert act / few == pytest.approx(30 * shape["num_attention_heads"] / 16)
    scanned, little = (cpu_cost.memory_mb(made, "read_flow", [place]) for made in (config, guessed))
    assert scanned > little


@pytest.mark.parametrize("over", [("workflow/demo.yaml",), ()], ids=["embedded", "paper"])
def test_the_estimate_and_the_cluster_page_count_the_jobs_that_a_dry_run_plans(
    over: tuple[str, ...], tmp_path: Path
) -> None:
    workflow = Workflow(tmp_path, {"study": {"results": "results"}}, over)
    planned = workflow.planned()
    lines = estimate.lines(load_config(tree.demo() if over else tree.config()))
    assert {rule: line.jobs for rule, line in lines.items()} == {rule: planned[rule] for rule in lines}
    if not over:
        (said,) = re.findall(r"for the paper's grid that is some (\d+) jobs", (ROOT / "docs/cluster.md").read_text())
        assert sum(planned.values()) == pytest.approx(int(said), rel=0.1)


def test_a_sweep_is_work_and_room() -> None:
    config, swept = paper(), paper("sensitivity.gammas", [0, 30])
    once = 400 * 2  # calibration questions of a cell, each pair of settings but the one that runs anyway
    more = estimate.lines(swept)["regenerate"].rows - estimate.lines(config)["regenerate"].rows
    assert more == 27 * once
    assert cost.disk_gb(swept) > cost.disk_gb(config)


def test_the_disk_check_asks_for_what_the_estimate_says() -> None:
    for config in (
        paper(),
        paper("study.oracles", ["oracle_token"]),
        paper("mechanism.plans", ["dpc", "random_token"]),
    ):
        said = sum(line.disk_gb for line in estimate.lines(config).values())
        assert cost.disk_gb(config) == pytest.approx(said)
    parts = {
        line: estimate.lines(paper())[line].disk_gb
        for line in ("generate_act", "extract_corrupted", "extract_exemplars")
    }
    assert all(gigabytes > 0.01 for gigabytes in parts.values()), parts
    causal = cost.output_gb(paper(), "intervene", GSM8K)  # a number for each pass, with its test and target
    assert cost.work(paper(), "intervene", GSM8K).rows * 50e-9 < causal < 0.05


def test_saliency_takes_as_much_room_as_its_table(tmp_path: Path) -> None:
    """Columns with the axes that dpc/storage/meanings.py names, filled with noise, which does not compress."""
    config = paper("models.tiny", {"builtin": {"layers": 4}})
    axes = {"L": 4, "N": config.recipes["paper"].vectors, "T": config.datasets["gsm8k"].max_new_tokens // 2}
    units = {name: meaning("saliency", name).unit for name in tables.SCHEMAS["saliency"]}
    lists = {name: re.findall(r"[LNT]", unit.partition("]")[0]) for name, unit in units.items() if unit[:1] == "["}
    assert len(lists) > 10
    noise = np.random.default_rng(0)
    sizes = {name: math.prod(axes[axis] for axis in found) for name, found in lists.items()}
    row: dict[str, Any] = dict.fromkeys(tables.SCHEMAS["saliency"], 0) | {"problem_id": "x", "split": "test"}
    rows = [row | {name: noise.random(size).astype(np.float32) for name, size in sizes.items()} for _ in range(30)]
    whole = pd.DataFrame(rows).assign(step_of_token=[[0] * axes["T"]] * len(rows))
    tables.write(tmp_path / "saliency.parquet", "saliency", whole, {})
    place = cost.Place("tiny", "gsm8k", "paper")
    said = cost.output_gb(config, "extract_saliency", place) / cost.work(config, "extract_saliency", place).rows
    assert said * 1e9 == pytest.approx((tmp_path / "saliency.parquet").stat().st_size / len(rows), rel=0.1)


def test_only_plans_that_run_and_edit_the_prompt_are_measured_again() -> None:
    def rows(plans: list[str], mask: str = "scale") -> int:
        config = load_config(overlay(tree.config(), {"mechanism": {"plans": plans}, "corrupt": {"mask": mask}}))
        return cost.work(config, "extract_corrupted", GSM8K).rows

    assert rows(["dpc"]) == 1319
    assert rows(["dpc", "act", "no_prompt", "always"]) == 2 * 1319
    assert rows(["dpc"], "attention") == rows([]) == 0


def test_the_estimate_counts_every_cell_of_the_grid() -> None:
    config = paper()
    lines = estimate.lines(config)
    assert lines["tune_prompt"].jobs == 27
    assert lines["generate_base"].jobs == 27
    assert lines["select_act_heads"].jobs == 27
    assert lines["extract_variants"].jobs == lines["intervene"].jobs == 27
    assert "select_act_heads" not in estimate.lines(paper("study.plans", ["prompt_tuning", "dpc"]))
    assert lines["tune_prompt"].hours == pytest.approx(
        sum(
            3 * cost.hours(config, "tune_prompt", cost.Place(model, dataset, "paper"))
            for model in config.study.models
            for dataset in config.study.datasets
        )
    )
    text = estimate.table(config)
    assert "h of GPU time in all" in text
    assert "llama2-13b" in text
