"""Greedy answers to ragged questions under a soft prompt: the workbench's loop, or transformers' `generate`.

`python -m benchmarks.decoding --method ours` prints one line of JSON: seconds, peak memory, tokens, a hash of the text.

Random weights end no text by themselves, so the model is made to count down. Every step k has `VARIANTS` tokens; the
head answers a token of step k with one of step k - 1, and step 1 with the end mark. So the step of a question's last
token is the length of its rationale, whatever decodes it. Which variant is said depends on everything attended to: a
fault in mask, cache or position changes the text. Axes: N prompt vector, D width, V vocabulary, K step, T new token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from benchmarks.models import EOS, llama, with_words
from dpc.lm.decoding import Limits, Request, generate, order_of_work
from dpc.lm.layout import Layout, left_padded
from dpc.lm.models import LanguageModel

LAYOUT = Layout("bos_first", has_bos=True)
VARIANTS = 4
FIRST = EOS + 1
"""Tokens FIRST + VARIANTS x (k - 1), ... belong to step k."""


@torch.no_grad()
def count_down(model: Any, steps: int) -> None:
    """Make `model` end its texts: after a token of step k comes one of step k - 1, after step 1 the end mark."""
    generator = torch.Generator().manual_seed(1)
    weight_VD = model.get_input_embeddings().weight
    step_V = torch.arange(VARIANTS * steps) // VARIANTS + 1
    direction_KD = torch.randn(steps + 1, weight_VD.shape[1], generator=generator)
    noise_VD = torch.randn(len(step_V), weight_VD.shape[1], generator=generator)
    weight_VD[FIRST : FIRST + len(step_V)] = 0.5 * direction_KD[step_V] + 0.3 * noise_VD
    head_VD = 0.5 * torch.randn(weight_VD.shape, generator=generator)
    says_VD = torch.zeros_like(head_VD)
    says_VD[EOS] = direction_KD[1]
    before_V = step_V < steps
    says_VD[FIRST : FIRST + len(step_V)][before_V] = direction_KD[step_V[before_V] + 1]
    model.lm_head.weight.copy_(head_VD + says_VD)


def _lengths(rng: random.Random, median: float, spread: float, least: int, most: int, count: int) -> list[int]:
    """Return log-normal lengths, at least `least` and at most `most`."""
    return [min(most, max(least, round(median * rng.lognormvariate(0, spread)))) for _ in range(count)]


def requests(lm: LanguageModel, args: argparse.Namespace) -> list[Request]:
    """Return questions of ragged length with rationales of ragged length, under one prompt or each under its own."""
    rng, generator = random.Random(args.seed), torch.Generator().manual_seed(args.seed)
    asked = _lengths(rng, args.question, args.spread, 4, 4 * args.question, args.questions)
    answered = _lengths(rng, args.rationale, args.spread, args.least, args.steps, args.questions)
    words = range(FIRST, FIRST + VARIANTS * args.steps)
    prompt_ND = lm.embedding.weight[torch.randint(FIRST, words.stop, (args.vectors,), generator=generator)].clone()
    made = []
    for question, rationale in zip(asked, answered, strict=True):
        last = FIRST + VARIANTS * (rationale - 1) + rng.randrange(VARIANTS)
        noise_ND = 1e-3 * torch.randn(prompt_ND.shape, generator=generator) if args.own_prompts else 0
        expected = rationale if args.expected else 0
        made.append(Request([*rng.choices(words, k=question - 1), last], prompt_ND + noise_ND, (), expected))
    return made


def _ours(lm: LanguageModel, asked: list[Request], args: argparse.Namespace) -> Iterator[tuple[int, list[int]]]:
    for indices, found in generate(lm, LAYOUT, asked, Limits(args.steps), args.batch):
        yield from zip(indices, (one.token_ids for one in found), strict=True)


def _generate(lm: LanguageModel, asked: list[Request], args: argparse.Namespace) -> Iterator[tuple[int, list[int]]]:
    """The same batches through transformers' `generate`: left padding, mask, every row under its prompt."""
    order = order_of_work(asked)
    for start in range(0, len(order), args.batch):
        rows = order[start : start + args.batch]
        batch = left_padded(lm, LAYOUT, [asked[i].prompt_ND for i in rows], [asked[i].question_ids for i in rows])
        out_BT = lm.model.generate(
            inputs_embeds=batch.embeds_BSD,
            attention_mask=batch.mask_BS,
            max_new_tokens=args.steps,
            do_sample=False,
        )
        for i, tokens in zip(rows, out_BT.tolist(), strict=True):
            tokens = tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens
            lm.decode(tokens)
            yield i, tokens


METHODS: dict[str, Callable[..., Iterator[tuple[int, list[int]]]]] = {"ours": _ours, "generate": _generate}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds, peak memory above what the model takes (MB), tokens and a hash of what was said."""
    torch.set_num_threads(args.threads)
    model = llama(args.layers, args.heads, args.width, args.feed_forward, args.vocabulary)
    count_down(model, args.steps)
    lm = with_words(model)
    asked = requests(lm, args)
    dict(METHODS[args.method](lm, asked[:2], args))  # lazy imports and first-call work are no part of the time
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, worked = time.perf_counter(), time.process_time()
    said = dict(METHODS[args.method](lm, asked, args))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    text = json.dumps([said[i] for i in range(len(asked))])
    tokens, digest = sum(map(len, said.values())), hashlib.sha256(text.encode()).hexdigest()[:16]
    measured = {"method": args.method, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak}
    return measured | {"tokens": tokens, "text": digest}


def arguments(methods: Iterable[str] = METHODS) -> argparse.ArgumentParser:
    """Return the command line for `methods`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(methods), required=True)
    numbers = {"questions": 256, "batch": 32, "vectors": 100, "question": 48, "rationale": 64, "least": 4}
    numbers |= {"steps": 256}
    numbers |= {"layers": 8, "heads": 8, "width": 512, "feed-forward": 1376, "vocabulary": 32000}
    numbers |= {"threads": 2, "seed": 0}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--spread", type=float, default=0.4, help="standard deviation of the logarithm of lengths")
    parser.add_argument("--own-prompts", action="store_true", help="no two questions share a prompt")
    parser.add_argument("--expected", action="store_true", help="lengths of rationales are known, as in regenerations")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(arguments().parse_args())))
