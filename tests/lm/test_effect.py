"""A prompt that was brought in and does nothing, or was tuned on another model, is told of where a user sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from dpc.config.catalogue import Recipe
from dpc.config.settings import Execution
from dpc.config.slices import TunePromptStage
from dpc.lm import models
from dpc.lm.effect import TRIED, changed_tokens
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, left_padded
from dpc.pipeline.stages import tune_prompt
from dpc.prompts import soft_prompt
from dpc.storage import tables
from tests.support import model_folders as made
from tests.support import tiny

CPU = Execution(device="cpu")
LAYOUT = Layout("bos_first", True)
EXAMPLES = [Example([5, 6, 7], [8, 9, 10]), Example([11], [12, 13])]


def likeliest(lm: models.LanguageModel, prompt: torch.Tensor | None, example: Example) -> list[int]:
    """Go through an example token by token, each time from the beginning."""
    said = []
    for length in range(len(example.rationale_ids)):
        ids = [*example.question_ids, *example.rationale_ids[:length]]
        batch = left_padded(lm, LAYOUT, [prompt], [ids])
        logits = lm.model(
            inputs_embeds=batch.embeds_BSD, attention_mask=batch.mask_BS, position_ids=batch.position_ids_BS
        ).logits
        said.append(int(logits[0, -1].argmax()))
    return said


@pytest.mark.parametrize("family", ["llama-gqa", "gemma2", "qwen2"])
def test_changed_tokens_are_counted_one_by_one(family: str) -> None:
    lm = tiny.model(family)
    prompt = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    pairs = [
        (a, b)
        for example in EXAMPLES
        for a, b in zip(likeliest(lm, prompt, example), likeliest(lm, None, example), strict=True)
    ]
    assert changed_tokens(lm, LAYOUT, prompt, EXAMPLES) == (sum(a != b for a, b in pairs), 5)
    assert any(a != b for a, b in pairs)
    assert changed_tokens(lm, LAYOUT, prompt, [EXAMPLES[0]] * 99)[1] == 3 * TRIED


def deaf(folder: Path) -> None:
    """Let no token of a model hear another."""
    weights = load_file(folder / "model.safetensors")
    made.save(folder, {name: tensor * np.float32("o_proj" not in name) for name, tensor in weights.items()})


def taken(folder: Path, base: str, is_deaf: bool) -> None:
    """Bring a prompt in, and find it again as it was."""
    model, given = made.write(folder / "own"), made.write_adapter(folder / "given", base_model_name_or_path=base)
    if is_deaf:
        deaf(model)
    names = list("abcdef")
    asked = pd.DataFrame({"problem_id": names, "question": [f"{n}?" for n in names], "source": "here"})
    asked["split"] = ["tuning"] * 3 + ["validation"] * 3
    tables.write(folder / "questions.parquet", "questions", asked.assign(prompt_text=asked["question"]), {})
    for part, keys in (("tuning", names[:3]), ("validation", names[3:])):
        gold = pd.DataFrame({"problem_id": keys, "answer": "1", "rationale": [f"r{n} so" for n in keys], "steps": 1})
        tables.write(folder / f"{part}.parquet", "gold", gold, {})
    settings = TunePromptStage(dtype="float32", layout="bos_first", recipe=Recipe(vectors=4), seed=0)
    out = {name: folder / name for name in ("checkpoint", "weights", "adapter", "history")}
    parts = {part: folder / f"{part}.parquet" for part in ("questions", "tuning", "validation")}
    tune_prompt.run(settings, model=model, given=given, execution=CPU, **parts, **out)
    theirs = load_file(given / "adapter_model.safetensors")["prompt_embeddings"]
    assert np.array_equal(load_file(out["weights"])["prompt_embeddings"], theirs)
    lm = models.load(model, "float32", CPU)
    assert torch.equal(soft_prompt.load(out["weights"], lm).of([]), torch.from_numpy(theirs))


NOTHING = "this prompt changes none of 18 next tokens in gold rationales of validation questions: is it the intended"
OTHER = "this prompt was tuned on 'other', and the model here is "


@pytest.mark.parametrize(
    ("base", "is_deaf", "said"),
    [
        ("somewhere/own", False, []),
        ("somewhere/own", True, [NOTHING]),
        ("other", True, [OTHER, NOTHING]),
        ("other", False, [OTHER]),
    ],
)
def test_what_is_odd_about_a_prompt_is_a_warning(
    base: str, is_deaf: bool, said: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken(tmp_path, base, is_deaf)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == len(said), warnings
    assert all(part in line for part, line in zip(said, warnings, strict=True)), warnings
