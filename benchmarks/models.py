"""Models with random weights, and what reads their tokens."""

from __future__ import annotations

from typing import Any

import torch

from dpc.lm.models import LanguageModel, wrap

BOS, EOS, PAD = 1, 2, 0


def llama(
    layers: int = 8,
    heads: int = 8,
    width: int = 512,
    feed_forward: int = 1376,
    vocabulary: int = 32000,
    context: int = 4096,
    attention: str = "sdpa",
    key_heads: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    **more: Any,
) -> Any:
    """Return a frozen Llama on `device` in `dtype`, its queries and keys large enough that attention is not flat."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": feed_forward, "num_hidden_layers": layers}
    shape |= {"initializer_range": 0.5 * width**-0.5}
    shape |= {"num_attention_heads": heads, "num_key_value_heads": key_heads or heads, "vocab_size": vocabulary}
    ends = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    config = LlamaConfig(max_position_embeddings=context, attn_implementation=attention, **shape, **ends, **more)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            parameter.mul_(4)
    return model


def with_words(model: Any) -> LanguageModel:
    """Return `model` with a tokenizer that has one word per token: `w3`, `w4`, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS}
    words = special | {f"w{i}": i for i in range(len(special), model.config.vocab_size)}
    core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<pad>"}
    return wrap(model, PreTrainedTokenizerFast(tokenizer_object=core, **marks), bos=True)
