"""Model folders, adapters and configurations with random harm done to them, seeded: none may end in a stack.

A case is either refused by what `snakemake check` does, in one line, or its model loads, its chat is written, its
prompt is taken, and it answers.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.lm import models
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.layout import layout_of
from dpc.pipeline import check, check_models, cost
from dpc.pipeline.stages.render_questions import chat_of
from dpc.prompts import soft_prompt
from dpc.tasks.formats import render
from tests.support import bad_adapters, bad_models
from tests.support import model_folders as made
from tests.support.bad_models import Change
from tests.support.workflow import nested, overlay

ODD: list[Any] = [
    None, "", "8", "x", "auto", 0, -1, 1, 2, 3, 4, 16, 272, 3.5, 1e-9, 1e300, float("nan"), float("inf"), True, False,
    [], [1], [2, 3], ["x"], [None], {}, {"a": 1}, 10**9, 2**70, "\ud800", "x" * 10_000, [[[]]], ...,
]  # fmt: skip
"""Values that may stand where another belongs; `...` drops the key."""
MORE_KEYS = [
    "head_dim", "sliding_window", "layer_types", "rope_scaling", "rope_parameters", "partial_rotary_factor", "dtype",
    "attention_bias", "mlp_bias", "quantization_config", "auto_map", "transformers_weights", "text_config",
    "num_labels", "return_dict", "is_encoder_decoder", "use_cache", "tie_word_embeddings", "_attn_implementation",
    "layer_norm_eps", "use_bidirectional_attention", "num_key_value_heads", "pad_token_id", "max_window_layers",
    "use_sliding_window",
]  # fmt: skip
ROPES: list[Any] = ["default", "linear", "llama3", "yarn", "dynamic", "longrope", "x", None, 3]
ROPE_KEYS = [
    "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "rope_theta", "beta_fast",
    "beta_slow", "attention_factor", "mscale", "truncate", "mrope_section",
]  # fmt: skip
MARKS = ["bos_token", "eos_token", "pad_token", "unk_token", "extra_special_tokens", "additional_special_tokens"]
TOKENIZER_KEYS = [*MARKS, "chat_template", "added_tokens_decoder", "tokenizer_class", "model_max_length", "init_inputs"]


def of_json(name: str, keys: list[str] | None = None) -> Callable[[random.Random, Path], str]:
    """Return what gives a key of a JSON file, one that it has or one of `keys`, an odd value."""

    def do(rng: random.Random, folder: Path) -> str:
        file = folder / name
        found = json.loads(file.read_text()) if file.exists() else {}
        key = rng.choice([*found, *(keys or [])])
        value = rng.choice([*ODD, *found.values()])
        made.edit(folder, name, **{key: value})
        return f"{name}: {key} = {value!r:.40}"

    return do


def deep(name: str) -> Callable[[random.Random, Path], str]:
    """Return what changes something anywhere inside a JSON file."""

    def do(rng: random.Random, folder: Path) -> str:
        found = json.loads((folder / name).read_text())
        here, path = found, []
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            path.append(rng.choice(keys))
            inner = here[path[-1]]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
                break
            here = inner
        value = rng.choice(ODD)
        if value is ...:
            del here[path[-1]]
        else:
            here[path[-1]] = value
        (folder / name).write_text(json.dumps(found))
        return f"{name}: {path} = {value!r:.40}"

    return do


def rope(rng: random.Random, folder: Path) -> str:
    kind = {rng.choice(["type", "rope_type"]): rng.choice(ROPES)}
    more = {key: rng.choice([1.0, 2.0, 4.0, 8, 512, *ODD[:-1]]) for key in rng.sample(ROPE_KEYS, rng.randint(0, 4))}
    made.edit(folder, **{rng.choice(["rope_scaling", "rope_parameters"]): kind | more})
    return f"rope: {kind | more!r:.80}"


def harm_file(rng: random.Random, folder: Path) -> str:
    """Cut, spoil, move or replace a file."""
    file = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    content = file.read_bytes()
    place = rng.randrange(min(len(content), 2000) or 1)
    other = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    changes: dict[str, Callable[[], Any]] = {
        "gone": file.unlink,
        "empty": lambda: file.write_bytes(b""),
        "cut": lambda: file.write_bytes(content[:place]),
        "spoilt": lambda: file.write_bytes(content[:place] + rng.randbytes(3) + content[place + 3 :]),
        "longer": lambda: file.write_bytes(content + rng.randbytes(9)),
        "a list": lambda: file.write_bytes(b"[]"),
        "a map": lambda: file.write_bytes(b"{}"),
        "null": lambda: file.write_bytes(b"null"),
        "a pointer": lambda: file.write_bytes(bad_models.NONE),
        "marked": lambda: file.write_bytes(b"\xef\xbb\xbf" + content),
        "another": lambda: file.write_bytes(other.read_bytes()),
        "renamed": lambda: file.rename(folder / f"{file.stem}.old"),
        "a folder": lambda: bad_models.folder_for(file.name)(folder),
        "a dead link": lambda: bad_models.link_to_nowhere(file.name)(folder),
        "a link": lambda: (file.rename(folder.parent / "linked"), file.symlink_to(folder.parent / "linked")),
    }
    what = rng.choice(list(changes))
    changes[what]()
    return f"{file.name}: {what}"


def harm_weights(rng: random.Random, folder: Path) -> str:
    """Drop, rename, reshape, add or cast a tensor."""
    found = load_file(folder / "model.safetensors")
    name = rng.choice(sorted(found))
    tensor = found[name]
    changes: dict[str, Callable[[], Any]] = {
        "dropped": lambda: found.pop(name),
        "renamed": lambda: found.update({f"{name}.old": found.pop(name)}),
        "transposed": lambda: found.update({name: tensor.T.copy()}),
        "flat": lambda: found.update({name: tensor.reshape(-1)}),
        "shorter": lambda: found.update({name: tensor[1:].copy()}),
        "whole": lambda: found.update({name: tensor.astype("int32")}),
        "half": lambda: found.update({name: tensor.astype("float16")}),
        "double": lambda: found.update({name: tensor.astype("float64")}),
        "copied": lambda: found.update({name.replace("layers.0", "layers.7"): tensor}),
        "unwrapped": lambda: (found.clear(), found.update({"x": tensor})),
    }
    what = rng.choice(list(changes))
    changes[what]()
    made.save(folder, found)
    return f"{name}: {what}"


def shards(rng: random.Random, folder: Path) -> str:
    made.shard(folder, rng.randint(1, 3))
    return f"shards; {rng.choice([harm_file, deep(bad_models.INDEX)])(rng, folder)}"


def listed(changes: dict[str, Any]) -> Callable[[random.Random, Path], str]:
    """Return what does something out of a table of harm."""

    def do(rng: random.Random, folder: Path) -> str:
        name = rng.choice(list(changes))
        change: Change = changes[name][0] if isinstance(changes[name], tuple) else changes[name]
        change(folder)
        return name

    return do


MODEL_HARM = [
    *[of_json("config.json", MORE_KEYS)] * 4, of_json("generation_config.json", ["eos_token_id", "temperature"]), rope,
    *[of_json("tokenizer_config.json", TOKENIZER_KEYS)] * 2, of_json("special_tokens_map.json", MARKS), shards,
    *[harm_file] * 3, *[harm_weights] * 2, *[deep("tokenizer.json")] * 3, listed(bad_models.BAD),
    listed(bad_models.FINE),
]  # fmt: skip
ADAPTER_HARM = [
    of_json("adapter_config.json", ["modules_to_save", "token_dim", "revision", "prompt_tuning_init"]), harm_file,
    listed(bad_adapters.BAD), listed(bad_adapters.FINE),
]  # fmt: skip
KEYS: dict[str, list[Any]] = {
    "models.own.bos": ["auto", True, False, "true", "yes", None, 1],
    "models.own.dtype": ["float32", "bfloat16", "float64", "float16", None, 32],
    "models.own.attention": ["auto", "sdpa", "eager", "flash", None],
    "models.own.path": ["", ".", "nowhere", "/", None, "own/config.json", 5],
    "models.own.parameters": [0.1, 0, -1, "x", None],
    "recipes.brought.vectors": [0, 3, 4, 5, 2000, "4", 4.0, None],
    "recipes.brought.adapter": [None, "", "nowhere", "{model}", "{seed}", "{x}", 5],
    "recipes.brought.layout": ["bos_first", "prompt_first", None, "x"],
    "layout": ["bos_first", "prompt_first", None],
    "flow.deep_layers": ["all", "paper", [0, 1], [1, 2], [1, 0], "x", None],
    "act.layers": ["all", "inner", [0, 0], [0, 9]],
    "sensitivity.layers": [["all"], [[0, 1]], [[0, 5]], []],
    "datasets.arithmetic.max_new_tokens": [1, 24, 900, 5000, 0, "x"],
    "datasets.arithmetic.formats": [{}, {"own": "chat"}, {"own": "plain_4_shot"}, {"own": "x"}, {"other": "chat"}],
    "datasets.arithmetic.template": ["{question}", "<s>{question}", "<bos>{question}", "{}", "", None],
    "formats.chat.shots": [0, 1, 4, -1, "x"],
}
"""Keys of a configuration that models and prompts meet, and values for them, right and wrong."""


def case(seed: int, folder: Path) -> tuple[str, dict[str, Any]]:
    """Write case `seed` into `folder`; return what it is, and its configuration."""
    rng = random.Random(seed)
    family = rng.choice(list(made.FAMILIES))
    words = rng.choice([None, None, *made.WORDS])
    model = made.write(folder / "own", family, words)
    with_prompt = rng.random() < 0.4
    adapter = made.write_adapter(folder / "adapter") if with_prompt else None
    kind = rng.choices(["model", "adapter" if adapter else "model", "keys", "both"], [6, 3, 2, 1])[0]
    done = []
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError, AttributeError, TypeError):  # harm upon harm
        for _ in range(rng.choice([1, 1, 1, 2])):
            if kind in ("model", "both"):
                done.append(rng.choice(MODEL_HARM)(rng, model))
        if kind == "adapter" and adapter:
            done.append(rng.choice(ADAPTER_HARM)(rng, adapter))
    raw = overlay(made.study(model, adapter), nested("datasets.arithmetic.formats", rng.choice([{}, {"own": "chat"}])))
    if kind in ("keys", "both"):
        for key in rng.sample(list(KEYS), rng.randint(1, 2)):
            value = rng.choice(KEYS[key])
            raw = overlay(raw, nested(key, value))
            done.append(f"{key} = {value!r}")
    return f"case {seed}: {family}, {words}; {'; '.join(done)}", raw


def looked_at(raw: dict[str, Any]) -> tuple[Config | None, str]:
    """Do what a run does before its first job; return the configuration, or None and the line it is refused with."""
    try:
        config = load_config(raw)
        for name in config.study.models:  # as workflow/rules/checks.smk does
            path = config.models[name].path
            if path is not None and not Path(path, "config.json").is_file():
                return None, f"error: models.{name}.path is {path!r}: found no config.json there; write the path"
            cost.parameters(config.models[name])
        check_models.check_adapters(config)
        for name in config.study.models:
            check_models.check_layers(config, name, check_models.depth(name, config.models[name]))
    except DpcError as error:
        return None, f"error: {error}"
    said = io.StringIO()
    os.environ["DPC_CONFIG"] = json.dumps(raw)
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = check.main()
    return (config, "") if status == 0 else (None, said.getvalue().rstrip("\n"))


def answered(config: Config) -> Iterator[str]:
    """Load the model, write a chat, take the prompt and answer, as jobs would; yield the answers."""
    own, recipe = config.models["own"], config.recipes["brought"]
    lm = models.load(Path(str(own.path)), own.dtype, config.execution, own.attention, own.bos)
    form = config.format_of("own", "arithmetic")
    chat = chat_of(Path(str(own.path)), own.bos) if form.chat else None
    ids = lm.encode(render("Tom has 3 shells .", form, [("1 ?", "1")] * form.shots, chat))
    prompt_ND = None
    if recipe.adapter:
        prompt_ND = soft_prompt.adapter(Path(recipe.adapter), lm, recipe.vectors).to(lm.embedding.weight.dtype)
    layout = layout_of(lm, config.layouts["brought"])
    with torch.no_grad():
        assert lm.model(inputs_embeds=lm.embedding(torch.tensor([[*ids, lm.end_ids[0], lm.pad_id]]))).logits.shape[-1]
    for _, rows in generate(lm, layout, [Request(ids, prompt_ND), Request(ids[:1], None)], Limits(2), 2):
        yield from (row.stop_reason for row in rows)
