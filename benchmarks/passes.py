"""The passes of decoding by themselves: prefill and one-token steps, the bare passes below them, their allocations.

`python -m benchmarks.passes --method prefill` prints one line of JSON: seconds, or memory.

- `prefill`: `lm.decoding.generate` for one new token, as the stages call it: layout, prefix, pieces, cache, head.
- `decoder`: the decoder's pass over the same padded batch, loaded as users load it, no cache, no head.
- `step`: the median of the engine's passes of one token a row, none of which has ended.
- `products`: the matrix products of such a step by themselves: every linear layer on as many rows, and the head; the
  median of as many calls.
- `largest`, `allowed`: in MB, the largest allocation in prefill and steps; and the largest of the model's largest
  matrix, the KV cache and 512 MB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import models
from benchmarks.decoding import LAYOUT, asked_of, left_padded, requests
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.memory import column_bytes
from dpc.lm.models import LanguageModel

ROOM_MB = 512.0
Figures = dict[str, Any]


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _of_calls(work: Callable[[], Any], calls: int, of: Callable[[list[float]], float]) -> Figures:
    """Return one figure of the seconds of so many calls; a first one is not counted."""
    work()
    clocks = [_clocks()]
    for _ in range(calls):
        work()
        clocks.append(_clocks())
    return _between(clocks, of)


def _between(clocks: list[tuple[float, float]], of: Callable[[list[float]], float]) -> Figures:
    """Return one figure of what passed between readings, by the clock and of the processor."""
    seconds = [[b - a for a, b in itertools.pairwise(readings)] for readings in zip(*clocks, strict=True)]
    return {"seconds": of(seconds[0]), "cpu_seconds": of(seconds[1])}


def _answer(
    lm: LanguageModel, asked: list[Request], new_tokens: int, beat: Callable[..., None] = lambda *_: None
) -> None:
    for _ in generate(lm, LAYOUT, asked, Limits(new_tokens), len(asked), beat=beat):
        pass


def _prefill(args: argparse.Namespace) -> Figures:
    lm = models.ours(args, counts_down=True)
    asked = requests(lm, args)
    return _of_calls(lambda: _answer(lm, asked, 1), args.repeats, min)


def _decoder(args: argparse.Namespace) -> Figures:
    model = models.theirs(args, counts_down=True)
    given = left_padded(model, asked_of(model.get_input_embeddings().weight.detach(), args))
    decoder = model.get_decoder()
    with torch.inference_mode():
        return _of_calls(lambda: decoder(**given, use_cache=False), args.repeats, min)


def _step(args: argparse.Namespace) -> Figures:
    """Time the engine's passes by its beats: one follows each pass, those of the prefill come before any word."""
    lm = models.ours(args, counts_down=True)
    asked, beats = requests(lm, args), list[tuple[float, float]]()

    def beat(indices: Any, said: list[list[int]], running: int) -> None:
        if min(map(len, said)) > 1:
            beats.append(_clocks())

    _answer(lm, asked, args.steps, beat)
    return _between(beats, median)


def _products(args: argparse.Namespace) -> Figures:
    model = models.theirs(args, counts_down=True)
    weights = [(m.weight, m.bias) for m in model.modules() if isinstance(m, nn.Linear)]
    inputs: dict[int, Tensor] = {w.shape[1]: torch.randn(args.questions, w.shape[1]).to(w) for w, _ in weights}
    with torch.inference_mode():
        once = lambda: [nn.functional.linear(inputs[w.shape[1]], w, bias) for w, bias in weights]  # noqa: E731
        return _of_calls(once, args.steps, median)


def _largest(args: argparse.Namespace) -> Figures:
    from torch.profiler import ProfilerActivity, profile

    lm = models.ours(args, counts_down=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        _answer(lm, requests(lm, args), 2)
    events: Any = watched.profiler
    taken = [event.nbytes() for event in events.kineto_results.events() if event.name() == "[memory]"]
    return {"peak_mb": max(taken) / 2**20}


def _allowed(args: argparse.Namespace) -> Figures:
    lm = models.ours(args, counts_down=True)
    longest = max(len(request.question_ids) for request in requests(lm, args)) + args.vectors + 1 + 2
    matrix = max(parameter.numel() * parameter.element_size() for parameter in lm.model.parameters())
    cache = args.questions * longest * column_bytes(lm)
    return {"peak_mb": max(ROOM_MB, matrix / 2**20, cache / 2**20)}


METHODS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "prefill": _prefill,
    "decoder": _decoder,
    "step": _step,
    "products": _products,
    "largest": _largest,
    "allowed": _allowed,
}


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(METHODS), required=True)
    numbers = {"questions": 16, "vectors": 100, "question": 110, "rationale": 150, "least": 100, "steps": 24}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--spread", type=float, default=0.4, help="standard deviation of the logarithm of lengths")
    models.add_options(parser)
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    print(json.dumps({"method": given.method, **METHODS[given.method](given)}))
