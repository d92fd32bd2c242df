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
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from dpc.pipeline.cluster import resume
from tests.cluster import slurm
from tests.cluster.clone import LIMIT, STUDY, Clone
from tests.cluster.slurm import Cluster, wait_until
from tests.support.workflow import TIMES, overlay

pytestmark = [pytest.mark.proof, pytest.mark.long]
TARGET = ("--", "prompts")
"""Three jobs, one of them on a GPU node: what is proved is what becomes of a job, not the study."""
AT_ONCE = 5
"""Runs side by side: most of their time they wait for Slurm."""


@dataclass
class Ended:
    """How a run ended, in its clone."""

    clone: Clone
    status: int
    output: str
    tunings: list[str] = field(default_factory=list)
    """How the Slurm jobs of `tune_prompt` ended."""

    @property
    def last_line(self) -> str:
        """Return what a user sees last."""
        return [line for line in self.output.splitlines() if line.strip()][-1]


def run(clone: Clone, *arguments: str, study: dict[str, Any] = STUDY) -> Ended:
    return Ended(clone, *clone.run(*arguments, study=study))


def states(clone: Clone, stage: str) -> list[str]:
    """Return how the Slurm jobs of a stage ended."""
    return [job["JobState"] for job in clone.jobs(stage)]


def disturbed(
    clone: Clone, disturb: Callable[[dict[str, str]], object], *arguments: str, fault: str = "hang", **study: Any
) -> Ended:
    """Run with something wrong in tuning's first attempt, and `disturb` its Slurm job."""
    clone.plant(tune_prompt=fault)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run, clone, *arguments, *TARGET, study=overlay(STUDY, study))
        clone.wait_for_fault("tune_prompt")
        disturb(clone.jobs("tune_prompt")[-1])
        ended = running.result()
    ended.tunings = states(clone, "tune_prompt")
    return ended


def undisturbed(clone: Clone) -> Ended:
    return run(clone, *TARGET)


def cancelled(clone: Clone) -> Ended:
    clone.exported["DPC_GPU_GRES"] = "gpu"
    return disturbed(clone, lambda job: clone.cluster.ask("scancel", job["JobId"]))


def late(clone: Clone) -> Ended:
    limits = ["tune_prompt:runtime=attempt", "tune_prompt:slurm_extra="]
    return disturbed(clone, lambda job: None, "--set-resources", *limits)


def warned(clone: Clone) -> Ended:
    """Send the signal that Slurm sends before the time limit, as Slurm sends it: to the steps."""
    clone.warm = False  # in its server no stage would be a part of the job

    def warn(job: dict[str, str]) -> None:
        kept = lambda: any(clone.folder.glob("results/**/store/prompt.safetensors"))  # noqa: E731
        wait_until(kept, LIMIT, "a step is kept")
        clone.cluster.ask("scancel", "--signal=USR1", job["JobId"])

    return disturbed(clone, warn, fault="drag", execution={"save_every_seconds": 0})


def struck(clone: Clone) -> Ended:
    """Restart the controller of a cluster of its own, and crash the node of the job."""
    clone.warm = False  # its server would outlive the node
    with slurm.running(clone.folder.with_name("struck.state")) as cluster:
        clone.cluster = cluster

        def strike(job: dict[str, str]) -> None:
            cluster.stop_daemon("controller")
            time.sleep(5)
            cluster.start_controller()
            wait_until(lambda: job["JobId"] in cluster.queued(), 20, "the controller knows its job")
            cluster.crash(job["NodeList"])

        return disturbed(clone, strike)


def overrun(clone: Clone) -> Ended:
    clone.warm = False  # memory is counted in the job's own processes
    clone.plant(load_problems="memory")
    return run(clone, "--retries", "0", "--set-resources", "load_problems:mem_mb=1000", "--", "problems")


