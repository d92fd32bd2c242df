"""Tiny models and tokenizers that every test can afford."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import slurm
from tests.support.paths import DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files marked `long`: one that begins last is what all workers wait for."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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
