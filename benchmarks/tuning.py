"""Steps of prompt tuning: the workbench's, or those of PEFT's prompt tuning under transformers' Trainer.

`python -m benchmarks.tuning --method ours` prints one line of JSON: seconds of each step, peak memory, losses, padding.

Both get the same batches in the same order, the same first prompt, AdamW with the same rates, no clipping, and pad each
batch on the right to its longest row. PEFT lays sequences out as `[prompt][BOS][question][rationale]`, so `ours` does
too: the losses are the same.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.models import BOS, EOS, PAD, llama, with_words
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.prompts import soft_prompt
from dpc.prompts.tuners.prompt_tuning import POOL, Tuning, learning_rate

LAYOUT = Layout("prompt_first", has_bos=True)
QUESTION, RATIONALE = (100, 40, 200), (120, 50, 250)
"""Median, shortest and longest, in tokens: about what GSM8K has."""


def _length(rng: random.Random, median: int, least: int, most: int, is_ragged: bool) -> int:
    """Return a log-normal length within the limits, or the median."""
    return min(most, max(least, round(median * rng.lognormvariate(0, 0.45)))) if is_ragged else median


def batches(args: argparse.Namespace) -> list[list[Example]]:
    """Return a batch for every step, cut from examples in pools sorted by length, as tuning does, or as they come."""
    rng = random.Random(args.seed)
    pool = POOL if args.order == "bucketed" else 1
    examples = []
    for _ in range(POOL * args.batch * -(-args.steps // POOL)):
        q, r = (_length(rng, *limits, is_ragged=args.lengths == "ragged") for limits in (QUESTION, RATIONALE))
        tokens = [rng.randrange(EOS + 1, args.vocabulary) for _ in range(q + r - 1)]
        examples.append(Example(tokens[:q], [*tokens[q:], EOS]))
    found = []
    for start in range(0, len(examples), pool * args.batch):
        rows = sorted(examples[start : start + pool * args.batch], key=len)
        found += [rows[i : i + args.batch] for i in range(0, len(rows), args.batch)]
    rng.shuffle(found)
    return found[: args.steps]


def recipe(args: argparse.Namespace) -> Recipe:
    """Return the recipe; one step more than is done, so that no look at the validation loss comes between."""
    return Recipe(
        vectors=args.vectors,
        learning_rate=0.001,
        batch_size=args.batch,
        steps=args.steps + 1,
        warmup=3,
        validate_every=args.steps + 1,
    )


Steps = tuple[list[float], list[float]]
"""Seconds and loss of each step."""


def _ours(model: Any, prompt_ND: Tensor, work: list[list[Example]], args: argparse.Namespace) -> Steps:
    examples = [example for batch in work for example in batch]
    tuning = Tuning(with_words(model), LAYOUT, recipe(args), args.seed, examples, examples[:1], args.rows)
    tuning.prompt_ND.data.copy_(prompt_ND)
    tuning.batches.waiting = [list(range(s * args.batch, (s + 1) * args.batch)) for s in reversed(range(args.steps))]
    seconds, losses = [], []
    for _ in range(args.steps):
        started = time.perf_counter()
        losses.append(tuning.advance())
        seconds.append(time.perf_counter() - started)
    return seconds, losses


def _padded(rows: list[Example]) -> dict[str, Tensor]:
    """Return a batch as PEFT wants it: labels are rationale tokens, -100 elsewhere."""
    length = 1 + max(map(len, rows))
    ids_BS, labels_BS = torch.full((len(rows), length), PAD), torch.full((len(rows), length), -100)
    for b, row in enumerate(rows):
        end, start = 1 + len(row), 1 + len(row.question_ids)
        ids_BS[b, :end] = torch.tensor([BOS, *row.question_ids, *row.rationale_ids])
        labels_BS[b, start:end] = ids_BS[b, start:end]
    mask_BS = (torch.arange(length) < torch.tensor([[1 + len(row)] for row in rows])).long()
    return {"input_ids": ids_BS, "attention_mask": mask_BS, "labels": labels_BS}


def _trainer(model: Any, prompt_ND: Tensor, work: list[list[Example]], args: argparse.Namespace) -> Steps:
    import peft

    tuned: Any = peft.get_peft_model(
        model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=args.vectors)
    )
    weight_ND = tuned.prompt_encoder["default"].embedding.weight
    weight_ND.data.copy_(prompt_ND)
    rates, seconds, losses = recipe(args), list[float](), list[float]()
    adam = torch.optim.AdamW([weight_ND], lr=rates.learning_rate, weight_decay=rates.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: learning_rate(rates, step) / rates.learning_rate)
    trainer, clock = _watched(seconds, losses)
    with tempfile.TemporaryDirectory() as folder:
        trainer(
            tuned,
            _settings(folder, args),
            data_collator=_padded,
            train_dataset=[example for batch in work for example in batch],
            optimizers=(adam, schedule),
            callbacks=[clock],
        ).train()
    return seconds, losses


def _settings(folder: str, args: argparse.Namespace) -> Any:
    """Return Trainer's settings: no clipping, and nothing written."""
    from transformers import TrainingArguments

    return TrainingArguments(
        folder,
        per_device_train_batch_size=args.batch,
        max_steps=args.steps,
        max_grad_norm=0,
        use_cpu=True,
        train_sampling_strategy="sequential",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
    )


def _watched(seconds: list[float], losses: list[float]) -> tuple[Any, Any]:
    """Return Trainer and a callback that write down the loss and the seconds of every step."""
    import transformers

    class Trainer(transformers.Trainer):
        def compute_loss(self, *given: Any, **more: Any) -> Any:
            loss = super().compute_loss(*given, **more)
            losses.append(float(loss.detach()))
            return loss

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *given: Any, **more: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *given: Any, **more: Any) -> None:
            seconds.append(time.perf_counter() - self.started)

    return Trainer, Clock()


METHODS: dict[str, Callable[..., Steps]] = {"ours": _ours, "trainer": _trainer}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the mean seconds of a step, warm-up left out, peak memory above the model's (MB), losses, padding."""
    torch.set_num_threads(args.threads)
    model = llama(args.layers, args.heads, args.width, args.feed_forward, args.vocabulary)
    prompt_ND = soft_prompt.initial(with_words(model), recipe(args), torch.Generator().manual_seed(args.seed))
    work = batches(args)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, losses = METHODS[args.method](model, prompt_ND, work, args)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    tokens, padded = sum(len(e) for b in work for e in b), sum(len(b) * max(map(len, b)) for b in work)
    return {
        "method": args.method,
        "seconds": sum(seconds[args.warm :]) / (args.steps - args.warm),
        "peak_mb": peak,
        "padding": 1 - tokens / padded,
        "losses": losses,
        "step_seconds": seconds,
    }


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(METHODS), required=True)
    numbers = {"steps": 6, "warm": 1, "batch": 8, "vectors": 100, "rows": 4}
    numbers |= {"layers": 8, "heads": 8, "width": 512, "feed-forward": 1376, "vocabulary": 32000}
    numbers |= {"threads": 2, "seed": 0}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lengths", choices=["ragged", "fixed"], default="ragged")
    parser.add_argument("--order", choices=["bucketed", "shuffled"], default="bucketed")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(arguments().parse_args())))
