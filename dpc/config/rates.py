"""Tokens per second that jobs are taken to make: for the estimate, time limits and `auto` shards."""

from __future__ import annotations

from dpc.config.kinds import Positive, Settings


class Rates(Settings):
    """Tokens per second on one card, times the model's parameters in billions: measure yours, see `docs/cluster.md`."""

    generate: Positive = 8000
    """New tokens of batched generation."""
    saliency: Positive = 12000
    """Tokens of question, prompt and rationale, forward and backward."""
    tune: Positive = 12000
    """Tokens of tuning examples, forward and backward."""


class CpuRates(Rates):
    """The same on one core, where `execution.device` is cpu."""

    generate: Positive = 40
    """New tokens of batched generation."""
    saliency: Positive = 80
    """Tokens of question, prompt and rationale, forward and backward."""
    tune: Positive = 80
    """Tokens of tuning examples, forward and backward."""
