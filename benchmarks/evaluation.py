"""Evaluation of a soft prompt, and of DPC on it: how much more does DPC cost?

`python -m benchmarks.evaluation --method dpc` prints one line of JSON: seconds in all, and of each part. `dpc` does
what `python -m dpc answer` does: every question is answered once as under `prompt_tuning` (shared work, counted once),
the trigger is measured on every rationale, from what decoding left of it, and for a share of the questions a vector is
located and the question answered again, each under its own corrupted prompt, with the first rationale as draft. With
`--model FOLDER --data FILE` a real model answers questions of GSM8K in its chat template; else lengths are drawn and
the model is random.
Axes: N prompt vector, D width.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import models as shapes
from benchmarks.decoding import LAYOUT, arguments, requests
from dpc.config.execution import Execution
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate
from dpc.config.slices import ReadFlowStage
from dpc.lm import models
from dpc.lm.batches import in_batches
from dpc.lm.decoding import Generated, Limits, Request, generate
from dpc.lm.layout import RightPadded, layout_of, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency import packed
from dpc.lm.saliency.measuring import Prefix
from dpc.lm.saliency.measuring import measure as measure_saliency
from dpc.lm.saliency.recorder import Reduced
from dpc.lm.saliency.recorder import Request as Reading
from dpc.pipeline.answering.deciding import location_part, trigger_part
from dpc.pipeline.stages.extract_saliency import Part
from dpc.pipeline.stages.render_questions import chat_of
from dpc.prompts import soft_prompt
from dpc.prompts.edits import Edit
from dpc.tasks import get_task
from dpc.tasks.asked import read_questions

TOLD = ReadFlowStage(flow=Flow(), locate=Locate())
INSTRUCTION = "Solve the problem step by step. Show every calculation. End with a line #### and the number. "


def _answers(
    lm: LanguageModel, asked: list[Request], args: argparse.Namespace, traced: int | None = None
) -> dict[int, Generated]:
    found = generate(lm, layout_of(lm, LAYOUT.order), asked, Limits(args.steps), args.batch, traced=traced)
    return {i: one for indices, made in found for i, one in zip(indices, made, strict=True)}


Measure = Callable[[Sequence[int], RightPadded, list[tuple[int, int]]], Reduced]


def _in_batches(
    lm: LanguageModel, asked: list[Request], answers: dict[int, Generated], args: argparse.Namespace, measure: Measure
) -> Callable[[Sequence[int]], Reduced]:
    """Return what lays questions out with their rationales, and lets `measure` do the rest."""
    layout = layout_of(lm, LAYOUT.order)

    def work(indices: Sequence[int]) -> Reduced:
        rationales = [answers[i].token_ids for i in indices]
        batch = right_padded(lm, layout, asked[0].prompt_ND, [asked[i].question_ids for i in indices], rationales)
        return measure(indices, batch, [(len(ids) // 2, len(ids) // 2) for ids in rationales])

    return work


def _reading(lm: LanguageModel, part: Part) -> Reading:
    depth = lm.model.config.num_hidden_layers
    return Reading(rows=part.rows, layers=layer_range(part.layers, depth), band=layer_range("paper", depth))


def _trigger(
    lm: LanguageModel, asked: list[Request], answers: dict[int, Generated], args: argparse.Namespace
) -> list[float]:
    """Measure deep layers from what decoding left; return the flow from the prompt to each question's rationale."""
    layout, reading, flows = layout_of(lm, LAYOUT.order), _reading(lm, trigger_part(TOLD)), list[float]()

    def measure(indices: Sequence[int], batch: RightPadded, cuts: list[tuple[int, int]]) -> Reduced:
        traces = [trace for i in indices if (trace := answers[i].trace)]
        return packed.measure(lm, layout, batch, traces, args.vectors, cuts, [0] * len(cuts), reading)

    order = sorted(answers, key=lambda i: (-len(asked[i].question_ids), -len(answers[i].token_ids)))
    for _, found in in_batches(order, args.trigger_batch, _in_batches(lm, asked, answers, args, measure)):
        flows += found.groups_BLSG[..., 0].sum((1, 2)).tolist()
    return flows


