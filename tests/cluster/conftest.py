"""Slurm for these tests, where it is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster import slurm


@pytest.fixture(scope="session")
def installed() -> None:
    """Skip where Slurm is missing; in CI that is a failure."""
    missing = slurm.missing()
    if missing:
        message = (
            f"found no {', '.join(missing)}: install Debian's slurm-wlm and munge (apt-get install slurm-wlm munge)"
        )
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


@pytest.fixture(scope="module")
def cluster(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    with slurm.running(tmp_path_factory.mktemp("slurm") / "state") as running:
        yield running
