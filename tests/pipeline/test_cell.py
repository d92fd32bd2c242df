"""A finished cell tells the settings that its tables were made with, not those of files that an earlier run left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpc.config.slices import GenerateStage
from dpc.errors import DpcError
from dpc.pipeline.answering.cell import Cell
from dpc.storage import tables
from tests.support.resumable import GENERATE


def shard(folder: Path, name: str, tokens: int, second: int) -> None:
    """Write shard `name` of rationales of at most so many tokens, at that second."""
    file = folder / "generations" / f"{name}.parquet"
    told = GenerateStage.model_validate(GENERATE | {"max_new_tokens": tokens}).model_dump(mode="json")
    tables.write(file, "generations", tables.empty("generations"), {"settings": told})
    os.utime(file, (second, second))


def tokens(folder: Path) -> int:
    return Cell(folder, folder).generation.max_new_tokens


def test_shards_of_an_earlier_count_are_passed_over(tmp_path: Path) -> None:
    shard(tmp_path, "1-of-1", 256, 1)
    assert tokens(tmp_path) == 256
    for second, name in ((2, "1-of-2"), (3, "2-of-2")):
        shard(tmp_path, name, 512, second)
    assert tokens(tmp_path) == 512
    shard(tmp_path, "1-of-1", 128, 4)
    assert tokens(tmp_path) == 128


def test_shards_made_with_different_settings_are_refused(tmp_path: Path) -> None:
    shard(tmp_path, "1-of-2", 256, 1)
    shard(tmp_path, "2-of-2", 512, 2)
    with pytest.raises(DpcError, match=r"found shards of generations/\*\.parquet that were made with different sett"):
        tokens(tmp_path)
