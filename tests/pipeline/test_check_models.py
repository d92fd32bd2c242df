"""Model folders that `check` refuses, each in one line that says what to write, and that every job would say too."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dpc.config.settings import Execution, load_config
from dpc.errors import DpcError
from dpc.lm import models
from dpc.lm.layout import layout_of
from dpc.pipeline import check
from dpc.pipeline.stages.render_questions import chat_of
from dpc.storage import model_files, model_folder, weight_files
from dpc.storage.weight_files import counted
from tests.support import model_folders as made
from tests.support import tiny
from tests.support.bad_models import BAD, FINE, INDEX, WEIGHTS, Change, file
from tests.support.workflow import nested, overlay

CPU = Execution(device="cpu")


def refused(folder: Path) -> str:
    """Return what check says of a model folder, which every job would say too."""
    with pytest.raises(DpcError) as at_check:
        check.check(load_config(made.study(folder)))
    with pytest.raises(DpcError) as at_load:
        models.load(folder, "float32", CPU)
    said = str(at_check.value)
    assert said == f"models.own: {at_load.value}"
    assert "\n" not in said
    assert any(word in said for word in ("correct", "write", "copy", "expected", "load the model")), said
    return said


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_folder_that_would_not_load_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    folder = made.write(tmp_path / "own")
    change(folder)
    found = refused(folder)
    assert re.search(said, found), found


def test_what_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the file system's answer is put in its place."""
    folder = made.write(tmp_path / "own")
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "tokenizer_config.json":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    said = refused(folder)
    assert said.endswith(
        "own/tokenizer_config.json: cannot be read (Permission denied); correct its path or permissions"
    )
    monkeypatch.setattr(Path, "is_file", lambda path: refuse(path.parent / "tokenizer_config.json"))
    with pytest.raises(DpcError, match=r"cannot be read \(Permission denied\); correct its path or perm"):
        model_folder.sound(folder)


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_a_folder_that_loads_is_not_refused(change: Change, tmp_path: Path) -> None:
    folder = made.write(tmp_path / "own")
    change(folder)
    check.check(load_config(made.study(folder)))
    lm = models.load(folder, "float32", CPU)
    logits = lm.model(inputs_embeds=lm.embedding(torch.tensor([[lm.bos_id, 5, lm.pad_id, *lm.end_ids]]))).logits
    assert torch.isfinite(logits).all()
    assert lm.encode("x" * 40) == [90] * 40
    assert layout_of(lm, "bos_first").has_bos


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}), ("llama", {"attention_bias": True, "mlp_bias": True}), ("llama", {"tie_word_embeddings": True}),
    ("llama", {"head_dim": 6}), ("mistral", {}), ("mistral", {"sliding_window": 8, "tie_word_embeddings": True}),
    ("qwen2", {}), ("qwen2", {"tie_word_embeddings": False, "use_sliding_window": True, "sliding_window": 8}),
    ("qwen3", {}), ("qwen3", {"attention_bias": True}), ("gemma2", {}), ("gemma2", {"attention_bias": True}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "keys"), VARIANTS, ids=str)
def test_the_tensors_expected_are_those_of_transformers(family: str, keys: dict[str, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = model_files.architecture("config.json", made.config(family, **keys))
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**made.config(family, **keys)))
    found = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    if shape.tie_word_embeddings:
        del found["lm_head.weight"]
    assert weight_files.expected(shape) == found


@pytest.mark.parametrize("family", ["llama-gqa", "llama-mha", "mistral", "qwen2", "qwen3", "gemma2"])
def test_what_transformers_is_told_makes_the_same_model(family: str, tmp_path: Path) -> None:
    """From the keys that count, against all that its own `config.json` says."""
    from transformers import AutoModelForCausalLM

    lm = tiny.model(family)
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    kernel = "eager" if family == "gemma2" else "sdpa"
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation=kernel).eval()
    ours = models.load(tmp_path, "float32", CPU)
    ids = torch.arange(3, 43)[None]
    assert torch.equal(ours.model(input_ids=ids).logits, theirs(input_ids=ids).logits)
    assert ours.end_ids == lm.end_ids


