"""A prompt read as text, by the stage, on a small cell: a prompt that is text is told as it is."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch

from dpc.config.catalogue import Recipe
from dpc.config.execution import Execution
from dpc.lm import models
from dpc.lm.models import LanguageModel
from dpc.pipeline.cli import main
from dpc.prompts import nearest, soft_prompt
from dpc.prompts.edits import NEAREST, Edit
from dpc.storage import tables
from dpc.storage.adapter_files import Tokens
from tests.support import resumable

IDS = [12, 40, 12, 99]
TOLD = {"questions": 6, "draws": 3, "instruction": "step by step :"}


@pytest.fixture(scope="module")
def lm(small_cell: Path) -> LanguageModel:
    return models.load(small_cell / "model", "float32", Execution(device="cpu"))


def saved(prompt: torch.Tensor, folder: Path, lm: LanguageModel, tokens: Tokens | None = None) -> Path:
    soft_prompt.save(prompt, folder / "own.safetensors", folder / "own.json", "m", lm, tokens)
    return folder / "own.safetensors"


def measured(
    cell: Path, out: Path, prompt: Path, reader: bool = False, model: Path | None = None, **told: object
) -> pd.DataFrame:
    """Run the stage under the prompt in a file, on the cell's model or another."""
    read = {"dtype": "float32", "attention": "auto", "bos": True} if reader else None
    settings = {**resumable.LM, "bos": True, "interpretability": {**TOLD, **told}, "reader": read}
    flags = [f"--model={model or cell / 'model'}", f"--prompt={prompt}", f"--questions={cell}/questions.parquet"]
    flags += [f"--generations={cell}/generations.parquet", f"--plans={cell}/plans.parquet", f"--out={out}/read.parquet"]
    execution = json.dumps({"device": "cpu"})
    more = [f"--reader={cell}/model"] if reader else []
    stage = ["measure_prompt", f"--settings={json.dumps(settings)}", f"--execution={execution}", *flags, *more]
    assert main(stage) == 0
    return tables.read(out / "read.parquet", "interpretability")


def test_a_prompt_that_is_text_is_exactly_its_text(small_cell: Path, tmp_path: Path, lm: LanguageModel) -> None:
    found = measured(small_cell, tmp_path, saved(lm.vocabulary_VD[IDS], tmp_path, lm)).iloc[0]
    assert (found["prompt"], list(found["token_ids"]), found["text"]) == ("own", IDS, lm.decode(IDS))
    assert (found["distance"], found["distance_relative"]) == (0, 0)
    assert found["cosine_distance"] == pytest.approx(0, abs=1e-6)
    assert len(found["asked"]) == len(set(found["asked"])) == TOLD["questions"]
    for name, value in (("raw", 0), ("centred", 0), ("kl", 0), ("agreement", 1)):
        assert list(found[f"output_{name}"]) == [value] * TOLD["questions"]


TWIN = 30
"""Made to have the embedding of token 12, which has the lower id."""


@pytest.fixture
def twins(tmp_path: Path, lm: LanguageModel) -> tuple[LanguageModel, Path]:
    """The cell's model with two tokens of one embedding, and its folder: nearest neighbours cannot tell them apart."""
    other = copy.deepcopy(lm.model)
    with torch.no_grad():
        other.get_input_embeddings().weight[TWIN] = other.get_input_embeddings().weight[12]
    other.save_pretrained(tmp_path / "twins")
    lm.tokenizer.save_pretrained(tmp_path / "twins")
    return models.load(tmp_path / "twins", "float32", Execution(device="cpu")), tmp_path / "twins"


def test_a_discrete_prompt_is_read_as_the_tokens_it_was_made_of(
    small_cell: Path, tmp_path: Path, twins: tuple[LanguageModel, Path]
) -> None:
    ids, (lm, folder) = [TWIN, 40, TWIN, 99], twins
    prompt = saved(lm.vocabulary_VD[ids], tmp_path, lm, Tokens(tuple(ids), lm.decode(ids)))
    found = measured(small_cell, tmp_path, prompt, model=folder)
    own, corrupted = found.iloc[0], found[found["prompt"] == "corrupted"]
    assert (list(own["token_ids"]), own["text"], own["distance"]) == (ids, lm.decode(ids), 0)
    assert len(corrupted) == 3
    for row in tables.rows(corrupted):  # only the masked vector has another token
        kept = [place for place in range(len(ids)) if row.token_ids[place] == ids[place]]
        assert set(range(len(ids))) - set(kept) == set(row.masked)
        assert row.changed == len(row.masked)


