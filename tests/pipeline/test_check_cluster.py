"""What a cluster is called: names that would be refused when jobs are submitted are refused by the check."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_interface_common.exceptions import WorkflowError

from dpc.config.settings import load_config
from dpc.errors import DpcError
from dpc.pipeline import check
from dpc.pipeline.check_cluster import check_environment
from dpc.pipeline.cluster import slurm
from tests.support import config_tree as tree
from tests.support.workflow import Workflow

TAKEN = [
    {},
    {"DPC_GPU_GRES": ""},
    {"DPC_GPU_GRES": "gpu"},
    {"DPC_GPU_GRES": "gpu:a100"},
    {"DPC_GPU_GRES": "gpu:nvidia_a100_80gb"},
    {"DPC_GPU_GRES": "gpu:1g.5gb"},
    {"DPC_GPU_GRES": "shard"},
    {"DPC_GPU_MODEL": "a100"},
    {"DPC_GPU_MODEL": "a100_1g.5gb"},
    {"DPC_PARTITION": "cpu", "DPC_GPU_PARTITION": "gpu-long,gpu"},
    {"DPC_PARTITION": "all"},
    {"DPC_GPU_CONSTRAINT": "[a100|h100]&ib*2"},
    {"DPC_ACCOUNT": "my-account_2024", "DPC_QOS": "long"},
    {"DPC_ACCOUNT": "0123"},
    {"DPC_OTHER": "a b"},
]
OTHERWISE = "and choose the cards by DPC_GPU_PARTITION or DPC_GPU_CONSTRAINT"
REFUSED = [
    ({"DPC_GPU_GRES": "gpu:nvidia_a100-sxm4-80gb"}, f"write DPC_GPU_GRES=gpu, {OTHERWISE}"),
    ({"DPC_GPU_GRES": "gpu:1"}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_GRES": "gpu:2"}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_GRES": "gpu:8G"}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_GRES": "gpu:a100:2"}, "write DPC_GPU_GRES=gpu:a100"),
    ({"DPC_GPU_GRES": "gpu:a100-40:2"}, f"write DPC_GPU_GRES=gpu, {OTHERWISE}"),
    ({"DPC_GPU_GRES": "gpu:"}, f"write DPC_GPU_GRES=gpu, {OTHERWISE}"),
    ({"DPC_GPU_GRES": "gpu-a100"}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_GRES": "'gpu:a100'"}, "write DPC_GPU_GRES=gpu:a100"),
    ({"DPC_GPU_GRES": " gpu "}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_GRES": "gpu:a100,gpu:h100"}, f"write DPC_GPU_GRES=gpu, {OTHERWISE}"),
    ({"DPC_GPU_GRES": "--gres=gpu"}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_GRES": "gpu\n"}, "write DPC_GPU_GRES=gpu"),
    ({"DPC_GPU_MODEL": "nvidia_a100-sxm4-80gb"}, f"unset it, {OTHERWISE}"),
    ({"DPC_GPU_MODEL": "a100:1"}, f"unset it, {OTHERWISE}"),
    ({"DPC_GPU_MODEL": "1"}, f"unset it, {OTHERWISE}"),
    ({"DPC_GPU_MODEL": '"a100"'}, f"unset it, {OTHERWISE}"),
    (
        {"DPC_GPU_MODEL": "a100", "DPC_GPU_GRES": "gpu"},
        "unset it, and write DPC_GPU_GRES=gpu:a100 if the model matters",
    ),
    ({"DPC_PARTITION": "cpu gpu"}, "'cpu gpu'; expected a partition, or several with commas between them"),
    ({"DPC_PARTITION": "cpu, gpu"}, "expected a partition"),
    ({"DPC_GPU_PARTITION": "'gpu'"}, "without spaces or quotes"),
    ({"DPC_GPU_PARTITION": "gpu,"}, "expected a partition"),
    ({"DPC_ACCOUNT": "one,two"}, "expected one account"),
    ({"DPC_ACCOUNT": "my account"}, "expected one account"),
    ({"DPC_QOS": '"long"'}, "expected one quality of service"),
    ({"DPC_GPU_CONSTRAINT": "a100 & ib"}, "expected features of a node"),
]


@pytest.fixture(autouse=True)
def _no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commands of Slurm, whatever this machine has."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.mark.parametrize("environment", TAKEN, ids=str)
def test_taken(environment: dict[str, str]) -> None:
    check_environment(environment)


@pytest.mark.parametrize(("environment", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused_in_one_line_that_says_what_to_write(environment: dict[str, str], said: str) -> None:
    with pytest.raises(DpcError) as error:
        check_environment(environment)
    assert str(error.value).startswith(f"{next(iter(environment))} is {next(iter(environment.values()))!r}")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


class Resources(dict[str, str | int]):
    """A job's resources, as the executor reads them."""

    __getattr__ = dict.__getitem__


