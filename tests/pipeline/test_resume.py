"""`dpc.pipeline.cluster.resume` without a cluster: a killed run goes on with its own command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dpc.errors import DpcError
from dpc.pipeline.cluster import resume
from dpc.storage.claim import Claim
from tests.support.paths import ROOT
from tests.support.workflow import SMALLEST, overlay

MANY = {"datasets": {"arithmetic": {"splits": {"tuning": 5_000}}}}
"""So many questions take seconds to make."""
OUTPUTS = ("questions.parquet", *(f"gold/{split}.parquet" for split in ("tuning", "validation", "calibration", "test")))


def killed_run(folder: Path) -> list[str]:
    """Kill Snakemake while its job works, wait for the job, and return the command."""
    for name in ("Snakefile", "config.yaml", "workflow", "dpc"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "study.yaml").write_text(yaml.safe_dump(overlay(SMALLEST, MANY)))
    command = [
        "snakemake",
        "--rerun-incomplete",
        "--cores",
        "1",
        "--configfile",
        "workflow/demo.yaml",
        "study.yaml",
        "--",
        "problems",
    ]
    with subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: any(folder.glob("results/logs/load_problems/*.claim")))
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(folder.glob("results/logs/load_problems/*.claim")))
    return command


def wait_until(done: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    command = killed_run(tmp_path)
    assert (tmp_path / "results" / resume.RUN).is_file()
    made = tmp_path / "results/problems/arithmetic"
    assert all((made / name).is_file() for name in OUTPUTS)  # the job ended well, and nobody has recorded it
    done = subprocess.run(
        [sys.executable, "-m", "dpc.pipeline.cluster.resume"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"going on: {' '.join(command)}\n" in done.stdout  # nothing is repeated that it had said itself
    assert all((made / name).is_file() for name in OUTPUTS)
    assert not (tmp_path / "results" / resume.RUN).exists()


def runs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "results" / name).mkdir(parents=True)
        (folder / "results" / name / resume.RUN).write_text(json.dumps({"arguments": []}))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "found no run that was killed; expected one: python -m dpc.pipeline.cluster.resume RESULTS"),
        (["a", "b"], "found 2 killed runs"),
    ],
)
def test_which_run_is_meant_must_be_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    runs(tmp_path, *names)
    assert resume.main([]) == 1
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_a_run_that_left_no_command_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / resume.RUN).write_text('{"host": "a", "argum')
    assert resume.main([str(tmp_path)]) == 1
    said = "run.json: found no command in it; write that of the killed run, with --rerun-incomplete"
    assert capsys.readouterr().err == f"error: {tmp_path}/{said}\n"


def test_a_run_that_lives_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    held = Claim(Path("results/a", resume.RUN), "the folder")
    with pytest.raises(DpcError, match=r"results/a: Snakemake still runs \(process \d+ on .*\); let it work"):
        resume._killed_run(None)
    held.release()
