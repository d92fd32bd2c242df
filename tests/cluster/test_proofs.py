"""What clusters do to a run: each ends in complete and equal tables, or in one clear error; a hang is a failure."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc import resume
from tests.cluster import slurm
from tests.cluster.clone import POLL, STUDY, Clone
from tests.cluster.slurm import Cluster, wait_until
from tests.workflow import overlay

pytestmark = pytest.mark.proof
TARGET = ("--", "prompts")
"""Three jobs, one of them on a GPU node: what is proved is what becomes of a job, not the study."""
TIMES = {"seconds", "batch"}
LIMIT = 240
AT_ONCE = 4
"""Runs side by side: most of their time they wait for Slurm."""


def tables(clone: Clone) -> dict[str, pd.DataFrame]:
    """Return every table of a clone, without the columns that tell time."""
    root = clone.folder / "results"
    read = {str(file.relative_to(root)): pd.read_parquet(file) for file in sorted(root.rglob("*.parquet"))}
    return {name: table.drop(columns=[c for c in table if c in TIMES]) for name, table in read.items()}


@dataclass
class Ended:
    """How a run ended, in its clone."""

    clone: Clone
    status: int
    output: str

    @property
    def last_line(self) -> str:
        """Return what a user sees last."""
        return [line for line in self.output.splitlines() if line.strip()][-1]


def check_equal(clone: Clone, expected: dict[str, pd.DataFrame]) -> None:
    """Tables are complete and equal, weights too, and nothing half-made lies about."""
    found = tables(clone)
    assert set(found) == set(expected)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)
    left = [
        file for file in (clone.folder / "results").rglob("*") if file.name.startswith(".") or ".claim" in file.name
    ]
    assert left == []
    assert not (clone.folder / "results" / resume.RUN).exists()


def disturbed(clone: Clone, disturb: Callable[[dict[str, str]], object], *arguments: str) -> Ended:
    """Run with tuning hanging in its first attempt, and `disturb` the Slurm job that hangs."""
    clone.plant(tune_prompt="hang")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(clone.run, *POLL, *arguments, *TARGET, limit=LIMIT)
        clone.wait_for_fault("tune_prompt")
        disturb(job_of(clone, "tune_prompt"))
        return Ended(clone, *running.result())


def job_of(clone: Clone, stage: str) -> dict[str, str]:
    """Return the running Slurm job of a stage."""
    jobs = [job for job in clone.cluster.jobs() if job["WorkDir"] == str(clone.folder) and job["JobState"] == "RUNNING"]
    return next(job for job in jobs if stage in job["Comment"])


def states(clone: Clone, stage: str) -> list[str]:
    """Return how the Slurm jobs of a stage ended, in order."""
    jobs = [job for job in clone.cluster.jobs() if job["WorkDir"] == str(clone.folder) and stage in job["Comment"]]
    return [job["JobState"] for job in sorted(jobs, key=lambda job: int(job["JobId"]))]


def cluster_jobs(clone: Clone) -> list[str]:
    """Return the ids of a clone's queued and running jobs."""
    lines = clone.cluster.ask("squeue", "-h", "-o", "%i %Z").splitlines()
    return [line.split()[0] for line in lines if line.split()[1] == str(clone.folder)]


def run_snakemake(clone: Clone, *arguments: str) -> None:
    status, output = clone.run(*arguments, limit=LIMIT)
    assert status == 0, output


def undisturbed(clone: Clone) -> Ended:
    return Ended(clone, *clone.run(*POLL, *TARGET, limit=LIMIT))


def cancelled(clone: Clone) -> Ended:
    return disturbed(clone, lambda job: clone.cluster.ask("scancel", job["JobId"]))


def late(clone: Clone) -> Ended:
    return disturbed(
        clone, lambda job: None, "--set-resources", "tune_prompt:runtime=attempt", "tune_prompt:slurm_extra="
    )


def overrun(clone: Clone) -> Ended:
    clone.warm = False  # memory is counted in the job's own processes
    clone.plant(problems="memory")
    small = ["--retries", "0", "--set-resources", "load_problems:mem_mb=1000"]
    return Ended(clone, *clone.run(*POLL, *small, "--", "problems", limit=LIMIT))


def orphaned(clone: Clone) -> list[Ended]:
    """Kill Snakemake while its jobs run; start it again the wrong way, twice, and then the right way."""
    clone.warm = False  # its server would take the stages along
    clone.plant(builtin_model="slow")
    killed = clone.start(*POLL, *TARGET)
    clone.wait_for_fault("builtin_model")
    killed.kill()
    killed.communicate()
    locked = Ended(clone, *clone.run(*POLL, *TARGET, limit=LIMIT))
    run_snakemake(clone, "--unlock")
    refused = Ended(clone, *clone.run(*POLL, *TARGET, limit=LIMIT))
    command = [sys.executable, "-m", "dpc.resume"]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=clone.folder, env=clone.environment, **streams) as process:
        said = process.stdout.readline()  # type: ignore[union-attr]
        (clone.folder / "faults/go").touch()
        output, _ = process.communicate(timeout=LIMIT)
    return [locked, refused, Ended(clone, process.returncode, said + output)]


