"""What clusters do to a run: each ends in complete and equal tables, or in one clear error; a hang is a failure."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
LIMIT = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clones")


def tables(clone: Clone) -> dict[str, pd.DataFrame]:
    """Return every table of a clone, without the columns that tell time."""
    root = clone.folder / "results"
    read = {str(file.relative_to(root)): pd.read_parquet(file) for file in sorted(root.rglob("*.parquet"))}
    return {name: table.drop(columns=[c for c in table if c in TIMES]) for name, table in read.items()}


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, folder: Path) -> dict[str, pd.DataFrame]:
    clone = Clone(folder / "undisturbed", cluster)
    status, output = clone.run(*POLL, *TARGET)
    assert status == 0, output[-3000:]
    return tables(clone)


def check_equal(clone: Clone, expected: dict[str, pd.DataFrame]) -> None:
    """Tables are complete and equal, weights too, and nothing half-made lies about."""
    found = tables(clone)
    assert set(found) == set(expected)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)
    left = [file for file in (clone.folder / "results").rglob("*") if file.name.startswith(".") or ".claim" in file.name]
    assert left == []
    assert not (clone.folder / "results" / resume.RUN).exists()


def disturbed(clone: Clone, stage: str, disturb: Any, *arguments: str) -> tuple[int, str]:
    """Run with `stage` hanging in its first attempt, and `disturb` the Slurm job that hangs."""
    clone.plant(**{stage: "hang"})
    with ThreadPoolExecutor() as pool:
        running = pool.submit(clone.run, *POLL, *arguments, *TARGET, limit=LIMIT)
        clone.wait_for_fault(stage)
        disturb(job_of(clone, stage))
        return running.result()


def job_of(clone: Clone, stage: str) -> dict[str, str]:
    """Return the running Slurm job of a stage."""
    jobs = [job for job in clone.cluster.jobs() if job["WorkDir"] == str(clone.folder) and job["JobState"] == "RUNNING"]
    return next(job for job in jobs if stage in job["Comment"])


def states(clone: Clone, stage: str) -> list[str]:
    """Return how the Slurm jobs of a stage ended, in order."""
    jobs = [job for job in clone.cluster.jobs() if job["WorkDir"] == str(clone.folder) and stage in job["Comment"]]
    return [job["JobState"] for job in sorted(jobs, key=lambda job: int(job["JobId"]))]


def last_line(output: str) -> str:
    return [line for line in output.splitlines() if line.strip()][-1]


def test_a_cancelled_job_is_made_again(cluster: Cluster, folder: Path, undisturbed: dict[str, pd.DataFrame]) -> None:
    clone = Clone(folder / "cancelled", cluster)
    status, output = disturbed(clone, "tune_prompt", lambda job: cluster.ask("scancel", job["JobId"]))
    assert status == 0, output[-3000:]
    assert states(clone, "tune_prompt") == ["CANCELLED", "COMPLETED"]
    check_equal(clone, undisturbed)


def test_a_time_limit_is_met_with_more_time(
    cluster: Cluster, folder: Path, undisturbed: dict[str, pd.DataFrame]
) -> None:
    clone = Clone(folder / "late", cluster)
    limits = ["--set-resources", "tune_prompt:runtime=attempt", "tune_prompt:slurm_extra="]
    status, output = disturbed(clone, "tune_prompt", lambda job: None, *limits)
    assert status == 0, output[-3000:]
    assert states(clone, "tune_prompt") == ["TIMEOUT", "COMPLETED"]
    check_equal(clone, undisturbed)


def test_a_restart_of_the_controller_is_survived(
    cluster: Cluster, folder: Path, undisturbed: dict[str, pd.DataFrame]
) -> None:
    clone = Clone(folder / "controller", cluster)

    def restart(job: dict[str, str]) -> None:
        cluster.stop_daemon("controller")
        time.sleep(5)
        cluster.start_controller()
        wait_until(lambda: job["JobId"] in cluster.queued(), 20, "the controller knows its job")
        cluster.ask("scancel", job["JobId"])

    status, output = disturbed(clone, "tune_prompt", restart)
    assert status == 0, output[-3000:]
    check_equal(clone, undisturbed)


def test_a_memory_overrun_is_named(cluster: Cluster, folder: Path) -> None:
    clone = Clone(folder / "memory", cluster, warm=False)
    clone.plant(problems="memory")
    small = ["--retries", "0", "--set-resources", "load_problems:mem_mb=1000"]
    status, output = clone.run(*POLL, *small, "--", "problems", limit=LIMIT)
    assert status != 0
    line = last_line(output)
    assert line.startswith("load_problems failed (Slurm job ")
    assert "out of memory (it had asked for 1000M)" in line
    again = re.search(r"again: (snakemake .*)", line)
    assert again
    status, output = clone.run(*again[1].split()[6:], limit=LIMIT)
    assert status == 0, output[-3000:]


def test_a_resume_waits_for_orphans_and_does_nothing_twice(
    cluster: Cluster, folder: Path, undisturbed: dict[str, pd.DataFrame]
) -> None:
    clone = Clone(folder / "killed", cluster, warm=False)
    killed = clone.start(*POLL, *TARGET)
    wait_until(lambda: len(cluster_jobs(clone)) == 2, 30, "both first jobs submitted")
    time.sleep(2)
    killed.kill()
    killed.communicate()
    assert cluster_jobs(clone)
    status, output = clone.run(*POLL, *TARGET, limit=60)
    assert status != 0
    assert "LockException" in output
    run_snakemake(clone, "--unlock")
    status, output = clone.run(*POLL, *TARGET, limit=60)
    assert status != 0
    assert "of an earlier run still writes here" in output
    resumed = subprocess.run(
        [sys.executable, "-m", "dpc.resume"],
        cwd=clone.folder, env=clone.environment, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    check_equal(clone, undisturbed)
    assert states(clone, "load_problems") == ["COMPLETED"]
    assert states(clone, "train_builtin_model") == ["COMPLETED"]
    planned = clone.run("--dry-run", *TARGET)[1]
    assert "Nothing to be done" in planned
    assert "missing provenance" not in planned


def cluster_jobs(clone: Clone) -> list[str]:
    """Return the ids of a clone's queued and running jobs."""
    lines = clone.cluster.ask("squeue", "-h", "-o", "%i %Z").splitlines()
    return [line.split()[0] for line in lines if line.split()[1] == str(clone.folder)]


