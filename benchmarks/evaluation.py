"""Evaluation of a soft prompt, and of DPC on it: how much more does DPC cost?

`python -m benchmarks.evaluation --method dpc` prints one line of JSON: seconds in all, and of each part. `dpc` answers
every question once as `prompt_tuning` does (shared work, counted once), measures saliency on every rationale, and
answers a share of the questions again, each under its own corrupted prompt. Axes: N prompt vector, D width.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks import models
from benchmarks.decoding import LAYOUT, arguments, requests
from dpc.lm.batches import in_batches
from dpc.lm.decoding import Generated, Limits, Request, generate
from dpc.lm.layout import right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.measuring import Prefix
from dpc.lm.saliency.measuring import measure as measure_saliency
from dpc.lm.saliency.recorder import Request as Reading
from dpc.prompts import soft_prompt
from dpc.prompts.edits import Edit


def _answers(lm: LanguageModel, asked: list[Request], args: argparse.Namespace) -> dict[int, Generated]:
    found = generate(lm, LAYOUT, asked, Limits(args.steps), args.batch)
    return {i: one for indices, made in found for i, one in zip(indices, made, strict=True)}


def _saliency(
    lm: LanguageModel, asked: list[Request], answers: dict[int, Generated], args: argparse.Namespace
) -> dict[int, int]:
    """Return the most salient prompt vector of every question."""
    located: dict[int, int] = {}
    prefix = Prefix()

    def work(indices: Any) -> None:
        rationales = [answers[i].token_ids for i in indices]
        questions = [asked[i].question_ids for i in indices]
        batch = right_padded(lm, LAYOUT, asked[0].prompt_ND, questions, rationales)
        cuts = [(len(ids) // 2, len(ids) // 2) for ids in rationales]
        reading = Reading(rows=args.rows)
        found = measure_saliency(lm, LAYOUT, batch, args.vectors, cuts, [0] * len(cuts), reading, prefix)
        column_BN = found.prompt_BLhRN[:, :, 0, 1].sum(1)
        located.update(zip(indices, column_BN.argmax(-1).tolist(), strict=True))

    order = sorted(answers, key=lambda i: -len(asked[i].question_ids) - len(answers[i].token_ids))
    for _ in in_batches(order, args.saliency_batch, work):
        pass
    return located


def _corrupted(
    lm: LanguageModel, asked: list[Request], located: dict[int, int], answers: dict[int, Generated], share: float
) -> list[Request]:
    """Return the first `share` of the questions, each under its prompt with the located vector masked, D16 and D17."""
    mean_D = lm.vocabulary_VD.mean(0)
    found = []
    for i in range(int(share * len(asked))):
        given_ND = asked[i].prompt_ND
        assert given_ND is not None
        prompt_ND = soft_prompt.corrupt(given_ND, Edit(masked=(located[i],), gamma=10.0), mean_D)
        found.append(replace(asked[i], prompt_ND=prompt_ND, expected_tokens=len(answers[i].token_ids)))
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds in all and of each part; tokens show that all methods answered alike."""
    lm = models.ours(args, counts_down=True)
    asked, seconds, cpu_seconds = requests(lm, args), {}, {}

    def timed(part: str, work: Callable[..., Any], *given: Any) -> Any:
        started, worked = time.perf_counter(), time.process_time()
        made = work(*given)
        seconds[part], cpu_seconds[part] = time.perf_counter() - started, time.process_time() - worked
        return made

    _answers(lm, asked[:2], argparse.Namespace(**vars(args) | {"steps": 4}))  # imports are no part of the time
    answers = timed("base", _answers, lm, asked, args)
    if args.method == "dpc":
        located = timed("saliency", _saliency, lm, asked, answers, args)
        again = _corrupted(lm, asked, located, answers, args.fired)
        timed("regenerations", _answers, lm, again, args)
    tokens = [len(one.token_ids) for one in answers.values()]
    return {
        "method": args.method,
        "seconds": sum(seconds.values()),
        "cpu_seconds": sum(cpu_seconds.values()),
        "parts": seconds,
        "cpu_parts": cpu_seconds,
        "tokens": sum(tokens),
        "shortest": min(tokens),
    }


if __name__ == "__main__":
    parser = arguments(["prompt_tuning", "dpc"])
    parser.add_argument("--fired", type=float, default=0.25, help="share of questions answered again")
    parser.add_argument("--saliency-batch", type=int, default=8)
    parser.add_argument("--rows", choices=["all", "rationale"], default="all")
    print(json.dumps(measure(parser.parse_args())))
