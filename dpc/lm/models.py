"""Load a frozen language model and its tokenizer from a local folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpc.config.execution import Execution
from dpc.config.kinds import Bos
from dpc.config.messages import first_line, snakemake
from dpc.errors import DpcError
from dpc.lm import tokenizer
from dpc.lm.cards import check_spread, placement
from dpc.lm.families import FAMILIES, Family
from dpc.lm.finite import check_finite
from dpc.storage.model_files import kernel
from dpc.storage.model_folder import sound

NO_LAYERS = {"num_hidden_layers": 0, "layer_types": []}
KERNEL_CACHES, KERNELS_KEPT = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"), 64
"""A CPU's code for products in bfloat16, made for each shape, half a MB each. By themselves ideep and oneDNN keep 1,024
of them; a batch whose rows end has as many shapes as rows. Both read the environment at a process's first product."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model, its tokenizer, and the ids the rest needs."""

    model: Any
    """transformers' causal LM, in eval mode, no parameter with a gradient."""
    tokenizer: Any
    bos_id: int | None
    """Put in front of every sequence; None for none. See `models.NAME.bos`."""
    pad_id: int
    end_ids: tuple[int, ...]
    """Tokens that end a generation; the first one ends a gold rationale."""

    @property
    def family(self) -> Family:
        """Return what is special about the model's family."""
        return FAMILIES[self.model.config.model_type]

    @property
    def embedding(self) -> nn.Embedding:
        """Return the input embedding."""
        return self.model.get_input_embeddings()

    @property
    def vocabulary_VD(self) -> Tensor:
        """Return every token's embedding as it enters the decoder (V x D, float32): some families scale its weights."""
        scale, weight_VD = self.family.embedding_scale, self.embedding.weight.detach()
        if scale:  # rounded as the embedding rounds it
            weight_VD = weight_VD * torch.tensor(getattr(self.embedding, scale), dtype=weight_VD.dtype)
        return weight_VD.float()

    @property
    def device(self) -> torch.device:
        """Return where the input embedding lives: on the first card, if there are several."""
        return self.embedding.weight.device

    @property
    def context(self) -> int:
        """Return the longest sequence in tokens."""
        return int(self.model.config.max_position_embeddings)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits (..., V) of the decoder's outputs (..., D), capped where the family caps them."""
        logits = self.model.get_output_embeddings()(hidden).to(hidden.device)  # tied weights lie on the first card
        name = self.family.logit_cap
        softcap = getattr(self.model.config, name) if name else None
        return logits if softcap is None else softcap * torch.tanh(logits / softcap)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` without any mark that it does not hold.

        Raises DpcError for a word that the tokenizer has and the model has not.
        """
        ids = list(self.tokenizer.encode(text, add_special_tokens=False))
        if max(ids, default=0) >= self.embedding.num_embeddings:
            word = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise DpcError(f"a text holds {word!r}, a word of the tokenizer that the model does not know; remove it")
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def set_up_torch(execution: Execution) -> torch.device:
    """Fix the number of threads and return the device that was asked for.

    Raises DpcError if it is `cuda` and there is none: a GPU stage never runs silently on the CPU.
    """
    torch.set_num_threads(execution.threads)
    for cache in KERNEL_CACHES:
        os.environ.setdefault(cache, str(KERNELS_KEPT))
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads such memory
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise DpcError(
            "found no CUDA device, but execution.device is cuda; run on a GPU node, or write execution: {device: cpu}"
        )
    return torch.device(execution.device)


_shared: list[dict[tuple[Any, ...], LanguageModel]] = []
"""What `load` has loaded within `loaded_once`."""


@contextmanager
def loaded_once() -> Iterator[None]:
    """Let stages that run one after the other share a model: within, `load` loads what it is asked for only once."""
    _shared.append({})
    try:
        yield
    finally:
        _shared.pop()


def load(
    folder: Path, dtype: str, execution: Execution, attention: str = "auto", bos: Bos = "auto", layers: bool = True
) -> LanguageModel:
    """Load the model in `folder`, or take the one that was loaded for the same arguments, see `loaded_once`."""
    if not _shared:
        return _load(folder, dtype, execution, attention, bos, layers)
    key = (Path(folder), dtype, execution.device, attention, bos, layers)
    if key not in _shared[-1]:
        _shared[-1][key] = _load(folder, dtype, execution, attention, bos, layers)
    return _shared[-1][key]


def _load(folder: Path, dtype: str, execution: Execution, attention: str, bos: Bos, layers: bool) -> LanguageModel:
    """Load the model in `folder` (config, safetensors, tokenizer) without touching the network.

    `attention` is the kernel outside saliency: sdpa, eager, or auto. `bos` says whether a token stands in front of
    every sequence; auto asks the tokenizer. Without `layers` there are the embedding and the head alone: another engine
    does the rest. A model too large for one card lies on several. Raises DpcError if the folder is missing or not
    sound, the family cannot run with that kernel, the cards cannot hold the weights, or a weight is not finite.
    """
    device = set_up_torch(execution)
    _expect(folder)
    found = sound(Path(folder), bos)
    implementation, where = kernel(folder, found.shape.model_type, attention), placement(folder, dtype, device)
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its report of layers that are left out; what is missing is refused below
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            folder,
            config=AutoConfig.for_model(**found.shape.settings() | ({} if layers else NO_LAYERS)),
            generation_config=GenerationConfig(eos_token_id=found.end_ids or None),
            dtype=getattr(torch, dtype),
            attn_implementation=implementation,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **where,
        )
    except (OSError, ValueError) as error:
        raise DpcError(f"{folder}: cannot load the model: {first_line(error)}") from None
    if told["missing_keys"]:  # they would be random; `sound` knows the families as they are today
        raise DpcError(f"{folder}: found no weights for {min(told['missing_keys'])}; copy or fetch the model again")
    if where:
        check_spread(folder, model)
    lm = wrap(model if where else model.to(device), tokenizer.load(folder), bos)
    for name, weights in lm.model.named_parameters():
        check_finite(weights, f"{folder}: a number of {name}, in {dtype},", "copy or fetch the model again")
    return lm


def _expect(folder: Path) -> None:
    file = Path(folder) / "config.json"
    if not file.is_file():
        raise DpcError(
            f"{folder}: found no config.json; expected a model folder (config, safetensors, tokenizer): "
            f"correct models.NAME.path, or fetch it where there is network: `{snakemake(str(file))}` (rule fetch_model)"
        )


def wrap(model: Any, words: Any, bos: Bos = "auto") -> LanguageModel:
    """Freeze `model` and gather the ids of the tokenizer `words`. Raises DpcError where it has no end mark."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = words.eos_token_id
    end_ids = tuple(ends) if isinstance(ends, list | tuple) else (ends,)
    if end_ids[0] is None:
        raise DpcError("the tokenizer has no end-of-sequence token; expected `eos_token` in its config")
    pad_id = words.pad_token_id
    if pad_id is None or pad_id >= model.get_input_embeddings().num_embeddings:  # some tokenizers add one of their own
        pad_id = end_ids[0]
    return LanguageModel(model, words, tokenizer.first_id(words, bos), int(pad_id), tuple(int(i) for i in end_ids))


@contextmanager
def other_forwards(modules: Sequence[nn.Module], make: Callable[[Any], Any]) -> Iterator[None]:
    """Run `make(forward)` in the place of each module's forward for a while.

    What stood there comes back: a model on several cards has forwards that move their inputs.
    """
    before = [module.__dict__.get("forward") for module in modules]
    for module in modules:
        module.forward = make(module.forward)
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                del module.forward  # the class's own comes to light again
            else:
                module.forward = own
