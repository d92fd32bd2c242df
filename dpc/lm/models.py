"""Load a frozen language model and its tokenizer from a local folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpc.config.execution import Execution
from dpc.config.messages import snakemake
from dpc.errors import DpcError
from dpc.lm.cards import check_spread, placement
from dpc.storage.model_files import kernel, read_config


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model, its tokenizer, and the ids the rest needs."""

    model: Any
    """transformers' causal LM, in eval mode, no parameter with a gradient."""
    tokenizer: Any
    bos_id: int | None
    """Put in front of every sequence; None where the family has none."""
    pad_id: int
    end_ids: tuple[int, ...]
    """Tokens that end a generation; the first one ends a gold rationale."""

    @property
    def embedding(self) -> nn.Embedding:
        """Return the input embedding."""
        return self.model.get_input_embeddings()

    @property
    def vocabulary_VD(self) -> Tensor:
        """Return every token's embedding as it enters the decoder (V x D, float32): Gemma 2 scales its weights."""
        return self.embedding.weight.detach().float() * getattr(self.embedding, "scalar_embed_scale", 1.0)

    @property
    def device(self) -> torch.device:
        """Return where the input embedding lives: on the first card, if there are several."""
        return self.embedding.weight.device

    @property
    def context(self) -> int:
        """Return the longest sequence in tokens."""
        return int(self.model.config.max_position_embeddings)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits (..., V) of the decoder's outputs (..., D), capped where the family caps them (Gemma 2)."""
        logits = self.model.get_output_embeddings()(hidden).to(hidden.device)  # tied weights lie on the first card
        softcap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if softcap is None else softcap * torch.tanh(logits / softcap)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` without any special token."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def set_up_torch(execution: Execution) -> torch.device:
    """Fix the number of threads and return the device that was asked for.

    Raises DpcError if it is `cuda` and there is none: a GPU stage never runs silently on the CPU.
    """
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads such memory
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise DpcError(
            "found no CUDA device, but execution.device is cuda; run on a GPU node, or write execution: {device: cpu}"
        )
    return torch.device(execution.device)


def load(folder: Path, dtype: str, execution: Execution, attention: str = "auto") -> LanguageModel:
    """Load the model in `folder` (config, safetensors, tokenizer) without touching the network.

    `attention` is the kernel outside saliency: sdpa, eager, or auto. A model too large for one card lies on several.
    Raises DpcError if the folder is missing or incomplete, the family is not supported, at all or with that kernel, or
    the cards cannot hold the weights.
    """
    device = set_up_torch(execution)
    implementation, where = kernel(folder, _config(folder), attention), placement(folder, dtype, device)
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=implementation,
            use_safetensors=True,
            local_files_only=True,
            **where,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DpcError(f"{folder}: cannot load model and tokenizer: {str(error).splitlines()[0]}") from None
    if where:
        check_spread(folder, model)
    return wrap(model if where else model.to(device), tokenizer)


def _config(folder: Path) -> dict[str, Any]:
    file = Path(folder) / "config.json"
    if not file.is_file():
        raise DpcError(
            f"{folder}: found no config.json; expected a model folder (config, safetensors, tokenizer): "
            f"correct models.NAME.path, or fetch it where there is network: `{snakemake(str(file))}` (rule fetch_model)"
        )
    return read_config(file)


def wrap(model: Any, tokenizer: Any) -> LanguageModel:
    """Freeze `model` and gather the ids of `tokenizer`."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    end_ids = tuple(ends) if isinstance(ends, list | tuple) else (ends,)
    if end_ids[0] is None:
        raise DpcError("the tokenizer has no end-of-sequence token; expected `eos_token` in its config")
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end_ids[0]
    return LanguageModel(model, tokenizer, tokenizer.bos_token_id, int(pad_id), tuple(int(i) for i in end_ids))


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
