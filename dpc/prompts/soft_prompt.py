"""The soft prompt: n vectors of the model's width. Start, save, load, corrupt.

Axes: B question, K prompt of a mixture, M its vectors and the router's row, N prompt vector, D width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.models import LanguageModel
from dpc.prompts import routing
from dpc.prompts.edits import NEAREST, Edit
from dpc.storage import adapter_files
from dpc.storage.adapter_files import KEY, Tokens
from dpc.storage.files import atomic

PROMPTS, ROUTER = "prompts", "router"
"""Names in the file of a mixture: K x N x D, and K x D."""
PutIn = Callable[[Tensor, Edit], Tensor]
"""What an edit that replaces vectors of a prompt puts in, see `nearest.replacements`."""


class SoftPrompt(Protocol):
    """What a cell's questions are asked under."""

    @property
    def vectors(self) -> int:
        """Return how many vectors stand in the input."""

    def of(self, question_ids: Sequence[int]) -> Tensor:
        """Return a question's prompt (N x D)."""

    def rows(self, questions: Sequence[Sequence[int]]) -> Tensor:
        """Return the prompt of all these questions (N x D), or where each has its own, all of them (B x N x D)."""

    def under(self, edit: Edit, put_in: PutIn) -> SoftPrompt:
        """Return what the questions are asked under once `edit` has been done, see `corrupt`."""


@dataclass(frozen=True)
class Shared:
    """One prompt for all questions."""

    prompt_ND: Tensor

    @property
    def vectors(self) -> int:
        """Return how many vectors stand in the input."""
        return len(self.prompt_ND)

    def of(self, question_ids: Sequence[int]) -> Tensor:
        """Return the prompt (N x D), the same tensor for every question: what it gives to rows is then made once."""
        return self.prompt_ND

    def rows(self, questions: Sequence[Sequence[int]]) -> Tensor:
        """Return the prompt (N x D)."""
        return self.prompt_ND

    def under(self, edit: Edit, put_in: PutIn) -> Shared:
        """Return the corrupted prompt."""
        return Shared(corrupt(self.prompt_ND, edit, put_in(self.prompt_ND, edit)))


@dataclass(frozen=True)
class Mixture:
    """K prompts and their router: each question has one of them, times its probability.

    A question's prompt is worked out alone, in float32 and on the CPU: it depends on no batch and no card.
    """

    mixture_KMD: Tensor
    """On the CPU."""
    lm: LanguageModel
    device: str | torch.device
    """Where prompts are wanted."""
    edited: tuple[Edit, PutIn] | None = None
    """What is done to each prompt."""

    @property
    def vectors(self) -> int:
        """Return how many vectors stand in the input."""
        return self.mixture_KMD.shape[1] - 1

    def of(self, question_ids: Sequence[int]) -> Tensor:
        """Return a question's prompt (N x D), in the model's dtype."""
        (own_ND,) = routing.chosen(self.mixture_KMD, routing.means(self.lm, [question_ids]).cpu())
        own_ND = own_ND.to(device=self.device, dtype=self.lm.embedding.weight.dtype)
        if self.edited is None:
            return own_ND
        edit, put_in = self.edited
        return corrupt(own_ND, edit, put_in(own_ND, edit))

    def rows(self, questions: Sequence[Sequence[int]]) -> Tensor:
        """Return each question's prompt (B x N x D)."""
        return torch.stack([self.of(ids) for ids in questions])

    def under(self, edit: Edit, put_in: PutIn) -> Mixture:
        """Return the mixture whose prompts are corrupted, each after it was chosen."""
        return replace(self, edited=(edit, put_in))


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
    prompt: Tensor, weights: Path, config: Path, model_path: str, lm: LanguageModel, tokens: Tokens | None = None
) -> None:
    """Write a prompt (N x D) as a prompt-tuning adapter that `peft.PeftModel.from_pretrained` reads.

    A mixture (K x M x D) is of a kind that PEFT has not: it refuses the file by its `peft_type`. `tokens` says what a
    discrete prompt is made of; `adapter_files.tokens` reads it back.
    """
    model, kept = lm.model.config, prompt.detach().float().cpu()
    is_mixture = kept.dim() == 3
    tensors = {PROMPTS: kept[:, :-1], ROUTER: kept[:, -1]} if is_mixture else {KEY: kept}
    content = {
        "peft_type": "MIXTURE_OF_PROMPTS" if is_mixture else "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model_path,
        "inference_mode": True,
        "num_virtual_tokens": kept.shape[-2] - int(is_mixture),
        "token_dim": kept.shape[-1],
        "num_transformer_submodules": 1,
        "num_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "prompt_tuning_init": "RANDOM",
    }
    with atomic(weights) as temporary:
        metadata = tokens.metadata() if tokens else None
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
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


def load(weights: Path, lm: LanguageModel, device: str | None = None) -> SoftPrompt:
    """Read what `save` wrote; its vectors come in the model's dtype, on `device` or else the model's.

    Raises DpcError if the file is missing, unreadable, or of another width than the model.
    """
    try:
        tensors = load_file(weights)
        if PROMPTS not in tensors:
            prompt_ND = _fitting(tensors[KEY], weights, lm)
            return Shared(prompt_ND.to(device=device or lm.device, dtype=lm.embedding.weight.dtype))
        mixture_KMD = torch.cat([tensors[PROMPTS], tensors[ROUTER][:, None]], 1)
    except (OSError, SafetensorError, KeyError) as error:
        raise DpcError(f"{weights}: found no prompt-tuning adapter ({error}); run tune_prompt again") from None
    return Mixture(_fitting(mixture_KMD, weights, lm), lm, device or lm.device)


def _fitting(prompt: Tensor, place: Path, lm: LanguageModel) -> Tensor:
    width = lm.embedding.weight.shape[1]
    if prompt.shape[-1] != width:
        raise DpcError(f"{place}: prompt vectors have width {prompt.shape[-1]}, the model has {width}")
    return prompt


def corrupt(prompt_ND: Tensor, edit: Edit, replacement: Tensor) -> Tensor:
    """Return the prompt under `edit` (docs/methods.md, step 5): reduce gamma's entries, then mask.

    `replacement` is what masks that replace put in (`nearest.replacements`). Entries are counted as
    floor(gamma/100 x competing entries). Raises DpcError if a masked vector does not exist.
    """
    if any(not 0 <= j < len(prompt_ND) for j in edit.masked):
        raise DpcError(f"edit masks vector {list(edit.masked)}, but the prompt has {len(prompt_ND)} vectors")
    edited_ND = prompt_ND.clone()
    edited_ND[_reduced(prompt_ND, edit)] *= edit.gamma_scale
    masked = list(edit.masked)
    if edit.mask == "vocabulary_mean":
        edited_ND[masked] = replacement.to(edited_ND)
    elif edit.mask == NEAREST:
        edited_ND = replacement.to(edited_ND)
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
