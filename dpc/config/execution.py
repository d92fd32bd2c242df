"""How the work is done: batches, devices, shards, and what jobs ask a cluster for. None of it is part of a result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dpc.config.kinds import AsNumber, Count, FileName, Positive, Settings
from dpc.config.rates import CpuRates, Rates


class BatchSizes(Settings):
    """Rows per batch at most: halved where memory runs out. In float32 answers and saliency do not
    depend on it; a tuned prompt does in its last digits, as parts are summed in another order."""

    generate: Count = 256
    """Questions generated at once."""
    saliency: Count = 32
    """Questions per saliency pass."""
    tune: Count = 4
    """Questions of a tuning step that go through the model at once; `recipes.NAME.batch_size` make the step."""
    act: Count = 64
    """Questions x heads tried at once when heads are selected."""


class Execution(Settings):
    """How the work is done: none of this is part of a result, and a change reruns nothing."""

    device: Literal["cuda", "cpu"] = "cuda"
    """Where torch stages run; `cuda` refuses to fall back to the CPU."""
    threads: Count = 1
    """Torch threads of a job on the CPU."""
    engine: Literal["torch", "vllm"] = "torch"
    """What generates text, with a prompt, without one and under its edits; all else is torch's work."""
    vllm_python: FileName | None = None
    """The python of an environment that has vLLM, e.g. /opt/vllm/bin/python: it needs a transformers of its own."""
    builtin_threads: Count = 2
    """Torch threads that train the embedded model, while nothing else can run."""
    batch_size: BatchSizes = BatchSizes()
    """Rows per batch."""
    checkpoint_activations: bool = False
    """Saliency keeps each layer's input only and computes the rest again: half the memory, a third more time."""
    save_every_seconds: Annotated[float, Field(ge=0), AsNumber] = 60.0
    """A killed job loses no more than so much finished work, and its last batch or step; 0 saves each of them."""


class Shards(Settings):
    """Jobs per cell and torch stage; `auto` makes as many as last about an hour each (`dpc/pipeline/cost.py`)."""

    generate: Count | Literal["auto"] = "auto"
    """Of `generate_unprompted`, `generate_base`, `generate_act` and `regenerate`."""
    saliency: Count | Literal["auto"] = "auto"
    """Of `extract_saliency`."""


class Cluster(Settings):
    """What jobs ask a scheduler for: nothing of a result, and a change reruns nothing but `auto` shards."""

    gpus: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Cards of every GPU job; `auto` is as many as hold the weights, none where `execution.device` is cpu."""
    gpu_memory_gb: Positive = 80
    """Memory of one card."""
    max_hours: Positive = 24
    """No job asks for more: the longest time the partition allows."""
    rates: Rates = Rates()
    """Speed, for time limits, `auto` shards and the estimate."""
    cpu_rates: CpuRates = CpuRates()
    """Speed without a card; `snakemake took` says what a study came to."""
