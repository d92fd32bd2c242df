"""Run Snakemake on the project as a user would, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dpc.pipeline.cluster.warm import VARIABLE
from dpc.storage.columns import SCHEMAS
from tests.support.paths import ROOT

TIMES = {"batch", "memory_gb", *(name for schema in SCHEMAS.values() for name in schema if name.startswith("seconds"))}
"""Columns of all tables that say how a run went, not what it found."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

QUIET_SECONDS = 0.147
"""CPU seconds of `slowness`'s loop on a quiet core of 2.5 GHz."""

SMALLEST: dict[str, Any] = {
    "study": {
        "name": "smallest",
        "results": "results",
        "models": ["builtin"],
        "datasets": ["arithmetic"],
        "recipes": ["well_tuned"],
        "prompt_seeds": [0],
        "oracles": ["oracle_trigger", "oracle_token"],
        "sample": {"correlation": 20, "per_class": 5},
    },
    "models": {"builtin": {"builtin": {"seed": 0, "width": 32, "layers": 3, "steps": 60, "feed_forward": 48}}},
    "datasets": {
        "arithmetic": {
            "splits": {
                "tuning": 60,
                "validation": 20,
                "calibration": 24,
                "act_select": 12,
                "act_confirm": 12,
                "test": 40,
            },
            "max_new_tokens": 24,
        }
    },
    "recipes": {"well_tuned": {"vectors": 3, "steps": 12, "validate_every": 6}},
    "controls": {"static_candidates": 2, "static_questions": 8, "oracle_questions": 5},
    "significance": {"min_cases": 3},
    "statistics": {"resamples": 100},
    "execution": {"device": "cpu", "threads": 1, "builtin_threads": 1},
}
"""Laid over workflow/demo.yaml: every stage, in well under two minutes."""


def slowness() -> float:
    """Return how many times slower than a quiet core of 2.5 GHz this machine is right now, 1 or more.

    Hosts that are shared run at half their speed at times; limits in seconds are meant for such a core.
    """
    started, total = time.process_time(), 0
    for number in range(2_000_000):
        total += number * number
    return max(1.0, (time.process_time() - started) / QUIET_SECONDS)


def overlay(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge maps, replace everything else: what --configfile does."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = overlay(base[key], value) if both else value
    return merged


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return {"a": {"b": value}} for path "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@cache
def warm_server() -> tuple[str, subprocess.Popen[str]]:
    """Start a warm server for all runs of this process: the tests are about the study, not about importing torch.

    Return its socket. It ends with its standard input, that is with this process, however that ends.
    """
    command = [sys.executable, "-m", "dpc.pipeline.cluster.warm", "--", "sh", "-c", f'echo "${VARIABLE}"; cat']
    server = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout
    return server.stdout.readline().strip(), server


@cache
def _forking() -> subprocess.Popen[str]:
    """Start what runs Snakemake in forks of itself; it ends with its standard input, that is with this process."""
    command = [sys.executable, "-m", "tests.support.forked_snakemake"]
    environment = {**os.environ, **ONE_THREAD}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def snakemake(
    arguments: list[str], environment: dict[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder` as `python -m snakemake` would."""
    server = _forking()
    assert server.stdin
    assert server.stdout
    with tempfile.TemporaryDirectory() as said:
        out, err = (Path(said, name) for name in ("out", "err"))
        job = {"arguments": arguments, "folder": str(folder), "environment": environment}
        server.stdin.write(json.dumps({**job, "out": str(out), "err": str(err)}) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())


def rules() -> dict[str, str]:
    """Return the text of every rule, without its first line, by name."""
    text = "\n".join(file.read_text() for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    return dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.MULTILINE))


class Workflow:
    """One folder with its own results and Snakemake metadata, running this checkout's Snakefile."""

    def __init__(self, folder: Path, config: dict[str, Any], over: tuple[str, ...] = ("workflow/demo.yaml",)):
        """`config` is laid over config.yaml and the files named in `over`."""
        self.folder, self.config = folder, config
        self.layers = [ROOT / name for name in ("config.yaml", *over)]
        folder.mkdir(parents=True, exist_ok=True)

    def snakemake(self, *arguments: str, change: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run Snakemake with `change` laid over the folder's configuration."""
        file = self.folder / "overlay.yaml"
        file.write_text(yaml.safe_dump(overlay(self.config, change or {})))
        command = ["--snakefile", str(ROOT / "Snakefile"), *arguments]
        command += ["--workflow-profile", "none"]  # tests read Snakemake's own words
        command += ["--directory", str(self.folder), "--configfile", *map(str, [*self.layers, file])]
        environment = {**os.environ, **ONE_THREAD}
        if "--cores" in arguments and "--touch" not in arguments and "--report" not in arguments:
            environment[VARIABLE] = warm_server()[0]
        return snakemake(command, environment)

    def plainly(self, *arguments: str, change: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Run Snakemake as a person does in a folder, its profile included; `change` is in overlay.yaml there."""
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay(self.config, change)))
        (self.folder / "config.yaml").write_text((ROOT / "config.yaml").read_text())
        environment = {**os.environ, **ONE_THREAD, VARIABLE: warm_server()[0]}
        command = ["--snakefile", str(ROOT / "Snakefile"), *arguments]
        return snakemake(command, environment, self.folder)

    def run(self, *arguments: str, change: dict[str, Any] | None = None, cores: int = 1) -> str:
        """Run to success; return what Snakemake printed."""
        done = self.snakemake(*arguments, "--cores", str(cores), "--quiet", "host", change=change)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, *arguments: str, change: dict[str, Any] | None = None) -> dict[str, int]:
        """Return how many jobs of each rule a dry run would do."""
        done = self.snakemake("--dry-run", *arguments, change=change)
        assert done.returncode == 0, done.stdout + done.stderr
        if "Nothing to be done" in done.stdout + done.stderr:
            return {}
        stats = (done.stdout + done.stderr).split("Job stats:")[1].split("total")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}

    def pretend(self) -> None:
        """Make every output an empty file and let Snakemake record it as made with the present configuration."""
        done = self.snakemake("--summary")
        for line in done.stdout.splitlines():
            if line.startswith("results/"):
                file = self.folder / line.split("\t")[0]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        done = self.snakemake("--touch", "--cores", "1", "--forceall")
        assert done.returncode == 0, done.stdout + done.stderr
