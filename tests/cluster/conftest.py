"""Slurm for these tests, where it is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster import slurm


def require_slurm() -> None:
    """Skip where Slurm is missing; in CI that is a failure."""
    if message := slurm.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    require_slurm()
    with slurm.running(tmp_path_factory.mktemp("slurm") / "state") as running:
        yield running
