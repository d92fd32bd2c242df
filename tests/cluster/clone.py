"""A fresh clone of this checkout, and Snakemake run in it as a cluster user would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.slurm import Cluster, wait_until
from tests.support.paths import ROOT
from tests.support.workflow import ONE_THREAD, SMALLEST, overlay

STUDY: dict[str, Any] = overlay(SMALLEST, {"cluster": {"gpus": 1}, "study": {"oracles": []}, "causal": {"tests": []}})
"""The smallest embedded study: torch runs on the CPU by its own config, and its jobs ask for a card all the same."""


LIMIT = 500
"""Seconds after which a run counts as hanging, however busy the machine is: faults of a cluster show as hangs."""


class Clone:
    """The tracked files of this checkout in a new folder, on a cluster."""

    def __init__(self, folder: Path, cluster: Cluster, warm: bool = True):
        self.folder, self.cluster, self.warm = folder, cluster, warm
        self.exported: dict[str, str] = {}
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in tracked.rstrip("\0").split("\0"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)

    def plant(self, **faults: str) -> None:
        """Make stages go wrong once: `fail`, `hang`, `memory`, or `slow` until there is a file `faults/go`."""
        cli, line = self.folder / "dpc/pipeline/cli.py", "    _header(stage, arguments, argv)\n"
        call = '    __import__("tests.cluster.faults", fromlist=["happen"]).happen(stage)\n'
        text = cli.read_text()
        assert text.count(line) == 1
        cli.write_text(text.replace(line, line + call))
        (self.folder / "faults").mkdir()
        for stage, kind in faults.items():
            (self.folder / "faults" / stage).write_text(kind)

    def wait_for_fault(self, stage: str) -> None:
        """Return when the planted fault of a stage has begun."""
        wait_until((self.folder / "faults" / f"{stage}.happened").exists, LIMIT, f"fault of {stage}")

    def jobs(self, stage: str = "") -> list[dict[str, str]]:
        """Return the Slurm jobs submitted from here, of one stage if it is named, in order."""
        every = [job for job in self.cluster.jobs() if job["WorkDir"] == str(self.folder)]
        return sorted((job for job in every if stage in job["Comment"]), key=lambda job: int(job["JobId"]))

    @property
    def environment(self) -> dict[str, str]:
        """Return what a user has exported; jobs inherit it."""
        names = {"DPC_PARTITION": "cpu", "DPC_GPU_PARTITION": "gpu", **self.exported}
        here = {**self.cluster.environment, **names, **ONE_THREAD}
        here.pop("PYTHONDONTWRITEBYTECODE", None)  # every job would compile everything again
        return here

    def command(self, *arguments: str, study: dict[str, Any] | None = STUDY) -> list[str]:
        """Return the command line: `snakemake --profile slurm`, with a study laid over the shipped configuration."""
        command = ["snakemake", "--profile", "slurm"]
        if study is not None:
            file = self.folder / "study.yaml"
            file.write_text(yaml.safe_dump(study))
            command += ["--configfile", "workflow/demo.yaml", file.name]
        command += arguments
        return [sys.executable, "-m", "dpc.pipeline.cluster.warm", "--", *command] if self.warm else command

    def start(self, *arguments: str, study: dict[str, Any] | None = STUDY) -> subprocess.Popen[str]:
        """Start Snakemake; its output can be read from the process."""
        return subprocess.Popen(
            self.command(*arguments, study=study),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, study: dict[str, Any] | None = STUDY) -> tuple[int, str]:
        """Run Snakemake; return its status and what it printed. Raises TimeoutExpired where it hangs."""
        process = self.start(*arguments, study=study)
        try:
            output, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        return process.returncode, output
