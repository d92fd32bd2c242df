"""What is measured: the work of every run, who is compared with whom, which targets hold, what grows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

STANDARD = {"layers": 8, "heads": 8, "width": 512, "feed-forward": 1376, "vocabulary": 32000}
"""The benchmark model."""
TOY = {"layers": 4, "heads": 4, "width": 64, "feed-forward": 172, "vocabulary": 4000}
"""About the embedded study's model."""
LARGE = 4096
"""Tokens in a batch from which on there are at most `FEW` rounds."""
FEW = 3
PARTS = ("saliency", "decoding", "tuning", "evaluation", "growth")


@dataclass(frozen=True)
class Work:
    """What a script is asked to do, whichever method does it."""

    script: str
    options: Mapping[str, int | float] = field(hash=False)

    @property
    def key(self) -> str:
        """Options as one line; equal work has equal keys."""
        return json.dumps(dict(self.options), sort_keys=True)

    @property
    def most_rounds(self) -> int:
        """Return how often this is worth repeating: what takes minutes is done a few times only."""
        tokens = self.options.get("length", 0) * self.options.get("batch", 1)
        return FEW if tokens >= LARGE else 99


class Targets(NamedTuple):
    """What a median ratio may be at most."""

    time: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Pair:
    """Two methods for the same work."""

    part: str
    label: str
    work: Work
    ours: str
    other: str
    targets: Targets


@dataclass(frozen=True)
class Growth:
    """One method while one option grows and the others stay."""

    label: str
    works: tuple[Work, ...]
    method: str
    option: str


@dataclass(frozen=True)
class Suite:
    """All that one table holds."""

    pairs: tuple[Pair, ...]
    growths: tuple[Growth, ...]


def _model(sizes: Mapping[str, int]) -> str:
    return f"{sizes['layers']} layers, width {sizes['width']}"


def _saliency_work(sizes: Mapping[str, int], length: int, batch: int, **more: float) -> Work:
    repeats = 5 if length * batch < LARGE else 1
    base = {"length": length, "batch": batch, "vectors": 100, "repeats": repeats, "rationale": 0.25}
    return Work("saliency", {**base, **sizes, **more})


def _saliency_targets(ours: str, other: str, length: int) -> Targets:
    if other == "floor":
        return Targets(time=1.10 if ours == "lean" and 512 <= length <= 2048 else None)
    if other != "eager" or length != 2048:
        return Targets()
    return {"lean": Targets(0.40, 0.30), "lean_checkpoint": Targets(memory=0.20)}.get(ours, Targets())


def _saliency(sizes: Mapping[str, int], lengths: Sequence[int], batches: Sequence[int], special: int) -> list[Pair]:
    """Compare at every length and batch size; checkpointing and the suffix mode at length `special` only."""
    pairs = []
    for batch in batches:
        for length in lengths:
            work, label = _saliency_work(sizes, length, batch), f"S = {length:,}, batch {batch}"
            compared = [("lean", other) for other in ("eager", "ones_gate", "floor")]
            if length == special:
                compared += [("lean_checkpoint", "eager"), ("lean_suffix", "eager"), ("lean_suffix", "floor")]
            for ours, other in compared:
                pairs.append(Pair("saliency", label, work, ours, other, _saliency_targets(ours, other, length)))
    return pairs


def _decoding_work(sizes: Mapping[str, int], questions: int, **more: int) -> Work:
    return Work("decoding", {"questions": questions, "batch": 32, "vectors": 100, **sizes, **more})


def _decoding(sizes: Mapping[str, int], questions: int, **more: int) -> Pair:
    work = _decoding_work(sizes, questions, **more)
    label = f"{questions} questions, {_model(sizes)}"
    return Pair("decoding", label, work, "ours", "generate", Targets(time=0.75))


def _tuning(sizes: Mapping[str, int], vectors: int) -> Pair:
    work = Work("tuning", {"batch": 8, "vectors": vectors, **sizes})
    label = f"batch 8, {vectors} vectors, {_model(sizes)}"
    return Pair("tuning", label, work, "ours", "trainer", Targets(time=0.70))