def run_snakemake(clone: Clone, *arguments: str) -> None:
    status, output = clone.run(*arguments, limit=60)
    assert status == 0, output


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60g", "none", str(place)], check=False)
    if done.returncode:
        pytest.skip("may not mount a small disk; run as root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named(cluster: Cluster, folder: Path, small_disk: Path) -> None:
    clone = Clone(folder / "full", cluster)
    clone.plant(problems="hang")
    study: dict[str, Any] = overlay(STUDY, {"study": {"results": str(small_disk)}})
    with ThreadPoolExecutor() as pool:
        running = pool.submit(clone.run, *POLL, "--retries", "1", "--", "problems", study=study, limit=LIMIT)
        clone.wait_for_fault("problems")
        used = shutil.disk_usage(small_disk).used
        subprocess.run(["mount", "-o", f"remount,size={used + 8192}", str(small_disk)], check=True)
        cluster.ask("scancel", job_of(clone, "load_problems")["JobId"])
        status, output = running.result()
    assert status != 0
    assert "No space left on device" in last_line(output)
    status, output = clone.run("--", "problems", study=study, limit=LIMIT)
    assert status != 0
    assert "GB free, expected" in output


def test_two_clones_at_once_do_not_meet(cluster: Cluster, folder: Path, undisturbed: dict[str, pd.DataFrame]) -> None:
    clones = [Clone(folder / name, cluster) for name in ("left", "right")]
    with ThreadPoolExecutor() as pool:
        for status, output in pool.map(lambda clone: clone.run(*POLL, *TARGET, limit=LIMIT), clones):
            assert status == 0, output[-3000:]
    for clone in clones:
        check_equal(clone, undisturbed)


def test_a_crashed_node_costs_one_attempt(installed: None, tmp_path: Path, undisturbed: dict[str, pd.DataFrame]) -> None:
    with slurm.running(tmp_path / "state") as cluster:
        clone = Clone(tmp_path / "clone", cluster)
        status, output = disturbed(clone, "tune_prompt", lambda job: cluster.crash(job["NodeList"]))
        assert status == 0, output[-3000:]
        assert states(clone, "tune_prompt") == ["NODE_FAIL", "COMPLETED"]
        check_equal(clone, undisturbed)
