"""Settings of methods beside DPC: attention calibration, prompts read as text, interventions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field

from dpc.config.catalogue import Model
from dpc.config.kinds import AsNumber, CausalTests, Count, Layers, Name, Positive, Settings, Share
from dpc.config.messages import did_you_mean


class Act(Settings):
    """Attention calibration (docs/methods.md), the method of plan `act`; a change selects its heads again."""

    beta: Share = 0.4
    """Factor of a sink's weight; 1 changes nothing."""
    threshold: Literal["tau", "alpha"] = "tau"
    """A sink receives more than `tau`, or more than `alpha` / S on S positions."""
    tau: Share = 0.1
    """Absolute threshold."""
    alpha: Positive = 5.0
    """Threshold relative to 1 / S."""
    layers: Layers = "inner"
    """Where heads are tried; `inner` is 2-30 of 32, scaled by depth; or [first, last], inclusive."""
    mode: Literal["prefill_sets", "released"] = "prefill_sets"
    """Sinks found once on prompt and question; or what the published function does, for the record only."""
    min_rows: Count = 8
    """Columns averaged over fewer rows are no sinks (`prefill_sets`)."""
    standard_errors: Annotated[float, Field(ge=0), AsNumber] = 2.0
    """A head is kept, and the union confirmed, where the mean gain exceeds so many of its standard errors."""


class Interpretability(Settings):
    """What a prompt says: its nearest tokens beside a written instruction and random tokens."""

    questions: Count = 50
    """Test questions, the first by hash, on whose answers outputs under prompt and nearest tokens are compared."""
    draws: Count = 20
    """Random prompts of as many tokens, whose perplexity stands beside."""
    instruction: str = "Solve the problem step by step, and give the final answer at the end."
    """A written prompt, whose perplexity stands beside."""
    reader: Name | None = None
    """Another model of `models` that reads the text as well; null for none."""

    def check_reader(self, models: Mapping[str, Model], run: Collection[str]) -> None:
        """Raise ValueError for a reader that `models` lacks, or that no job makes as it is not among those that run."""
        name = self.reader
        if name is not None and name not in models:
            hint = did_you_mean(name, models)
            raise ValueError(f"interpretability.reader names {name!r}, which is not in `models`{hint}")
        if name is not None and models[name].builtin and name not in run:
            raise ValueError(
                f"interpretability.reader names {name!r}, an embedded model that is trained only where it runs; "
                "add it to study.models, or write a model with `path` or `hub`"
            )


class Causal(Settings):
    """Interventions on stored rationales (docs/methods.md, "Causal evidence"): does the flow do the harm?"""

    rows: Count = 100
    """Test questions of every cell, the first by hash and the same under every prompt; and as many, at most, of those
    that the prompt broke, for the tests about these."""
    tests: CausalTests = ["mask", "dose", "knock_out", "path", "divergence", "sink"]
    """Which tests are made; none: `[]`. Each vector masked, doses of a vector, attention cut, the states of another
    seed's prompt, the token where answers with and without the prompt part, a neutral token at position 0."""