SCENARIOS: dict[str, Callable[[Clone], Any]] = {
    "undisturbed": undisturbed, "late": late, "orphaned": orphaned, "cancelled": cancelled, "overrun": overrun,
    "left": undisturbed, "right": undisturbed,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """All runs on one cluster, some at a time, each in a clone of its own."""
    folder = tmp_path_factory.mktemp("clones")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(scenario, Clone(folder / name, cluster)) for name, scenario in SCENARIOS.items()}


@pytest.fixture(scope="module")
def expected(runs: dict[str, Future[Any]]) -> dict[str, pd.DataFrame]:
    ended = runs["undisturbed"].result()
    assert ended.status == 0, ended.output[-3000:]
    return tables(ended.clone)


def check_recovered(ended: Ended, expected: dict[str, pd.DataFrame], *how: str) -> None:
    """The run ended well, its first tuning as said, and with the same tables."""
    assert ended.status == 0, ended.output[-3000:]
    assert states(ended.clone, "tune_prompt") == [*how, "COMPLETED"]
    check_equal(ended.clone, expected)


@pytest.mark.parametrize(
    ("name", "how"), [("cancelled", ["CANCELLED"]), ("late", ["TIMEOUT"]), ("left", []), ("right", [])]
)
def test_an_ended_job_is_made_again_and_clones_do_not_meet(
    runs: dict[str, Future[Any]], expected: dict[str, pd.DataFrame], name: str, how: list[str]
) -> None:
    check_recovered(runs[name].result(), expected, *how)


def test_a_memory_overrun_is_named_with_a_command_that_works(runs: dict[str, Future[Any]]) -> None:
    ended = runs["overrun"].result()
    assert ended.status != 0
    assert ended.last_line.startswith("load_problems failed (Slurm job ")
    assert "out of memory (it had asked for 1000M)" in ended.last_line
    again = re.search(r"again: snakemake (.*)", ended.last_line)
    assert again
    options = [word for word in shlex.split(again[1]) if "mem_mb" not in word and word != "--set-resources"]
    done = subprocess.run(
        ["snakemake", *options], cwd=ended.clone.folder, env=ended.clone.environment, timeout=LIMIT, check=False
    )
    assert done.returncode == 0


def test_a_resume_waits_for_orphans_and_does_nothing_twice(
    runs: dict[str, Future[Any]], expected: dict[str, pd.DataFrame]
) -> None:
    locked, refused, resumed = runs["orphaned"].result()
    assert locked.status != 0
    assert "LockException" in locked.output
    assert refused.status != 0
    assert "of an earlier run still writes here" in refused.output
    assert resumed.output.startswith("waiting for Slurm job ")
    check_recovered(resumed, expected)
    clone = resumed.clone
    assert states(clone, "load_problems") == ["COMPLETED"]
    assert states(clone, "train_builtin_model") == ["COMPLETED"]
    planned = clone.run("--dry-run", *TARGET, limit=LIMIT)[1]
    assert "Nothing to be done" in planned
    assert "missing provenance" not in planned


def test_a_restart_of_the_controller_and_a_crashed_node_are_survived(
    installed: None, tmp_path: Path, expected: dict[str, pd.DataFrame]
) -> None:
    with slurm.running(tmp_path / "state") as cluster:
        clone = Clone(tmp_path / "clone", cluster)

        def strike(job: dict[str, str]) -> None:
            cluster.stop_daemon("controller")
            time.sleep(5)
            cluster.start_controller()
            wait_until(lambda: job["JobId"] in cluster.queued(), 20, "the controller knows its job")
            cluster.crash(job["NodeList"])

        ended = disturbed(clone, strike)
        # the node is lost, or its dying step reports a failure first: either way one more attempt, and no other
        check_recovered(ended, expected, states(clone, "tune_prompt")[0])
        assert states(clone, "tune_prompt")[0] in ("NODE_FAIL", "FAILED")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60g", "none", str(place)], check=False)
    if done.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("may not mount a small disk; run as root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named(cluster: Cluster, tmp_path: Path, small_disk: Path) -> None:
    clone = Clone(tmp_path / "full", cluster)
    clone.plant(problems="hang")
    study: dict[str, Any] = overlay(STUDY, {"study": {"results": str(small_disk)}})
    with ThreadPoolExecutor() as pool:
        running = pool.submit(clone.run, *POLL, "--retries", "1", "--", "problems", study=study, limit=LIMIT)
        clone.wait_for_fault("problems")
        used = shutil.disk_usage(small_disk).used
        subprocess.run(["mount", "-o", f"remount,size={used + 8192}", str(small_disk)], check=True)
        cluster.ask("scancel", job_of(clone, "load_problems")["JobId"])
        ended = Ended(clone, *running.result())
    assert ended.status != 0
    assert "No space left on device" in ended.last_line
    status, output = clone.run("--", "problems", study=study, limit=LIMIT)
    assert status != 0
    assert "GB free, expected" in output
