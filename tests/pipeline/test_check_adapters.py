"""Prompts brought in: what is none, holds more, or was tuned on another model is said before the first job."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dpc.config.settings import Execution, load_config
from dpc.errors import DpcError
from dpc.lm import models
from dpc.pipeline import check, check_models
from dpc.prompts import soft_prompt
from dpc.storage import adapter_files
from dpc.storage.adapter_files import stranger
from dpc.storage.hub import ORIGIN
from tests.support import bad_adapters, bad_models
from tests.support import model_folders as made
from tests.support.bad_adapters import BAD, FINE
from tests.support.bad_models import Change
from tests.support.workflow import overlay

CPU = Execution(device="cpu")


def look(model: Path, adapter: Path) -> None:
    """Do what is done when the configuration is read, and then before the first job."""
    config = load_config(made.study(model, adapter))
    check_models.check_adapters(config)
    check.check(config)


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_prompt_that_cannot_be_taken_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    model, adapter = bad_adapters.whole(tmp_path)
    change(adapter)
    with pytest.raises(DpcError, match=said) as error:
        look(model, adapter)
    assert re.match(r"recipes\.brought\.(adapter: |vectors is )", str(error.value))
    assert "\n" not in str(error.value)
    with pytest.raises(DpcError):
        soft_prompt.adapter(adapter, models.load(model, "float32", CPU), 4)


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_a_prompt_that_can_be_taken_is_not_refused(change: Change, tmp_path: Path) -> None:
    model, adapter = bad_adapters.whole(tmp_path)
    change(adapter)
    look(model, adapter)
    found = soft_prompt.adapter(adapter, models.load(model, "float32", CPU), 4)
    theirs = load_file(adapter / adapter_files.WEIGHTS)["prompt_embeddings"]
    assert torch.equal(found, theirs.float())


def test_a_folder_that_is_not_there_says_what_stands_for_a_cell(tmp_path: Path) -> None:
    model = made.write(tmp_path / "own")
    with pytest.raises(
        DpcError, match=r"adapter_config\.json'; .*; \{model\}, \{dataset\} and \{seed\} in it stand for"
    ):
        look(model, tmp_path / "nowhere")


def test_every_cell_has_the_vectors_its_recipe_says(tmp_path: Path) -> None:
    model = made.write(tmp_path / "own")
    for seed, count in ((0, 4), (1, 5)):
        made.write_adapter(tmp_path / f"seed{seed}", (count, 16))
    raw = overlay(made.study(model, tmp_path / "seed{seed}"), {"study": {"prompt_seeds": [0, 1]}})
    with pytest.raises(DpcError, match=r"recipes\.brought\.vectors is 4, but the adapter in .*seed1 has 5; write 5"):
        check_models.check_adapters(load_config(raw))


def test_a_width_is_compared_with_the_embedded_model_too(tmp_path: Path) -> None:
    raw = made.study(tmp_path / "own", made.write_adapter(tmp_path / "adapter"))
    own = {"builtin": {"width": 16, "heads": 4}, "path": None}
    check.check(load_config(overlay(raw, {"models": {"own": own}})))
    own["builtin"] = {"width": 32, "heads": 4}
    with pytest.raises(
        DpcError, match=r"have width 16, but models\.own has 32; write an adapter that was tuned on this"
    ):
        check.check(load_config(overlay(raw, {"models": {"own": own}})))


CACHE = "/home/me/.cache/huggingface/hub/models--meta-llama--Llama-2-13b-hf/snapshots/5c31dfb671ce7cfe2d7bb7c04375e44c5"
SAME = [
    ("meta-llama/Llama-2-13b-hf", "meta-llama/Llama-2-13b-hf", None),
    ("meta-llama/Llama-2-13b-hf", "NousResearch/Llama-2-13b-hf", None),
    ("meta-llama/Llama-2-13b-hf", "meta-llama/llama-2-13B-HF", None),
    ("/data/models/Llama-2-13b-hf", "meta-llama/Llama-2-13b-hf", None),
    ("/data/models/Llama-2-13b-hf/", "meta-llama/Llama-2-13b-hf", None),
    ("C:\\models\\Llama-2-13b-hf", "meta-llama/Llama-2-13b-hf", None),
    (CACHE, "meta-llama/Llama-2-13b-hf", None),
    ("meta-llama/Llama-2-13b-hf", None, CACHE),
    ("meta-llama/Llama-2-13b-hf", None, "/data/Llama-2-13b-hf"),
    ("./Llama-2-13b-hf", None, "Llama-2-13b-hf"),
    ("resources/models/llama2-13b", None, "resources/models/llama2-13b"),
    ("", "meta-llama/Llama-2-13b-hf", None),
    (None, "meta-llama/Llama-2-13b-hf", None),
]
OTHER = [
    ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-13b-hf", None),
    ("meta-llama/Llama-2-13b-chat-hf", "meta-llama/Llama-2-13b-hf", None),
    ("meta-llama", "meta-llama/Llama-2-13b-hf", None),
    ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.2", None),
    ("/data/models/Llama-2-13b-hf/final", "meta-llama/Llama-2-13b-hf", None),
    ("/data/other", None, "/data/own"),
    (CACHE, None, "/data/own"),
    ("hf", "meta-llama/Llama-2-13b-hf", None),
    ("Llama", "Llama-2-13b-hf", None),
    ("/", "meta-llama/Llama-2-13b-hf", None),
]
"""What the adapter names, the model's hub id and its folder."""


@pytest.mark.parametrize(("base", "hub", "folder"), [*SAME, *OTHER])
def test_an_adapter_of_another_model_is_named(base: Any, hub: Any, folder: Any, tmp_path: Path) -> None:
    adapter = made.write_adapter(tmp_path / "adapter", base_model_name_or_path=base)
    said = stranger(adapter, Path(folder or "resources/models/x"), hub)
    assert (said is None) == ((base, hub, folder) in SAME)
    if said:
        assert f"tuned on {base!r}, and the model here is {hub or folder!r}" in said


def test_what_was_fetched_has_its_hub_id(tmp_path: Path) -> None:
    adapter = made.write_adapter(tmp_path / "adapter", base_model_name_or_path="meta-llama/Llama-2-13b-hf")
    (model := tmp_path / "llama").mkdir()
    assert stranger(adapter, model)
    (model / ORIGIN).write_text(json.dumps({"hub": "meta-llama/Llama-2-13b-hf", "commit": "0"}))
    assert stranger(adapter, model) is None


def test_check_prints_both_names_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, adapter = bad_adapters.whole(tmp_path)
    bad_models.file("adapter_config.json", base_model_name_or_path="somewhere/other")(adapter)
    monkeypatch.setenv("DPC_CONFIG", json.dumps(made.study(model, adapter)))
    assert check.main() == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert "this prompt was tuned on 'somewhere/other'" in note
    assert f"the model here is '{model}'" in note
