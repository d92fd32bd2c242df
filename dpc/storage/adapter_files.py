"""A soft prompt that PEFT wrote, by its two files, without torch. Axes: N prompt vector, D width."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from dpc.errors import DpcError
from dpc.storage.hub import origin
from dpc.storage.json_files import Foreign, read_map, readable, typed
from dpc.storage.model_files import Count
from dpc.storage.weight_files import FLOATS, Entry, floats, header

if TYPE_CHECKING:
    import numpy as np

CONFIG, WEIGHTS, KEY = "adapter_config.json", "adapter_model.safetensors", "prompt_embeddings"
WRITE = "write the folder of a PEFT prompt-tuning adapter"
MEND = "correct it, or copy the adapter again"
TOKENS = "tokens"
"""Entry of the header of the weights that holds the tokens of a discrete prompt; PEFT reads past it."""


class _Config(Foreign):
    peft_type: Literal["PROMPT_TUNING"]
    task_type: Literal["CAUSAL_LM"] | None = None
    num_virtual_tokens: Count | None = None
    token_dim: Count | None = None
    num_transformer_submodules: Literal[1] | None = None
    base_model_name_or_path: str | None = None
    modules_to_save: list[str] | None = None

    @model_validator(mode="after")
    def _is_a_prompt_alone(self) -> _Config:
        if self.modules_to_save:
            raise ValueError(f"`modules_to_save` names {self.modules_to_save[0]}, expected vectors and no more")
        return self


def config(folder: Path) -> _Config:
    """Return what the adapter in `folder` says of itself. Raises DpcError where it is no prompt-tuning adapter."""
    file = folder / CONFIG
    raw = read_map(file, "PEFT's adapter config")
    kind = raw.get("peft_type")
    if kind != "PROMPT_TUNING":
        raise DpcError(f"{file}: peft_type is {kind!r}; expected PROMPT_TUNING: vectors before the question, no more")
    return typed(_Config, raw, file, MEND)


def is_shared(weights: Path) -> bool:
    """Return whether the prompt in a file that `tune_prompt` wrote is one for all questions, and no mixture."""
    return KEY in header(weights)


def length(folder: Path) -> int:
    """Return how many vectors of the prompt in `folder` stand in the input, a mixture's too."""
    return int(read_map(folder / CONFIG, "PEFT's adapter config")["num_virtual_tokens"])


@readable()
def size(folder: Path) -> tuple[int, int]:
    """Return the vectors and the width of the adapter in `folder`, from its config and header alone.

    Raises DpcError where it is none, holds more than its prompt, or has another size than it says.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise DpcError(f"found no {str(folder / name)!r}; {WRITE} in safetensors (safe_serialization=True)")
    told, (count, width) = config(folder), _prompt(folder / WEIGHTS).shape
    for key, number, found in (
        ("num_virtual_tokens", told.num_virtual_tokens, count),
        ("token_dim", told.token_dim, width),
    ):
        if number not in (None, found):
            raise DpcError(f"{folder}: `{key}` is {number} in {CONFIG}, but {WEIGHTS} has {found}; {MEND}")
    return count, width


def _prompt(file: Path) -> Entry:
    """Return the one tensor, vectors x width, of an adapter's file."""
    found = header(file)
    if KEY not in found:
        raise DpcError(f"{file}: found {', '.join(sorted(found)[:3]) or 'nothing'}, expected `{KEY}`; {WRITE}")
    if others := sorted(found.keys() - {KEY}):
        raise DpcError(
            f"{file}: found {others[0]!r} beside `{KEY}` ({len(others)} more), which would be left out; expected a "
            "prompt and no more: merge the rest into the model, and write that model"
        )
    entry = found[KEY]
    if len(entry.shape) != 2 or 0 in entry.shape:
        raise DpcError(f"{file}: `{KEY}` has shape {list(entry.shape)}, expected vectors x width; {WRITE}")
    if entry.dtype not in FLOATS:
        raise DpcError(f"{file}: `{KEY}` is {entry.dtype}, expected one of {', '.join(FLOATS)}; {WRITE}")
    return entry


def vectors(folder: Path) -> np.ndarray:
    """Return the prompt (N x D, float32) of the adapter in `folder`.

    Raises DpcError as `size` does, and where a number is not finite.
    """
    import numpy as np
    from safetensors import deserialize

    shape, file = size(folder), folder / WEIGHTS
    ((_, tensor),) = deserialize(file.read_bytes())
    numbers = floats(bytes(tensor["data"]), tensor["dtype"])
    if not np.isfinite(numbers).all():
        raise DpcError(f"{file}: `{KEY}` holds a number that is not finite in float32; tune the prompt again")
    return numbers.reshape(shape)


@dataclass(frozen=True)
class Tokens:
    """What a prompt says whose vectors are embeddings of tokens."""

    ids: tuple[int, ...]
    """One for each vector."""
    text: str
    """As the model's tokenizer writes them; encoded again it may be cut into other tokens."""

    def metadata(self) -> dict[str, str]:
        """Return what stands in the header of the adapter's weights: one entry, whose bytes have one order."""
        return {TOKENS: json.dumps(asdict(self), sort_keys=True)}


def tokens(weights: Path) -> Tokens | None:
    """Return the tokens of the prompt in the file `weights`; None where its vectors are no tokens (a soft prompt).

    Raises DpcError where the file is not whole, or its tokens are not those of its vectors.
    """
    from safetensors import safe_open

    header(weights)  # refuses what is not whole
    with safe_open(weights, "np") as content:
        raw = (content.metadata() or {}).get(TOKENS)
    if raw is None:
        return None
    entry = _prompt(weights)
    try:
        found = json.loads(raw)
        ids, text = tuple(map(int, found["ids"])), str(found["text"])
    except (ValueError, TypeError, KeyError):
        raise DpcError(f"{weights}: `{TOKENS}` is {raw[:40]!r}, expected ids and text; tune the prompt again") from None
    if len(ids) != entry.shape[0]:
        raise DpcError(f"{weights}: found {len(ids)} tokens for {entry.shape[0]} vectors; tune the prompt again")
    return Tokens(ids, text)


def stranger(folder: Path, model: Path, hub: str | None = None) -> str | None:
    """Say that the adapter in `folder` was tuned on a model of another name than that in the folder `model`, or None.

    The same weights have many names: hub ids and paths are the same where their last part is, case aside.
    """
    base, fetched = config(folder).base_model_name_or_path, origin(model).get("hub")
    names = [hub, fetched, model, model.resolve()]
    if not base or _last(base) in {_last(str(name)) for name in names if name}:
        return None
    name = str(hub or fetched or model)
    return (
        f"{folder}: this prompt was tuned on {base!r}, and the model here is {name!r}: the same weights under two "
        "names, or else it means nothing to this model"
    )


def _last(name: str) -> str:
    """Return the last part of a hub id or path; in the hub's cache that of the repository's folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")] or [name]
    cached = [part.split("--")[-1] for part in parts if part.startswith("models--")]
    return (cached or parts)[-1].casefold()
