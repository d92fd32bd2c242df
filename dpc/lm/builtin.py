"""Train the embedded model: a small Llama on the arithmetic task, with a word-level tokenizer, saved as a model folder.

The recipe was measured, not guessed: the first half of the documents shows complete rationales only (or retrieval
does not form), numerals start from sinusoids (so that neighbouring numbers start out similar), and question tokens
weigh a tenth.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dpc.config.catalogue import BuiltinModel
from dpc.errors import DpcError
from dpc.tasks import arithmetic

INIT_STD, WEIGHT_DECAY, BETAS, WARMUP, CLIP = 0.08, 0.05, (0.9, 0.98), 50, 1.0
CONTEXT = 256
PERIODS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)


def tokenizer() -> Any:
    """Return the word-level tokenizer of the arithmetic vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(arithmetic.VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<pad>"
    )


def new_model(settings: BuiltinModel) -> Any:
    """Return the untrained model in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(arithmetic.VOCABULARY),
        hidden_size=settings.width,
        intermediate_size=settings.feed_forward,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=INIT_STD,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    _start_numerals(model.get_input_embeddings().weight)
    return model


@torch.no_grad()
def _start_numerals(weight_VD: Tensor) -> None:
    """Add smooth features of the number to each numeral's embedding."""
    periods = torch.tensor(PERIODS[: weight_VD.shape[1] // 2], dtype=torch.float32)
    first = arithmetic.VOCABULARY.index(arithmetic.NUMERALS[0])
    for number in range(len(arithmetic.NUMERALS)):
        angle = 2 * math.pi * number / periods
        features = torch.cat([angle.sin(), angle.cos()])
        weight_VD[first + number, : len(features)] += 2 * INIT_STD * features


def _batch(
    rng: random.Random, encode: Callable[[str], list[int]], settings: BuiltinModel, full_only: bool
) -> tuple[Tensor, Tensor]:
    """Return token ids and loss weights (B, S) of documents with one number of steps, so that little is padding."""
    steps = rng.randint(1, arithmetic.MOST_STEPS)
    documents = []
    for _ in range(settings.batch_size):
        question, rationale = arithmetic.training_document(rng, steps, full_only)
        documents.append(([1, *encode(question)], [*encode(rationale), 2]))
    length = max(len(q) + len(r) for q, r in documents)
    ids_BS, weight_BS = torch.zeros(len(documents), length, dtype=torch.long), torch.zeros(len(documents), length)
    for b, (question_ids, rationale_ids) in enumerate(documents):
        end = len(question_ids) + len(rationale_ids)
        ids_BS[b, :end] = torch.tensor(question_ids + rationale_ids)
        weight_BS[b, : len(question_ids)] = settings.question_loss_weight
        weight_BS[b, len(question_ids) : end] = 1.0
    return ids_BS, weight_BS


def _loss(model: Any, ids_BS: Tensor, weight_BS: Tensor) -> Tensor:
    logits_BSV = model(input_ids=ids_BS).logits[:, :-1]
    nll_BS = functional.cross_entropy(logits_BSV.transpose(1, 2), ids_BS[:, 1:], reduction="none")
    return (nll_BS * weight_BS[:, 1:]).sum() / weight_BS[:, 1:].sum()


def _rate(settings: BuiltinModel, step: int) -> float:
    """Return the learning rate: warm-up, then a cosine down to 2 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * min(1.0, (step + 1) / WARMUP) * (0.98 * cosine + 0.02)


def train(settings: BuiltinModel, on_step: Callable[[int, float], None] = lambda step, loss: None) -> Any:
    """Return the trained model. Raises DpcError when the loss is not finite."""
    model, words, rng = new_model(settings), tokenizer(), random.Random(settings.seed)
    index = words.get_vocab()

    def encode(text: str) -> list[int]:
        return [index[word] for word in text.split()]

    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY, betas=BETAS)
    model.train()
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(settings, step)
        loss = _loss(model, *_batch(rng, encode, settings, full_only=2 * step < settings.steps))
        if not math.isfinite(float(loss.detach())):
            raise DpcError(f"builtin model: loss is {float(loss)} at step {step + 1}; lower builtin.learning_rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        on_step(step + 1, float(loss.detach()))
    return model.eval()


def save(model: Any, folder: Path) -> None:
    """Write model and tokenizer as a folder that `transformers` loads."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer().save_pretrained(folder)
