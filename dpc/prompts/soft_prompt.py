"""The soft prompt: n vectors of the model's width. Start, save, load, corrupt. Axes: N prompt vector, D width."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.models import LanguageModel
from dpc.prompts.edits import Edit
from dpc.storage import adapter_files
from dpc.storage.adapter_files import KEY, Tokens
from dpc.storage.files import atomic


def initial(lm: LanguageModel, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return a new prompt (N x D, float32): sampled vocabulary rows, or noise of their standard deviation (D2)."""
    weight_VD = lm.vocabulary_VD.cpu()
    if recipe.init == "normal":
        noise_ND = torch.randn(recipe.vectors, weight_VD.shape[1], generator=generator)
        return (noise_ND * weight_VD.std()).to(lm.device)
    special = set(lm.tokenizer.all_special_ids)
    ordinary = torch.tensor([i for i in range(len(weight_VD)) if i not in special])
    drawn_N = torch.randint(len(ordinary), (recipe.vectors,), generator=generator)
    return weight_VD[ordinary[drawn_N]].clone().to(lm.device)


def spelled(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Return the vectors of a discrete prompt (N x D, float32): just what the model reads for these tokens."""
    with torch.no_grad():
        return lm.embedding(torch.tensor(list(ids), dtype=torch.long, device=lm.device)).float()


def save(
    prompt_ND: Tensor, weights: Path, config: Path, model_path: str, lm: LanguageModel, tokens: Tokens | None = None
) -> None:
    """Write the prompt as a prompt-tuning adapter that `peft.PeftModel.from_pretrained` reads.

    `tokens` says what a discrete prompt is made of; `adapter_files.tokens` reads it back.
    """
    model = lm.model.config
    content = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model_path,
        "inference_mode": True,
        "num_virtual_tokens": prompt_ND.shape[0],
        "token_dim": prompt_ND.shape[1],
        "num_transformer_submodules": 1,
        "num_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "prompt_tuning_init": "RANDOM",
    }
    with atomic(weights) as temporary:
        metadata = tokens.metadata() if tokens else None
        save_file({KEY: prompt_ND.detach().float().cpu().contiguous()}, temporary, metadata)
    with atomic(config) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def adapter(folder: Path, lm: LanguageModel, vectors: int) -> Tensor:
    """Read the prompt (N x D, float32) of a prompt-tuning adapter that PEFT wrote, in safetensors.

    Raises DpcError if it is of another kind, width or length, holds more than a prompt, or is not there.
    """
    prompt_ND = torch.from_numpy(adapter_files.vectors(folder))
    if len(prompt_ND) != vectors:
        raise DpcError(f"{folder}: found {len(prompt_ND)} vectors, expected {vectors}; correct recipes.NAME.vectors")
    return _fitting(prompt_ND, folder, lm).to(lm.device)


def load(weights: Path, lm: LanguageModel) -> Tensor:
    """Read the vectors (N x D) that `save` wrote in the model's dtype and device.

    Raises DpcError if the file is missing, unreadable, or of another width than the model.
    """
    try:
        prompt_ND = load_file(weights)[KEY]
    except (OSError, SafetensorError, KeyError) as error:
        raise DpcError(f"{weights}: found no prompt-tuning adapter ({error}); run tune_prompt again") from None
    return _fitting(prompt_ND, weights, lm).to(device=lm.device, dtype=lm.embedding.weight.dtype)


def _fitting(prompt_ND: Tensor, place: Path, lm: LanguageModel) -> Tensor:
    width = lm.embedding.weight.shape[1]
    if prompt_ND.shape[1] != width:
        raise DpcError(f"{place}: prompt vectors have width {prompt_ND.shape[1]}, the model has {width}")
    return prompt_ND


def corrupt(prompt_ND: Tensor, edit: Edit, mean_D: Tensor) -> Tensor:
    """Return the prompt under `edit` (docs/methods.md, step 5): reduce gamma's entries, then mask.

    `mean_D` is the vocabulary's mean embedding. Entries are counted as floor(gamma/100 x competing entries). Raises
    DpcError if a masked vector does not exist.
    """
    if any(not 0 <= j < len(prompt_ND) for j in edit.masked):
        raise DpcError(f"edit masks vector {list(edit.masked)}, but the prompt has {len(prompt_ND)} vectors")
    edited_ND = prompt_ND.clone()
    edited_ND[_reduced(prompt_ND, edit)] *= edit.gamma_scale
    masked = list(edit.masked)
    if edit.mask == "vocabulary_mean":
        edited_ND[masked] = mean_D.to(edited_ND)
    elif edit.mask == "scale":
        edited_ND[masked] *= edit.mask_value
    return edited_ND


def _reduced(prompt_ND: Tensor, edit: Edit) -> Tensor:
    """Return which entries gamma reduces (N x D, bool)."""
    is_masked_N = torch.zeros(len(prompt_ND), dtype=torch.bool, device=prompt_ND.device)
    is_masked_N[list(edit.masked)] = True
    competing_N = {"all": torch.ones_like(is_masked_N), "located": is_masked_N}.get(edit.gamma_scope, ~is_masked_N)
    chosen_ND = torch.zeros_like(prompt_ND, dtype=torch.bool)
    magnitude_CD = prompt_ND[competing_N].abs().float()
    if edit.gamma_seed >= 0:
        generator = torch.Generator().manual_seed(edit.gamma_seed)
        magnitude_CD = torch.rand(magnitude_CD.shape, generator=generator).to(prompt_ND.device)
    pools = magnitude_CD if edit.gamma_scope == "per_vector" else magnitude_CD.reshape(1, -1)
    count = int(edit.gamma / 100 * pools.shape[1] + 1e-9)  # 1e-9: 0.29 x 100 must count 29 in floating point
    smallest = pools.argsort(dim=1, stable=True)[:, :count]
    chosen_ND[competing_N] = torch.zeros_like(pools, dtype=torch.bool).scatter(1, smallest, True).view_as(magnitude_CD)
    return chosen_ND
