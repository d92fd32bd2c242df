"""Corruption counts and content, initial prompts, and the adapter format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.layout import Layout, left_padded
from dpc.prompts import soft_prompt
from dpc.prompts.edits import Edit
from dpc.prompts.soft_prompt import corrupt
from dpc.storage import adapter_files
from tests.support import tiny

MEAN = torch.full((6,), 7.0)


def drawn(vectors: int, seed: int = 0) -> torch.Tensor:
    """Return a prompt without a zero or a tie."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(vectors, 6, generator=generator) + 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.floats(0, 100), st.integers(0, 8), st.sampled_from([-1, 5]))
def test_gamma_zeroes_its_share_of_the_other_vectors(vectors: int, gamma: float, located: int, seed: int) -> None:
    prompt, located = drawn(vectors), located % vectors
    edited = corrupt(prompt, Edit((located,), gamma=gamma, gamma_seed=seed), MEAN)
    others = [j for j in range(vectors) if j != located]
    assert int((edited[others] == 0).sum()) == int(gamma / 100 * (vectors - 1) * 6 + 1e-9)
    assert float(edited[located].abs().max()) == 0
    untouched = edited[others] != 0
    assert torch.equal(edited[others][untouched], prompt[others][untouched])
    if seed < 0 and untouched.any() and not untouched.all():
        assert prompt[others][~untouched].abs().max() <= prompt[others][untouched].abs().min()


def test_hand_made_edit() -> None:
    prompt = torch.tensor([[1.0, -0.1], [5.0, 6.0], [-0.2, 3.0]])
    edited = corrupt(prompt, Edit((1,), mask_value=0.5, gamma=50.0, gamma_scale=0.5), torch.zeros(2))
    assert torch.equal(edited, torch.tensor([[1.0, -0.05], [2.5, 3.0], [-0.1, 3.0]]))


@pytest.mark.parametrize(
    ("scope", "zeroed"),
    [
        ("others", [[0, 1], [0, 0], [1, 0]]),
        ("all", [[0, 1], [0, 1], [1, 0]]),
        ("located", [[0, 0], [0, 1], [0, 0]]),
        ("per_vector", [[0, 1], [0, 0], [1, 0]]),
    ],
)
def test_scopes_choose_among_different_entries(scope: str, zeroed: list[list[int]]) -> None:
    prompt = torch.tensor([[1.0, -0.1], [6.0, 0.15], [-0.2, 3.0]])
    edited = corrupt(prompt, Edit((1,), mask_value=1.0, gamma=50.0, gamma_scope=scope), torch.zeros(2))
    assert (edited == 0).int().tolist() == zeroed


def test_masks_differ() -> None:
    prompt = drawn(4)
    assert torch.equal(corrupt(prompt, Edit((2,), mask="vocabulary_mean"), MEAN)[2], MEAN)
    assert torch.equal(corrupt(prompt, Edit((2,), mask="attention"), MEAN), prompt)  # hidden by the layout instead
    assert torch.equal(corrupt(prompt, Edit((0, 3)), MEAN)[[0, 3]], torch.zeros(2, 6))


def test_nothing_to_do_changes_nothing_and_the_input_is_left_alone() -> None:
    prompt = drawn(4)
    before = prompt.clone()
    assert torch.equal(corrupt(prompt, Edit((1,), mask_value=1.0), MEAN), prompt)
    corrupt(prompt, Edit((1,), gamma=50.0), MEAN)
    assert torch.equal(prompt, before)


def test_a_vector_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DpcError, match="masks vector \\[4\\], but the prompt has 4"):
        corrupt(drawn(4), Edit((4,)), MEAN)


def test_initial_prompts_come_from_ordinary_vocabulary_rows() -> None:
    lm = tiny.model()
    recipe = Recipe(vectors=50)
    prompt = soft_prompt.initial(lm, recipe, torch.Generator().manual_seed(0))
    weight = lm.embedding.weight
    rows = {int((weight == vector).all(1).nonzero()[0]) for vector in prompt}
    assert not rows & set(lm.tokenizer.all_special_ids)
    again = soft_prompt.initial(lm, recipe, torch.Generator().manual_seed(0))
    other = soft_prompt.initial(lm, recipe, torch.Generator().manual_seed(1))
    assert torch.equal(prompt, again)
    assert not torch.equal(prompt, other)
    noise = soft_prompt.initial(lm, Recipe(vectors=400, init="normal"), torch.Generator().manual_seed(0))
    assert float(noise.std() / weight.std()) == pytest.approx(1, rel=0.05)


