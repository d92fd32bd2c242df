"""What a model's `config.json` says of it, read without torch: family, kernel, shape, end marks.

transformers reads more keys, and gives those that are absent the numbers of some model of the family. Here the keys
that make the five families what they are must be there and sound, and `Architecture.settings` is all that transformers
is told: no other key can change a model, or stop it with a stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dpc.config.declared import declared
from dpc.errors import DpcError
from dpc.storage.json_files import Foreign, read_map, typed

FAMILIES: dict[str, tuple[str, ...]] = {
    name: each.values["kernels"] for name, each in declared("lm/families", "Family").items()
}
"""By `model_type`, the attention kernels of the families that saliency is proved for (`dpc/lm/families`)."""
MEND = "correct it, or copy or fetch the model again"
QUANTISED = ("quantization_config", "compression_config")

Count = Annotated[int, Field(ge=1)]
Id = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Activation = Literal["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]


class Rope(Foreign, extra="forbid"):
    """How positions turn queries and keys. Kinds whose angles change with a batch's length are not known here."""

    rope_type: Literal["default", "linear", "llama3", "yarn"] = "default"
    rope_theta: Annotated[float, Field(gt=1)] | None = None
    partial_rotary_factor: Annotated[float, Field(ge=1, le=1)] | None = None
    factor: Positive | None = None
    low_freq_factor: Positive | None = None
    high_freq_factor: Positive | None = None
    original_max_position_embeddings: Count | None = None
    attention_factor: Positive | None = None
    beta_fast: Positive | None = None
    beta_slow: Positive | None = None
    mscale: Positive | None = None
    mscale_all_dim: Positive | None = None
    truncate: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _old_name(cls, raw: Any) -> Any:
        """Files of transformers 4 write `type`; `finetuned` is a remark of YaRN's authors."""
        if not isinstance(raw, dict):
            return raw
        kind = raw.get("rope_type", raw.get("type", "default"))
        return {**{key: value for key, value in raw.items() if key not in ("type", "finetuned")}, "rope_type": kind}

    @model_validator(mode="after")
    def _complete(self) -> Rope:
        needed = {"linear": ["factor"], "yarn": ["factor"], "llama3": ["factor", "low_freq_factor", "high_freq_factor"]}
        for key in needed.get(self.rope_type, []):
            if getattr(self, key) is None:
                raise ValueError(f"rope_type {self.rope_type} needs `{key}`, found none")
        if self.rope_type == "llama3" and not (self.low_freq_factor or 0) < (self.high_freq_factor or 0):
            raise ValueError("`low_freq_factor` is not below `high_freq_factor`")
        return self


class Architecture(Foreign):
    """The shape of a Llama, and what all families have."""

    model_type: str
    vocab_size: Count
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    max_position_embeddings: Count
    rms_norm_eps: Positive = 1e-6
    hidden_act: Activation = "silu"
    tie_word_embeddings: bool = False
    eos_token_id: Id | Annotated[list[Id], Field(min_length=1)] | None = None
    rope_theta: Annotated[float, Field(gt=1)] | None = None
    partial_rotary_factor: Annotated[float, Field(ge=1, le=1)] | None = None
    rope_scaling: Rope | None = None
    rope_parameters: Rope | None = None

    @property
    def key_value_heads(self) -> int:
        """Return the heads of keys and values: as many as heads where nothing else is said."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """Return the width of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def end_ids(self) -> list[int]:
        """Return the ids of the end marks, none where the config names none."""
        found = self.eos_token_id
        return found if isinstance(found, list) else [] if found is None else [found]

    @model_validator(mode="after")
    def _fits_together(self) -> Architecture:
        heads, shared = self.num_attention_heads, self.key_value_heads
        if heads % shared:
            raise ValueError(f"`num_attention_heads` is {heads}, expected a multiple of the {shared} key-value heads")
        if self.hidden_size % heads:
            raise ValueError(f"`hidden_size` is {self.hidden_size}, expected a multiple of the {heads} heads")
        if self.head_width % 2:
            raise ValueError(f"`head_dim` is {self.head_width}, expected an even number: positions turn pairs")
        if max(self.end_ids, default=0) >= self.vocab_size:
            raise ValueError(f"`eos_token_id` is {max(self.end_ids)}, expected less than `vocab_size`")
        if self.rope_scaling and self.rope_parameters:
            raise ValueError("found both `rope_scaling` and `rope_parameters`: remove one")
        return self

    def settings(self) -> dict[str, Any]:
        """Return what transformers is told: the keys that the file has, with positions in one group."""
        rope = self.rope_scaling or self.rope_parameters or Rope()
        theta = rope.rope_theta or self.rope_theta or 10_000.0
        turns = rope.model_dump(exclude_none=True, exclude={"partial_rotary_factor"}) | {"rope_theta": theta}
        absent = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": None}  # transformers has ids for them
        heads = {"num_key_value_heads": self.key_value_heads, "head_dim": self.head_width}
        apart = {"rope_theta", "rope_scaling", "partial_rotary_factor"}
        given = self.model_dump(exclude_unset=True, exclude=apart)
        return absent | given | heads | {"rope_parameters": turns}


