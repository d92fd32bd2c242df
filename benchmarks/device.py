"""Saliency of large models with random weights: time, memory, largest batch; and bfloat16's trigger beside float32's.

`python -m benchmarks.device` measures on the GPU if there is one, in Llama3-8B's and Llama2-13B's shapes, else a small
shape on the CPU; all are those of `benchmarks/shapes`, the large ones at their whole depth. Rows go to
docs/device.jsonl, where they replace rows of the same device and case, so that the work may be done in parts;
docs/device.md is written anew from all of them. Every measurement runs in a process of its own. `benchmarks.card` asks
a lent card for the most important ones, and for decoding, in 8 minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import made, with_words
from benchmarks.running import last_json, machine
from benchmarks.saliency import METHODS, batch_of, status_mb
from dpc.config.execution import Execution
from dpc.errors import DpcError
from dpc.lm.batches import is_out_of_memory
from dpc.lm.models import LanguageModel
from dpc.storage.files import atomic

MEASURED = ("lean", "lean_suffix", "lean_checkpoint", "eager", "floor")
DEFAULTS: dict[str, dict[str, Any]] = {
    "cuda": {"shapes": ["llama3-8b", "llama2-13b"], "lengths": [512, 1024, 2048], "dtype": "bfloat16"},
    "cpu": {"shapes": ["small"], "lengths": [256, 512, 1024], "dtype": "float32"},
}
PARTS = ("time", "batch", "trigger")
KEY = ("name", "part", "shape", "method", "length", "cell")
"""What a row is known by."""
MB = 2**20


@dataclass(frozen=True)
class Case:
    """One measurement."""

    part: str
    """`time` (and memory), at batch 1, or `batch`: the most rows that fit."""
    shape: str
    method: str
    """A key of `benchmarks.saliency.METHODS`."""
    length: int
    """Prompt, question and rationale together, in tokens."""
    device: str
    dtype: str
    threads: int = 1
    """On the CPU. More than one wait for each other where other work takes a core, and times fall into two heaps."""
    repeats: int = 3
    most: int = 256
    """`batch`: rows beyond which nothing is tried."""
    room_mb: int = 512
    """`batch` on the CPU: how much memory may be taken above the model; a GPU is taken as it is."""
    vectors: int = 100


def one(case: Case) -> dict[str, Any]:
    """Make the model and measure."""
    torch.set_num_threads(case.threads)
    attention = "eager" if case.method == "eager" else "sdpa"
    dtype = getattr(torch, case.dtype)
    lm = with_words(made(case.shape, attention, dtype, case.device))
    warm = replace(case, length=16 + case.vectors)  # lazy imports and first-call work are no part of the time
    about = {**device_of(case.device), "weights_mb": _weights_mb(lm)}
    return {**about, **(_batch if case.part == "batch" else _time)(lm, case, warm)}


def _weights_mb(lm: LanguageModel) -> float:
    return sum(p.numel() * p.element_size() for p in lm.model.parameters()) / MB


def _time(lm: LanguageModel, case: Case, warm: Case) -> dict[str, Any]:
    """Return seconds of passes at batch 1 and the peak above what stood before them, in MB."""
    seconds_of(lm, warm, 1)
    before, seconds = _start_of_peak(case.device), []
    for _ in range(case.repeats):
        taken = seconds_of(lm, case, 1)
        if taken is None:
            return {"seconds": [], "peak_mb": None}
        seconds.append(taken)
    return {"seconds": seconds, "peak_mb": _peak_mb(case.device) - before}


def _batch(lm: LanguageModel, case: Case, warm: Case) -> dict[str, Any]:
    seconds_of(lm, warm, 1)
    if case.device == "cpu":
        limit = int((status_mb("VmData") + case.room_mb) * MB)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return {"rows": largest(lambda rows: seconds_of(lm, case, rows) is not None, case.most)}


def seconds_of(lm: LanguageModel, case: Case, rows: int) -> float | None:
    """Return the seconds of one pass over `rows` rows, or None where memory ran out."""
    args = Namespace(method=case.method, batch=rows, vectors=case.vectors, prefix=None, seed=0, rationale=0.5)
    try:
        return _timed(partial(METHODS[case.method], lm, batch_of(lm, args, case.length), args), case.device)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # out here the error, and the tensors its frames hold, are gone
    if case.device == "cuda":
        torch.cuda.empty_cache()
    return None


def _timed(work: Callable[[], Any], device: str) -> float:
    wait = torch.cuda.synchronize if device == "cuda" else int
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def _start_of_peak(device: str) -> float:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MB
    Path("/proc/self/clear_refs").write_text("5")
    return status_mb("VmRSS")


def _peak_mb(device: str) -> float:
    return torch.cuda.max_memory_allocated() / MB if device == "cuda" else status_mb("VmHWM")


def largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to `most` that fits, 0 if not even one: doubled until it does not, then bisected."""
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = min(max(1, 2 * good), most) if bad > most else (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def in_own_process(case: Case) -> dict[str, Any]:
    """Return what `case` came to, measured by a fresh process. Raises DpcError if that fails."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.device", "--one", json.dumps(asdict(case))]
    # what glibc keeps of freed blocks would count against the room a batch is given
    environment = {**os.environ, **({"MALLOC_MMAP_THRESHOLD_": "65536"} if case.part == "batch" else {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DpcError(f"{case.part} of {case.method}, {case.shape}, S = {case.length}: {reason}")
    found = last_json(done.stdout)
    print(case.part, case.shape, case.method, case.length, json.dumps(found), file=sys.stderr, flush=True)
    return found


def measured(cases: list[Case], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield rows of cases as soon as there is something new to say; a later row of a case holds what earlier ones did.

    Times come from rounds over all cases, so that a slow minute hits all alike.
    """
    runs: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases if case.part == "time"}
    for case in [*runs] * rounds:
        runs[case].append(in_own_process(case))
        yield {**asdict(case), **together(runs[case])}
    for case in cases:
        if case.part == "batch":
            yield {**asdict(case), **in_own_process(case)}


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the runs of one case as one: all seconds, the highest peak; neither where memory ran out in any."""
    if any(run["peak_mb"] is None for run in runs):
        return {**runs[0], "seconds": [], "peak_mb": None}
    seconds = [second for run in runs for second in run["seconds"]]
    return {**runs[0], "seconds": seconds, "peak_mb": max(run["peak_mb"] for run in runs)}


def device_of(kind: str) -> dict[str, str]:
    """Return the device's name, and torch's version. On a GPU this takes memory: not for who starts measurements."""
    name = torch.cuda.get_device_name() if kind == "cuda" else str(machine(0, 0)["cpu"])
    return {"name": name, "torch": torch.__version__}


def merge(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `old` rows with `new` ones in the place of those of the same device and case."""
    rows = {tuple(row.get(name) for name in KEY): row for row in [*old, *new]}
    return list(rows.values())