def test_peft_loads_the_adapter_bit_for_bit(tmp_path: Path) -> None:
    from peft import PeftModel

    lm = tiny.model()
    prompt = drawn(5).repeat(1, 6)[:, : tiny.SHAPE["hidden_size"]].contiguous()
    weights, config = tmp_path / adapter_files.WEIGHTS, tmp_path / adapter_files.CONFIG
    soft_prompt.save(prompt, weights, config, "somewhere/model", lm)
    assert torch.equal(soft_prompt.load(weights, lm).of([]), prompt)
    loaded = PeftModel.from_pretrained(lm.model, tmp_path)
    assert torch.equal(loaded.prompt_encoder["default"].embedding.weight, prompt)
    ids = torch.tensor([[1, 5, 9, 30]])
    theirs = loaded(input_ids=ids).logits[0, -1]
    ours = left_padded(lm, Layout("prompt_first", True), [prompt], [[5, 9, 30]])
    mine = lm.model(inputs_embeds=ours.embeds_BSD, attention_mask=ours.mask_BS, position_ids=ours.position_ids_BS)
    assert torch.allclose(mine.logits[0, -1], theirs, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_that_peft_wrote_is_taken_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    from peft import PromptTuningConfig, get_peft_model

    lm = tiny.model()
    theirs = get_peft_model(lm.model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)).to(dtype)
    vectors = theirs.prompt_encoder["default"].embedding.weight.detach().clone()
    theirs.save_pretrained(tmp_path)
    lm = tiny.model()
    assert torch.equal(soft_prompt.adapter(tmp_path, lm, 4), vectors.float())
    with pytest.raises(DpcError, match=r"found 4 vectors, expected 5; correct recipes\.NAME\.vectors"):
        soft_prompt.adapter(tmp_path, lm, 5)
    config = tmp_path / adapter_files.CONFIG
    config.write_text(config.read_text().replace("PROMPT_TUNING", "LORA"))
    with pytest.raises(DpcError, match="peft_type is 'LORA'; expected PROMPT_TUNING"):
        soft_prompt.adapter(tmp_path, lm, 4)
    config.unlink()
    with pytest.raises(DpcError, match=r"found no '.*adapter_config\.json'; write the folder of a PEFT prompt-tuning"):
        soft_prompt.adapter(tmp_path, lm, 4)


def test_an_adapter_of_another_width_or_none_is_refused(tmp_path: Path) -> None:
    lm = tiny.model()
    weights = tmp_path / adapter_files.WEIGHTS
    with pytest.raises(DpcError, match="found no prompt-tuning adapter"):
        soft_prompt.load(weights, lm)
    soft_prompt.save(drawn(3), weights, tmp_path / adapter_files.CONFIG, "m", lm)
    with pytest.raises(DpcError, match="width 6, the model has 32"):
        soft_prompt.load(weights, lm)
    weights.write_bytes(b"broken")
    with pytest.raises(DpcError, match="found no prompt-tuning adapter"):
        soft_prompt.load(weights, lm)


def test_a_discrete_prompt_is_its_tokens_for_us_and_vectors_for_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    lm, ids = tiny.model(), (5, 9, 30)
    weights, config = tmp_path / adapter_files.WEIGHTS, tmp_path / adapter_files.CONFIG
    said = adapter_files.Tokens(ids, lm.decode(list(ids)))
    soft_prompt.save(soft_prompt.spelled(lm, ids), weights, config, "somewhere/model", lm, said)
    before = weights.read_bytes()
    assert adapter_files.tokens(weights) == said
    assert torch.equal(soft_prompt.load(weights, lm).of([3]), lm.embedding.weight[list(ids)])
    PeftModel.from_pretrained(lm.model, tmp_path)
    soft_prompt.save(soft_prompt.spelled(tiny.model(), ids), weights, config, "somewhere/model", lm, said)
    assert weights.read_bytes() == before
    soft_prompt.save(drawn(3), weights, config, "somewhere/model", lm)
    assert adapter_files.tokens(weights) is None


@pytest.mark.parametrize("said", ['{"ids": [5], "text": ""}', '{"ids": [5, 9, "a"]}', "[5, 9, 30]", "no JSON"])
def test_tokens_that_are_not_those_of_the_vectors_are_refused(said: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / adapter_files.WEIGHTS
    save_file({adapter_files.KEY: drawn(3)}, weights, {adapter_files.TOKENS: said})
    with pytest.raises(DpcError, match=r"tune the prompt again$"):
        adapter_files.tokens(weights)
