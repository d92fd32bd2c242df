"""Requests to decode, and the slow way of decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dpc.lm.decoding import Beat, Generated, Limits, Request, generate
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from tests.support import tiny

LIMITS = Limits(max_new_tokens=12)
FAMILIES = ["llama-mha", "llama-gqa", "mistral", "qwen2", "qwen3", "gemma2"]


def questions(count: int = 9) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 60, (2 + 3 * i % 11,), generator=generator).tolist() for i in range(count)]


def prompt(lm: LanguageModel, seed: int, vectors: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(vectors, tiny.SHAPE["hidden_size"], generator=generator).to(lm.embedding.weight)


def mixed(lm: LanguageModel) -> list[Request]:
    """Every row under a prompt of its own; one under none, one with hidden vectors (the first: it sees nothing)."""
    made = [Request(ids, prompt(lm, i)) for i, ids in enumerate(questions())]
    made[2] = Request(made[2].question_ids, None)
    made[5] = Request(made[5].question_ids, made[5].prompt_ND, hidden=(0, 3))
    return made


def shared(lm: LanguageModel, same: int, vectors: int = 15) -> list[Request]:
    """Every row under a prompt of its own, the first `same` vectors of which are the same in all."""
    common_KD = prompt(lm, 99, vectors)[:same]
    return [Request(ids, torch.cat([common_KD, prompt(lm, i, vectors - same)])) for i, ids in enumerate(questions())]


def run(
    lm: LanguageModel,
    asked: Sequence[Request],
    size: int,
    limits: Limits = LIMITS,
    order: str = "bos_first",
    beat: Beat = lambda indices, said, running: None,
) -> list[Generated]:
    found: dict[int, Generated] = {}
    for indices, made in generate(lm, Layout(order, True), asked, limits, size, beat=beat):
        assert len({one.seconds for one in made}) == 1  # those of its batch
        found.update(zip(indices, made, strict=True))
    return [found[i] for i in range(len(asked))]


@torch.no_grad()
def slow(lm: LanguageModel, request: Request, order: str) -> list[int]:
    """Decode one row without padding or cache: the whole sequence again for every token."""
    bos, tokens = lm.embedding(torch.tensor([1])), list[int]()
    parts = [bos] if request.prompt_ND is None else [bos, request.prompt_ND]
    if order == "prompt_first":
        parts.reverse()
    start = 1 if order == "bos_first" else 0
    while len(tokens) < LIMITS.max_new_tokens and (not tokens or tokens[-1] != 2):
        embeds = torch.cat([*parts, lm.embedding(torch.tensor(request.question_ids + tokens))])[None]
        mask = torch.ones(1, embeds.shape[1], dtype=torch.long)
        mask[0, [start + j for j in request.hidden]] = 0
        positions = torch.arange(embeds.shape[1])[None]
        logits = lm.model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokens


class Shapes:
    """Writes down rows and columns (B, S) of everything that goes through the model; may let memory run out."""

    def __init__(self, lm: LanguageModel, fits: int = 1000):
        self.seen: list[tuple[int, int]] = []
        self.fits = fits
        self.hook = lm.model.get_decoder().register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model: Any, args: Any, kwargs: Any) -> None:
        rows, columns = kwargs["inputs_embeds"].shape[:2]
        if rows > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append((rows, columns))

    def __enter__(self) -> list[tuple[int, int]]:
        return self.seen

    def __exit__(self, *error: object) -> None:
        self.hook.remove()
