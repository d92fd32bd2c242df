"""The last lines of a run: which jobs failed for good, why, and how to make them again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dpc.pipeline.cluster import causes

BLOCK = """Error in rule {rule}:
    message: SLURM-job '{job}' failed, SLURM status is: '{state}'. Detailed failure reason unavailable.
    jobid: {jobid}
    input: a.parquet
    output: results/{rule}.parquet, results/other.parquet
    log: {log}, {slurm_log} (check log file(s) for error details)
    shell:
        python -m dpc {rule}
    external_jobid: {job}
"""


def block(folder: Path, rule: str, jobid: int, job: int, state: str) -> str:
    (folder / "slurm_logs").mkdir(exist_ok=True)
    return BLOCK.format(
        rule=rule, jobid=jobid, job=job, state=state, log=folder / f"{rule}.log",
        slurm_log=folder / "slurm_logs" / f"{job}.log",
    )  # fmt: skip


def test_a_job_that_succeeded_later_did_not_fail(tmp_path: Path) -> None:
    log = block(tmp_path, "plan", 3, 10, "FAILED") + "Trying to restart job 3.\nFinished jobid: 3 (Rule: plan)\n"
    assert causes.failures(log) == []


def test_attempts_are_counted_and_repeated_blocks_are_not(tmp_path: Path) -> None:
    tries = "".join(block(tmp_path, "plan", 3, job, "FAILED") for job in (10, 11, 12, 12))
    (found,) = causes.failures(tries)
    assert (found.attempts, found.slurm_job, found.rule) == (3, "12", "plan")
    assert found.outputs == ["results/plan.parquet", "results/other.parquet"]


@pytest.mark.parametrize(
    ("state", "facts", "said"),
    [
        (
            "TIMEOUT",
            {"JobState": "TIMEOUT", "TimeLimit": "00:16:00"},
            "its time limit was reached (it had asked for 00:16",
        ),
        ("OUT_OF_MEMORY", {}, "out of memory"),
        ("NODE_FAIL", {}, "its node failed"),
        ("CANCELLED", {}, "it was cancelled"),
        ("FAILED", {"JobState": "FAILED", "ExitCode": "0:9"}, "it was ended by signal 9"),
    ],
)
def test_slurm_knows_what_ended_a_job(tmp_path: Path, state: str, facts: dict[str, str], said: str) -> None:
    (found,) = causes.failures(block(tmp_path, "plan", 3, 10, state))
    assert causes.cause(found, lambda job: facts).startswith(said)


def test_a_stages_own_error_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "plan.log").write_text(
        "INFO again by hand: x\nERROR error: found 3 layers, expected 4\nINFO plan: peak\n"
    )
    (found,) = causes.failures(block(tmp_path, "plan", 3, 10, "FAILED"))
    assert causes.cause(found, lambda job: {}) == "found 3 layers, expected 4"


def test_memory_is_named_where_only_slurms_output_tells(tmp_path: Path) -> None:
    text = block(tmp_path, "plan", 3, 10, "FAILED")
    (tmp_path / "slurm_logs/10.log").write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=10.0\n")
    (found,) = causes.failures(text)
    assert causes.cause(found, lambda job: {"MinMemoryNode": "4000M"}) == "out of memory (it had asked for 4000M)"


def test_the_command_makes_one_output_with_the_runs_own_options() -> None:
    arguments = ["--profile", "slurm", "--configfile", "my study.yaml", "--", "figures"]
    line = causes.command(arguments, {"figures"}, "results/x.parquet")
    expected = ["snakemake", "--profile", "slurm", "--configfile", "my study.yaml", "--", "results/x.parquet"]
    assert shlex.split(line) == expected


def test_many_failures_are_counted_after_ten(tmp_path: Path) -> None:
    log = "".join(block(tmp_path, f"rule{i}", i, i, "CANCELLED") for i in range(13))
    told = causes.report(log, [], set())
    assert (len(told), told[-1]) == (11, "and 3 more jobs failed")
    assert told[0].startswith("rule0 failed (Slurm job 0, 1 attempt): it was cancelled; log: ")