def killed(clone: Clone) -> Clone:
    """Kill Snakemake while two jobs run; their stages go on."""
    clone.warm = False  # its server would take the stages along
    clone.plant(train_builtin_model="slow")
    process = clone.start("--slurm-init-seconds-before-status-checks", "9", *TARGET)
    clone.wait_for_fault("train_builtin_model")
    process.kill()
    process.communicate()
    return clone


def resumed(clone: Clone, *options: str) -> Ended:
    """Run `python -m dpc.pipeline.cluster.resume`, and let the slow stage go on once it has spoken."""
    command = [sys.executable, "-m", "dpc.pipeline.cluster.resume", *options]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=clone.folder, env=clone.environment, **streams) as process:
        try:
            said = process.stdout.readline()  # type: ignore[union-attr]
            (clone.folder / "faults/go").touch()
            output, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    return Ended(clone, process.returncode, said + output)


def orphaned(clone: Clone) -> list[Ended]:
    """Start a killed run again the wrong way, twice, and then the right way."""
    killed(clone)
    locked = run(clone, *TARGET)
    assert run(clone, "--unlock").status == 0
    return [locked, run(clone, *TARGET), resumed(clone)]


def given_up(clone: Clone) -> Ended:
    """Cancel a killed run's jobs and go on."""
    return resumed(killed(clone), "results", "--cancel")


def full(clone: Clone) -> list[Ended] | None:
    """Let a job find its disk full, and start again before anybody made room. None where a disk may not be mounted."""
    disk = clone.folder.with_name("disk")
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60g", "none", str(disk)], check=False).returncode:
        return None
    study = overlay(STUDY, {"study": {"results": str(disk)}})
    clone.plant(load_problems="hang")
    try:
        with ThreadPoolExecutor() as pool:
            running = pool.submit(run, clone, "--retries", "1", "--", "problems", study=study)
            clone.wait_for_fault("load_problems")
            size = shutil.disk_usage(disk).used + 8192
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            clone.cluster.ask("scancel", clone.jobs("load_problems")[-1]["JobId"])
            ended = running.result()
        return [ended, run(clone, "--", "problems", study=study)]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


SCENARIOS: dict[str, Callable[[Clone], Any]] = {
    scenario.__name__: scenario
    for scenario in (undisturbed, late, orphaned, struck, given_up, warned, overrun, full, cancelled)
}


@pytest.fixture(scope="module")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """All runs on one cluster, some at a time, each in a clone of its own."""
    folder = tmp_path_factory.mktemp("clones")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(scenario, Clone(folder / name, cluster)) for name, scenario in SCENARIOS.items()}


def tables(clone: Clone) -> dict[str, pd.DataFrame]:
    """Return every table of a clone, without the columns that tell time."""
    root = clone.folder / "results"
    read = {str(file.relative_to(root)): pd.read_parquet(file) for file in sorted(root.rglob("*.parquet"))}
    return {name: table.drop(columns=[c for c in table if c in TIMES]) for name, table in read.items()}


def weights(clone: Clone) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in (clone.folder / "results").rglob("*.safetensors")}


@pytest.fixture(scope="module")
def expected(runs: dict[str, Future[Any]]) -> Ended:
    ended: Ended = runs["undisturbed"].result()
    assert ended.status == 0, ended.output[-3000:]
    return ended


def check_equal(ended: Ended, expected: Ended) -> None:
    """The run ended well; tables and weights are complete and equal, and nothing half-made lies about."""
    assert ended.status == 0, ended.output[-3000:]
    found = tables(ended.clone)
    wanted = tables(expected.clone)
    assert set(found) == set(wanted)
    for name, table in wanted.items():
        pd.testing.assert_frame_equal(found[name], table)
    assert weights(ended.clone) == weights(expected.clone)
    files = (ended.clone.folder / "results").rglob("*")
    assert [file for file in files if file.name.startswith(".") or ".claim" in file.name] == []
    assert not (ended.clone.folder / "results" / resume.RUN).exists()


