"""Tiny models and tokenizers that every test can afford."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster import slurm

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DPC_DATA", ROOT.parent / "shared" / "data"))
"""Folder with gsm8k/, aqua/, math/; tests that need it skip where it is absent."""

LONGEST = (
    "test_proofs.py", "test_grid.py", "test_kills.py", "test_study_runs.py", "test_reruns.py", "test_cluster.py",
    "test_tasks.py",
)  # fmt: skip
"""Files that take minutes, begun first: one that begins last is what all workers wait for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not (DATA / "gsm8k" / "test.jsonl").is_file():
        pytest.skip("no benchmark files: set DPC_DATA to a folder with gsm8k/, aqua/ and math/")
    return DATA


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side: more threads than cores would slow all of them."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why the cluster was left out; skips are counted without a word."""
    if message := slurm.missing():
        terminalreporter.write_line(f"tests/cluster was left out: {message}")
