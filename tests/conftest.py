"""Tiny models and tokenizers that every test can afford."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import slurm
from tests.explorer import browser
from tests.support.paths import DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files marked `long`: one that begins last is what all workers wait for."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not (DATA / "gsm8k" / "test.jsonl").is_file():
        pytest.skip("no benchmark files: set DPC_DATA to a folder with gsm8k/, aqua/ and math/")
    return DATA


@pytest.fixture(scope="module")
def small_cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of every torch stage, for a cell that takes a second."""
    from tests.support import resumable

    folder = tmp_path_factory.mktemp("small_cell")
    resumable.make(folder)
    return folder


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' eager attention, the one that Gemma 2 has, rounds float64 to float32; take that out."""
    import torch

    softmax = torch.nn.functional.softmax

    def exact(scores: Any, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        return softmax(scores, *args, dtype=scores.dtype if scores.dtype == torch.float64 else dtype, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "softmax", exact)


@pytest.fixture
def still_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make seconds and dates equal in all runs, so that files may be compared."""
    epoch = time.gmtime(0)
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    monkeypatch.setattr("time.gmtime", lambda *_: epoch)
    monkeypatch.setattr("dpc.storage.provenance.peak_gb", lambda: 0.0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side: more threads than cores would slow all of them."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why the cluster or the browser was left out; skips are counted without a word."""
    lacking = {"cluster": slurm.missing(), "explorer": browser.missing() or browser.no_tools()}
    for folder, message in lacking.items():
        if message:
            terminalreporter.write_line(f"of tests/{folder} some were left out: {message}")