@pytest.mark.parametrize(("name", "how"), [("cancelled", "CANCELLED"), ("late", "TIMEOUT"), ("warned", "FAILED")])
def test_an_ended_job_is_made_again_once(runs: dict[str, Future[Any]], expected: Ended, name: str, how: str) -> None:
    ended = runs[name].result()
    check_equal(ended, expected)
    assert ended.tunings == [how, "COMPLETED"]


def test_a_crashed_node_is_a_lost_node_and_the_controller_may_restart(
    runs: dict[str, Future[Any]], expected: Ended
) -> None:
    ended = runs["struck"].result()
    check_equal(ended, expected)
    assert ended.tunings == ["NODE_FAIL", "COMPLETED"]
    assert "SLURM status is: 'NODE_FAIL'" in ended.output


def test_a_warned_stage_keeps_its_steps_and_the_next_attempt_goes_on(runs: dict[str, Future[Any]]) -> None:
    ended = runs["warned"].result()
    first = ended.clone.jobs("tune_prompt")[0]["JobId"]
    (log,) = ended.clone.folder.glob("results/logs/tune_prompt/*.seed0.log")
    kept = re.search(
        r"stopped by SIGUSR1 before the time limit: (\d+) of 12 steps kept",
        log.with_suffix(f".job{first}.log").read_text(),
    )
    assert kept
    assert 1 <= int(kept[1]) < 12
    assert f"{kept[1]} steps were saved; continuing after them" in log.read_text()


def test_cards_may_be_asked_for_as_a_generic_resource(runs: dict[str, Future[Any]]) -> None:
    jobs = runs["cancelled"].result().clone.jobs("tune_prompt")
    assert [(job.get("TresPerJob"), job["TresPerNode"], job["Partition"]) for job in jobs] == [
        (None, "gres:gpu:1", "gpu")
    ] * 2


def test_a_memory_overrun_is_named_with_a_command_that_works(runs: dict[str, Future[Any]]) -> None:
    ended = runs["overrun"].result()
    assert ended.status != 0
    assert ended.last_line.startswith("load_problems failed (Slurm job ")
    assert "out of memory (it had asked for 1000M)" in ended.last_line
    again = re.search(r"again: snakemake (.*)", ended.last_line)
    assert again
    options = [word for word in shlex.split(again[1]) if "mem_mb" not in word and word != "--set-resources"]
    command, clone = ["snakemake", *options], ended.clone
    assert subprocess.run(command, cwd=clone.folder, env=clone.environment, timeout=LIMIT, check=False).returncode == 0


def test_a_resume_waits_for_orphans_and_does_nothing_twice(runs: dict[str, Future[Any]], expected: Ended) -> None:
    locked, refused, resumed = runs["orphaned"].result()
    assert locked.status != 0
    assert "LockException" in locked.output
    assert refused.status != 0
    assert "of an earlier run still writes here" in refused.output
    assert resumed.output.startswith("waiting for Slurm job ")
    check_equal(resumed, expected)
    for stage in ("load_problems", "train_builtin_model", "tune_prompt"):
        assert states(resumed.clone, stage) == ["COMPLETED"]
    planned = run(resumed.clone, "--dry-run", *TARGET).output
    assert "Nothing to be done" in planned
    assert "missing provenance" not in planned


def test_a_resume_may_cancel_the_orphans(runs: dict[str, Future[Any]], expected: Ended) -> None:
    ended = runs["given_up"].result()
    assert ended.output.startswith("cancelled Slurm job ")
    check_equal(ended, expected)
    assert states(ended.clone, "train_builtin_model") == ["CANCELLED", "COMPLETED"]
    assert states(ended.clone, "tune_prompt") == ["COMPLETED"]


def test_a_full_disk_is_named(runs: dict[str, Future[Any]]) -> None:
    ended = runs["full"].result()
    if ended is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("may not mount a small disk; run as root")
    met, refused = ended
    assert met.status != 0
    assert "o space left" in met.last_line
    assert refused.status != 0
    assert "GB free, expected" in refused.output
