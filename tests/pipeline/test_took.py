"""`snakemake took`: what every attempt of a job left beside its log, added up by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpc.config.settings import load_config
from dpc.config.stages import RULES
from dpc.errors import DpcError
from dpc.pipeline import cost, cpu_cost, estimate, took
from dpc.storage import attempts
from tests.support import config_tree as tree

HOUR = 3600.0


def attempt(seconds: float, cpu_seconds: float, peak_gb: float, finished: bool = True) -> dict[str, Any]:
    return {
        "stage": "any", "host": "here", "device": "cpu", "began": "2026-01-01T00:00:00Z",
        "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gb": peak_gb, "finished": finished,
    }  # fmt: skip


def study(folder: Path, jobs: dict[str, list[dict[str, Any]]]) -> Any:
    """Return the embedded study's configuration, with its results in `folder` and the attempts of some jobs there."""
    for name, each in jobs.items():
        file = folder / "logs" / f"{name}{attempts.SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in each))
    values = tree.demo()
    values["study"]["results"] = str(folder)
    return load_config(values)


def test_attempts_add_up_by_rule(tmp_path: Path) -> None:
    cell = "builtin.arithmetic.well_tuned.seed"
    config = study(
        tmp_path,
        {
            f"tune_prompt/{cell}0": [attempt(HOUR, HOUR / 2, 1.0, finished=False), attempt(HOUR, HOUR, 2.0)],
            f"tune_prompt/{cell}1": [attempt(HOUR / 2, HOUR / 4, 1.5)],
            f"plan/{cell}0": [attempt(36.0, 18.0, 0.5)],
            "write_tables": [attempt(3.6, 3.6, 0.25)],
            "load_problems/all": [attempt(0.0, 0.0, 0.125)],
        },
    )
    rows = took.table(config).set_index("rule")
    assert rows.loc["tune_prompt", ["jobs", "attempts", "hours", "cpu_hours", "peak_gb"]].tolist() == [
        2,
        3,
        2.5,
        1.75,
        2,
    ]
    assert rows.hours.round(6).drop("tune_prompt").to_dict() == {
        "plan": 0.01,
        "write_tables": 0.001,
        "load_problems": 0,
    }
    assert rows.estimated_hours["tune_prompt"] == estimate.lines(config)["tune_prompt"].hours
    assert rows.estimated_hours.drop("tune_prompt").isna().all()
    assert "2.5 hours in all, 1.8 hours of CPU" in took.text(config)


def jobs_at(config: Any, factor: float) -> dict[str, list[dict[str, Any]]]:
    """Return jobs for the whole grid, as long as rates of `factor` times the given ones make them."""
    made = dict[str, list[dict[str, Any]]]()
    for rule, place, seeds in cost.grid(config):
        count, seconds = cost.shards(config, rule, place), HOUR * cost.hours(config, rule, place, cost.FIRED) / factor
        for seed in range(seeds):
            cell = [place.model, place.dataset, *([place.recipe, f"seed{seed}"] if place.recipe else [])]
            stem = ".".join([*cell, *([place.part] if place.part else [])])
            shards = [f".{n}-of-{count}" for n in range(1, count + 1)] if RULES[rule].shards else [""]
            made |= {f"{rule}/{stem}{shard}": [attempt(seconds / count, 1, 1)] for shard in shards}
    return made


def test_the_rates_a_study_came_to_estimate_it(tmp_path: Path) -> None:
    """Half of the jobs ran, one was stopped, and others are of no rate, recipe or seed of this study."""
    jobs = jobs_at(study(tmp_path / "empty", {}), 2.0)
    ran = dict(list(jobs.items())[::2])
    assert {rule.split("/")[0] for rule in ran} >= {"tune_prompt", "regenerate", "generate_unprompted", "intervene"}
    stopped = next(name for name in jobs if name.startswith("tune_prompt/") and name not in ran)
    others = {
        "plan/builtin.arithmetic.well_tuned.seed0": [attempt(HOUR, 1, 1)],
        stopped: [attempt(HOUR, 1, 1, finished=False)],
        "tune_prompt/builtin.arithmetic.removed.seed0": [attempt(HOUR, 1, 1)],
        "generate_base/builtin.arithmetic.well_tuned.seed9.1-of-1": [attempt(HOUR, 1, 1)],
    }
    config = study(tmp_path / "ran", ran | others)
    given = config.cluster.cpu_rates
    wanted = {"generate": 2 * given.generate, "saliency": 2 * given.saliency, "tune": 2 * given.tune}
    assert took.rates(config) == pytest.approx(wanted)
    assert "cluster: {cpu_rates: {generate: 80, tune: 160, saliency: 160}}" in took.text(config)


