"""Greedy answers to ragged questions under a soft prompt: the workbench's engine, or transformers' `generate`.

`python -m benchmarks.decoding --method ours` prints one line of JSON: seconds, peak memory, tokens, a hash of the text.

- `ours`: `lm.decoding.generate`, as the stages that generate call it.
- `generate`: transformers' `generate` on the same batches, padded on the left, nothing frozen.
- `plain`, `drafted`: ours without and with drafts, as stage regenerate gives them. A share of the drafts is what the
  row will say (found before the clock starts), the others only begin like it.

The model counts down (see `benchmarks.models`). Axes: B batch, S position, N prompt vector, D width, T new token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks import models
from benchmarks.models import BOS, EOS, FIRST, STEPS, VARIANTS
from benchmarks.saliency import Peak
from dpc.lm.decoding import Limits, Request, generate, order_of_work
from dpc.lm.drafts import Drafting, speed_of
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel

LAYOUT = Layout("bos_first", has_bos=True)
BEGINNING = 0.06
"""Share of an answer that a wrong draft has in common with it: that of a pretrained 0.5B model's regenerations."""
Answers = dict[int, list[int]]


def _lengths(rng: random.Random, median: float, spread: float, least: int, most: int, count: int) -> list[int]:
    """Return log-normal lengths, at least `least` and at most `most`."""
    return [min(most, max(least, round(median * rng.lognormvariate(0, spread)))) for _ in range(count)]


def requests(lm: LanguageModel, args: argparse.Namespace) -> list[Request]:
    """Return questions of ragged length with rationales of ragged length, all under one prompt."""
    return asked_of(lm.embedding.weight.detach(), args)


def asked_of(weight_VD: Tensor, args: argparse.Namespace) -> list[Request]:
    """Return `requests` for a model with these embeddings."""
    rng, generator = random.Random(args.seed), torch.Generator().manual_seed(args.seed)
    asked = _lengths(rng, args.question, args.spread, 4, 4 * args.question, args.questions)
    answered = _lengths(rng, args.rationale, args.spread, args.least, args.steps, args.questions)
    words = range(FIRST, FIRST + VARIANTS * STEPS)
    prompt_ND = weight_VD[torch.randint(FIRST, words.stop, (args.vectors,), generator=generator)].clone()
    made = []
    for question, rationale in zip(asked, answered, strict=True):
        last = FIRST + VARIANTS * (rationale - 1) + rng.randrange(VARIANTS)
        made.append(Request([*rng.choices(words, k=question - 1), last], prompt_ND))
    return made


def _answers(lm: LanguageModel, asked: list[Request], args: argparse.Namespace) -> tuple[Answers, Drafting]:
    drafting, said = Drafting(speed_of(lm)), Answers()
    for indices, found in generate(lm, LAYOUT, asked, Limits(args.steps), args.batch, drafting=drafting):
        said |= zip(indices, (one.token_ids for one in found), strict=True)
    return said, drafting


def with_drafts(lm: LanguageModel, asked: list[Request], args: argparse.Namespace) -> list[Request]:
    """Give every request a draft; a share `args.agreement` of them, evenly spread, is what will be said."""
    said, drafted = _answers(lm, asked, args)[0], []
    stranger = FIRST + VARIANTS * STEPS
    for i, request in enumerate(asked):
        is_right = int((i + 1) * args.agreement) > int(i * args.agreement)
        alike = len(said[i]) if is_right else math.ceil(BEGINNING * len(said[i]))
        draft = [*said[i][:alike], *range(stranger, stranger + len(said[i]) - alike)]
        drafted.append(replace(request, expected_tokens=len(draft), draft=draft))
    return drafted


def left_padded(model: Any, asked: list[Request]) -> dict[str, Tensor]:
    """Return what `generate` takes: embeddings of BOS, prompt and question (B x S x D), and the mask."""
    embedding, rows = model.get_input_embeddings(), []
    for request in asked:
        assert request.prompt_ND is not None
        bos, question = (embedding(torch.tensor(ids)) for ids in ([BOS], request.question_ids))
        rows.append(torch.cat([bos, request.prompt_ND, question]).detach())
    length = max(map(len, rows))
    mask_BS = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    embeds_BSD = torch.stack([torch.nn.functional.pad(row, (0, 0, length - len(row), 0)) for row in rows])
    return {"inputs_embeds": embeds_BSD, "attention_mask": mask_BS}


def _generated(model: Any, asked: list[Request], args: argparse.Namespace) -> Answers:
    order, said = order_of_work(asked), Answers()
    for start in range(0, len(order), args.batch):
        rows = order[start : start + args.batch]
        given = left_padded(model, [asked[i] for i in rows])
        out_BT = model.generate(**given, max_new_tokens=args.steps, do_sample=False)
        for i, tokens in zip(rows, out_BT.tolist(), strict=True):
            said[i] = tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens
    return said


Work = Callable[[list[Request]], tuple[Answers, dict[str, Any]]]


def _ours(args: argparse.Namespace) -> tuple[list[Request], Work]:
    lm = models.ours(args, counts_down=True)

    def work(asked: list[Request]) -> tuple[Answers, dict[str, Any]]:
        said, drafting = _answers(lm, asked, args)
        return said, {"row_passes": drafting.row_passes, "drafted": drafting.drafted, "accepted": drafting.accepted}

    asked = requests(lm, args)
    return with_drafts(lm, asked, args) if args.method == "drafted" else asked, work


def _theirs(args: argparse.Namespace) -> tuple[list[Request], Work]:
    model = models.theirs(args, counts_down=True)
    return asked_of(model.get_input_embeddings().weight.detach(), args), lambda asked: (
        _generated(model, asked, args),
        {},
    )


METHODS: dict[str, Callable[[argparse.Namespace], tuple[list[Request], Work]]] = {
    "ours": _ours,
    "plain": _ours,
    "drafted": _ours,
    "generate": _theirs,
}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds, peak memory above what the model takes (MB), tokens and a hash of what was said.

    In bfloat16 near-ties fall this way or that: texts are as long, but not the same, and have no hash.
    """
    asked, work = METHODS[args.method](args)
    work([replace(request, question_ids=[*request.question_ids[:8], FIRST]) for request in asked[:2]])  # first calls
    peak, started, worked = Peak(), time.perf_counter(), time.process_time()
    said, counted = work(asked)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    text = hashlib.sha256(json.dumps([said[i] for i in range(len(asked))]).encode()).hexdigest()[:16]
    measured = {"method": args.method, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak.mb()}
    measured |= {"tokens": sum(map(len, said.values())), "text": text if args.dtype == "float32" else None}
    return measured | counted


def arguments(methods: Iterable[str] = METHODS) -> argparse.ArgumentParser:
    """Return the command line for `methods`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(methods), required=True)
    numbers = {"questions": 32, "batch": 32, "vectors": 100, "question": 110, "rationale": 150, "least": 40}
    numbers |= {"steps": 320}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--spread", type=float, default=0.4, help="standard deviation of the logarithm of lengths")
    parser.add_argument("--agreement", type=float, default=1.0, help="share of drafts that are what a row will say")
    models.add_options(parser)
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(arguments().parse_args())))