def _evaluation(sizes: Mapping[str, int], most: float | None, **more: int) -> Pair:
    base = {"questions": 128, "batch": 32, "saliency-batch": 8, "least": 256, "fired": 0.25}
    work = Work("evaluation", {**base, **sizes, **more})
    label = f"{work.options['questions']} questions, a quarter fired, {_model(sizes)}"
    return Pair("evaluation", label, work, "dpc", "prompt_tuning", Targets(time=most))


def full() -> Suite:
    """Return what the published page holds."""
    pairs = _saliency(STANDARD, (256, 512, 1024, 2048, 4096), (1, 4), special=2048)
    pairs += [_decoding(sizes, 256) for sizes in (STANDARD, TOY)]
    pairs += [_tuning(STANDARD, 100), _tuning(STANDARD, 20), _tuning(TOY, 100)]
    pairs += [_evaluation(STANDARD, 1.5), _evaluation(TOY, None)]
    depths = [{**STANDARD, "layers": layers} for layers in (4, 8, 16)]
    prompts = (10, 100, 200)
    lengths = tuple(_saliency_work(STANDARD, length, 1) for length in (256, 512, 1024, 2048))
    layers = tuple(_saliency_work(sizes, 1024, 1) for sizes in depths)
    vectors = tuple(_saliency_work(STANDARD, 1024, 1, vectors=n) for n in prompts)
    shares = tuple(_saliency_work(STANDARD, 1024, 1, rationale=share) for share in (0.25, 0.5, 0.75))
    asked = tuple(_decoding_work(STANDARD, n) for n in (64, 128, 256))
    layers_256 = tuple(_decoding_work(sizes, 256) for sizes in depths)
    vectors_256 = tuple(_decoding_work(STANDARD, 256, vectors=n) for n in prompts)
    growths = (
        Growth("Saliency (batch 1): length S", lengths, "lean", "length"),
        Growth("Saliency (S = 1,024): rationale's share of the question and it", shares, "lean", "rationale"),
        Growth("Saliency (S = 1,024): layers", layers, "lean", "layers"),
        Growth("Saliency (S = 1,024, the prompt's part of it): prompt vectors", vectors, "lean", "vectors"),
        Growth("Decoding: questions", asked, "ours", "questions"),
        Growth("Decoding (256 questions): layers", layers_256, "ours", "layers"),
        Growth("Decoding (256 questions): prompt vectors", vectors_256, "ours", "vectors"),
    )
    return Suite(tuple(pairs), growths)


def quick() -> Suite:
    """Return the same kinds of run at sizes that take seconds: to see that all is in order, not to quote."""
    short = {"steps": 48, "rationale": 16, "question": 24}
    pairs = _saliency(TOY, (256, 512), (1,), special=512)
    pairs += [_decoding(TOY, 64, **short), _tuning(TOY, 20), _evaluation(TOY, None, questions=16, **short, least=8)]
    lengths = tuple(_saliency_work(TOY, length, 1) for length in (256, 512))
    return Suite(tuple(pairs), (Growth("Saliency (batch 1): length S", lengths, "lean", "length"),))


def selected(suite: Suite, parts: Sequence[str]) -> Suite:
    """Return the parts named, all where none is."""
    if not parts:
        return suite
    pairs = tuple(pair for pair in suite.pairs if pair.part in parts)
    return Suite(pairs, suite.growths if "growth" in parts else ())


def runs(suite: Suite) -> dict[tuple[str, str], tuple[Work, list[str]]]:
    """Return for each piece of work who does it; what stands in several tables is done once."""
    found: dict[tuple[str, str], tuple[Work, list[str]]] = {}
    wanted = [(pair.work, name) for pair in suite.pairs for name in (pair.ours, pair.other)]
    wanted += [(work, growth.method) for growth in suite.growths for work in growth.works]
    for work, method in wanted:
        methods = found.setdefault((work.script, work.key), (work, []))[1]
        if method not in methods:
            methods.append(method)
    return found
