"""Odd rows and datasets: what the check lets pass loads as it was written, all else is refused in one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support import fuzz_rows, fuzzing


def tried(case: fuzz_rows.Case, folder: Path) -> str:
    """Return how a case ended: refused, or loaded. Raises AssertionError for a stack and for a silent pass."""
    fuzzing.plan(case.raw, "own")
    line = fuzzing.refusal(case.raw)
    loaded = fuzzing.load(case.raw, "own", folder)
    if line is None:
        assert not isinstance(loaded, str), f"passed, and then {loaded}"
        assert fuzz_rows.altered(case, loaded) == []
        return "loaded"
    assert any(place in line for place in case.places), line
    assert "worked examples" in line or loaded == line  # these only the job after it would refuse
    return "refused"


def all_tried(folder: Path, count: int, seed: int) -> Counter[str]:
    """Try cases; return how many ended how. Raises AssertionError that names all those that ended otherwise."""
    ends, faults = Counter[str](), []
    for case in fuzz_rows.cases(folder, count, seed):
        try:
            ends[tried(case, folder / "out")] += 1
        except Exception as fault:
            faults.append(f"{case.odd}: {type(fault).__name__}: {fault}")
    assert not faults, "\n".join(faults)
    return ends


def test_a_few(tmp_path: Path) -> None:
    assert all_tried(tmp_path, 28, seed=0).keys() == {"loaded", "refused"}


@pytest.mark.proof
def test_odd_rows_are_refused_in_one_line_or_load_unaltered(tmp_path: Path) -> None:
    ends = all_tried(tmp_path, 252, seed=1)
    assert ends["refused"] > 100
    assert ends["loaded"] > 30
