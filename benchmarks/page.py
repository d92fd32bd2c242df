"""The page and nothing but what stands in the table of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import plot, running, suite, table
from benchmarks.suite import Pair
from benchmarks.table import Row, Runs, Spread
from dpc.errors import DpcError
from dpc.storage.files import atomic

NAMES = {
    "lean": "lean",
    "lean_checkpoint": "lean, checkpointing",
    "lean_suffix": "lean, suffix mode",
    "eager": "eager",
    "floor": "floor",
    "ours": "ours",
    "generate": "`generate`",
    "prefill": "prefill",
    "decoder": "bare decoder pass",
    "step": "step",
    "products": "bare products",
    "largest": "largest allocation",
    "allowed": "what is allowed",
    "drafted": "with drafts",
    "plain": "plain decoding",
    "trainer": "PEFT + Trainer",
    "dpc": "DPC",
    "prompt_tuning": "prompt tuning",
}
TITLES = {"passes": "Prefill and steps", "drafts": "Regeneration from drafts", "evaluation": "Whole evaluation"}
"""Of parts whose name is no title."""
ABOUT = {
    "saliency": "One pass over one sequence, as stage `extract_saliency` asks for it: prompt columns and flow blocks "
    "of every layer; 100 prompt vectors, and three quarters of the other tokens are rationale. *Lean* is the "
    "workbench's own way: attention tile by tile, each tile of the attention matrix rebuilt in the backward pass and "
    "summed up at once, so that none is kept; with *checkpointing* it keeps no more than each layer's input and "
    "computes the rest again; in *suffix mode* it measures only the rows that predict the rationale, on a graph that "
    "begins with them. *Eager* keeps every attention matrix and its gradient (`retain_grad`). The *floor* is the bare "
    "forward and backward pass to the first layer's attention output, through torch's fused attention where the "
    "family allows it (Gemma 2 caps scores, and has eager attention only): it yields no saliency. All have frozen "
    "weights and make logits where the rationale is. Lean leaves out two pieces of work that the floor does: what all "
    "batches of a job begin with, BOS and prompt, goes through the model once a job, before the clock starts; and the "
    "last layer works on target rows only after its attention.",
    "decoding": "Greedy answers under one soft prompt to questions of about 110 tokens, with rationales of about 150 "
    "and at most 320 tokens, both ragged, all in one batch or so many rows at once: by our engine, where questions "
    "that wait take the places of rows that have ended, and by transformers' `generate`, batch after batch, with left "
    "padding on weights that are not frozen. In float32 the texts are the same, token for token; in bfloat16 they are "
    "as long. The output matrix is apart from the embedding, so that texts can be made to end.",
    "passes": "*Prefill* is the engine's work up to the first new token of 16 questions, layout and output matrix "
    "included; the *bare decoder pass* takes the same padded batch, without cache or output matrix. Under a prompt we "
    "run BOS and prompt once for the batch, the bare pass once a row. A *step* is the engine's pass of a token a row; "
    "the *bare products* are those of its linear layers and the output matrix, on as many rows, with nothing between. "
    "The *largest allocation* of prefill and steps may be as large as the largest of the model's largest matrix, the "
    "KV cache and 512 MB.",
    "drafts": "Answers that are probably known are checked in one pass, instead of being made token by token. Here all "
    "of a batch's drafts are what is said, or none; the others are like the answer in its first 6 %, as those of a "
    "pretrained 0.5B model were. In float32 "
    "the texts are the same, token for token; in bfloat16 they are as long. There random weights make near-ties, which "
    "another shape of pass decides otherwise: no draft stays right, so only wrong ones are tried.",
    "tuning": "Seconds of one step of prompt tuning, against PEFT's prompt tuning under transformers' Trainer on the "
    "same batches in the same order; losses of the first step agree within 0.0001 (bfloat16: 0.1), later ones within "
    "ten times that. What is saved is the prompt's rows, which go through the model once for a batch, and logits and "
    "the last layer where no target is.",
    "evaluation": "Answers, their saliency, and a quarter of the answers generated anew under corrupted prompts, "
    "against the answers alone, as `python -m dpc answer` does it: the trigger from what decoding left, a vector "
    "located only for that quarter. DPC does all that prompt tuning does and more: the question is how much above 1 "
    "it comes. Peak memory is not taken.",
}


QUICK = "**A quick run at toy sizes: it shows that the benchmark works. Its ratios say nothing.**"


class Loss(NamedTuple):
    """Where we do not win: a median ratio above 1 or above its target, or what does not fit."""

    pair: Pair
    quantity: str
    found: Spread | None
    target: float | None
    other_fits: bool = True

    @property
    def is_missed(self) -> bool:
        """Return whether there was a target and it was not met."""
        return self.target is not None and (self.found is None or self.found.median > self.target)


def number(value: float) -> str:
    """Return a figure with three digits that count: 0.123, 1.23, 12.3, 1,234."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _ratio(found: Spread | None, target: float | None = None) -> str:
    """Write a ratio with two digits, or as many more as show on which side of its target it lies."""
    if found is None:
        return "–"
    digits = 2
    while target is not None and target != found.median and round(found.median, digits) == target and digits < 6:
        digits += 1
    median, least, most = (f"{round(value, digits) + 0.0:.{digits}f}" for value in found[:3])  # no -0.00
    return f"{median} ({least}–{most})" if found.least >= 0 else f"{median} ({least} to {most})"


