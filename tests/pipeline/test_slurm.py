"""What the workflow asks Slurm, of a pretended one: an answer that does not come is not taken for no jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dpc.errors import DpcError
from dpc.pipeline.cluster import resume, slurm

DOWN = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pretended commands, first in PATH; the working directory is where jobs were submitted."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bin"


def command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_jobs_of_this_folder_are_told_from_others(bin_folder: Path) -> None:
    command(bin_folder, "squeue", f"printf '7 %s\\n8 /elsewhere\\n9 %s\\n10\\n' {Path.cwd()} {Path.cwd()}")
    assert slurm.queued(Path.cwd()) == ["7", "9"]
    command(bin_folder, "squeue", "true")
    assert slurm.queued(Path.cwd()) == []


def test_without_slurm_nothing_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.queued(tmp_path) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (DOWN, r"squeue failed \(slurm_load_jobs error: Unable to contact slurm controller\); try again"),
        ("exit 3", r"squeue failed \(status 3\)"),
        ("exec sleep 9", r"squeue did not answer within 0\.2 seconds; try again"),
    ],
)
def test_no_answer_is_an_error(bin_folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    monkeypatch.setattr(slurm, "SECONDS", 0.2)
    command(bin_folder, "squeue", script)
    with pytest.raises(DpcError, match=said):
        slurm.queued(Path.cwd())


def test_a_job_that_slurm_has_forgotten_has_no_facts(bin_folder: Path) -> None:
    command(bin_folder, "scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.facts("7") == {}
    command(bin_folder, "scontrol", "echo 'JobId=7 JobState=TIMEOUT'")
    assert slurm.facts("7") == {"JobId": "7", "JobState": "TIMEOUT"}


@pytest.fixture
def results(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results folder of a run that submitted job 7."""
    monkeypatch.setattr(resume, "POLL_SECONDS", 0.0)
    Path("run.log").write_text("Job 3 has been submitted with SLURM jobid 7 (log: x).\n")
    Path(resume.RUN).write_text(json.dumps({"logs": ["run.log"]}))
    return Path.cwd()


def in_turn(folder: Path, name: str, *scripts: str) -> None:
    """Let each call of a command run the next script, and the last one for ever."""
    for number, script in enumerate(scripts):
        command(folder, f"{name}.{number}", script)
    count = f"n=$(cat {folder}/{name}.count 2>/dev/null || echo 0); [ $n -ge {len(scripts) - 1} ]"
    command(folder, name, f"{count} || echo $((n + 1)) > {folder}/{name}.count; exec {folder}/{name}.$n")


def test_a_resumed_run_waits_through_silence(
    results: Path, bin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The controller restarts while a job works: its jobs are not taken for ended."""
    works = f"echo 7 {results}"
    in_turn(bin_folder, "squeue", DOWN, works, DOWN, works, "true")
    resume._wait(results, cancel=False)
    down = "waiting: squeue failed (slurm_load_jobs error: Unable to contact slurm controller); try again when Slurm "
    said = capsys.readouterr().out.splitlines()
    assert [line.startswith(start) for line, start in zip(said, [down, "waiting for Slurm job 7"] * 2, strict=True)]
    assert resume.orphans(results) == []


def test_a_cancel_that_fails_is_tried_again(
    results: Path, bin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_turn(bin_folder, "scancel", DOWN, f"touch {bin_folder}/cancelled")
    command(bin_folder, "squeue", f"[ -e {bin_folder}/cancelled ] || echo 7 {results}")
    resume._wait(results, cancel=True)
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("waiting: scancel failed")


def test_a_run_does_not_begin_while_slurm_is_silent(results: Path, bin_folder: Path) -> None:
    command(bin_folder, "squeue", DOWN)
    with pytest.raises(DpcError, match="squeue failed"):
        resume.orphans(results)
