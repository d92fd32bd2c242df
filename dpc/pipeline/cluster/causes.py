"""Why jobs failed, in one line each: what it was, where it is written, and the command that runs that stage again.

Snakemake's own log names the failed jobs, Slurm knows how they ended, and a stage's log ends with its error.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpc.pipeline.cluster import slurm

BLOCK = re.compile(r"^Error in (?:group|rule) (?P<rule>\w+)[^\n]*:\n(?P<body>(?:    [^\n]*\n)+)", re.MULTILINE)
STATES = {
    "TIMEOUT": "its time limit was reached",
    "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "DEADLINE": "its deadline passed",
    "PREEMPTED": "another job took its place",
}
MEMORY = re.compile(r"oom.kill|out of memory|exceeded (?:job |step )?memory limit|memory limit \(", re.IGNORECASE)
MOST = 10
"""So many failed jobs are named one by one."""


@dataclass(frozen=True)
class Failure:
    """One job that failed in the end."""

    rule: str
    jobid: str
    outputs: list[str]
    logs: list[Path]
    slurm_job: str | None
    message: str
    attempts: int


def _field(body: str, name: str) -> str:
    found = re.search(rf"^    {name}: (.*)$", body, re.MULTILINE)
    return found[1] if found else ""


def failures(log: str) -> list[Failure]:
    """Return the jobs that failed and did not succeed later, from the text of Snakemake's log, in order."""
    found: dict[str, Failure] = {}
    for block in BLOCK.finditer(log):
        body = block["body"]
        jobid = _field(body, "jobid")
        before = found.pop(jobid, None)
        if re.search(rf"^Finished jobid: {jobid} ", log[block.end() :], re.MULTILINE):
            continue
        logs = _field(body, "log").split(" (check log")[0]
        same = before is not None and before.slurm_job == (_field(body, "external_jobid") or None)
        found[jobid] = Failure(
            rule=block["rule"],
            jobid=jobid,
            outputs=[name for name in _field(body, "output").split(", ") if name],
            logs=[Path(name) for name in logs.split(", ") if name],
            slurm_job=_field(body, "external_jobid") or None,
            message=_field(body, "message"),
            attempts=before.attempts + (not same) if before else 1,
        )
    return list(found.values())


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def _said(text: str) -> str | None:
    """Return the last error a stage wrote, or the last line of a program that writes no such line."""
    errors = re.findall(r"error: (.*)$", text, re.MULTILINE | re.IGNORECASE)
    lines = [line for line in text.splitlines() if line.strip()]
    return errors[-1].strip() if errors else lines[-1].strip() if lines else None


def cause(failure: Failure, facts: Callable[[str], dict[str, str]] = slurm.facts) -> str:
    """Say in a few words why a job failed."""
    known = facts(failure.slurm_job) if failure.slurm_job else {}
    told = re.search(r"status is: '(\w+)'", failure.message)
    state = known.get("JobState") or (told[1] if told else "")
    own = [_text(file) for file in failure.logs if "slurm_logs" not in file.parts]
    from_slurm = "\n".join(_text(file) for file in failure.logs if "slurm_logs" in file.parts)
    if MEMORY.search(from_slurm):
        state = "OUT_OF_MEMORY"
    if "sbatch failed" in failure.message:
        return "Slurm refused the job: " + failure.message.split("The error message was ")[-1].strip("'. ")
    if state in STATES:
        asked = {"TIMEOUT": known.get("TimeLimit"), "OUT_OF_MEMORY": known.get("MinMemoryNode")}.get(state)
        return STATES[state] + (f" (it had asked for {asked})" if asked else "")
    stage = [text for text in own if "again by hand:" in text or "error: " in text]
    if stage and "error: " in stage[-1]:
        return str(_said(stage[-1]))
    if known.get("ExitCode", "0:0").split(":")[1] not in ("0", ""):
        return f"it was ended by signal {known['ExitCode'].split(':')[1]}"
    last = next((said for text in own if (said := _said(text))), None)
    return f"it ended early; its last words: {last}" if last else "it ended early and wrote nothing"


def command(arguments: list[str], targets: set[str], output: str) -> str:
    """Return the command line that makes one output: this run's own, with another target."""
    options = list(arguments)
    while options and (options[-1] in targets or options[-1] == "--"):
        options.pop()
    return shlex.join(["snakemake", *options, "--", output])


def report(log: str, arguments: list[str], targets: set[str]) -> list[str]:
    """Return one line for every failed job, for the end of a run's output."""
    failed = failures(log)
    lines = []
    for failure in failed[:MOST]:
        job = f"Slurm job {failure.slurm_job}, " if failure.slurm_job else ""
        tried = f"{failure.attempts} attempt{'s' if failure.attempts > 1 else ''}"
        again = f"; again: {command(arguments, targets, failure.outputs[0])}" if failure.outputs else ""
        logs = f"; log: {failure.logs[0]}" if failure.logs else ""
        lines.append(f"{failure.rule} failed ({job}{tried}): {cause(failure)}{logs}{again}")
    more = len(failed) - MOST
    return [*lines, f"and {more} more jobs failed"] if more > 0 else lines