def _target(target: float | None, found: Spread | None) -> str:
    if target is None:
        return ""
    verdict = "not measured" if found is None else "met" if found.median <= target else "**missed**"
    return f"≤ {target:.2f}: {verdict}"


def _figure(runs: Runs, pair: Pair, method: str, column: str) -> str:
    """Return the median of a figure, or why there is none."""
    fits = table.fits(runs, pair.work, method)
    if fits is not True:
        return "not run" if fits is None else "does not fit"
    found = table.middle(runs, pair.work, method, column)
    return number(found.median) if found else "–"


def _row(runs: Runs, pair: Pair) -> list[str]:
    cells = [pair.label, NAMES[pair.ours], NAMES[pair.other]]
    for column, target in (("seconds", pair.targets.time), ("peak_mb", pair.targets.memory)):
        found = table.ratio(runs, pair, column)
        cells += [_figure(runs, pair, method, column) for method in (pair.ours, pair.other)]
        cells += [_ratio(found, target), _target(target, found)]
    return cells


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: int) -> str:
    """Return a Markdown table whose columns from `numeric` on are aligned to the right."""
    marks = ["---" if i < numeric else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows))


def measured_pairs(runs: Runs, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of which the table holds a run."""
    return [p for p in pairs if any(table.fits(runs, p.work, method) is not None for method in (p.ours, p.other))]


def _range(values: Sequence[float]) -> str:
    least, most = f"{min(values):.2f}", f"{max(values):.2f}"
    return least if least == most else f"{least} to {most}"


def sentence(runs: Runs, pairs: Sequence[Pair]) -> str:
    """Say in words what the medians of two methods are over all cases, whoever wins."""
    said = []
    for column, what, better in (("seconds", "time", "faster"), ("peak_mb", "peak memory", "smaller")):
        ratios = [found.median for pair in pairs if (found := table.ratio(runs, pair, column))]
        wins = sum(ratio < 1 for ratio in ratios)
        if ratios:
            said.append(f"{_range(ratios)} of the {what} ({better} in {wins} of {len(ratios)} cases)")
    unfit = sum(table.fits(runs, pair.work, pair.other) is False for pair in pairs)
    end = f"; in {unfit} of {len(pairs)} cases the latter does not fit in memory" if unfit else ""
    what = " and ".join(said) if said else "nothing to compare"
    return f"{NAMES[pairs[0].ours]} against {NAMES[pairs[0].other]}: {what}{end}."


def sentences(runs: Runs, pairs: Sequence[Pair]) -> str:
    """Return a list with a sentence for every two methods."""
    kinds = dict.fromkeys((pair.ours, pair.other) for pair in pairs)
    mine = [[pair for pair in pairs if (pair.ours, pair.other) == kind] for kind in kinds]
    return "\n".join(f"- {sentence(runs, some)[0].upper()}{sentence(runs, some)[1:]}" for some in mine)


def losses(runs: Runs, pairs: Sequence[Pair]) -> list[Loss]:
    """Return by rule where we do not win: no opinion enters."""
    found = []
    for pair in pairs:
        other_fits = table.fits(runs, pair.work, pair.other) is True
        if table.fits(runs, pair.work, pair.ours) is False:
            found.append(Loss(pair, "memory", None, pair.targets.memory, other_fits))
            continue
        for quantity, column in (("time", "seconds"), ("memory", "peak_mb")):
            spread, target = table.ratio(runs, pair, column), getattr(pair.targets, quantity)
            if spread and (spread.median > 1 or (target is not None and spread.median > target)):
                found.append(Loss(pair, quantity, spread, target))
    return found


def _loss_row(loss: Loss) -> list[str]:
    pair = loss.pair
    unfit = "does not fit" + "; the other does" * loss.other_fits
    ratio = _ratio(loss.found, loss.target) if loss.found else unfit
    row = [pair.part, pair.label, NAMES[pair.ours], NAMES[pair.other], loss.quantity, ratio]
    return [*row, _target(loss.target, loss.found)]


def _losses(runs: Runs, pairs: Sequence[Pair]) -> str:
    found = sorted(losses(runs, pairs), key=lambda loss: not loss.is_missed)
    rows = [_loss_row(loss) for loss in found]
    rule = (
        "Every row above whose median ratio is over 1 or over its target, and all that does not fit, by rule; missed "
        "targets first. The floor yields no saliency; it is listed all the same."
    )
    if not rows:
        return f"{rule} There is none."
    return f"{rule}\n\n" + markdown(["part", "case", "ours", "against", "of", "ratio", "target"], rows, 5)


def _part(runs: Runs, part: str, pairs: Sequence[Pair]) -> str:
    head = ["case", "ours", "against", "ours, s", "other, s", "time ratio", "time target"]
    head += ["ours, MB", "other, MB", "memory ratio", "memory target"]
    rows = [_row(runs, pair) for pair in pairs]
    title = TITLES.get(part, part.capitalize())
    return f"## {title}\n\n{ABOUT[part]}\n\n{markdown(head, rows, 3)}\n\n{sentences(runs, pairs)}"


def _growth(runs: Runs, growths: Sequence[suite.Growth]) -> str:
    rows = []
    for growth in growths:
        found = table.slope(runs, growth)
        if found is None:
            continue
        middles = [table.middle(runs, work, growth.method, "seconds") for work in growth.works]
        sizes = [f"{work.options[growth.option]:,}" for work in growth.works]
        rows.append(
            [growth.label, " → ".join(sizes), " → ".join(number(s.median) for s in middles if s), _ratio(found)]
        )
    if not rows:
        return ""
    about = (
        "Ours alone. The slope is that of log seconds over log size: 0 where size costs nothing, 1 where cost is "
        "proportional, 2 where it is quadratic. Fixed costs pull it down at small sizes."
    )
    return f"## How cost grows\n\n{about}\n\n" + markdown(["what grows", "sizes", "seconds", "slope"], rows, 1)


def _intro(rows: Sequence[Row]) -> str:
    return (
        "Written by `make bench` from its table of runs; `python -m benchmarks --page-only` writes it again. Each "
        "method runs in a process of its own; the methods of a case take turns, in an order that changes from round to "
        f"round, {_rounds(rows)}. A ratio is ours divided by the other's in the same round: **below 1, ours is faster "
        "or smaller**; median (smallest–largest). Seconds and MB are medians. Peak memory is what a run takes above "
        "what stood before it (model and data). Every "
        "round checks that the methods did the same work, and the run stops where they did not.\n\n"
        "Shapes are those of real models (`benchmarks/shapes`): Qwen2.5-0.5B whole, of the larger ones two layers and "
        "the whole vocabulary; weights are random, attention is made sharp. Ours is loaded from a model folder and run "
        "as a stage does it, with torch's deterministic switches; the others as their users load them, without."
    )


def _machine(rows: Sequence[Row]) -> str:
    """Say on what it was measured; a table joined from several machines lists them all."""
    names = ("cpu", "cores", "memory_gb", "system", "threads", "limit_gb", "python", *running.PACKAGES)
    lines = []
    for values, count in sorted(Counter(tuple(row[name] for name in names) for row in rows).items()):
        at = dict(zip(names, values, strict=True))
        versions = ", ".join(f"{name} {at[name]}" for name in ("python", *running.PACKAGES))
        lines.append(
            f"- {at['cpu']}, {at['cores']} cores, {at['memory_gb']:g} GiB, {at['system']}; {at['threads']} threads and "
            f"at most {at['limit_gb']:g} GiB of address space a process; {versions}; {count} runs"
        )
    days, loads = sorted({row["day"] for row in rows}), [row["load"] for row in rows]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    lines.append(f"- {when}; load average when a run began: median {median(loads):.1f}, at most {max(loads):.1f}")
    is_busy = median(loads) > min(row["cores"] - row["threads"] for row in rows)
    return "\n".join([*lines, "- **The machine was busy with other work: the ratios scatter.**"] if is_busy else lines)


def _missing(runs: Runs, chosen: suite.Suite) -> str:
    """Name the parts of which the table lacks runs."""
    without = [p for p in chosen.pairs if None in (table.fits(runs, p.work, p.ours), table.fits(runs, p.work, p.other))]
    parts = [*dict.fromkeys(pair.part for pair in without)]
    parts += ["how cost grows"] if any(table.slope(runs, growth) is None for growth in chosen.growths) else []
    return f"**This page is not complete: runs are missing for {', '.join(parts)}.**" if parts else ""


def _refuse_unequal(rows: Sequence[Row]) -> None:
    """Raise DpcError where the methods of a round did not do the same work."""
    rounds: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        rounds.setdefault((row["script"], row["options"], row["round"]), []).append(row)
    for same in rounds.values():
        problem = running.difference(same)
        if problem:
            raise DpcError(f"benchmarks: {problem}; expected the same work from all methods: mend it and run it again")


def _suite(rows: Sequence[Row]) -> suite.Suite:
    """Return the suite a table was made with."""
    return suite.quick() if any(row["quick"] for row in rows) else suite.full()


def text(rows: Sequence[Row], picture: str) -> str:
    """Return the page. Raises DpcError where the methods of a round did not do the same work."""
    runs = table.index(rows)
    _refuse_unequal(rows)
    chosen = _suite(rows)
    pairs = measured_pairs(runs, chosen.pairs)
    note = QUICK if any(row["quick"] for row in rows) else ""
    image = f"![Ratios of saliency's time over sequence length, and of the rest]({picture})"
    parts = [_part(runs, part, mine) for part in ABOUT if (mine := [p for p in pairs if p.part == part])]
    made = [note, _missing(runs, chosen), _intro(rows), _machine(rows), image, *parts]
    made += [_growth(runs, chosen.growths), f"## Where we do not win\n\n{_losses(runs, pairs)}"]
    return "\n\n".join(["# Benchmarks", *(section for section in made if section)]) + "\n"


def _rounds(rows: Sequence[Row]) -> str:
    rounds: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        rounds.setdefault((row["script"], row["options"]), set()).add(row["round"])
    least, most = min(map(len, rounds.values())), max(map(len, rounds.values()))
    return f"{most} round{'s' * (most > 1)}" if least == most else f"{least} to {most} rounds"


def write(rows: Sequence[Row], path: Path) -> None:
    """Write page and plot. Raises DpcError where the table holds no run."""
    if not rows:
        raise DpcError("benchmarks: found no run in the table; expected at least one: run `make bench` first")
    picture = path.with_suffix(".svg")
    said = text(rows, picture.name)
    with atomic(path) as temporary:
        temporary.write_text(said, encoding="utf-8")
    runs = table.index(rows)
    figure = plot.draw(runs, measured_pairs(runs, _suite(rows).pairs), NAMES)
    with atomic(picture) as temporary:
        figure.savefig(temporary, format="svg")
