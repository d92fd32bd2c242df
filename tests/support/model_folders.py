"""Whole model folders of the five families, a few thousand weights each, written without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from dpc.storage.model_files import architecture
from dpc.storage.weight_files import expected
from tests.support import config_tree as tree
from tests.support.workflow import overlay

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 272, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
    "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False,
    "rope_theta": 10000.0, "eos_token_id": 2, "bos_token_id": 1, "torch_dtype": "float32",
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None, "architectures": ["MistralForCausalLM"]},
    "qwen2": {"use_sliding_window": False, "tie_word_embeddings": True},
    "qwen3": {"head_dim": 8, "attention_bias": False},
    "gemma2": {
        "head_dim": 8, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 8, "sliding_window": 16,
        "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""What a family's config has beside or instead of `LLAMA`."""

TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SYSTEM = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
WORDS: dict[str, dict[str, Any]] = {
    "llama": {"words": ["<unk>", "<s>", "</s>"], "bos": "<s>", "eos": "</s>", "adds": ["<s>"], "chat": INST},
    "mistral": {"words": ["<unk>", "<s>", "</s>", "[X]"], "bos": "<s>", "eos": "</s>", "adds": ["<s>"], "chat": INST},
    "gemma2": {"words": ["<pad>", "<eos>", "<bos>"], "bos": "<bos>", "eos": "<eos>", "adds": ["<bos>"], "chat": GEMMA},
    "qwen2": {"words": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "eos": "<|im_end|>", "chat": SYSTEM + TURNS},
    "smollm": {
        "words": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "bos": "<|im_start|>", "eos": "<|im_end|>",
        "chat": SYSTEM + TURNS,
    },
    "llama3": {
        "words": ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>"], "bos": "<|begin_of_text|>",
        "eos": "<|eot_id|>", "adds": ["<|begin_of_text|>"],
        "chat": "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + m['role'] }}"
        "{{ '\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant\n\n' }}",
    },
}  # fmt: skip
"""Tokenizers as the families ship them: special words, which of them is which, and what is put in front of a text."""


def config(family: str = "llama", **changes: Any) -> dict[str, Any]:
    """Return a family's `config.json`; `...` drops a key."""
    found = {**LLAMA, "model_type": family, **FAMILIES[family], **changes}
    return {key: value for key, value in found.items() if value is not ...}


def tokenizer(kind: str) -> Tokenizer:
    """Return a tokenizer of bytes with the special words of `kind`."""
    about = WORDS[kind]
    words = {
        word: number for number, word in enumerate([*about["words"], *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    made = Tokenizer(models.BPE(words, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(about["words"])
    if added := about.get("adds"):
        marks = [(word, words[word]) for word in added]
        made.post_processor = processors.TemplateProcessing(single=f"{' '.join(added)} $A", special_tokens=marks)
    return made


def write_tokenizer(folder: Path, kind: str = "llama", **settings: Any) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`; `...` drops a key of the latter."""
    about = WORDS[kind]
    tokenizer(kind).save(str(folder / "tokenizer.json"))
    named = {"bos_token": about.get("bos"), "eos_token": about["eos"], "pad_token": about["words"][0]}
    found = {**named, "chat_template": about["chat"], "tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in found.items() if v is not ...}))


def weights(settings: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Return random weights of the shapes that such a config asks for."""
    rng = np.random.default_rng(seed)
    shapes = expected(architecture("config.json", settings))
    return {name: rng.normal(0, 0.3, size).astype(np.float32) for name, size in shapes.items()}


def write(folder: Path, family: str = "llama", words: str | None = None, **changes: Any) -> Path:
    """Write a whole model folder; `words` names its tokenizer, by default its family's."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = config(family, **changes)
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(weights(settings), folder / "model.safetensors", {"format": "pt"})
    write_tokenizer(folder, words or {"qwen3": "qwen2"}.get(family, family))
    return folder


def edit(folder: Path, name: str = "config.json", **changes: Any) -> None:
    """Change keys of a JSON file; `...` drops one."""
    file = folder / name
    found = {**(json.loads(file.read_text()) if file.exists() else {}), **changes}
    file.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))


def save(folder: Path, tensors: dict[str, np.ndarray], name: str = "model.safetensors") -> None:
    """Write tensors as a safetensors file."""
    save_file(tensors, folder / name, {"format": "pt"})


def shard(folder: Path, count: int = 2) -> None:
    """Cut the weights into so many shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    places = {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {key: tensor for place, (key, tensor) in enumerate(sorted(tensors.items())) if place % count == number}
        save(folder, part, name)
        places |= dict.fromkeys(part, name)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def study(model: Path, adapter: Path | None = None) -> dict[str, Any]:
    """Return the configuration of a study of generated questions on one model folder, and one prompt brought in."""
    own = {
        "study": {"models": ["own"], "recipes": ["brought"], "prompt_seeds": [0], "results": str(model.parent / "out")},
        "models": {"own": {"path": str(model), "dtype": "float32"}},
        "recipes": {"brought": {"vectors": 4, "adapter": str(adapter) if adapter else None, "layout": "prompt_first"}},
        "validation": {"recipe": "brought", "harmful_recipe": None},
        "datasets": {"arithmetic": {"max_new_tokens": 24}},
    }
    return overlay(tree.demo(), own)


def write_adapter(folder: Path, shape: tuple[int, ...] = (4, 16), **changes: Any) -> Path:
    """Write a prompt-tuning adapter as PEFT does; `...` drops a key of its config."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": shape[0], "token_dim": shape[-1],
        "base_model_name_or_path": "somewhere/own", "num_transformer_submodules": 1, "inference_mode": True, **changes,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps({k: v for k, v in found.items() if v is not ...}))
    vectors = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    save_file({"prompt_embeddings": vectors}, folder / "adapter_model.safetensors")
    return folder
