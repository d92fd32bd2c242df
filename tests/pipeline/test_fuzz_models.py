"""Random harm to model folders, adapters and configurations: one line, or an answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support import fuzz_models

SAID = (
    "write", "correct", "copy", "expected", "known are", "did you mean", "add it", "raise", "load the model", "lower",
    "must contain", "tune the prompt again", "needs exactly one",
)  # fmt: skip
"""Every line says what to do: it has one of these words."""


def go_through(seeds: range, folder: Path) -> Counter[str]:
    """Try each case; return how many were refused and how many answered."""
    found: Counter[str] = Counter()
    for seed in seeds:
        what, raw = fuzz_models.case(seed, folder / str(seed))
        try:
            config, said = fuzz_models.looked_at(raw)
        except BaseException as error:
            raise AssertionError(f"{what}: the check ends in a stack") from error
        if config is None:
            assert said.startswith("error: "), what
            assert len(said.splitlines()) == 1, f"{what}: {said}"
            assert any(word in said for word in SAID), f"{what}: {said}"
        else:
            try:
                assert len(list(fuzz_models.answered(config))) == 2
            except BaseException as error:
                raise AssertionError(f"{what}: passes the check, and then {type(error).__name__}: {error}") from error
        found["refused" if config is None else "answered"] += 1
    return found


def test_some_harm_is_refused_or_does_none(tmp_path: Path) -> None:
    assert sum(go_through(range(1000, 1030), tmp_path).values()) == 30


@pytest.mark.proof
def test_harm_is_refused_or_does_none(tmp_path: Path) -> None:
    found = go_through(range(350), tmp_path)
    assert found["refused"] > 100, found
    assert found["answered"] > 60, found
