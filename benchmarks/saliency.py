"""Saliency of prompt columns and flow blocks: the workbench's, what one would write otherwise, and the bare passes.

`python -m benchmarks.saliency --method lean` prints one line of JSON: seconds of a pass, peak memory, a checksum.

- `lean`, `lean_suffix`, `lean_checkpoint`: `lm.saliency.measuring.measure`, as stage extract_saliency asks for it; from
  the rationale's rows on; with activation checkpointing. BOS and prompt go through the model once a job, not timed.
- `floor`: forward and backward pass to the first attention output through the family's fastest attention of torch
  (eager, where scores are capped), nothing recorded.
- `eager`: every attention matrix and its gradient kept (`retain_grad`), then reduced.

All run on frozen weights: what trains nothing needs no gradient of a weight.

Axes: B batch, S position, N prompt vector.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks import models
from benchmarks.models import EOS, with_words
from dpc.config.layers import layer_range
from dpc.lm.layout import Layout, RightPadded, right_padded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.measuring import Prefix, span_loss
from dpc.lm.saliency.measuring import measure as measure_saliency
from dpc.lm.saliency.recorder import Request

LAYOUT = Layout("bos_first", has_bos=True)
RAGGED = 8
"""Row b of a batch is shorter by b of so many parts."""


def batch_of(lm: LanguageModel, args: argparse.Namespace, length: int) -> RightPadded:
    """Return a ragged batch: BOS, prompt, question and rationale make `length` tokens in the longest row."""
    generator = torch.Generator().manual_seed(args.seed)
    vocabulary, width = lm.embedding.weight.shape
    prompt_ND = 0.02 * torch.randn(args.vectors, width, generator=generator)
    questions, rationales = [], []
    for b in range(args.batch):
        tokens = length - 1 - args.vectors - b * (length // RAGGED) // max(args.batch, 2)
        rationale = int(args.rationale * tokens)
        draw = torch.randint(EOS + 1, vocabulary, (tokens,), generator=generator).tolist()
        questions.append(draw[: tokens - rationale])
        rationales.append(draw[tokens - rationale :])
    return right_padded(lm, LAYOUT, prompt_ND, questions, rationales)


def _lean(lm: LanguageModel, batch: RightPadded, args: argparse.Namespace) -> Tensor:
    cuts = [(len(ids) // 2, len(ids) // 3) for ids in batch.rationale_ids]
    rows: Literal["all", "rationale"] = "rationale" if args.method == "lean_suffix" else "all"
    band = layer_range("paper", lm.model.config.num_hidden_layers)
    request = Request(band=band, rows=rows, checkpoint=args.method == "lean_checkpoint")
    starts = [0] * len(cuts)
    found = measure_saliency(lm, LAYOUT, batch, args.vectors, cuts, starts, request, args.prefix)
    return found.prompt_BLRN[:, :, 1]


def _floor(lm: LanguageModel, batch: RightPadded, args: argparse.Namespace) -> Tensor:
    """Cut the graph where `lean` cuts it: at the first layer's attention output."""
    leaf: list[Tensor] = []

    def cut(module: Any, given: Any, output: Any) -> Any:
        leaf.append(output[0].detach().requires_grad_(True))
        return leaf[0], *output[1:]

    hook = lm.model.get_decoder().layers[0].self_attn.register_forward_hook(cut)
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=batch.embeds_BSD, use_cache=False).last_hidden_state
    hook.remove()
    loss = span_loss(rationale_nll(lm, batch, hidden_BSD), [0] * len(batch.rationale_ids))
    return torch.autograd.grad(loss, leaf)[0]


def _kept(lm: LanguageModel, batch: RightPadded) -> Iterator[Tensor]:
    """Return A * dL/dA (B, H, S, S) layer by layer, with every layer's A and dL/dA kept, as notebooks do it."""
    found: list[Tensor] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        output[1].retain_grad()
        found.append(output[1])

    hooks = [layer.self_attn.register_forward_hook(keep) for layer in lm.model.get_decoder().layers]
    embeds_BSD = batch.embeds_BSD.detach().requires_grad_(True)
    try:
        hidden_BSD = lm.model.get_decoder()(inputs_embeds=embeds_BSD, use_cache=False).last_hidden_state
        span_loss(rationale_nll(lm, batch, hidden_BSD), [0] * len(batch.rationale_ids)).backward()
    finally:  # the model is used again where memory ran out
        for hook in hooks:
            hook.remove()
    return (one.detach() * _gradient(one) for one in found)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _eager(lm: LanguageModel, batch: RightPadded, args: argparse.Namespace) -> Tensor:
    columns = slice(1, 1 + args.vectors)
    found = []
    for signed_BHSS in _kept(lm, batch):
        mean_BSN = signed_BHSS[..., columns].float().abs().mean(1)
        rows = [batch.predicting_rows(b) for b in range(len(mean_BSN))]
        found.append(torch.stack([mean_BSN[b, r.start : r.stop].sum(0) for b, r in enumerate(rows)]))
    return torch.stack(found, 1)


METHODS: dict[str, Callable[[LanguageModel, RightPadded, argparse.Namespace], Tensor]] = {
    "lean": _lean,
    "lean_suffix": _lean,
    "lean_checkpoint": _lean,
    "floor": _floor,
    "eager": _eager,
}


class Peak:
    """The most memory that the process takes from here on, above what it has."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        self.before = status_mb("VmRSS")

    def mb(self) -> float:
        """Return it in MB."""
        return status_mb("VmHWM") - self.before


def status_mb(name: str) -> float:
    """Return a line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fastest pass's seconds, peak memory above what stood before it (MB), and the sum of what was found."""
    args.prefix = Prefix()
    is_eager = args.method == "eager"
    lm = with_words(models.theirs(args, attention="eager")) if is_eager else models.ours(args)
    METHODS[args.method](lm, batch_of(lm, args, 64 + args.vectors), args)
    batch = batch_of(lm, args, args.length)
    peak, seconds, worked = Peak(), [], []
    for _ in range(args.repeats):
        started, used = time.perf_counter(), time.process_time()
        found = METHODS[args.method](lm, batch, args)
        seconds.append(time.perf_counter() - started)
        worked.append(time.process_time() - used)
    measured = {"method": args.method, "seconds": min(seconds), "cpu_seconds": min(worked), "peak_mb": peak.mb()}
    return measured | {"checksum": None if args.method == "floor" else float(found.double().sum())}


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(METHODS), required=True)
    for name, value in {"length": 1024, "batch": 1, "vectors": 100, "repeats": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rationale", type=float, default=0.75, help="share of question and rationale")
    models.add_options(parser)
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(arguments().parse_args())))
