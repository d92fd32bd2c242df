"""Models with random weights in the shapes of `benchmarks/shapes`, loaded as the study loads them or as others do.

A shape is a `config.json` without ids. Its model is written once, in bfloat16, as a folder that the study could run:
under `results/bench/models`, by a process of its own, whose memory is none of the measured one's. Llama3-8B and its
like have two layers and their whole vocabulary. Axes: V vocabulary, D width, K step.

Random weights end no text by themselves, so a model may be made to count down. Every step k has `VARIANTS` tokens; the
head answers a token of step k with one of step k - 1, and step 1 with the end mark. So the step of a question's last
token is the length of its rationale, whatever decodes it. Which variant is said depends on everything attended to: a
fault in mask, cache or position changes the text. Such a model has an output matrix apart from its embedding.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from dpc.config.execution import Execution
from dpc.lm import models
from dpc.lm.models import LanguageModel, wrap

BOS, EOS, PAD = 1, 2, 0
VARIANTS, STEPS = 4, 512
FIRST = EOS + 1
"""Tokens FIRST + VARIANTS x (k - 1), ... belong to step k, for k up to STEPS."""
SHAPES, ROOT = Path(__file__).parent / "shapes", Path(__file__).parents[1]
RECIPE = 1
"""Of the weights: raise it where `write` makes others, so that folders are made anew."""
SHARP = 4
"""Queries and keys are so many times larger than other states, or attention would be flat."""


def shape(name: str) -> dict[str, Any]:
    """Return the shape of that name; a path names a file elsewhere."""
    file = Path(name) if name.endswith(".json") else SHAPES / f"{name}.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def folder(name: str, counts_down: bool = False) -> Path:
    """Return the model folder of a shape, which is made where it is missing; another recipe has another folder."""
    key = hashlib.sha256(json.dumps([RECIPE, shape(name)], sort_keys=True).encode()).hexdigest()[:8]
    stem = Path(name).name.removesuffix(".json") + "-counting" * counts_down
    place = ROOT / "results/bench/models" / f"{stem}-{key}"
    if not place.is_dir():
        how = [name, str(place), *["--counting"] * counts_down]
        subprocess.run([sys.executable, "-W", "ignore", "-m", "benchmarks.models", *how], cwd=ROOT, check=True)
    return place


def write(name: str, place: Path, counts_down: bool) -> None:
    """Write a shape's model, with a tokenizer that has one word per token: `w3`, `w4`, ..."""
    from transformers import AutoConfig

    settings = shape(name) | ({"tie_word_embeddings": False} if counts_down else {})
    config = AutoConfig.for_model(**settings, initializer_range=0.5 * settings["hidden_size"] ** -0.5, **_ends())
    model = sharp(config, dtype=torch.bfloat16)
    if counts_down:
        count_down(model)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as parent:
        made = Path(parent, "model")
        model.save_pretrained(made)
        words(config.vocab_size).save_pretrained(made)
        made.rename(place)


def _ends() -> dict[str, int]:
    return {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}


@torch.no_grad()
def sharp(config: Any, **how: Any) -> Any:
    """Return a frozen model with random weights, its queries and keys large enough that attention is not flat."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, **how).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "q_proj.weight" in name or "k_proj.weight" in name:
            parameter.mul_(SHARP)
    return model


@torch.no_grad()
def count_down(model: Any) -> None:
    """Make `model` end its texts: after a token of step k comes one of step k - 1, after step 1 the end mark."""
    generator = torch.Generator().manual_seed(1)
    weight_VD, head_VD = model.get_input_embeddings().weight, model.lm_head.weight
    step_V = torch.arange(VARIANTS * STEPS) // VARIANTS + 1
    direction_KD = torch.randn(STEPS + 1, weight_VD.shape[1], generator=generator)
    noise_VD = torch.randn(len(step_V), weight_VD.shape[1], generator=generator)
    weight_VD[FIRST : FIRST + len(step_V)] = (0.5 * direction_KD[step_V] + 0.3 * noise_VD).to(weight_VD)
    head_VD.copy_(0.5 * torch.randn(head_VD.shape, generator=generator))
    head_VD[EOS] += direction_KD[1].to(head_VD)
    before_V = step_V < STEPS
    head_VD[FIRST : FIRST + len(step_V)][before_V] += direction_KD[step_V[before_V] + 1].to(head_VD)


def words(vocabulary: int) -> Any:
    """Return a tokenizer of so many words, three of them marks."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS}
    known = special | {f"w{i}": i for i in range(len(special), vocabulary)}
    core = Tokenizer(models.WordLevel(known, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **marks)


def ours(args: argparse.Namespace, counts_down: bool = False) -> LanguageModel:
    """Return the model of `args.shape` as a stage of the study loads it, on the CPU."""
    execution = Execution(device="cpu", threads=args.threads)
    return models.load(folder(args.shape, counts_down), args.dtype, execution, bos=True)


def theirs(args: argparse.Namespace, counts_down: bool = False, attention: str | None = None) -> Any:
    """Return the model of `args.shape` as users of transformers load it: nothing frozen, torch's usual switches."""
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    place, dtype = folder(args.shape, counts_down), getattr(torch, args.dtype)
    return AutoModelForCausalLM.from_pretrained(place, dtype=dtype, attn_implementation=attention)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which model is measured."""
    parser.add_argument("--shape", default="small", help=f"one of {SHAPES}, or a config.json elsewhere")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)


DEPTHS = {"llama3-8b": 32, "llama2-13b": 40}
"""Layers of the models that `benchmarks/shapes` cuts to two."""


def made(
    name: str,
    attention: str = "sdpa",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    counts_down: bool = False,
) -> Any:
    """Return a frozen model of a shape, whole, made on `device`: a card lent for minutes has no folder to read."""
    from transformers import AutoConfig

    settings = shape(name)
    settings |= {"num_hidden_layers": DEPTHS.get(name, settings["num_hidden_layers"]), "attn_implementation": attention}
    settings |= {"tie_word_embeddings": settings["tie_word_embeddings"] and not counts_down}
    config = AutoConfig.for_model(**settings, initializer_range=0.5 * settings["hidden_size"] ** -0.5, **_ends())
    with torch.device(device):
        model = sharp(config, dtype=dtype)
    if counts_down:
        count_down(model)
    return model


def with_words(model: Any) -> LanguageModel:
    """Return `model`, frozen, with its tokenizer."""
    return wrap(model, words(model.config.vocab_size), bos=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the model of a shape.")
    parser.add_argument("shape")
    parser.add_argument("place", type=Path)
    parser.add_argument("--counting", action="store_true")
    given = parser.parse_args()
    write(given.shape, given.place, given.counting)
