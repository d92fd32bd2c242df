"""What is measured: the work of every run, who is compared with whom, which targets hold, what grows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

WHOLE = "qwen2.5-0.5b"
"""The model that is measured whole; of the others two layers and the vocabulary."""
SHAPES = (WHOLE, "llama3-8b", "llama2-13b", "mistral-7b", "gemma2-9b")
SMALL = "small"
"""Stands in for all of them in a quick run."""
DTYPES = ("float32", "bfloat16")
LENGTHS = (512, 1024, 2048)
SPARING = ("lean_checkpoint", "lean_suffix")
"""Ways of ours that the study takes where memory is short, and an answer where time is."""
PARTS = ("saliency", "decoding", "passes", "drafts", "tuning", "evaluation")


@dataclass(frozen=True)
class Work:
    """What a script is asked to do, whichever method does it."""

    script: str
    options: Mapping[str, int | float | str] = field(hash=False)

    @property
    def key(self) -> str:
        """Options as one line; equal work has equal keys."""
        return json.dumps(dict(self.options), sort_keys=True)


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
    """One method while one option grows and the others stay; its runs are some of the pairs'."""

    label: str
    works: tuple[Work, ...]
    method: str
    option: str


@dataclass(frozen=True)
class Suite:
    """All that one table holds."""

    pairs: tuple[Pair, ...]
    growths: tuple[Growth, ...]


def _label(shape: str, dtype: str) -> str:
    return f"{shape}, {dtype}"


def _saliency_work(shape: str, dtype: str, length: int) -> Work:
    options = {"length": length, "batch": 1, "vectors": 100, "rationale": 0.75}
    return Work("saliency", {**options, "shape": shape, "dtype": dtype})


def _saliency(shape: str, dtype: str, lengths: Sequence[int]) -> list[Pair]:
    """Compare with the floor at every length, with eager at the longest."""
    pairs = []
    for length in lengths:
        work, label = _saliency_work(shape, dtype, length), f"{_label(shape, dtype)}, S = {length:,}"
        pairs.append(Pair("saliency", label, work, "lean", "floor", Targets(time=1.0)))
        if length == lengths[-1]:
            pairs.append(Pair("saliency", label, work, "lean", "eager", Targets(memory=0.25)))
            if shape in (WHOLE, SMALL) and dtype == "bfloat16":
                pairs += [Pair("saliency", label, work, ours, "floor", Targets()) for ours in SPARING]
    return pairs


def _decoding(shape: str, dtype: str, questions: int, batch: int, **more: int) -> Pair:
    """Decode so many rows at once; further questions wait until rows have ended, or all of a batch have."""
    options = {"questions": questions, "batch": batch, "vectors": 100}
    work = Work("decoding", {**options, "shape": shape, "dtype": dtype, **more})
    at_once = "" if batch == questions else f", {batch} at once"
    label = f"{_label(shape, dtype)}, {questions} questions{at_once}"
    return Pair("decoding", label, work, "ours", "generate", Targets(time=0.6, memory=0.5))


def _passes(shape: str, dtype: str, **more: int) -> list[Pair]:
    """Compare prefill under a prompt and without one, a step, and what both allocate."""

    def work(vectors: int) -> Work:
        options = {"questions": 16, "vectors": vectors, "steps": 24}
        return Work("passes", {**options, "shape": shape, "dtype": dtype, **more})

    label, at_most = _label(shape, dtype), Targets(time=1.15)
    pairs = [
        Pair("passes", f"{label}, {vectors} vectors", work(vectors), "prefill", "decoder", at_most)
        for vectors in (0, 100)
    ]
    pairs.append(Pair("passes", label, work(100), "step", "products", at_most))
    return [*pairs, Pair("passes", label, work(100), "largest", "allowed", Targets(memory=1.0))]


def _drafts(shape: str, dtype: str, agreement: float, most: float, more: Mapping[str, int]) -> Pair:
    options = {"questions": 8, "batch": 8, "vectors": 100, "rationale": 100, "agreement": agreement}
    work = Work("decoding", {**options, "shape": shape, "dtype": dtype, **more})
    label = f"{_label(shape, dtype)}, {agreement:.0%} of drafts right"
    return Pair("drafts", label, work, "drafted", "plain", Targets(time=most))


