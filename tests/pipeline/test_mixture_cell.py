"""A cell whose questions have prompts of their own: every stage does for each what it does for a prompt of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dpc.config.execution import Execution
from dpc.lm import models
from dpc.lm.models import LanguageModel
from dpc.pipeline.cli import main
from dpc.prompts import soft_prompt
from dpc.storage import tables
from tests.support import resumable

WRITES = {
    "generate_base": ("generations", "generations"),
    "extract_saliency": ("saliency", "saliency"),
    "extract_variants": ("variants", "variant_saliency"),
    "select_act_heads": ("scores", "act_scores"),
    "generate_act": ("act", "generations"),
    "regenerate": ("edits", "regenerations"),
    "extract_corrupted": ("corrupted", "corrupted"),
}
"""Stage: the file and the table it writes, one row or more for each question."""


@pytest.fixture(scope="module")
def lm(small_cell: Path) -> LanguageModel:
    return models.load(small_cell / "model", "float32", Execution(device="cpu"))


@pytest.fixture(scope="module")
def mixed(small_cell: Path, lm: LanguageModel) -> Path:
    """A mixture of three prompts; the first is the cell's own."""
    own_ND = soft_prompt.load(small_cell / "prompt.safetensors", lm).of([])
    generator = torch.Generator().manual_seed(6)
    others_KND = 4 * torch.randn(2, *own_ND.shape, generator=generator)
    router_KD = 8 * torch.randn(3, own_ND.shape[1], generator=generator)
    return kept(small_cell / "mixed.safetensors", lm, torch.cat([own_ND[None], others_KND]), router_KD)


def kept(file: Path, lm: LanguageModel, prompts_KND: torch.Tensor, router_KD: torch.Tensor) -> Path:
    mixture_KMD = torch.cat([prompts_KND, router_KD[:, None]], 1)
    soft_prompt.save(mixture_KMD, file, file.with_suffix(".json"), "m", lm)
    return file


def made(small_cell: Path, out: Path, stage: str, prompt: Path) -> pd.DataFrame:
    """Return what a stage writes under the prompt in a file, in the order of its keys."""
    command = resumable.commands(small_cell, out)[stage]
    name, table = WRITES[stage]
    assert main([f"--prompt={prompt}" if part.startswith("--prompt=") else part for part in command]) == 0
    rows = tables.read(out / f"{name}.parquet", table)
    keys = [key for key in ("problem_id", "edit_id", "variant") if key in rows]
    return rows.drop(columns=["seconds", "batch"], errors="ignore").set_index(keys, drop=False).sort_index()


def differences(one: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    """Return the columns in which two tables differ by more than rounding."""
    assert len(one) == len(other) > 0
    return [name for name in one if not all(map(alike, one[name], other[name]))]


def alike(one: Any, other: Any) -> bool:
    left, right = np.asarray(one), np.asarray(other)
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    return left.shape == right.shape and bool(np.allclose(left, right, rtol=2e-3, atol=1e-5, equal_nan=True))


@pytest.mark.parametrize("stage", WRITES)
def test_a_mixture_of_one_is_its_prompt(small_cell: Path, tmp_path: Path, lm: LanguageModel, stage: str) -> None:
    prompt = small_cell / "prompt.safetensors"
    own_ND = soft_prompt.load(prompt, lm).of([])
    one = kept(tmp_path / "one.safetensors", lm, own_ND[None], torch.ones(1, own_ND.shape[1]))
    found, plain = (made(small_cell, tmp_path / name, stage, file) for name, file in (("a", one), ("b", prompt)))
    assert differences(found, plain) == []


@pytest.mark.parametrize("stage", WRITES)
def test_each_question_is_treated_as_if_all_had_its_prompt(
    small_cell: Path, tmp_path: Path, lm: LanguageModel, mixed: Path, stage: str
) -> None:
    texts = tables.read(small_cell / "questions.parquet", "questions").set_index("problem_id")["prompt_text"]
    found, mixture = made(small_cell, tmp_path / "mixed", stage, mixed), soft_prompt.load(mixed, lm)
    key = found["problem_id"].iloc[-1]
    soft_prompt.save(mixture.of(lm.encode(texts[key])), tmp_path / "own", tmp_path / "own.json", "m", lm)
    alone = made(small_cell, tmp_path / "alone", stage, tmp_path / "own")
    assert differences(found.loc[[key]], alone.loc[[key]]) == []
    assert differences(found, alone) != [], "another question's prompt would do as well"


def test_questions_of_the_cell_have_different_prompts(small_cell: Path, lm: LanguageModel, mixed: Path) -> None:
    texts = tables.read(small_cell / "questions.parquet", "questions")["prompt_text"]
    rows_BND = soft_prompt.load(mixed, lm).rows([lm.encode(text) for text in texts])
    assert len(torch.unique(rows_BND.flatten(1), dim=0)) == len(set(texts))
    directions = {tuple((row[0] / row[0].norm()).round(decimals=3).tolist()) for row in rows_BND}
    assert len(directions) > 1
