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


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("saliency --configfile mine.yaml", "--configfile mine.yaml"),
        ("--cores 2 saliency results/a.parquet --configfile mine.yaml", "--cores 2 --configfile mine.yaml"),
        ("--rerun-incomplete saliency --configfile mine.yaml", "--rerun-incomplete --configfile mine.yaml"),
        ("saliency --until saliency --cores 2", "--until saliency --cores 2"),
    ],
)
def test_a_target_before_the_options_is_left_out_as_well(said: str, kept: str) -> None:
    """Snakemake takes targets in one place of a command line."""
    line = causes.command(said.split(), {"saliency", "results/a.parquet"}, "results/x.parquet")
    assert line == f"snakemake {kept} -- results/x.parquet"


def test_many_failures_are_counted_after_ten(tmp_path: Path) -> None:
    log = "".join(block(tmp_path, f"rule{i}", i, i, "CANCELLED") for i in range(13))
    told = causes.report(log, [], set())
    assert (len(told), told[-1]) == (11, "and 3 more jobs failed")
    assert told[0].startswith("rule0 failed (Slurm job 0, 1 attempt): it was cancelled; log: ")


REFUSED = """Error in rule {rule}:
    message: {message}For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: {jobid}
    output: results/{rule}.parquet
    log: {log} (check log file(s) for error details)
    shell:
        python -m dpc {rule}
        (command exited with non-zero exit code)
"""
SBATCH = (
    "SLURM sbatch failed. The error message was '{}'.\n    sbatch call:\n        sbatch --parsable --wrap=\"python\"\n"
)
EXECUTOR = "Job submission failed with exception: {}"
PARTITION = "sbatch: error: invalid partition: x\nsbatch: error: Batch job submission failed: Invalid name"
GRES = "Invalid GRES format: gpu:a-b:1. Expected format: '<name>', '<name>:<number>' (e.g., 'gpu', 'gpu:1') "


def refused(folder: Path, message: str, rule: str = "plan", jobid: int = 3) -> str:
    return REFUSED.format(rule=rule, message=message, jobid=jobid, log=folder / f"{rule}.log")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            SBATCH.format(PARTITION),
            "Slurm refused the job: invalid partition: x; Batch job submission failed: Invalid name",
        ),
        (
            SBATCH.format("sbatch: error: QOSMaxSubmitJobPerUserLimit"),
            "Slurm refused the job: QOSMaxSubmitJobPerUserLi",
        ),
        (SBATCH.format("sbatch: error: it's 'full'"), "Slurm refused the job: it's 'full'"),
        (SBATCH.format("/bin/sh: 1: sbatch: not found"), "Slurm refused the job: /bin/sh: 1: sbatch: not found"),
        (SBATCH.format("Site policy:\n\n    ask for less\n"), "Slurm refused the job: Site policy: ask for less"),
        (SBATCH.format(""), "Slurm refused the job: it did not say why"),
        (EXECUTOR.format(GRES), f"Snakemake's executor refused the job: {GRES.strip()}"),
        (
            EXECUTOR.format("The account x appears to be invalid. Available accounts:\na, b"),
            "Snakemake's executor refused the job: The account x appears to be invalid. Available accounts: a, b",
        ),
        (
            EXECUTOR.format("No valid SLURM job ID found in: \n.\nAsk."),
            "Snakemake's executor refused the job: No valid",
        ),
        (EXECUTOR.format("[Errno 2] No such file or directory: 'sacctmgr'"), "Snakemake's executor refused the job: ["),
        (EXECUTOR.format(""), "Snakemake's executor refused the job: it did not say why"),
    ],
    ids=["name", "limit", "quotes", "sbatch", "policy", "nothing", "gres", "account", "id", "sacctmgr", "empty"],
)
def test_a_submission_that_failed_says_what_was_said(tmp_path: Path, message: str, said: str) -> None:
    """Lines of a message that are not indented end no block: the job keeps its number and its outputs."""
    (tmp_path / "plan.log").touch()
    line, other = causes.report(refused(tmp_path, message) + refused(tmp_path, message, "evaluate", 4), [], set())
    assert line.startswith(f"plan failed (1 attempt): {said}")
    assert line.endswith("; again: snakemake -- results/plan.parquet")
    assert "log: " not in line
    assert other.startswith("evaluate failed (1 attempt): ")
    assert "\n" not in line


def test_a_submission_that_is_tried_again_counts(tmp_path: Path) -> None:
    once = refused(tmp_path, EXECUTOR.format(GRES))
    (found,) = causes.failures(f"{once}Trying to restart job 3.\n{once}Trying to restart job 3.\n{once}")
    assert found.attempts == 3
    assert causes.failures(f"{once}Trying to restart job 3.\nFinished jobid: 3 (Rule: plan)\n") == []


SNAKEMAKES = (
    "[Fri Nov 27 15:00:57 2026]\nError in rule plan:\n    jobid: 0\nsrun: error: c1: task 0: Exited with exit code 1\n"
)
STARTED = "Building DAG of jobs...\n[Fri Nov 27 15:00:55 2026]\nlocalrule plan:\n    output: x\n"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            f"{STARTED}/bin/bash: line 1: /x/python: No such file or directory\nRuleException:\nCalledProcessError in",
            "/bin/bash: line 1: /x/python: No such file or directory",
        ),
        (
            f"{STARTED}Traceback (most recent call last):\n  File x\n    import y\nModuleNotFoundError: No y\n",
            "ModuleNotFoundError: No y",
        ),
        (
            'WorkflowError in file "x.smk", line 26:\nconfig: models.x.path is y: found no config.json\n  File z\n',
            "config: models.x.path is y: found no config.json",
        ),
        (f"{STARTED}/usr/bin/bash: line 1: 77 Segmentation fault\n", "/usr/bin/bash: line 1: 77 Segmentation fault"),
    ],
    ids=["program", "package", "configuration", "crash"],
)
def test_a_stage_that_never_spoke_left_its_words_with_slurm(tmp_path: Path, output: str, said: str) -> None:
    log = block(tmp_path, "plan", 3, 10, "FAILED")
    (tmp_path / "plan.log").touch()
    (tmp_path / "slurm_logs/10.log").write_text(output + SNAKEMAKES)
    (found,) = causes.failures(log)
    assert causes.cause(found, lambda job: {}) == f"it ended early; its last words: {said}"
    (line,) = causes.report(log, [], set())
    assert f"; log: {tmp_path}/slurm_logs/10.log; again: " in line