def executor_takes(**resources: str | int) -> bool:
    try:
        return bool(set_gres_string(SimpleNamespace(resources=Resources(resources))))  # type: ignore[arg-type]
    except WorkflowError:
        return False


@given(st.text("ag1_.:-, '", min_size=1, max_size=8))
def test_the_executor_takes_whatever_the_check_takes(name: str) -> None:
    asked = {"DPC_GPU_GRES": {"gres": f"{name}:1"}, "DPC_GPU_MODEL": {"gpu_model": name, "gpu": 1}}
    for variable, resources in asked.items():
        with suppress(DpcError):
            check_environment({variable: name})
            assert executor_takes(**resources), name


def test_what_is_refused_the_executor_refuses_or_reads_otherwise() -> None:
    """The example that Slurm gets as `gpu:1:1` apart, and quotes."""
    assert not executor_takes(gres="gpu:nvidia_a100-sxm4-80gb:1")
    assert not executor_takes(gpu_model="nvidia_a100-sxm4-80gb", gpu=1)
    assert executor_takes(gres="gpu:1:1")


def test_the_check_reads_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DPC_GPU_GRES", "gpu:1")
    with pytest.raises(DpcError, match="DPC_GPU_GRES is 'gpu:1'"):
        check.check(load_config(tree.demo()))


@pytest.mark.parametrize(
    ("script", "value", "said"),
    [
        ("printf 'cpu\\ngpu\\n'", "gpu", None),
        ("printf 'cpu\\ngpu\\n'", "cpu,gpu", None),
        (
            "printf 'cpu\\ngpu\\n'",
            "gpuu",
            "DPC_GPU_PARTITION names 'gpuu', which is no partition of this Slurm; write one of ",
        ),
        ("printf 'cpu\\ngpu\\n'", "gpu,x", "names 'x', which is no partition of this Slurm; write one of cpu, gpu"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "gpuu", None),
        ("exec /bin/sleep 9", "gpuu", None),
        ("true", "gpuu", None),
    ],
    ids=["known", "several", "unknown", "one unknown", "down", "silent", "none"],
)
def test_a_partition_that_slurm_does_not_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, value: str, said: str | None
) -> None:
    monkeypatch.setattr(slurm, "SECONDS", 0.5)
    (tmp_path / "bin/sinfo").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/sinfo").chmod(0o755)
    if said is None:
        check_environment({"DPC_GPU_PARTITION": value})
        return
    with pytest.raises(DpcError, match=said):
        check_environment({"DPC_GPU_PARTITION": value})


@pytest.mark.parametrize("names", [("all", "max", "1e5"), ("gpu-long,1", "2024_05", "attempt")], ids=str)
def test_a_name_is_text_to_snakemake_whatever_python_makes_of_it(
    names: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    for variable, name in zip(("DPC_PARTITION", "DPC_ACCOUNT", "DPC_QOS"), names, strict=True):
        monkeypatch.setenv(variable, name)
    done = Workflow(tmp_path, {}).snakemake("problems", "--profile", "slurm", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    partition, account, qos = names
    assert f"slurm_partition={partition}, slurm_account={account}, qos={qos}" in done.stdout + done.stderr
