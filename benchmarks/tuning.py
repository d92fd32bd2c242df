"""Steps of prompt tuning: the workbench's, or those of PEFT's prompt tuning under transformers' Trainer.

`python -m benchmarks.tuning --method ours` prints one line of JSON: seconds of each step, peak memory, losses, padding.

Both get the same batches in the same order, the same first prompt, AdamW with the same rates, no clipping, and pad each
batch on the right to its longest row. PEFT lays sequences out as `[prompt][BOS][question][rationale]`, so `ours` does
too: the losses are the same. The first `warm` batches are short and not counted: first calls are no part of a step.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import models
from benchmarks.models import BOS, EOS, PAD
from benchmarks.saliency import Peak
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.prompts.tuners.prompt_tuning import POOL, Tuning, learning_rate

LAYOUT = Layout("prompt_first", has_bos=True)
QUESTION, RATIONALE = (100, 40, 200), (120, 50, 250)
"""Median, shortest and longest, in tokens: about what GSM8K has."""
SHORT = 8
"""Tokens of question and rationale in a batch that is not counted."""


def _length(rng: random.Random, median: int, least: int, most: int, is_ragged: bool) -> int:
    """Return a log-normal length within the limits, or the median."""
    return min(most, max(least, round(median * rng.lognormvariate(0, 0.45)))) if is_ragged else median


def batches(args: argparse.Namespace, vocabulary: int) -> list[list[Example]]:
    """Return a batch for every step, cut from examples in pools sorted by length, as tuning does, or as they come."""
    rng = random.Random(args.seed)
    pool, counted = POOL if args.order == "bucketed" else 1, args.steps - args.warm

    def example(question: int, rationale: int) -> Example:
        tokens = [rng.randrange(EOS + 1, vocabulary) for _ in range(question + rationale - 1)]
        return Example(tokens[:question], [*tokens[question:], EOS])

    examples = [
        example(*(_length(rng, *limits, is_ragged=args.lengths == "ragged") for limits in (QUESTION, RATIONALE)))
        for _ in range(POOL * args.batch * -(-counted // POOL))
    ]
    found = []
    for start in range(0, len(examples), pool * args.batch):
        rows = sorted(examples[start : start + pool * args.batch], key=len)
        found += [rows[i : i + args.batch] for i in range(0, len(rows), args.batch)]
    rng.shuffle(found)
    short = [[example(SHORT, SHORT) for _ in range(args.batch)] for _ in range(args.warm)]
    return [*short, *found[:counted]]


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


Clocked = list[tuple[float, float]]
Steps = tuple[Clocked, list[float]]
"""Seconds of each step, by the clock and of the processor, and its loss."""


def _prompt(weight_VD: Tensor, args: argparse.Namespace) -> Tensor:
    """Return the prompt that both begin with (N x D): embeddings of tokens."""
    tokens_N = torch.randint(
        EOS + 1, len(weight_VD), (args.vectors,), generator=torch.Generator().manual_seed(args.seed)
    )
    return weight_VD.detach()[tokens_N].float()


def _ours(args: argparse.Namespace) -> tuple[Steps, Peak]:
    lm = models.ours(args)
    work = batches(args, lm.embedding.num_embeddings)
    peak, examples = Peak(), [example for batch in work for example in batch]
    tuning = Tuning(lm, LAYOUT, recipe(args), args.seed, examples, examples[:1], args.rows)
    tuning.prompt_ND.data.copy_(_prompt(lm.embedding.weight, args))
    tuning.batches.waiting = [list(range(s * args.batch, (s + 1) * args.batch)) for s in reversed(range(args.steps))]
    seconds, losses = Clocked(), list[float]()
    for _ in range(args.steps):
        started, worked = time.perf_counter(), time.process_time()
        losses.append(tuning.advance())
        seconds.append((time.perf_counter() - started, time.process_time() - worked))
    return (seconds, losses), peak


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


def _trainer(args: argparse.Namespace) -> tuple[Steps, Peak]:
    import peft

    model = models.theirs(args)
    work = batches(args, model.config.vocab_size)
    prompt_ND, peak = _prompt(model.get_input_embeddings().weight, args), Peak()
    tuned: Any = peft.get_peft_model(
        model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=args.vectors)
    )
    weight_ND = tuned.prompt_encoder["default"].embedding.weight
    weight_ND.data.copy_(prompt_ND)
    rates, seconds, losses = recipe(args), Clocked(), list[float]()
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
    return (seconds, losses), peak


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


def _watched(seconds: Clocked, losses: list[float]) -> tuple[Any, Any]:
    """Return Trainer and a callback that write down the loss and the seconds of every step."""
    import transformers

    class Trainer(transformers.Trainer):
        def compute_loss(self, *given: Any, **more: Any) -> Any:
            loss = super().compute_loss(*given, **more)
            losses.append(float(loss.detach()))
            return loss

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *given: Any, **more: Any) -> None:
            self.started, self.worked = time.perf_counter(), time.process_time()

        def on_step_end(self, *given: Any, **more: Any) -> None:
            seconds.append((time.perf_counter() - self.started, time.process_time() - self.worked))

    return Trainer, Clock()


METHODS: dict[str, Callable[[argparse.Namespace], tuple[Steps, Peak]]] = {"ours": _ours, "trainer": _trainer}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the mean seconds of a step, warm-up left out, peak memory above the model's (MB), losses."""
    (seconds, losses), peak = METHODS[args.method](args)
    passed, worked = (sum(clock[args.warm :]) / (args.steps - args.warm) for clock in zip(*seconds, strict=True))
    measured = {"method": args.method, "seconds": passed, "cpu_seconds": worked, "peak_mb": peak.mb()}
    return measured | {"losses": losses, "step_seconds": [each for each, _ in seconds]}


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(METHODS), required=True)
    for name, value in {"steps": 3, "warm": 1, "batch": 8, "vectors": 100, "rows": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lengths", choices=["ragged", "fixed"], default="ragged")
    parser.add_argument("--order", choices=["bucketed", "shuffled"], default="bucketed")
    models.add_options(parser)
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(arguments().parse_args())))
