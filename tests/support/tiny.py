"""Tiny language models of the supported families, with random weights large enough that attention is not flat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpc.lm.builtin import tokenizer
from dpc.lm.families import FAMILIES
from dpc.lm.models import LanguageModel, wrap

SHAPE = {"vocab_size": 160, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8}
COMMON = {"max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def config(family: str, **shape: int) -> Any:
    import transformers

    heads = {"num_attention_heads": 4, "num_key_value_heads": 4 if family == "llama-mha" else 2}
    more = {
        "mistral": {"sliding_window": 12},
        "gemma2": {"sliding_window": 12, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0},
    }.get(family, {})
    return transformers.AutoConfig.for_model(family.partition("-")[0], **SHAPE | shape, **COMMON, **heads, **more)


def model(family: str = "llama-gqa", dtype: torch.dtype = torch.float32, seed: int = 0, **shape: int) -> LanguageModel:
    import transformers

    torch.manual_seed(seed)
    kernel = FAMILIES[family.partition("-")[0]].kernels[0]
    made = transformers.AutoModelForCausalLM.from_config(config(family, **shape), attn_implementation=kernel)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(12 if "q_proj" in name or "k_proj" in name else 4)
    return wrap(made.to(dtype), tokenizer(), bos=True)


def saved(folder: Path, family: str = "llama-gqa", **shape: int) -> Path:
    """Write a tiny model into `folder`, as a user's model folder, and return it."""
    lm = model(family, **shape)
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def exact_norms(lm: LanguageModel) -> None:
    """RMSNorm rounds float64 to float32; take that out, so that float64 means float64."""
    for module in lm.model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            is_gemma = type(module).__name__.startswith("Gemma")
            weight, epsilon = (1 + module.weight, module.eps) if is_gemma else (module.weight, module.variance_epsilon)

            def forward(x: Tensor, weight: Tensor = weight, epsilon: float = epsilon) -> Tensor:
                return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)

            module.forward = forward
