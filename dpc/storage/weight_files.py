"""A model's weights without loading them: which files are loaded, which tensors they have and should have.

transformers fills weights that it does not find with random numbers and says so in a log: a model with a layer too few
in its files, or one too many in its config, would run. So names and shapes are compared before anything is loaded.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from dpc.config.messages import first_line
from dpc.errors import DpcError
from dpc.storage.json_files import read_map
from dpc.storage.model_files import MEND, Architecture, Unread

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
CARD_SHARE, ACTIVATIONS, CACHE_GB = 0.9, 1.25, 3.0
FLOATS = ("F64", "F32", "F16", "BF16")
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
COPY = "copy or fetch it again (`git lfs pull`, if it came by git)"
CONVERT = "load the model once with transformers, and save it with `save_pretrained`"
_UNUSED = ("rotary_emb.inv_freq", "lm_head.weight")
"""Ends of names that files may hold beside a model's own: what positions are made of, a copy of tied embeddings."""


@dataclass(frozen=True)
class Entry:
    """One tensor by its header."""

    shape: tuple[int, ...]
    dtype: str


def files(folder: Path) -> list[Path]:
    """Return the files that transformers loads: `model.safetensors`, or else the shards that the index names.

    Raises DpcError where there are none, or a shard is missing.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    index = folder / INDEX
    if not index.is_file():
        raise DpcError(f"{folder}: found {_instead(folder)}, expected {WHOLE} or {INDEX}; {CONVERT}")
    raw = read_map(index, "an index of shards")
    names, about = raw.get("weight_map"), raw.get("metadata")
    if not (isinstance(names, dict) and names and isinstance(about, dict)):
        raise DpcError(f"{index}: found no maps `weight_map` and `metadata`; copy or fetch it again, or {CONVERT}")
    shards = sorted({str(name) for name in names.values()})
    for name in shards:
        if Path(name).name != name or not (folder / name).is_file():
            raise DpcError(
                f"{index}: names the shard {name!r}, which is not in {folder}; copy or fetch the model again"
            )
    return [folder / name for name in shards]


def _instead(folder: Path) -> str:
    """Say which weights in another form lie in `folder`."""
    for pattern in ("*.safetensors", "*.bin", "*.pth", "*.pt", "*.gguf"):
        if found := sorted(file.name for file in folder.glob(pattern) if file.is_file()):
            return f"only {found[0]}"
    return "no safetensors file"


@cache
def entries(folder: Path) -> dict[str, Entry]:
    """Return every tensor of the files in `folder` that are loaded. Raises DpcError where one of them is not whole."""
    return {name: entry for file in files(folder) for name, entry in header(file).items()}


def header(file: Path) -> dict[str, Entry]:
    """Return the tensors of a safetensors file. Raises DpcError where it is not whole."""
    try:
        with safe_open(file, "np") as content:
            parts = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {name: Entry(tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except (SafetensorError, OSError, ValueError) as error:
        said = first_line(error)
        size = file.stat().st_size
        raise DpcError(
            f"{file}: found no whole safetensors file in {size:,} bytes ({said}); expected all of a file: {COPY}"
        ) from None


def floats(data: bytes, dtype: str) -> np.ndarray:
    """Return the numbers of one of FLOATS as float32; too large ones become infinite."""
    import numpy as np

    with np.errstate(over="ignore"):
        if dtype == "BF16":  # the upper half of a float32
            return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(data, _NUMPY[dtype]).astype("<f4")


def embedding(folder: Path, rows: int = 8192) -> Iterator[np.ndarray]:
    """Yield the input embedding (V x D, float32) of the model in `folder`, some rows at a time.

    Raises DpcError where no file holds it.
    """
    for file in files(folder):
        names = {"model.embed_tokens.weight", "embed_tokens.weight"} & header(file).keys()  # or saved without its head
        if names:
            yield from _rows(file, names.pop(), rows)
            return
    raise DpcError(f"{folder}: found no tensor model.embed_tokens.weight in its weights; {COPY}")


def _rows(file: Path, name: str, rows: int) -> Iterator[np.ndarray]:
    with file.open("rb") as content:
        start = 8 + int.from_bytes(content.read(8), "little")
        about = json.loads(content.read(start - 8))[name]
        first, last = about["data_offsets"]
        count, width = about["shape"]
        content.seek(start + first)
        for begin in range(0, count, rows):
            taken = min(rows, count - begin)
            yield floats(content.read((last - first) // count * taken), about["dtype"]).reshape(taken, width)


def check_small(folder: Path) -> None:
    """Raise DpcError where a norm or a bias holds a number that is not finite in float32.

    The rest are gigabytes: whoever loads them looks.
    """
    import numpy as np

    for file in files(folder):
        with file.open("rb") as content:
            start = 8 + int.from_bytes(content.read(8), "little")
            about = json.loads(content.read(start - 8))
            for name, entry in about.items():
                if len(entry.get("shape", ())) == 1 and entry["dtype"] in FLOATS:
                    first, last = entry["data_offsets"]
                    content.seek(start + first)
                    if not np.isfinite(floats(content.read(last - first), entry["dtype"])).all():
                        raise DpcError(f"{file}: {name} holds a number that is not finite; {COPY}")


def counted(folder: Path) -> float:
    """Return billions of parameters of the model in `folder`. Raises DpcError where its weights are not whole."""
    return sum(math.prod(entry.shape) for entry in entries(folder).values()) / 1e9


def check(folder: Path, shape: Architecture) -> None:
    """Raise DpcError unless the files hold just the tensors of `shape`, in numbers with a point."""
    found = dict(entries(folder))
    if isinstance(shape, Unread):
        return  # whose tensors are not known here; whoever loads them says what is missing
    if shape.num_hidden_layers > len(found):  # whatever number that is
        said = f"its weights are {len(found)} tensors, too few for the {shape.num_hidden_layers} layers of config.json"
        raise DpcError(f"{folder}: {said}; {MEND}")
    wanted = expected(shape)
    if not any(name.startswith("model.") for name in found):  # saved without its head
        found = {name if name == "lm_head.weight" else f"model.{name}": entry for name, entry in found.items()}
    if missing := sorted(wanted.keys() - found.keys()):
        said = (
            f"its weights lack {missing[0]}, which config.json asks for ({len(missing)} of {len(wanted)} are missing)"
        )
        raise DpcError(f"{folder}: {said}; {MEND}")
    if strange := sorted(name for name in found.keys() - wanted.keys() if not name.endswith(_UNUSED)):
        said = f"its weights hold {strange[0]!r}, for which config.json has no place ({len(strange)} in all)"
        raise DpcError(f"{folder}: {said}; {MEND}")
    for name, size in wanted.items():
        if said := _misfit(found[name], size):
            raise DpcError(f"{folder}: its weights have {name} {said}")


def _misfit(entry: Entry, size: tuple[int, ...]) -> str:
    """Say what is wrong with a tensor that should have this size; nothing if nothing is."""
    if entry.shape != size:
        return f"of {_sizes(entry.shape)}, config.json says {_sizes(size)}; {MEND}"
    if entry.dtype not in FLOATS:
        return f"in {entry.dtype}, expected one of {', '.join(FLOATS)}; write the model that is not quantised"
    return ""


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def expected(shape: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that a model of `shape` has."""
    width, tokens = shape.hidden_size, shape.vocab_size
    names = {"model.embed_tokens.weight": (tokens, width), "model.norm.weight": (width,)}
    if not shape.tie_word_embeddings:
        names["lm_head.weight"] = (tokens, width)
    layer = _layer(shape)
    for number in range(shape.num_hidden_layers):
        names |= {f"model.layers.{number}.{name}": size for name, size in layer.items()}
    return names