def test_a_folder_counts_what_is_loaded(tmp_path: Path) -> None:
    """`model.safetensors` goes before an index, and nothing counts twice."""
    whole = made.write(tmp_path / "whole")
    size = sum(tensor.size for tensor in load_file(whole / WEIGHTS).values())
    other = {f"of_theirs.{name}": tensor for name, tensor in load_file(whole / WEIGHTS).items()}
    cases: dict[str, Change] = {
        "one file": lambda folder: None,
        "shards": lambda folder: made.shard(folder, 3),
        "shards beside Mistral's own": lambda f: (made.shard(f), made.save(f, other, "consolidated.safetensors")),
        "shards beside others": lambda f: (made.shard(f), made.save(f, other, "model-1-of-9.safetensors")),
        "the whole beside others": lambda f: made.save(f, other, "model-1-of-9.safetensors"),
        "shards beside the whole": lambda f: (made.shard(f, 2), shutil.copy(whole / WEIGHTS, f / WEIGHTS)),
        "the whole beside a dead index": lambda f: (f / INDEX).write_text("{}"),
        "the whole beside an adapter": lambda f: made.save(f, {"a": np.ones(9)}, "adapter_model.safetensors"),
    }  # fmt: skip
    for name, change in cases.items():
        change(folder := made.write(tmp_path / name))
        assert round(counted(folder) * 1e9) == size, name


def test_what_transformers_would_fill_with_random_numbers_is_refused_by_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.write(tmp_path / "own")
    BAD["no norm"][0](folder)
    monkeypatch.setattr(weight_files, "check", lambda *whatever: None)
    with pytest.raises(DpcError, match=r"found no weights for model\.norm\.weight; copy or fetch the model again"):
        models.load(folder, "float32", CPU)


def test_a_kernel_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = made.write(tmp_path / "own", "gemma2")
    raw = overlay(made.study(folder), nested("models.own.attention", "sdpa"))
    with pytest.raises(DpcError, match=r"models\.own: sdpa cannot compute what gemma2 does"):
        check.check(load_config(raw))


def test_a_word_that_the_model_does_not_know_is_named(tmp_path: Path) -> None:
    folder = made.write(tmp_path / "own")
    file("tokenizer_config.json", extra_special_tokens=["<new>", *(f"<{n}>" for n in range(20))])(folder)
    lm = models.load(folder, "float32", CPU)
    assert lm.encode("a <b>")
    with pytest.raises(
        DpcError, match=r"a text holds '<19>', a word of the tokenizer that the model does not know; rem"
    ):
        lm.encode("a <19>")


CHATS: dict[str, tuple[str, str]] = {
    "broken": ("{% for m in messages %}{{ m.content }}", r"its chat template fails \(Unexpected end of template"),
    "an unknown tag": ("{% whatever %}", r"its chat template fails \(Encountered unknown tag 'whatever'"),
    "a function that is not there": ("{{ nothing() }}", r"its chat template fails \('nothing' is undefined\)"),
    "refuses": ("{{ raise_exception('Roles must alternate') }}", r"its chat template fails \(Roles must alternate\)"),
    "wants a system": (
        "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}", r"fails \(no system\)"
    ),
    "says nothing": ("{{ bos_token }}", "its chat template leaves the question out"),
    "arithmetic": ("{{ 1 // 0 }}{{ messages[0].content }}", r"fails \(.*division.*zero"),
}  # fmt: skip


@pytest.mark.parametrize(("template", "said"), CHATS.values(), ids=CHATS)
def test_a_chat_template_that_writes_no_chat_is_refused(template: str, said: str, tmp_path: Path) -> None:
    folder = made.write(tmp_path / "own")
    (folder / "chat_template.jinja").write_text(template)
    raw = made.study(folder)
    check.check(load_config(raw))  # nobody chats
    raw = overlay(raw, nested("datasets.arithmetic.formats", {"own": "chat"}))
    with pytest.raises(DpcError, match=said) as error:
        check.check(load_config(raw))
    assert str(error.value).endswith("correct it, or write a format with `chat: false`")


@pytest.mark.parametrize("kind", made.WORDS)
def test_the_families_chats_are_not_refused(kind: str, tmp_path: Path) -> None:
    folder = made.write(tmp_path / "own", words=kind, max_position_embeddings=4096)
    for shots in (0, 3):
        change = {"datasets": {"arithmetic": {"formats": {"own": "chat"}}}, "formats": {"chat": {"shots": shots}}}
        check.check(load_config(overlay(made.study(folder), change)))
    assert "2 + 2 ?" in chat_of(folder, "auto")([{"role": "user", "content": "2 + 2 ?"}])
