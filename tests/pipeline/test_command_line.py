"""Cores and cards of a run that was not told where it runs: of this machine, its card for one job at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpc.pipeline import command_line
from tests.support.workflow import Workflow

HERE, HERE_ON_ALL, ELSEWHERE = (True, False), (True, True), (False, False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("saliency --configfile mine.yaml", HERE_ON_ALL),
        ("--resources mem_mb=8000", HERE_ON_ALL),
        ("--configfile mine.yaml --cores 4", HERE),
        ("--cores=all", HERE),
        ("-c4 -n", HERE),
        ("--jobs 2", HERE),
        ("-j 2", HERE),
        ("--profile slurm --configfile mine.yaml", ELSEWHERE),
        ("--profile=slurm --cores 4", ELSEWHERE),
        ("--executor slurm --jobs 100", ELSEWHERE),
        ("-e slurm -j 100", ELSEWHERE),
    ],
)
def test_a_run_is_here_unless_a_profile_or_an_executor_is_named(
    words: str, expected: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = words.split()
    assert (command_line.is_here(said), command_line.takes_all_cores(said)) == expected
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "slurm")
    assert (command_line.is_here(said), command_line.takes_all_cores(said)) == ELSEWHERE


@pytest.mark.parametrize(
    ("words", "cards"),
    [("--cores 2", 1), ("--resources mem_mb=100000", 1), ("--cores 2 --resources gpu=3", 3)],
)
def test_the_card_is_for_one_job_at_a_time_whatever_else_is_said(words: str, cards: int, tmp_path: Path) -> None:
    done = Workflow(tmp_path, {}).plainly("estimate", *words.split(), "--verbose", change={})
    assert done.returncode == 0, done.stderr
    (provided,) = [line for line in done.stderr.splitlines() if line.startswith("Provided resources: ")]
    assert f'gpu=Resource("gpu", {cards})' in provided