def _layer(shape: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the tensors of one decoder layer."""
    width, inner, head = shape.hidden_size, shape.intermediate_size, shape.head_width
    query, key = shape.num_attention_heads * head, shape.key_value_heads * head
    attention = {"q_proj": (query, width), "k_proj": (key, width), "v_proj": (key, width), "o_proj": (width, query)}
    feed_forward = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if shape.model_type == "gemma2" else []
    names: dict[str, tuple[int, ...]] = {f"{name}.weight": (width,) for name in norms}
    for place, sizes, with_bias in (
        ("self_attn", attention, _biased(shape)),
        ("mlp", feed_forward, list(feed_forward) if getattr(shape, "mlp_bias", False) else []),
    ):
        names |= {f"{place}.{name}.weight": size for name, size in sizes.items()}
        names |= {f"{place}.{name}.bias": sizes[name][:1] for name in with_bias}
    if shape.model_type == "qwen3":
        names |= {f"self_attn.{name}.weight": (head,) for name in ("q_norm", "k_norm")}
    return names


def _biased(shape: Architecture) -> list[str]:
    """Return the products of attention that have a bias."""
    of_qwen2 = ["q_proj", "k_proj", "v_proj"]
    if shape.model_type == "qwen2":
        return of_qwen2
    return [*of_qwen2, "o_proj"] if getattr(shape, "attention_bias", False) else []


def cards(weights: float, card: float) -> int:
    """Return the cards of `card` GB that hold `weights` GB and what is computed with them."""
    return math.ceil((weights * ACTIVATIONS + CACHE_GB) / (card * CARD_SHARE))