def test_jobs_of_other_recipes_and_seeds_are_not_of_the_study(tmp_path: Path) -> None:
    cells = ("well_tuned.seed0", "well_tuned.seed9", "removed.seed0")
    config = study(tmp_path, {f"plan/builtin.arithmetic.{cell}": [attempt(HOUR, 1, 1)] for cell in cells})
    assert took.table(config)[["rule", "jobs", "hours"]].to_numpy().tolist() == [["plan", 1, 1.0]]


def test_a_job_that_was_made_more_than_once_counts_with_its_longest_making(tmp_path: Path) -> None:
    whole, stopped, little = attempt(HOUR, 1, 1), attempt(360, 1, 1, finished=False), attempt(36, 1, 1)
    for each, hours, count in (
        ([stopped, whole], 1.1, 2),
        ([stopped, whole, little], 1.1, 2),
        ([little, stopped, whole], 1.1, 2),
        ([little, stopped], 0.1, 1),
        ([stopped], 0.1, 1),
    ):
        config = study(tmp_path, {"plan/builtin.arithmetic.well_tuned.seed0": each})
        assert took.table(config)[["hours", "attempts"]].to_numpy().tolist() == [[pytest.approx(hours), count]]


def test_a_study_of_which_only_the_questions_are_there_has_no_rates(tmp_path: Path) -> None:
    said = took.text(study(tmp_path, {"load_problems/arithmetic": [attempt(HOUR, 1, 1)]}))
    assert said.endswith("1.0 hours in all, 0.0 hours of CPU")


def test_the_memory_asked_for_is_that_of_the_job(tmp_path: Path) -> None:
    config = study(tmp_path, {})
    every = [cost.Place("builtin", "arithmetic", recipe) for recipe in config.study.recipes for _ in range(3)]
    asked = {
        ("tune_prompt", 6): cost.memory_mb(config, config.models["builtin"]),
        ("plan", 6): cpu_cost.memory_mb(config, "plan", every[:1]),
        ("draw_figures", 2): cpu_cost.memory_mb(config, "draw_figures", every[:3]),
        ("write_tables", 1): cpu_cost.memory_mb(config, "write_tables", every),
    }
    assert {case: round(took.asked_gb(config, *case) * 1000) for case in asked} == asked
    assert took.asked_gb(config, "load_problems", 1) is None


def test_a_study_that_has_not_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(DpcError, match="found no job that ran; run the study first"):
        took.table(study(tmp_path, {}))


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "plan" / "one.log"
    file = log.with_suffix(attempts.SUFFIX)
    config = study(tmp_path, {"plan/one": [attempt(36.0, 18.0, 0.5), attempt(72.0, 18.0, 0.5)], "plan/two": []})
    file.write_text(file.read_text()[:-20])
    (tmp_path / "logs" / "plan" / f"two{attempts.SUFFIX}").write_text('{"stage": "pl')
    assert took.table(config).hours.tolist() == [0.01]
    with attempts.recorded(log, "plan", "cpu"):
        pass
    (jobs,) = attempts.read(tmp_path / "logs").values()
    (found,) = jobs.values()
    assert [each.finished for each in found] == [True, True]
    assert found[1].seconds < 36


def test_an_attempt_that_fails_counts_too(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "plan" / "a.b-1-of-2.log"
    log.parent.mkdir(parents=True)
    with pytest.raises(KeyError), attempts.recorded(log, "plan", "cpu"):
        raise KeyError
    with attempts.recorded(log, "plan", "cpu"):
        sum(range(3_000_000))
    first, second = attempts.read(tmp_path / "logs")["plan"]["a.b-1-of-2"]
    assert (first.finished, second.finished, second.device) == (False, True, "cpu")
    assert 0 < second.cpu_seconds <= second.seconds * 1.5
    assert second.peak_gb > 0.01
