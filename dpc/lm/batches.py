"""Batches that shrink where memory runs out: the size is found on the longest rows, not guessed."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from dpc.errors import DpcError

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger("dpc")

_CPU_MESSAGES = ("can't allocate memory", "not enough memory", "cannot allocate memory")
"""torch's CPU allocator raises a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that the GPU's or the machine's memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _CPU_MESSAGES)


def in_batches(
    items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """Yield `items`, in order and at most `size` at once, with what `work` made of them.

    Where memory runs out the batch is cut in half, as often as it takes, and later batches are no larger: put the
    longest items first, and the size that fits is found at once. Raises DpcError if a single item does not fit.
    """
    yield from in_turns(items, size, 1, lambda batch, size: work(batch))


def in_turns(
    items: Sequence[Item], size: int, turns: int, work: Callable[[Sequence[Item], int], Result]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """Do what `in_batches` does where `size` items are in memory at once, and up to `turns` times as many are a batch.

    `work` gets a batch and the size, which is halved where memory runs out.
    """
    start = 0
    while start < len(items):
        batch = items[start : start + size * turns]
        result = _attempt(work, batch, size)
        if result is None:
            size = _halved(min(size, len(batch)))
        else:
            yield batch, result[0]
            start += len(batch)


def _attempt(work: Callable[[Sequence[Item], int], Result], batch: Sequence[Item], size: int) -> tuple[Result] | None:
    """Return what `work` made of `batch`, or None where memory ran out."""
    try:
        return (work(batch, size),)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    return None  # out here the error, and the tensors its frames hold, are gone


def _halved(size: int) -> int:
    """Free what the failed batch left behind and return half its size."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size == 1:
        raise DpcError(
            "a single question does not fit into memory; use a larger GPU, models.NAME.dtype: bfloat16 or a shorter "
            "datasets.NAME.max_new_tokens"
        )
    log.warning("out of memory with %d rows in a batch; continuing with %d", size, (size + 1) // 2)
    return (size + 1) // 2


def copy_rows(kept: Sequence[Tensor], source: Sequence[int], target: Sequence[int]) -> None:
    """Copy the rows `source` over the rows `target` of every tensor, wherever it lies."""
    places = {device: torch.tensor([source, target], device=device) for device in {state.device for state in kept}}
    for state in kept:
        from_R, to_R = places[state.device]
        state[to_R] = state[from_R]
