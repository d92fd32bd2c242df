"""`snakemake took`: what every attempt of a job left beside its log, added up by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpc.config.settings import load_config
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
    cell = "a.model.with.dots.seed"
    config = study(
        tmp_path,
        {
            f"tune_prompt/{cell}0": [attempt(HOUR, HOUR / 2, 1.0, finished=False), attempt(HOUR, HOUR, 2.0)],
            f"tune_prompt/{cell}1": [attempt(HOUR / 2, HOUR / 4, 1.5)],
            "plan/one": [attempt(36.0, 18.0, 0.5)],
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


def test_the_rates_a_study_came_to_estimate_it(tmp_path: Path) -> None:
    """Jobs as long as a rate of twice the given one makes them: half of a stage's jobs ran, and a rule without rate."""
    empty = study(tmp_path, {})
    lines = estimate.lines(empty)
    seconds = {rule: HOUR * line.job_hours / line.jobs / 2 for rule, line in lines.items()}
    ran = {"tune_prompt": lines["tune_prompt"].jobs, "generate_base": lines["generate_base"].jobs // 2}
    jobs = {f"{rule}/{job}": [attempt(seconds[rule], 1, 1)] for rule, count in ran.items() for job in range(count)}
    config = study(tmp_path, jobs | {"plan/one": [attempt(HOUR, 1, 1)]})
    found = took.rates(config, took.table(config))
    given = config.cluster.cpu_rates
    assert found == pytest.approx({"generate": 2 * given.generate, "tune": 2 * given.tune})
    assert "cluster: {cpu_rates: {generate: 80, tune: 160}}" in took.text(config)


def test_a_job_made_anew_counts_from_its_new_beginning(tmp_path: Path) -> None:
    whole, stopped = attempt(HOUR, HOUR, 1.0), attempt(60, 60, 1.0, finished=False)
    for each, seconds in (([stopped, whole], HOUR + 60), ([whole, stopped], 60), ([whole, stopped, whole], HOUR + 60)):
        config = study(tmp_path, {"plan/one": each})
        assert took.table(config).hours.sum() == pytest.approx(seconds / HOUR)


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
    ((found,),) = attempts.read(tmp_path / "logs").values()
    assert [each.finished for each in found] == [True]
    assert found[0].device == "cpu"


def test_an_attempt_that_fails_counts_too(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "plan" / "a.b-1-of-2.log"
    log.parent.mkdir(parents=True)
    with pytest.raises(KeyError), attempts.recorded(log, "plan", "cpu"):
        raise KeyError
    with attempts.recorded(log, "plan", "cpu"):
        sum(range(3_000_000))
    ((first, second),) = attempts.read(tmp_path / "logs")["plan"]
    assert (first.finished, second.finished, second.device) == (False, True, "cpu")
    assert 0 < second.cpu_seconds <= second.seconds * 1.5
    assert second.peak_gb > 0.01