def _location(
    lm: LanguageModel, asked: list[Request], chosen: list[int], answers: dict[int, Generated], args: argparse.Namespace
) -> dict[int, int]:
    """Measure shallow layers; return the most salient prompt vector of each of the `chosen` questions."""
    layout, prefix, reading = layout_of(lm, LAYOUT.order), Prefix(), _reading(lm, location_part(TOLD))

    def measure(indices: Sequence[int], batch: RightPadded, cuts: list[tuple[int, int]]) -> Reduced:
        return measure_saliency(lm, layout, batch, args.vectors, cuts, [0] * len(cuts), reading, prefix)

    located: dict[int, int] = {}
    order = sorted(chosen, key=lambda i: -len(asked[i].question_ids) - len(answers[i].token_ids))
    for indices, found in in_batches(order, args.saliency_batch, _in_batches(lm, asked, answers, args, measure)):
        located |= zip(indices, found.prompt_BLRN.sum((1, 2)).argmax(-1).tolist(), strict=True)
    return located


def _corrupted(
    lm: LanguageModel, asked: list[Request], located: dict[int, int], answers: dict[int, Generated]
) -> list[Request]:
    """Return the located questions, each under its prompt with that vector masked, D16 and D17, and with its draft."""
    mean_D = lm.vocabulary_VD.mean(0)
    found = []
    for i in sorted(located):
        given_ND = asked[i].prompt_ND
        assert given_ND is not None
        prompt_ND = soft_prompt.corrupt(given_ND, Edit(masked=(located[i],), gamma=10.0), mean_D)
        draft = answers[i].token_ids
        found.append(replace(asked[i], prompt_ND=prompt_ND, expected_tokens=len(draft), draft=draft))
    return found


def _random(args: argparse.Namespace) -> tuple[LanguageModel, list[Request]]:
    """Return a random model that ends its texts, and questions of drawn lengths."""
    lm = shapes.ours(args, counts_down=True)
    return lm, requests(lm, args)


def _real(args: argparse.Namespace) -> tuple[LanguageModel, list[Request]]:
    """Return the model in a folder, and questions of GSM8K as its chat template puts them, under an instruction."""
    lm = models.load(args.model, args.dtype, Execution(device="cpu", threads=args.threads))
    chat = chat_of(args.model, "auto")
    texts = [text for _, text in read_questions(get_task("gsm8k"), args.data)[: args.questions]]
    words = lm.encode(INSTRUCTION * args.vectors)[: args.vectors]
    prompt_ND = lm.embedding.weight[words].detach().clone()
    return lm, [Request(lm.encode(chat([{"role": "user", "content": text}])), prompt_ND) for text in texts]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds in all and of each part; tokens show that all methods answered alike."""
    return measured(*(_real if args.model else _random)(args), args)


def measured(lm: LanguageModel, asked: list[Request], args: argparse.Namespace) -> dict[str, Any]:
    """Do what `measure` does with this model and these questions."""
    seconds, cpu_seconds = dict[str, float](), dict[str, float]()

    def timed(part: str, work: Callable[..., Any], *given: Any) -> Any:
        started, worked = time.perf_counter(), time.process_time()
        made = work(*given)
        seconds[part], cpu_seconds[part] = time.perf_counter() - started, time.process_time() - worked
        return made

    _answers(lm, asked[:2], argparse.Namespace(**vars(args) | {"steps": 4}))  # imports are no part of the time
    first = _reading(lm, trigger_part(TOLD)).layers
    assert first is not None
    answers = timed("base", _answers, lm, asked, args, first.start if args.method == "dpc" else None)
    if args.method == "dpc":
        timed("trigger", _trigger, lm, asked, answers, args)
        fired = list(range(int(args.fired * len(asked))))
        located = timed("location", _location, lm, asked, fired, answers, args)
        timed("regenerations", _answers, lm, _corrupted(lm, asked, located, answers), args)
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
    parser.add_argument("--trigger-batch", type=int, default=32)
    parser.add_argument("--model", type=Path, help="folder of a real model")
    parser.add_argument("--data", type=Path, help="its questions, rows of GSM8K")
    print(json.dumps(measure(parser.parse_args())))
