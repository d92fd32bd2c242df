"""The few questions the workflow asks Slurm. Where there is no Slurm, nothing is queued and nothing is known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path


def _ask(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def queued(folder: Path) -> list[str]:
    """Return the ids of this user's jobs that were submitted from `folder` and have not ended."""
    lines = _ask("squeue", "-h", "-u", str(os.getuid()), "-o", "%i %Z").splitlines()
    jobs = [line.split(maxsplit=1) for line in lines]
    return [job for job, place in jobs if Path(place).resolve() == folder.resolve()]


def cancel(jobs: list[str]) -> None:
    """Cancel jobs; their stages save what they have."""
    if jobs:
        _ask("scancel", *jobs)


def facts(job: str) -> dict[str, str]:
    """Return what the controller still knows of a job: `scontrol show job` as a map."""
    return dict(re.findall(r"(\S+?)=(\S*)", _ask("scontrol", "show", "job", "--oneliner", job)))