DRAFTS: tuple[tuple[str, float, float], ...] = (
    ("float32", 1.0, 0.3),
    ("float32", 0.0, 1.02),
    ("bfloat16", 0.0, 1.02),
)
"""Dtype, share of drafts that are right, target. What is right in bfloat16 hangs on a pass's shape: random weights
make near-ties of what is said, and a draft that is right token by token is not where it is checked."""


def _tuning(shape: str, dtype: str, vectors: int) -> Pair:
    work = Work("tuning", {"batch": 8, "vectors": vectors, "shape": shape, "dtype": dtype})
    label = f"{_label(shape, dtype)}, batch 8, {vectors} vectors"
    return Pair("tuning", label, work, "ours", "trainer", Targets(time=0.70))


def _evaluation(shape: str, dtype: str, questions: int, **more: int) -> Pair:
    options = {"questions": questions, "batch": questions, "saliency-batch": 8, "fired": 0.25}
    work = Work("evaluation", {**options, "shape": shape, "dtype": dtype, **more})
    label = f"{_label(shape, dtype)}, {questions} questions, a quarter fired"
    return Pair("evaluation", label, work, "dpc", "prompt_tuning", Targets(time=1.5))


def _growth(shape: str, dtype: str, lengths: Sequence[int]) -> Growth:
    works = tuple(_saliency_work(shape, dtype, length) for length in lengths)
    return Growth(f"Saliency, {_label(shape, dtype)}: length S", works, "lean", "length")


def full() -> Suite:
    """Return what the published page holds."""
    of_all = [(shape, dtype) for shape in SHAPES for dtype in DTYPES]
    pairs = [pair for shape, dtype in of_all for pair in _saliency(shape, dtype, LENGTHS)]
    pairs += [*(_decoding(WHOLE, dtype, 32, 32) for dtype in DTYPES), _decoding(WHOLE, "bfloat16", 96, 32)]
    pairs += [pair for dtype in DTYPES for pair in _passes(WHOLE, dtype)]
    pairs += [_drafts(WHOLE, *case, {}) for case in DRAFTS]
    pairs += [_tuning(WHOLE, dtype, vectors) for dtype in DTYPES for vectors in (20, 100)]
    pairs.append(_evaluation(WHOLE, "bfloat16", 16))
    return Suite(tuple(pairs), tuple(_growth(shape, dtype, LENGTHS) for shape, dtype in of_all))


def quick() -> Suite:
    """Return the same kinds of run at sizes that take seconds: to see that all is in order, not to quote."""
    short, lengths = {"steps": 48, "rationale": 24, "question": 24, "least": 8}, (256, 512)
    pairs = [pair for dtype in DTYPES for pair in _saliency(SMALL, dtype, lengths)]
    pairs += [
        *(_decoding(SMALL, dtype, 16, 16, **short) for dtype in DTYPES),
        _decoding(SMALL, "float32", 24, 8, **short),
    ]
    pairs += [*_passes(SMALL, "float32", question=24), *(_drafts(SMALL, *case, short) for case in DRAFTS)]
    pairs += [_tuning(SMALL, "float32", 20), _evaluation(SMALL, "float32", 16, **short)]
    return Suite(tuple(pairs), tuple(_growth(SMALL, dtype, lengths) for dtype in DTYPES))


def selected(suite: Suite, parts: Sequence[str]) -> Suite:
    """Return the parts named, all where none is."""
    if not parts:
        return suite
    return Suite(tuple(pair for pair in suite.pairs if pair.part in parts), ())


def runs(suite: Suite) -> dict[tuple[str, str], tuple[Work, list[str]]]:
    """Return for each piece of work who does it; what stands in several tables is done once."""
    found: dict[tuple[str, str], tuple[Work, list[str]]] = {}
    for pair in suite.pairs:
        methods = found.setdefault((pair.work.script, pair.work.key), (pair.work, []))[1]
        methods += [method for method in (pair.ours, pair.other) if method not in methods]
    return found