def keep(file: Path, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge `new` rows into `file` and return all rows."""
    old = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = merge(old, new)
    with atomic(file) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def cases_of(args: Namespace) -> list[Case]:
    """Return what is to be measured; methods that are compared follow one another."""
    defaults = DEFAULTS[args.device]
    common = {"device": args.device, "dtype": defaults["dtype"], "threads": args.threads, "most": args.most}
    common |= {"repeats": args.repeats, "room_mb": args.room_mb}
    parts = [part for part in args.parts if part != "trigger"]
    shapes, lengths = args.shapes or defaults["shapes"], args.lengths or defaults["lengths"]
    chosen = product(parts, shapes, lengths, args.methods)
    return [Case(part, shape, method, length, **common) for part, shape, length, method in chosen]


def main(args: Namespace) -> int:
    """Measure, keep rows, write the page; return 1 where bfloat16 decides too often otherwise."""
    from benchmarks import trigger
    from benchmarks.device_page import page

    for row in measured(cases_of(args), args.rounds):
        keep(args.rows, [row])
    checked = []
    if "trigger" in args.parts:
        execution = Execution(device=args.device, threads=args.threads)
        about = {**device_of(args.device), "part": "trigger", "device": args.device}
        checked = [{**about, **found} for found in trigger.check(args.study, args.questions, execution)]
    rows = keep(args.rows, checked)
    with atomic(args.page) as temporary:
        temporary.write_text(page(rows))
    return int(any(not trigger.holds(found) for found in checked))


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__.splitlines()[0])
    parser.add_argument("--one", help="measure this case alone and print its figures: what each fresh process does")
    parser.add_argument("--device", choices=sorted(DEFAULTS), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--shapes", nargs="+", help="of benchmarks/shapes; default: what suits the device")
    parser.add_argument("--lengths", nargs="+", type=int, help="default: what suits the device")
    parser.add_argument("--methods", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--study", type=Path, default=Path("results/demo"), help="a finished embedded study")
    for name, value in {"rounds": 3, "repeats": 3, "threads": 1, "most": 256, "room-mb": 512, "questions": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rows", type=Path, default=Path("docs/device.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/device.md"))
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    try:
        if given.one:
            print(json.dumps(one(Case(**json.loads(given.one)))))
        else:
            sys.exit(main(given))
    except DpcError as error:
        sys.exit(f"error: {error}")
