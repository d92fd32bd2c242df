"""Why jobs failed, one line each: the cause, the log, and the command that runs the stage again.

Snakemake's own log names the failed jobs, Slurm knows how they ended, and a stage's log ends with its error (that of a
stage that a signal stopped: `dpc/storage/interrupt.py`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpc.pipeline.cluster import slurm

# what the executor says may have several lines, and not all are indented
BLOCK = re.compile(
    r"^Error in (?:group|rule) (?P<rule>\w+)[^\n]*:\n"
    r"(?:    message: (?P<message>(?s:.*?))\n(?=    (?:jobid|log|jobs): ))?(?P<body>(?:    [^\n]*\n)+)",
    re.MULTILINE,
)
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
SUBMISSION = re.compile(
    r"SLURM sbatch failed\. The error message was '(?P<slurm>.*?)'\.\n    sbatch call:"
    r"|Job submission failed with exception: (?P<executor>.*?)(?:For further error details see the cluster.*)?\Z",
    re.DOTALL,
)
"""What Snakemake's executor says of a job that never was one: Slurm refused it, or the executor itself did."""
KILLED = "the stage's process was killed; the usual reason is memory"
"""What is said where it runs beside others that had torch loaded (`warm.py`)."""
NAMING = ("--until", "-U", "--omit-from", "-O", "--forcerun", "-R")
"""Options of Snakemake that take a rule's name, which may be a target's as well."""
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
        restarts = len(re.findall(rf"^Trying to restart job {jobid}\.", log, re.MULTILINE))
        logs = _field(body, "log").split(" (check log")[0]
        same = before is not None and before.slurm_job == (_field(body, "external_jobid") or None)
        found[jobid] = Failure(
            rule=block["rule"],
            jobid=jobid,
            outputs=[name for name in _field(body, "output").split(", ") if name],
            logs=[Path(name) for name in logs.split(", ") if name],
            slurm_job=_field(body, "external_jobid") or None,
            message=block["message"] or "",
            attempts=max(before.attempts + (not same) if before else 1, 1 + restarts),
        )
    return list(found.values())


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def _said(text: str) -> str | None:
    """Return the last error a stage wrote, or the last line of a program that writes no such line."""
    errors = re.findall(r"error: (.*)$", text, re.MULTILINE | re.IGNORECASE)
    lines = [line for line in text.splitlines() if line.strip()]
    return errors[-1].strip() if errors else lines[-1].strip() if lines else None


def _refusal(message: str) -> str | None:
    """Return what Slurm or Snakemake's executor said of a job that they did not take; None where they took it."""
    found = SUBMISSION.search(message)
    if not found:
        return None
    who = "Slurm" if found["slurm"] is not None else "Snakemake's executor"
    lines = (found["slurm"] or found["executor"] or "").split("\n")
    said = [line.strip().removeprefix("sbatch: ").removeprefix("error: ") for line in lines]
    told = "; ".join(filter(None, said)).replace(":; ", ": ")
    return f"{who} refused the job: {told or 'it did not say why'}"


def _last_words(output: str) -> str | None:
    """Return what a job said last before Snakemake, whose output in a Slurm job this is, reported its end."""
    before = re.split(r"^(?:RuleException:$|\[.*\]\nError in )", output, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in before.splitlines() if re.match(r"\S.*[^:]$", line)]
    ours = [line for line in lines if line.startswith(("config: ", "check: "))]
    return (ours or lines or [None])[-1]


def cause(failure: Failure, facts: Callable[[str], dict[str, str]] = slurm.facts) -> str:
    """Say in a few words why a job failed."""
    if refusal := _refusal(failure.message):
        return refusal
    known = facts(failure.slurm_job) if failure.slurm_job else {}
    told = re.search(r"status is: '(\w+)'", failure.message)
    state = known.get("JobState") or (told[1] if told else "")
    own = [_text(file) for file in failure.logs if "slurm_logs" not in file.parts]
    from_slurm = "\n".join(_text(file) for file in failure.logs if "slurm_logs" in file.parts)
    if MEMORY.search(from_slurm):
        state = "OUT_OF_MEMORY"
    if state in STATES:
        asked = {"TIMEOUT": known.get("TimeLimit"), "OUT_OF_MEMORY": known.get("MinMemoryNode")}.get(state)
        return STATES[state] + (f" (it had asked for {asked})" if asked else "")
    stage = [text for text in own if "again by hand:" in text or "error: " in text]
    if stage and "error: " in stage[-1]:
        return str(_said(stage[-1]))
    if known.get("ExitCode", "0:0").split(":")[1] not in ("0", ""):
        return f"it was ended by signal {known['ExitCode'].split(':')[1]}"
    last = next((said for text in own if (said := _said(text))), None) or _last_words(from_slurm)
    return f"it ended early; its last words: {last}" if last else "it ended early and wrote nothing"


def command(arguments: list[str], targets: set[str], output: str) -> str:
    """Return the command line that makes one output: this run's own, with another target."""
    pairs = zip(["", *arguments], arguments, strict=False)
    options = [word for before, word in pairs if word != "--" and (word not in targets or before in NAMING)]
    return shlex.join(["snakemake", *options, "--", output])


def _log_of(failure: Failure) -> str:
    """Name the first log of a job that holds anything; a job that was refused wrote none."""
    if not failure.logs or _refusal(failure.message):
        return ""
    return f"; log: {next((file for file in failure.logs if _text(file).strip()), failure.logs[0])}"


def report(log: str, arguments: list[str], targets: set[str]) -> list[str]:
    """Return one line for every failed job, for the end of a run's output."""
    failed = failures(log)
    lines = []
    for failure in failed[:MOST]:
        job = f"Slurm job {failure.slurm_job}, " if failure.slurm_job else ""
        tried = f"{failure.attempts} attempt{'s' if failure.attempts > 1 else ''}"
        again = f"; again: {command(arguments, targets, failure.outputs[0])}" if failure.outputs else ""
        lines.append(f"{failure.rule} failed ({job}{tried}): {cause(failure)}{_log_of(failure)}{again}")
    more = len(failed) - MOST
    return [*lines, f"and {more} more jobs failed"] if more > 0 else lines
