"""The few questions the workflow asks Slurm. Where there is no Slurm, nothing is queued and nothing is known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from dpc.errors import DpcError

SECONDS = 60.0
"""Patience with the controller."""


def _ask(*command: str) -> str:
    """Return what a command of Slurm prints. Raises DpcError where it fails or does not answer."""
    if not shutil.which(command[0]):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise DpcError(f"{command[0]} did not answer within {SECONDS:g} seconds; try again when Slurm does") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise DpcError(f"{command[0]} failed ({said}); try again when Slurm answers")
    return done.stdout


def queued(folder: Path) -> list[str]:
    """Return the ids of this user's jobs that were submitted from `folder` and have not ended.

    Raises DpcError where Slurm does not tell: no answer is not the same as no jobs.
    """
    lines = _ask("squeue", "-h", "-u", str(os.getuid()), "-o", "%i %Z").splitlines()
    jobs = [line.partition(" ") for line in lines]
    return [job for job, _, place in jobs if place and Path(place).resolve() == folder.resolve()]


def cancel(jobs: list[str]) -> None:
    """Cancel jobs; their stages save what they have. Raises DpcError where Slurm does not answer."""
    if jobs:
        _ask("scancel", *jobs)


def partitions() -> set[str]:
    """Return the names of all partitions; none where Slurm does not tell."""
    try:
        return set(_ask("sinfo", "--all", "--noheader", "--format=%R").split())
    except DpcError:
        return set()


def facts(job: str) -> dict[str, str]:
    """Return what the controller still knows of a job, if anything: `scontrol show job` as a map."""
    try:
        return dict(re.findall(r"(\S+?)=(\S*)", _ask("scontrol", "show", "job", "--oneliner", job)))
    except DpcError:
        return {}