def test_tokens_of_another_model_are_not_taken_for_this_ones(
    small_cell: Path, tmp_path: Path, lm: LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    for ids in ([1_000_000, 40, 12, 99], [7, 40, 12, 99]):
        found = measured(small_cell, tmp_path, saved(lm.vocabulary_VD[IDS], tmp_path, lm, Tokens(tuple(ids), "told")))
        assert list(found.iloc[0]["token_ids"]) == IDS
        assert "tokens of another model" in capsys.readouterr().err


def test_a_prompt_that_is_text_answers_as_its_text_does(small_cell: Path, tmp_path: Path, lm: LanguageModel) -> None:
    prompt = saved(lm.vocabulary_VD[IDS], tmp_path, lm)
    lines = resumable.commands(small_cell, tmp_path)

    def run(stage: str, **files: Path) -> None:
        flags = {f"--{name}=": file for name, file in {"prompt": prompt, **files}.items()}
        line = [next((f"{flag}{file}" for flag, file in flags.items() if part.startswith(flag)), part)
                for part in lines[stage]]  # fmt: skip
        assert main(line) == 0

    run("generate_base")
    base = tables.read(tmp_path / "generations.parquet", "generations")
    rows = [{"problem_id": key, "plan": "projected", "candidate": -1, "fired": True} for key in base["problem_id"]]
    tables.write(tmp_path / "text.parquet", "plans", pd.DataFrame(rows).assign(**projected(len(rows))), {})
    run("regenerate", plans=tmp_path / "text.parquet", base=tmp_path / "generations.parquet")
    again = tables.read(tmp_path / "edits.parquet", "regenerations").set_index("problem_id")["token_ids"]
    assert {row.problem_id: list(row.token_ids) for row in tables.rows(base)} == again.map(list).to_dict()


def projected(count: int) -> dict[str, list[object]]:
    return {name: [value] * count for name, value in Edit(mask=NEAREST).columns().items()}


def test_references_and_corrupted_prompts_stand_beside(small_cell: Path, tmp_path: Path, lm: LanguageModel) -> None:
    found = measured(small_cell, tmp_path, saved(lm.vocabulary_VD[IDS] + 0.1, tmp_path, lm), reader=True)
    assert Counter(found["prompt"]) == {"own": 1, "corrupted": 3, "instruction": 1, "random": 3}
    assert found.loc[found["prompt"] == "corrupted", "questions"].tolist() == [11] * 3
    zeroed = nearest.nearest(lm, torch.zeros(1, lm.vocabulary_VD.shape[1])).ids
    for row in tables.rows(found[found["prompt"] == "corrupted"]):
        (masked,) = row.masked
        assert row.token_ids[masked] == zeroed[0]
        assert row.changed == sum(
            old != new for old, new in zip(found["token_ids"].iloc[0], row.token_ids, strict=True)
        )
    assert (found.loc[found["prompt"] == "random", "token_ids"].map(len) == len(IDS)).all()
    # the reader is the model itself; where every token is a word, the text is read as these tokens
    worded = found[found["words"].map(all)]
    assert len(worded) > 3
    assert worded["reader_nll"].tolist() == pytest.approx(worded["nll"].tolist(), rel=1e-5)


def test_random_tokens_are_not_those_a_prompt_starts_as(small_cell: Path, tmp_path: Path, lm: LanguageModel) -> None:
    starts = [soft_prompt.initial(lm, Recipe(vectors=4), torch.Generator().manual_seed(seed)) for seed in range(2)]
    drawn = list[tuple[int, ...]]()
    for number, start in enumerate(starts):
        (tmp_path / str(number)).mkdir()
        found = measured(small_cell, tmp_path / str(number), saved(start, tmp_path / str(number), lm))
        assert found["token_ids"].iloc[0].tolist() == nearest.nearest(lm, start).ids
        drawn += map(tuple, found.loc[found["prompt"] == "random", "token_ids"])
    assert len(set(drawn)) == len(drawn) == 6
    assert {tuple(nearest.nearest(lm, start).ids) for start in starts}.isdisjoint(drawn)


def test_words_that_the_tokenizer_does_not_know_are_no_reference(
    small_cell: Path, tmp_path: Path, lm: LanguageModel
) -> None:
    prompt = saved(lm.vocabulary_VD[IDS], tmp_path, lm)
    found = measured(small_cell, tmp_path, prompt, instruction="Reason carefully")
    assert "instruction" not in set(found["prompt"])


def test_of_a_mixture_the_commonest_prompt_is_read(small_cell: Path, tmp_path: Path, lm: LanguageModel) -> None:
    one, other = lm.vocabulary_VD[IDS], lm.vocabulary_VD[[7, 8, 9, 10]]
    router = torch.zeros(2, 1, one.shape[1])
    router[0] = 1e3 * torch.randn(one.shape[1], generator=torch.Generator().manual_seed(0))
    mixture = torch.cat([torch.stack([one, other]), router], 1)
    file = saved(mixture, tmp_path, lm)
    found = measured(small_cell, tmp_path, file, questions=14).iloc[0]
    texts = tables.read(small_cell / "questions.parquet", "questions").set_index("problem_id")["prompt_text"]
    own = soft_prompt.load(file, lm)
    said = Counter(tuple(nearest.nearest(lm, own.of(lm.encode(texts[key]))).ids) for key in found["asked"])
    assert len(said) > 1
    assert tuple(found["token_ids"]) == said.most_common(1)[0][0]
    assert max(found["output_kl"]) < 1e-6
