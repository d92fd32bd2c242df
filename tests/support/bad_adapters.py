"""What goes wrong with prompts brought in: what is done to a whole adapter, and what `check` says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file as save_torch

from tests.support import model_folders as made
from tests.support.bad_models import Change, content, file, folder_for, gone, instead, link_to_nowhere

CONFIG, WEIGHTS, KEY = "adapter_config.json", "adapter_model.safetensors", "prompt_embeddings"


def config(**keys: object) -> Change:
    return file(CONFIG, **keys)


def tensors(**found: torch.Tensor) -> Change:
    return lambda folder: save_torch(found, folder / WEIGHTS)


def prompt(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def holding(number: float, dtype: torch.dtype = torch.float32) -> Change:
    """Write a prompt of which one entry is `number`."""
    vectors = prompt(4, 16).to(dtype)
    vectors[2, 3] = number
    return tensors(prompt_embeddings=vectors)


def of_shape(*shape: int) -> Change:
    return lambda folder: made.write_adapter(folder, shape)


BAD: dict[str, tuple[Change, str]] = {
    "nothing": (gone(CONFIG, WEIGHTS), rf"found no '.*{CONFIG}'; write the folder of a PEFT prompt-tuning adapter in "),
    "no config": (gone(CONFIG), rf"found no '.*{CONFIG}'"),
    "no vectors": (gone(WEIGHTS), rf"found no '.*{WEIGHTS}'; write the folder of .*safe_serialization=True"),
    "pickled vectors": (instead(WEIGHTS, "adapter_model.bin"), rf"found no '.*{WEIGHTS}'"),
    "a folder for vectors": (folder_for(WEIGHTS), rf"found no '.*{WEIGHTS}'"),
    "a dead link": (link_to_nowhere(WEIGHTS), rf"found no '.*{WEIGHTS}'"),
    "LoRA": (config(peft_type="LORA"), "peft_type is 'LORA'; expected PROMPT_TUNING: vectors before the question, no "),
    "prefix tuning": (config(peft_type="PREFIX_TUNING"), "peft_type is 'PREFIX_TUNING'; expected PROMPT_TUNING"),
    "p-tuning": (config(peft_type="P_TUNING"), "peft_type is 'P_TUNING'; expected PROMPT_TUNING"),
    "a prompt for many tasks": (config(peft_type="MULTITASK_PROMPT_TUNING"), "peft_type is 'MULTITASK_PROMPT_TUNING'"),
    "no kind": (config(peft_type=...), "peft_type is None; expected PROMPT_TUNING"),
    "a kind in small letters": (config(peft_type="prompt_tuning"), "peft_type is 'prompt_tuning'; expected PROMPT_TUN"),
    "a list for a kind": (config(peft_type=["PROMPT_TUNING"]), r"peft_type is \['PROMPT_TUNING'\]; expected"),
    "another task": (config(task_type="SEQ_2_SEQ_LM"), "`task_type` is 'SEQ_2_SEQ_LM': expected 'CAUSAL_LM'"),
    "two submodules": (config(num_transformer_submodules=2), "`num_transformer_submodules` is 2: expected 1"),
    "text for a count": (
        config(num_virtual_tokens="4"), "`num_virtual_tokens` is '4': expected a whole number; correct it, or copy the"
    ),
    "a point in a count": (config(num_virtual_tokens=4.0), r"`num_virtual_tokens` is 4\.0: expected a whole number"),
    "no vectors at all": (config(num_virtual_tokens=0), "`num_virtual_tokens` is 0: expected a value greater"),
    "true for a count": (config(num_virtual_tokens=True), "`num_virtual_tokens` is True: expected a whole number"),
    "another count": (config(num_virtual_tokens=5), rf"`num_virtual_tokens` is 5 in {CONFIG}, but {WEIGHTS} has 4; co"),
    "text for a width": (config(token_dim="16"), "`token_dim` is '16': expected a whole number"),
    "another width by its word": (config(token_dim=32), rf"`token_dim` is 32 in {CONFIG}, but {WEIGHTS} has 16"),
    "another width": (of_shape(4, 24), r"the vectors in .*adapter have width 24, but models\.own has 16; write an ada"),
    "fewer vectors": (of_shape(3, 16), r"recipes\.brought\.vectors is 4, but the adapter in .* has 3; write 3"),
    "one row": (of_shape(64), rf"`{KEY}` has shape \[64\], expected vectors x width; write the folder"),
    "a cube": (of_shape(4, 4, 4), rf"`{KEY}` has shape \[4, 4, 4\], expected vectors x width"),
    "one number": (lambda f: made.save(f, {KEY: np.array(1.0)}, WEIGHTS), rf"`{KEY}` has shape \[\], expected vectors"),
    "empty vectors": (tensors(prompt_embeddings=prompt(4, 0)), rf"`{KEY}` has shape \[4, 0\], expected vectors x widt"),
    "no vector": (tensors(prompt_embeddings=prompt(0, 16)), rf"`{KEY}` has shape \[0, 16\], expected vectors x width"),
    "another key": (tensors(prompt=prompt(4, 16)), rf"found prompt, expected `{KEY}`; write the folder"),
    "PEFT's inner key": (
        tensors(**{"prompt_encoder.default.embedding.weight": prompt(4, 16)}),
        rf"found prompt_encoder\.default\.embedding\.weight, expected `{KEY}`",
    ),
    "no key": (tensors(), rf"found nothing, expected `{KEY}`"),
    "LoRA beside the prompt": (
        tensors(prompt_embeddings=prompt(4, 16), **{"base_model.model.lora_A.weight": prompt(2, 2)}),
        rf"found 'base_model\.model\.lora_A\.weight' beside `{KEY}` \(1 more\), which would be left out; expected a pr",
    ),
    "a head beside the prompt": (
        tensors(prompt_embeddings=prompt(4, 16), **{"base_model.model.lm_head.weight": prompt(2, 2)}),
        rf"found 'base_model\.model\.lm_head\.weight' beside `{KEY}`",
    ),
    "two prompts": (
        tensors(prompt_embeddings=prompt(4, 16), prompt_task_cols=prompt(4, 1), prompt_task_rows=prompt(1, 16)),
        rf"found 'prompt_task_cols' beside `{KEY}` \(2 more\)",
    ),
    "modules to save": (config(modules_to_save=["lm_head"]), "`modules_to_save` names lm_head, expected vectors and n"),
    "text for modules": (config(modules_to_save="lm_head"), "`modules_to_save` is 'lm_head': expected a list"),
    "no number": (holding(float("nan")), rf"`{KEY}` holds a number that is not finite in float32; tune the prompt aga"),
    "infinity": (holding(float("inf")), f"`{KEY}` holds a number that is not finite"),
    "less than all": (holding(float("-inf")), f"`{KEY}` holds a number that is not finite"),
    "no number in half precision": (holding(float("nan"), torch.float16), f"`{KEY}` holds a number that is not finite"),
    "no number in bfloat16": (holding(float("nan"), torch.bfloat16), f"`{KEY}` holds a number that is not finite"),
    "too large a number": (holding(1e300, torch.float64), f"`{KEY}` holds a number that is not finite in float32"),
    "whole numbers": (
        tensors(prompt_embeddings=torch.ones(4, 16, dtype=torch.int64)), f"`{KEY}` is I64, expected one of F64, F32, F1"
    ),
    "bytes": (tensors(prompt_embeddings=torch.ones(4, 16, dtype=torch.uint8)), f"`{KEY}` is U8, expected one of"),
    "truths": (tensors(prompt_embeddings=torch.ones(4, 16, dtype=torch.bool)), f"`{KEY}` is BOOL, expected one of"),
    "eight bits": (
        tensors(prompt_embeddings=torch.ones(4, 16).to(torch.float8_e4m3fn)), f"`{KEY}` is F8_E4M3, expected one of"
    ),
    "vectors cut short": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1]), f"{WEIGHTS}: found no whole safetensors f"
    ),
    "empty vectors' file": (content(WEIGHTS, b""), f"{WEIGHTS}: found no whole safetensors file in 0 bytes"),
    "a pointer of Git LFS": (content(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), "found no whole safet"),
    "a list for a config": (content(CONFIG, b"[]"), rf"{CONFIG}: found no JSON map; expected PEFT's adapter config: f"),
    "a broken config": (content(CONFIG, b'{"peft_type"'), f"{CONFIG}: found no JSON map"),
    "an empty config": (content(CONFIG, b""), f"{CONFIG}: found no JSON map"),
    "a config in UTF-16": (content(CONFIG, json.dumps({}).encode("utf-16")), f"{CONFIG}: found no JSON map"),
    "a number for a model": (config(base_model_name_or_path=7), "`base_model_name_or_path` is 7: expected text"),
}  # fmt: skip
"""Name: what is done, and a pattern of what is said."""

FINE: dict[str, Change] = {
    "as it stands": lambda folder: None,
    "no count": config(num_virtual_tokens=...),
    "null for what is not known": config(num_virtual_tokens=None, token_dim=None, task_type=None, modules_to_save=None),
    "no model": config(base_model_name_or_path=None),
    "no modules": config(modules_to_save=[]),
    "begun with a text": config(
        prompt_tuning_init="TEXT", prompt_tuning_init_text="Solve it.", tokenizer_name_or_path="somewhere/other"
    ),
    "keys of a later version": config(peft_version="9.9", auto_mapping=None, runtime_config={"a": 1}),
    "in half precision": tensors(prompt_embeddings=prompt(4, 16).half()),
    "in bfloat16": tensors(prompt_embeddings=prompt(4, 16).bfloat16()),
    "in double precision": tensors(prompt_embeddings=prompt(4, 16).double()),
    "beside other files": lambda f: (f / "README.md").write_text("x"),
    "links": lambda f: [
        name.rename(f.parent / name.name) and name.symlink_to(f.parent / name.name) for name in list(f.iterdir())
    ],
}
"""What looks odd and is taken."""


def whole(folder: Path) -> tuple[Path, Path]:
    """Write a model and an adapter for it; return both folders."""
    return made.write(folder / "own"), made.write_adapter(folder / "adapter")
