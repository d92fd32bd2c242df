"""A tokenizer reads every text whole, whatever its file was last used with: on the login node and in a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from dpc.lm import tokenizer
from dpc.pipeline.lengths import counter
from dpc.storage import tokenizer_files
from tests.support import model_folders

TEXT = "he who tells the shells on the shelf helps her"


def _merged(file: Path, dropout: float | None = None) -> None:
    """Give a tokenizer of bytes some merges, which are left out by chance where `dropout` says so."""
    raw = json.loads(file.read_text())
    merges = [["h", "e"], ["l", "l"], ["he", "ll"], ["s", "he"]]
    vocabulary = raw["model"]["vocab"]
    for pair in merges:
        vocabulary.setdefault("".join(pair), len(vocabulary))
    raw["model"] |= {"merges": merges, "dropout": dropout}
    file.write_text(json.dumps(raw))


def _saved(file: Path, change: Callable[[Any], None]) -> None:
    made = Tokenizer.from_file(str(file))
    change(made)
    made.save(str(file))


SAVED: dict[str, Callable[[Path], None]] = {
    "nothing": lambda file: None,
    "truncation": lambda file: _saved(file, lambda made: made.enable_truncation(8)),
    "truncation from the left": lambda file: _saved(file, lambda made: made.enable_truncation(8, direction="left")),
    "truncation with a stride": lambda file: _saved(file, lambda made: made.enable_truncation(8, stride=2)),
    "padding to a length": lambda file: _saved(file, lambda made: made.enable_padding(length=512)),
    "padding to a multiple": lambda file: _saved(file, lambda made: made.enable_padding(pad_to_multiple_of=64)),
    "padding from the left": lambda file: _saved(file, lambda made: made.enable_padding(direction="left", length=512)),
    "both": lambda file: _saved(file, lambda made: (made.enable_truncation(8), made.enable_padding(length=64))[0]),
    "merges left out by chance": lambda file: _merged(file, 0.5),
    "no merge at all": lambda file: _merged(file, 1.0),
}
"""What a file may keep of its last use."""


@pytest.mark.parametrize("case", SAVED)
def test_what_a_tokenizer_was_last_used_with_is_put_aside(case: str, tmp_path: Path) -> None:
    model_folders.write_tokenizer(tmp_path)
    file = tmp_path / tokenizer_files.FILE
    _merged(file)
    expected = Tokenizer.from_file(str(file)).encode(TEXT, add_special_tokens=False).ids
    SAVED[case](file)
    for _ in range(5):  # chance would show
        assert tokenizer_files.words(tmp_path).encode(TEXT, add_special_tokens=False).ids == expected
        assert tokenizer.load(tmp_path).encode(TEXT, add_special_tokens=False) == expected
        assert counter(tmp_path)(TEXT) == len(expected)
