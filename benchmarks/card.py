"""What a lent card is asked in one go, in at most 8 minutes: `python -m benchmarks.card`.

It prints one line of JSON for each question, the cheapest first, so that a run that is cut short has said something.

- `start`: whether what a job loads before it is forked has begun to use the card: it must not.
- `same`: texts and saliency of the embedded study's model on the card and on the CPU, in float32.
- `saliency`: seconds, memory and largest batch in Llama3-8B's shape (`benchmarks.device`, which writes docs/device.md).
- `decode`: tokens a second, plain, and anew from drafts all and none of which are right.
- `evaluation`: DPC's parts against prompt tuning, as `benchmarks.evaluation` measures them.

Without a card everything is done at a small shape on the CPU, which shows that the script is in order.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks import decoding, device, evaluation
from benchmarks.models import made, with_words
from dpc.config.execution import Execution
from dpc.lm import models
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency import measuring
from dpc.lm.saliency.recorder import Reduced
from dpc.lm.saliency.recorder import Request as Reading
from dpc.storage import tables

LAYOUT = Layout("bos_first", has_bos=True)
EARLY = "import dpc.pipeline.cli, dpc.lm.decoding, dpc.lm.saliency.measuring, torch; print(torch.cuda.is_initialized())"
SECONDS = 8 * 60


def start(args: argparse.Namespace) -> dict[str, Any]:
    """Say whether importing what stages import has begun to use a card."""
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=True)
    return {"card_in_use": done.stdout.split()[-1] == "True"}


def same(args: argparse.Namespace) -> dict[str, Any]:
    """Answer the embedded study's first questions here and there, and measure the same rationales on both."""
    asked = tables.read(args.study / "problems/arithmetic/questions.parquet", "questions").head(args.questions)
    prompt = next(args.study.glob("builtin/arithmetic/*/seed0/prompt/adapter_model.safetensors"))
    found = dict[str, tuple[list[list[int]], Reduced]]()
    for kind in ("cpu", args.device):
        lm = models.load(args.study / "models/builtin", "float32", Execution(device=kind))
        requests = [Request(lm.encode(text), _prompt(prompt, lm)) for text in asked["prompt_text"]]
        said = _said(lm, requests, Limits(40), len(requests))
        told = found["cpu"][0] if found else said
        batch = right_padded(lm, LAYOUT, requests[0].prompt_ND, [r.question_ids for r in requests], told)
        cuts, vectors = [(len(ids) // 2, len(ids) // 2) for ids in told], len(_prompt(prompt, lm))
        found[kind] = (
            said,
            measuring.measure(lm, LAYOUT, batch, vectors, cuts, [0] * len(cuts), Reading()),
        )
    (said, here), (there, other) = found["cpu"], found[args.device]
    error = float((other.groups_BLSG.cpu() - here.groups_BLSG).abs().max() / here.groups_BLSG.abs().max())
    return {"questions": len(said), "same_texts": sum(a == b for a, b in zip(said, there, strict=True)), "error": error}


def _prompt(file: Path, lm: LanguageModel) -> torch.Tensor:
    from dpc.prompts import soft_prompt

    return soft_prompt.load(file, lm).of([])


def _said(lm: LanguageModel, asked: Sequence[Request], limits: Limits, batch: int) -> list[list[int]]:
    found = dict[int, list[int]]()
    for indices, rows in generate(lm, LAYOUT, asked, limits, batch):
        found |= zip(indices, (row.token_ids for row in rows), strict=True)
    return [found[i] for i in range(len(asked))]


def saliency(args: argparse.Namespace) -> dict[str, Any]:
    """Measure in processes of their own, and write the rows and the page."""
    lengths, methods = (["512", "1024", "2048"], ["lean", "eager", "floor"]) if _is_card(args) else (["256"], ["lean"])
    line = ["--shapes", args.shape, "--lengths", *lengths, "--methods", *methods, "--rounds", "1", "--parts", "time"]
    places = ["--rows", str(args.rows), "--page", str(args.page)]
    code = device.main(device.arguments().parse_args([*line, "--device", args.device, *places]))
    longest = ["--lengths", lengths[-1], "--methods", "lean", "--parts", "batch", "--most", "64"]
    line = ["--shapes", args.shape, *longest, "--device", args.device, *places]
    return {"codes": [code, device.main(device.arguments().parse_args(line))]}


@cache
def _counting(shape: str, kind: str) -> LanguageModel:
    """Return the shape's model, which ends its texts; made once, on the device."""
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    return with_words(made(shape, dtype=dtype, device=kind, counts_down=True))


def decode(args: argparse.Namespace) -> dict[str, Any]:
    """Time the same questions plain, and with drafts."""
    lm, told = _counting(args.shape, args.device), _told(args)
    asked, found = decoding.requests(lm, told), dict[str, Any]()
    _said(lm, asked[:2], Limits(4), 2)
    for name, agreement in (("plain", None), ("right drafts", 1.0), ("wrong drafts", 0.0)):
        told.agreement = agreement
        given = asked if agreement is None else decoding.with_drafts(lm, asked, told)
        started = time.perf_counter()
        said = _said(lm, given, Limits(told.steps), told.batch)
        seconds = time.perf_counter() - started
        found[name] = {"seconds": seconds, "tokens_per_second": sum(map(len, said)) / seconds}
    return found


def whole(args: argparse.Namespace) -> dict[str, Any]:
    """Return DPC's parts in seconds by the clock, and their sum over the first answers' seconds."""
    lm, told = _counting(args.shape, args.device), _told(args)
    parts = evaluation.measured(lm, decoding.requests(lm, told), told)["parts"]
    return {"parts": parts, "ratio": sum(parts.values()) / parts["base"]}


def _told(args: argparse.Namespace) -> argparse.Namespace:
    sizes = {"questions": 128, "batch": 128, "rationale": 150, "steps": 320}
    if not _is_card(args):
        sizes = {"questions": 8, "batch": 8, "rationale": 24, "steps": 48}
    fixed = {"vectors": 100, "question": 110, "least": 20, "spread": 0.4, "seed": 0, "agreement": 1.0}
    more = {"method": "dpc", "fired": 0.25, "saliency_batch": 8, "trigger_batch": 32}
    return argparse.Namespace(**fixed, **sizes, **more)


def _is_card(args: argparse.Namespace) -> bool:
    return bool(args.device == "cuda")


ASKED = {"start": start, "same": same, "decode": decode, "evaluation": whole, "saliency": saliency}


def answers(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was found, question by question; none is begun when the time is nearly over."""
    began = time.perf_counter()
    for name in args.parts:
        if time.perf_counter() - began > 0.8 * args.seconds:
            yield {"asked": name, "left_out": "the time is over"}
            continue
        started = time.perf_counter()
        found = ASKED[name](args)
        yield {"asked": name, **device.device_of(args.device), **found, "took": time.perf_counter() - started}


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.card", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=sorted(ASKED), default=list(ASKED))
    parser.add_argument("--device", choices=("cpu", "cuda"), default=kind)
    parser.add_argument("--shape", default="llama3-8b" if kind == "cuda" else "small")
    parser.add_argument("--study", type=Path, default=Path("results/demo"), help="a finished embedded study")
    parser.add_argument("--questions", type=int, default=50, help="of `same`")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rows", type=Path, default=Path("docs/device.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/device.md"))
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    for line in answers(given):
        print(json.dumps(line), flush=True)
