"""Where the project and the benchmark files stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("DPC_DATA", ROOT.parent / "shared" / "data"))
"""Folder with gsm8k/, aqua/, math/; tests that need it skip where it is absent."""
needs_data = pytest.mark.skipif(
    not (DATA / "math" / "test.jsonl").is_file(),
    reason="no benchmark files: set DPC_DATA to a folder with gsm8k/, aqua/ and math/",
)
