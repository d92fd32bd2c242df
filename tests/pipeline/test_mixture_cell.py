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
from dpc.prompts import routing, soft_prompt
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
    """A mixture of the cell's own prompt and another one, and a router that is sure and cuts the questions in two."""
    texts = tables.read(small_cell / "questions.parquet", "questions")["prompt_text"]
    middle_D = routing.means(lm, [lm.encode(text) for text in texts]).mean(0)
    own_ND = soft_prompt.load(small_cell / "prompt.safetensors", lm).of([])
    generator = torch.Generator().manual_seed(6)
    other_ND = 4 * torch.randn(own_ND.shape, generator=generator)
    drawn_D = torch.randn(own_ND.shape[1], generator=generator)
    across_D = 1e4 * (drawn_D - middle_D * (drawn_D @ middle_D) / (middle_D @ middle_D))
    return kept(
        small_cell / "mixed.safetensors", lm, torch.stack([own_ND, other_ND]), torch.stack([across_D, -across_D])
    )


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
    prompts = {key: mixture.of(lm.encode(texts[key])) for key in found["problem_id"].unique()}
    distinct = torch.unique(torch.stack(list(prompts.values())), dim=0)
    assert len(distinct) == 2, "all questions of this stage have the same prompt"
    for count, prompt_ND in enumerate(distinct):
        soft_prompt.save(prompt_ND, tmp_path / "own", tmp_path / "own.json", "m", lm)
        alone = made(small_cell, tmp_path / str(count), stage, tmp_path / "own")
        mine = found["problem_id"].map(lambda key, own=prompt_ND: torch.equal(prompts[key], own))
        assert differences(found[mine], alone[mine]) == []
        assert differences(found[~mine], alone[~mine]) != [], "another question's prompt would do as well"
