"""Batches halve where memory runs out, and nothing else changes."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.lm.batches import in_batches

STARVED = """
import resource, torch
from dpc.lm.batches import in_batches

used = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize"))) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
megabytes = lambda batch: torch.zeros(100 * len(batch), 2**18).shape[0]  # 100 MB an item
print([(len(batch), made) for batch, made in in_batches(range(9), 8, megabytes)])
"""


@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 50))
def test_every_item_comes_once_in_order_and_no_batch_is_larger_than_fits(count: int, size: int, fits: int) -> None:
    tried = []

    def work(batch: range) -> list[int]:
        tried.append(len(batch))
        if len(batch) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [2 * item for item in batch]

    found = list(in_batches(range(count), size, work))
    assert [item for batch, _ in found for item in batch] == list(range(count))
    assert [made for _, result in found for made in result] == [2 * item for item in range(count)]
    assert all(len(batch) <= min(size, fits) for batch, _ in found)
    failed = [length for length in tried if length > fits]
    assert len(failed) <= 6  # found by halving, and not forgotten


def test_memory_that_really_runs_out_halves_the_batch() -> None:
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[(2, 200), (2, 200), (2, 200), (2, 200), (1, 100)]", done.stderr
    assert "out of memory with 8 rows in a batch; continuing with 4" in done.stderr


def test_a_single_item_that_does_not_fit_is_one_clear_error(caplog: pytest.LogCaptureFixture) -> None:
    def work(batch: range) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with caplog.at_level(logging.WARNING), pytest.raises(DpcError, match="a single question does not fit into memory"):
        list(in_batches(range(4), 4, work))
    assert len(caplog.records) == 2


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def work(batch: range) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(in_batches(range(4), 4, work))
