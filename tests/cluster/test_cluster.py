"""`snakemake --profile slurm` from a fresh clone, on a real Slurm with pretended GPUs: what goes wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import processes, slurm
from tests.cluster.clone import Clone
from tests.cluster.conftest import require_slurm
from tests.cluster.slurm import Cluster
from tests.support.paths import ROOT

pytestmark = pytest.mark.long

BAD_NAMES = {
    "load_problems:slurm_partition=nowhere": "Slurm refused the job: invalid partition specified: nowhere; ",
    "train_builtin_model:gres=gpu:a-b": "Snakemake's executor refused the job: Invalid GRES format: gpu:a-b",
}


def test_a_failed_submission_says_what_slurm_and_the_executor_said(cluster: Cluster, tmp_path: Path) -> None:
    clone = Clone(tmp_path / "refused", cluster, warm=False)
    status, output = clone.run("--retries", "1", "--set-resources", *BAD_NAMES, "--", "problems", "models")
    assert status != 0
    told = [line for line in output.splitlines() if " failed (" in line]
    assert len(told) == len(BAD_NAMES)
    for name, said in BAD_NAMES.items():
        rule = name.partition(":")[0]
        (line,) = [line for line in told if line.startswith(f"{rule} failed (2 attempts): {said}")]
        assert "; again: snakemake " in line
        assert "; log: " not in line


def test_a_partition_that_is_not_there_is_refused_before_the_first_job(cluster: Cluster, tmp_path: Path) -> None:
    clone = Clone(tmp_path / "misspelt", cluster, warm=False)
    clone.exported["DPC_GPU_PARTITION"] = "gpuu"
    status, output = clone.run("--", "problems")
    assert status != 0
    assert "check: DPC_GPU_PARTITION names 'gpuu', which is no partition of this Slurm; write one of cpu, gpu" in output
    assert "Error in rule" not in output


SLEEP = ["sbatch", "--partition=gpu", "--gpus=1", "--output=/dev/null", "--wrap=srun sleep 100"]
ONE_CLUSTER = """
import sys, time
from pathlib import Path
from tests.cluster import slurm

with slurm.running(Path(sys.argv[1])) as cluster:
    print(cluster.ask(*sys.argv[2:]), flush=True)
    time.sleep(100)
"""


def steps(file: Path) -> set[int]:
    return processes.of_node(file, "g1") | processes.of_node(file, "g2")


def test_nothing_is_left_when_the_cluster_is_down(cluster: Cluster, tmp_path: Path) -> None:
    with slurm.running(tmp_path / "state") as other:
        other.ask(*SLEEP)
        slurm.wait_until(lambda: len(steps(other.file)) >= 3, 20, "job started")
        assert len(other.processes()) >= len(other.daemons) + 3
    assert other.processes() == set()
    assert cluster.processes()  # two clusters side by side do not meet


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_tests_are_killed(cluster: Cluster, tmp_path: Path, sign: signal.Signals) -> None:
    file = tmp_path / "state" / "slurm.conf"
    command = [sys.executable, "-c", ONE_CLUSTER, str(tmp_path / "state"), *SLEEP]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as tests:
        assert tests.stdout
        assert b"Submitted batch job" in tests.stdout.readline()
        slurm.wait_until(lambda: len(steps(file)) >= 3, 20, "job started")
        tests.send_signal(sign)
    slurm.wait_until(lambda: not processes.members(file), 10, "no process left")


@pytest.mark.parametrize(("ci", "end"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_where_slurm_is_missing_ci_fails_and_others_skip(
    monkeypatch: pytest.MonkeyPatch, ci: str, end: type[BaseException]
) -> None:
    monkeypatch.setattr(slurm, "SBIN", "/nowhere")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(end, match=r"^found no sbatch, .*: install Debian's slurm-wlm and munge \(apt-get .*\)$"):
        require_slurm()