class _Llama(Architecture):
    attention_bias: bool = False
    mlp_bias: bool = False


class _Mistral(Architecture):
    num_key_value_heads: Count
    sliding_window: Count | None


class _Windowed(Architecture):
    """Some layers may see a window only."""

    num_key_value_heads: Count
    layer_types: list[Literal["full_attention", "sliding_attention"]] | None = None

    def _has_window(self) -> bool:
        return True

    @model_validator(mode="after")
    def _layers(self) -> _Windowed:
        kinds = self.layer_types
        if kinds is not None and len(kinds) != self.num_hidden_layers:
            raise ValueError(f"`layer_types` has {len(kinds)} layers, expected {self.num_hidden_layers}")
        if "sliding_attention" in (kinds or []) and not self._has_window():
            raise ValueError(
                "`layer_types` has sliding_attention, but `use_sliding_window` and `sliding_window` do not"
            )
        return self


class _Qwen2(_Windowed):
    use_sliding_window: bool = False
    sliding_window: Count | None = None
    max_window_layers: Id = 28

    def _has_window(self) -> bool:
        return self.use_sliding_window and self.sliding_window is not None


class _Qwen3(_Qwen2):
    head_dim: Count
    attention_bias: bool = False


class _Gemma2(_Windowed):
    head_dim: Count
    hidden_activation: Activation = "gelu_pytorch_tanh"
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    query_pre_attn_scalar: Count
    sliding_window: Count
    final_logit_softcapping: Positive | None
    attn_logit_softcapping: Positive | None
    use_bidirectional_attention: Literal[False] | None = None


class Unread(Architecture, extra="allow"):
    """A family whose own keys are not known here (docs/extending.md): transformers is told all that the file says."""

    def settings(self) -> dict[str, Any]:
        """Return every key of the file."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


_KINDS: dict[str, type[Architecture]] = {
    "llama": _Llama,
    "mistral": _Mistral,
    "qwen2": _Qwen2,
    "qwen3": _Qwen3,
    "gemma2": _Gemma2,
}


def read_config(file: Path) -> dict[str, Any]:
    """Return transformers' model config. Raises DpcError where the file is none."""
    return read_map(file, "transformers' model config")


def architecture(file: object, config: dict[str, Any]) -> Architecture:
    """Return what `config`, read from `file`, says of a model of one of `FAMILIES`.

    Raises DpcError for another family, a quantised model, and keys that are missing, of another type or at odds.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise DpcError(f"{file}: model_type {family!r} is not supported; expected one of {', '.join(FAMILIES)}")
    for key in QUANTISED:
        if config.get(key) is not None:
            raise DpcError(
                f"{file}: found `{key}`, so the weights are quantised; expected plain ones, which saliency is "
                "proved for: write the model that it was made from"
            )
    return typed(_KINDS.get(str(family), Unread), config, file, MEND)


class _Generation(Foreign):
    eos_token_id: Id | Annotated[list[Id], Field(min_length=1)] | None = None


def end_ids(folder: Path, shape: Architecture) -> list[int]:
    """Return the ids that end a text: of `generation_config.json`, else of the config; none where neither has any.

    Raises DpcError for one that the model has no embedding for.
    """
    file = folder / "generation_config.json"
    raw = read_map(file, "transformers' generation config") if file.is_file() else {}
    found = typed(_Generation, raw, file, MEND).eos_token_id
    ids = found if isinstance(found, list) else shape.end_ids if found is None else [found]
    if max(ids, default=0) >= shape.vocab_size:
        raise DpcError(f"{file}: `eos_token_id` is {max(ids)}, but the model has {shape.vocab_size} tokens; {MEND}")
    return ids


def kernel(place: object, family: str, attention: str) -> str:
    """Return the attention kernel outside saliency for `attention`: auto, sdpa or eager.

    Raises DpcError, which begins with `place`, for a kernel that the family cannot run.
    """
    kernels = FAMILIES[family]
    if attention not in ("auto", *kernels):
        raise DpcError(
            f"{place}: {attention} cannot compute what {family} does; write models.NAME.attention: {kernels[0]}"
        )
    return kernels[0] if attention == "auto" else attention
