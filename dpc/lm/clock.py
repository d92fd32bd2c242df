"""Seconds of a pass, also where a card works on while Python has gone ahead."""

from __future__ import annotations

import time
from typing import Any

import torch


class Clock:
    """Runs from its making; a mark costs nothing, and a card is waited for only where seconds are read."""

    def __init__(self, device: torch.device):
        self.is_cuda = device.type == "cuda"
        self.started = self.mark()

    def mark(self) -> Any:
        """Return this moment: on a card, the one at which the work asked for so far is done."""
        if not self.is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, mark: Any) -> float:
        """Return the seconds from the start to `mark`."""
        if not self.is_cuda:
            return float(mark - self.started)
        mark.synchronize()
        return float(self.started.elapsed_time(mark)) / 1000
