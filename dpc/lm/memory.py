"""Rows of a batch that memory holds, computed before the first one: a CPU gives no error when memory runs out."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from dpc.lm.models import LanguageModel

SHARE = 0.6
"""Of what is free, for keys and values; the rest is for passes and for who else is there."""
log = logging.getLogger("dpc")


def rows_that_fit(lm: LanguageModel, columns: int, most: int) -> int:
    """Return how many rows of `columns` keys and values fit the free memory, at most `most`.

    Less than `most` is a power of two, so that what is free may vary a little and a batch stays the same.
    """
    fit = int(SHARE * _free(lm) / (columns * column_bytes(lm)))
    if fit >= most:
        return most
    rows = 2 ** max(0, fit.bit_length() - 1)
    log.info("memory holds %d rows of %d tokens: %d in a batch instead of %d", fit, columns, rows, most)
    return rows


def column_bytes(lm: LanguageModel) -> int:
    """Return the bytes of one row's keys and values for one token."""
    config = lm.model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_hidden_layers * config.num_key_value_heads
    return int(2 * heads * width * lm.embedding.weight.element_size())


def _free(lm: LanguageModel) -> int:
    """Return the free bytes where the model's layers lie."""
    devices = {parameter.device for parameter in lm.model.parameters()}
    if all(device.type == "cuda" for device in devices):
        return sum(_free_on(device) for device in devices)
    return min(_free_in_machine(), _free_in_group())


def _free_on(card: torch.device) -> int:
    kept = torch.cuda.memory_reserved(card) - torch.cuda.memory_allocated(card)
    return int(torch.cuda.mem_get_info(card)[0] + kept)


def _free_in_machine() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))


def _free_in_group() -> int:
    """Return what this process's control group may still take; a cluster's jobs have one of their own."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for folder, limit, used in (
            (f"/sys/fs/cgroup{path}", "memory.max", "memory.current"),
            (f"/sys/fs/cgroup/memory{path}", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            if names in ("", "memory") and (text := _read(Path(folder, limit))).isdigit():
                return int(text) - int(_read(Path(folder, used)))
    return 2**62


def _read(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""
