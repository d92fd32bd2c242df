"""What goes wrong with model folders: what is done to a whole one, and what `check` says of it."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file as save_torch

from tests.support import model_folders as made

Change = Callable[[Path], Any]


def config(**keys: Any) -> Change:
    return lambda folder: made.edit(folder, **keys)


def file(name: str, **keys: Any) -> Change:
    return lambda folder: made.edit(folder, name, **keys)


def content(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def gone(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def instead(name: str, other: str) -> Change:
    return lambda folder: (folder / name).rename(folder / other)


def tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Change:
    """Write the weights again after `change`, which returns them or changes them in place."""

    def do(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        made.save(folder, change(found) or found)

    return do


def folder_for(name: str) -> Change:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return do


def link_to_nowhere(name: str) -> Change:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(folder / "elsewhere")

    return do


def sharded(change: Change) -> Change:
    def do(folder: Path) -> None:
        made.shard(folder)
        change(folder)

    return do


def renamed(old: str, new: str) -> Change:
    return tensors(lambda found: {name.replace(old, new): tensor for name, tensor in found.items()})


def cast(dtype: torch.dtype, part: str = "") -> Change:
    def do(folder: Path) -> None:
        found = {name: torch.from_numpy(tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
        changed = {name: tensor.to(dtype) if part in name else tensor for name, tensor in found.items()}
        save_torch(changed, folder / "model.safetensors", {"format": "pt"})

    return do


def words(**changes: Any) -> Change:
    return file("tokenizer.json", **changes)


INDEX, WEIGHTS, SHARD = "model.safetensors.index.json", "model.safetensors", "model-00002-of-00002.safetensors"
NONE = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 99\n"
HEADER = struct.pack("<Q", 2) + b"{}"

CONFIG: dict[str, tuple[Change, str]] = {
    "no width": (config(hidden_size=...), r"config\.json: `hidden_size` is missing: add it"),
    "no layers": (config(num_hidden_layers=...), "`num_hidden_layers` is missing: add it"),
    "no heads": (config(num_attention_heads=...), "`num_attention_heads` is missing: add it"),
    "no feed-forward width": (config(intermediate_size=...), "`intermediate_size` is missing: add it"),
    "no vocabulary": (config(vocab_size=...), "`vocab_size` is missing: add it"),
    "no context": (config(max_position_embeddings=...), "`max_position_embeddings` is missing: add it"),
    "text for a width": (config(hidden_size="16"), "`hidden_size` is '16': expected a whole number"),
    "text for layers": (config(num_hidden_layers="2"), "`num_hidden_layers` is '2': expected a whole number"),
    "null for heads": (config(num_attention_heads=None), "`num_attention_heads` is empty: expected a whole number"),
    "a point in a count": (config(num_hidden_layers=2.0), r"`num_hidden_layers` is 2\.0: expected a whole number"),
    "true for a count": (config(num_hidden_layers=True), "`num_hidden_layers` is True: expected a whole number"),
    "a list for a context": (config(max_position_embeddings=[9]), "`max_position_embeddings` is \\[9\\]: expected a w"),
    "text for a context": (config(max_position_embeddings="1024"), "`max_position_embeddings` is '1024': expected"),
    "no layer": (config(num_hidden_layers=0), "`num_hidden_layers` is 0: expected a value greater than or equal to 1"),
    "a negative width": (config(hidden_size=-16), "`hidden_size` is -16: expected a value greater"),
    "heads that share no keys": (config(num_key_value_heads=3), "`num_attention_heads` is 4, expected a multiple of"),
    "a width without heads": (config(num_attention_heads=5, num_key_value_heads=5), "`hidden_size` is 16, expected a "),
    "an odd head": (config(head_dim=5), "`head_dim` is 5, expected an even number"),
    "text for a small number": (config(rms_norm_eps="1e-6"), "`rms_norm_eps` is '1e-6': expected a number"),
    "a number that is none": (config(rms_norm_eps=float("nan")), "`rms_norm_eps` is nan: expected a finite number"),
    "an unknown activation": (config(hidden_act="swiglu"), "`hidden_act` is 'swiglu': expected 'silu', 'gelu'"),
    "one for true": (config(tie_word_embeddings=1), "`tie_word_embeddings` is 1: expected a valid boolean"),
    "an end outside": (config(eos_token_id=272), "`eos_token_id` is 272, expected less than `vocab_size`"),
    "text for an end": (config(eos_token_id="2"), "`eos_token_id` is '2': expected a whole number"),
    "an end below 0": (config(eos_token_id=-1), "`eos_token_id` is -1: expected a value greater than or equal to 0"),
    "no end in a list": (config(eos_token_id=[]), r"`eos_token_id` is \[\]: expected .* 1 or more"),
    "dynamic positions": (
        config(rope_scaling={"type": "dynamic", "factor": 2.0}),
        "`rope_scaling` is 'dynamic': expected 'default', 'linear', 'llama3' or 'yarn'",
    ),
    "long positions": (
        config(rope_scaling={"rope_type": "longrope", "factor": 2.0, "long_factor": [1.0], "short_factor": [1.0]}),
        "unknown key `rope_scaling.long_factor`",
    ),
    "positions of another kind": (config(rope_scaling={"rope_type": "su"}), "is 'su': expected 'default', 'linear'"),
    "positions without a factor": (config(rope_scaling={"type": "linear"}), "rope_type linear needs `factor`"),
    "half of llama 3": (config(rope_scaling={"rope_type": "llama3", "factor": 8.0}), "needs `low_freq_factor`, found"),
    "text for positions": (config(rope_scaling="linear"), "`rope_scaling` is 'linear': expected a map"),
    "positions by layer": (
        config(rope_parameters={"full_attention": {"rope_theta": 1e4}}),
        "unknown key `rope_parameters.full_attention`",
    ),
    "positions twice": (
        config(rope_scaling={"type": "default"}, rope_parameters={"rope_type": "default"}),
        "found both `rope_scaling` and `rope_parameters`: remove one",
    ),
    "positions in a part": (config(partial_rotary_factor=0.5), r"`partial_rotary_factor` is 0\.5: expected a value"),
    "another family": (config(model_type="gpt_neox"), "model_type 'gpt_neox' is not supported; expected one of gemma2"),
    "a family of images": (
        lambda folder: made.edit(folder, model_type="llava", text_config=made.config()),
        "model_type 'llava' is not supported; expected one of gemma2",
    ),
    "no family": (config(model_type=...), "model_type None is not supported"),
    "a list for a family": (config(model_type=["llama"]), r"model_type \['llama'\] is not supported"),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "found `quantization_config`, so the weights are quantised; expected plain ones.* write the model that it was ",
    ),
    "gptq": (config(quantization_config={"quant_method": "gptq", "bits": 4}), "so the weights are quantised"),
    "a method that nobody knows": (config(quantization_config={"quant_method": "x"}), "so the weights are quantised"),
    "an empty method": (config(quantization_config={}), "so the weights are quantised"),
    "compressed": (config(compression_config={"format": "pack-quantized"}), "found `compression_config`"),
    "broken JSON": (content("config.json", b'{"model_type"'), r"config\.json: found no JSON map; expected transformer"),
    "a list": (content("config.json", b"[]"), "found no JSON map"),
    "an empty file": (content("config.json", b""), "found no JSON map"),
    "a byte order mark": (
        lambda folder: (folder / "config.json").write_text(json.dumps(made.LLAMA), encoding="utf-8-sig"),
        "found no JSON map",
    ),
    "no UTF-8": (content("config.json", b'{"model_type": "\xff"}'), "found no JSON map"),
    "UTF-16": (content("config.json", json.dumps(made.LLAMA).encode("utf-16")), "found no JSON map"),
    "too deep": (content("config.json", b'{"a":' * 10_000), "found no JSON map"),
    "a pointer for a config": (content("config.json", NONE), "found no JSON map"),
    "an origin cut short": (content("origin.json", b"{"), r"origin\.json: found no JSON map; expected what the fetch "),
    "an adapter beside the model": (
        lambda folder: made.write_adapter(folder),
        "found adapter_config.json, an adapter that transformers would load over the weights; expected a model alone",
    ),
}  # fmt: skip

FILES: dict[str, tuple[Change, str]] = {
    "no weights": (gone(WEIGHTS), r"found no safetensors file, expected model\.safetensors or model\.safetensors\.ind"),
    "pickled weights alone": (instead(WEIGHTS, "pytorch_model.bin"), r"found only pytorch_model\.bin, expected model"),
    "GGUF alone": (instead(WEIGHTS, "own-Q4_K_M.gguf"), r"found only own-Q4_K_M\.gguf, expected model\.safetensors or"),
    "Mistral's own layout": (instead(WEIGHTS, "consolidated.safetensors"), r"found only consolidated\.safetensors, ex"),
    "a shard without an index": (instead(WEIGHTS, SHARD), "found only model-00002-of-00002.safetensors"),
    "a folder for weights": (folder_for(WEIGHTS), r"found no safetensors file, expected"),
    "weights behind a dead link": (link_to_nowhere(WEIGHTS), "expected model.safetensors or model"),
    "a shard that is missing": (
        sharded(gone(SHARD)), rf"index\.json: names the shard '{SHARD}', which is not in",
    ),
    "a shard behind a dead link": (sharded(link_to_nowhere(SHARD)), f"names the shard '{SHARD}', which is not in"),
    "a shard outside": (
        sharded(lambda f: made.edit(f, INDEX, weight_map={"model.norm.weight": f"../{f.name}/{SHARD}"})),
        r"names the shard '\.\./.*', which is not in",
    ),
    "a shard cut short": (
        sharded(lambda f: (f / SHARD).write_bytes((f / SHARD).read_bytes()[:-1])), f"{SHARD}: found no whole safetenso",
    ),
    "an index of nothing": (sharded(file(INDEX, weight_map={})), "index.json: found no maps `weight_map` and `metadat"),
    "an index without metadata": (sharded(file(INDEX, metadata=...)), "found no maps `weight_map` and `metadata`"),
    "a list for an index": (sharded(content(INDEX, b"[]")), r"index\.json: found no JSON map; expected an index of sh"),
    "an index without a shard's weights": (
        sharded(lambda f: made.edit(f, INDEX, weight_map=dict.fromkeys(["model.norm.weight"], SHARD))),
        r"its weights lack \S+, which config\.json asks for \(\d+ of 21 are missing\)",
    ),
    "a pointer of Git LFS": (content(WEIGHTS, NONE), r"model\.safetensors: found no whole safetensors file in 66 byte"),
    "empty weights": (content(WEIGHTS, b""), "found no whole safetensors file in 0 bytes"),
    "a header of nothing": (content(WEIGHTS, HEADER), r"its weights are 0 tensors, too few for the 2 layers of config"),
    "weights cut short": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-4]), "found no whole safetensors file in",
    ),
    "more than weights": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"more"), "found no whole safetensors file in",
    ),
    "a header that lies": (content(WEIGHTS, struct.pack("<Q", 1 << 62) + b"{}"), "found no whole safetensors file in "),
    "a layer too few": (config(num_hidden_layers=3), r"its weights lack model\.layers\.2\.input_layernorm\.weight, wh"),
    "a number of layers": (config(num_hidden_layers=10**9), "its weights are 21 tensors, too few for the 1000000000 l"),
    "a layer too many": (config(num_hidden_layers=1), r"its weights hold 'model\.layers\.1\..*', for which"),
    "no head": (tensors(lambda found: found.pop("lm_head.weight") is None), r"its weights lack lm_head\.weight, which"),
    "no norm": (tensors(lambda found: found.pop("model.norm.weight") is None), r"lack model\.norm\.weight"),
    "another vocabulary": (config(vocab_size=271, eos_token_id=2), r"embed_tokens\.weight of 272 x 16, config\.json s"),
    "a padded vocabulary": (config(vocab_size=320), r"of 272 x 16, config\.json says 320 x 16; correct it, or copy"),
    "another width": (config(hidden_size=32, head_dim=8), r"of 272 x 16, config\.json says 272 x 32"),
    "more keys": (config(num_key_value_heads=4), r"k_proj\.weight of 8 x 16, config\.json says 16 x 16"),
    "other heads": (config(head_dim=8), r"q_proj\.weight of 16 x 16, config\.json says 32 x 16"),
    "a bias that is missing": (config(attention_bias=True), r"lack model\.layers\.0\.self_attn\.k_proj\.bias, which"),
    "a bias too many": (
        tensors(lambda found: {**found, "model.layers.0.self_attn.q_proj.bias": np.ones(16, np.float32)}),
        r"hold 'model\.layers\.0\.self_attn\.q_proj\.bias', for which config\.json has no place \(1",
    ),
    "an adapter's weights in the model": (
        tensors(lambda found: {**found, "base_model.model.lora_A.weight": np.ones((2, 2), np.float32)}),
        r"hold 'base_model\.model\.lora_A\.weight'",
    ),
    "names of a wrapper": (renamed("model.", "language_model.model."), r"its weights lack model\.embed_tokens\.weight"),
    "names of a compiled model": (renamed("model.", "_orig_mod.model."), r"its weights lack model\.embed_tokens\.weig"),
    "another family's weights": (
        lambda f: shutil.copy(made.write(f.parent / "other", "gemma2") / WEIGHTS, f), r"its weights lack lm_head\.weig",
    ),
    "bytes": (cast(torch.int8), r"its weights have model\.embed_tokens\.weight in I8, expected one of F64, F32, F16, "),
    "one product in bytes": (cast(torch.uint8, "up_proj"), r"mlp\.up_proj\.weight in U8, expected .* not quantised"),
    "eight bits with a point": (cast(torch.float8_e4m3fn, "down_proj"), r"mlp\.down_proj\.weight in F8_E4M3, expected"),
    "whole numbers": (cast(torch.int64, "norm"), "in I64, expected one of"),
}  # fmt: skip

TOKENIZERS: dict[str, tuple[Change, str]] = {
    "settings alone": (gone("tokenizer.json"), r"found no tokenizer\.json, only tokenizer_config\.json; write the fil"),
    "nothing": (gone("tokenizer.json", "tokenizer_config.json"), r"found no tokenizer\.json; write the file with `Aut"),
    "SentencePiece alone": (
        lambda f: (f / "tokenizer_config.json").unlink() or (f / "tokenizer.json").rename(f / "tokenizer.model"),
        r"found no tokenizer\.json, only tokenizer\.model; write the file with",
    ),
    "a folder": (folder_for("tokenizer.json"), r"found no tokenizer\.json"),
    "a dead link": (link_to_nowhere("tokenizer.json"), r"found no tokenizer\.json"),
    "an empty file": (content("tokenizer.json", b""), r"tokenizer\.json: found no tokenizer \(.+\); expected a whole "),
    "a pointer of Git LFS": (content("tokenizer.json", NONE), r"tokenizer\.json: found no tokenizer"),
    "a map of nothing": (content("tokenizer.json", b"{}"), r"tokenizer\.json: found no tokenizer"),
    "cut short": (
        lambda f: (f / "tokenizer.json").write_bytes((f / "tokenizer.json").read_bytes()[:-9]), "found no tokenizer",
    ),
    "a model that nobody knows": (words(model={"type": "Unknown"}), "found no tokenizer"),
    "words without a text": (words(model={"type": "BPE", "vocab": {}, "merges": []}), "reads nothing in 'x 0 the'"),
    "another model's words": (
        words(model={"type": "WordLevel", "vocab": {"x": 272, "0": 1}, "unk_token": "x"}),
        "has tokens up to 272, but the model's weights have 272; expected the model's own tokenizer",
    ),
    "settings that are a list": (content("tokenizer_config.json", b"[]"), r"tokenizer_config\.json: found no JSON map"),
    "settings cut short": (content("tokenizer_config.json", b'{"bos'), "found no JSON map"),
    "a number for a mark": (file("tokenizer_config.json", bos_token=1), "`bos_token` is 1: expected text"),
    "an empty mark": (file("tokenizer_config.json", eos_token=""), "`eos_token` is '': expected"),
    "a mark without its text": (file("tokenizer_config.json", eos_token={"lstrip": True}), "`eos_token.*missing|`eos_"),
    "a number among marks": (file("tokenizer_config.json", extra_special_tokens=[5]), r"`extra_special_tokens\[0\]` i"),
    "a template that is a number": (file("tokenizer_config.json", chat_template=5), "`chat_template` is 5: expected"),
    "an old map that is a list": (content("special_tokens_map.json", b"[]"), r"special_tokens_map\.json: found no JSO"),
    "no end anywhere": (
        lambda f: made.edit(f, eos_token_id=...) or made.edit(f, "tokenizer_config.json", eos_token=None),
        "found no end-of-sequence token; write `eos_token_id` into generation_config.json, or `eos_token` into tokeniz",
    ),
    "an end that is no word": (
        lambda f: made.edit(f, eos_token_id=...) or made.edit(f, "tokenizer_config.json", eos_token="<end>"),
        "`eos_token` is '<end>', which the model has no token for",
    ),
    "generation's end outside": (
        file("generation_config.json", eos_token_id=[2, 272]), "`eos_token_id` is 272, but the model has 272 tokens",
    ),
    "text for generation's end": (file("generation_config.json", eos_token_id="</s>"), "`eos_token_id` is '</s>'"),
    "generation's broken config": (content("generation_config.json", b"{"), r"generation_config\.json: found no JSON"),
}  # fmt: skip


BAD = CONFIG | FILES | TOKENIZERS
"""Name: what is done, and a pattern of what is said."""

FINE: dict[str, Change] = {
    "as it stands": lambda folder: None,
    "shards": lambda folder: made.shard(folder, 3),
    "a file without bytes to spare": cast(torch.bfloat16),
    "half precision": cast(torch.float16, "norm"),
    "saved without its head": lambda f: (made.edit(f, tie_word_embeddings=True), renamed("model.", "")(f)),
    "what positions are made of": tensors(
        lambda found: {**found, "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}
    ),
    "saved without its prefix": renamed("model.", ""),
    "cut and filled by whoever saved it": words(
        truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "<unk>",
        },
    ),
    "no settings for the tokenizer": gone("tokenizer_config.json"),
    "an odd dtype": config(torch_dtype="float99", dtype=["bfloat16"]),
    "keys of other programs": config(auto_map={"AutoModel": "own.Own"}, return_dict=False, num_labels="x", id2label=3),
    "attention of another program": config(_attn_implementation="flash_attention_2", output_attentions=True),
    "pads outside": config(pad_token_id=-1, bos_token_id=99_999),
    "no generation config's end": file("generation_config.json", temperature=0.6),
    "linear positions": config(rope_scaling={"type": "linear", "factor": 2.0}),
    "positions of llama 3": config(
        rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        }
    ),
    "positions of YaRN": config(rope_scaling={"type": "yarn", "factor": 4, "finetuned": True, "beta_fast": 32}),
    "no positions": config(rope_theta=...),
    "heads by default": lambda f: (made.write(f, num_key_value_heads=...), made.edit(f, head_dim=None)),
    "a pad of its own": lambda f: made.edit(f, "tokenizer_config.json", pad_token="<pad>"),
    "marks as maps": lambda f: made.edit(
        f, "tokenizer_config.json", bos_token={"__type": "AddedToken", "content": "<s>", "lstrip": False}
    ),
    "marks in an old file": lambda f: (
        made.edit(f, "tokenizer_config.json", bos_token=..., eos_token=...),
        made.edit(f, "special_tokens_map.json", bos_token={"content": "<s>"}, eos_token="</s>"),
    ),
    "a class of another family": file("tokenizer_config.json", tokenizer_class="BertTokenizer"),
    "keys of the tokenizer's": file("tokenizer_config.json", self=1, model_max_length="x", padding_side="middle"),
    "links, as the hub's cache has them": lambda f: [
        name.rename(f.parent / name.name) and name.symlink_to(f.parent / name.name) for name in list(f.iterdir())
    ],
}  # fmt: skip
"""What looks odd and loads."""
