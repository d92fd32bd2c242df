"""The page about devices, and nothing but what stands in the rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import Any

from benchmarks import trigger
from benchmarks.page import NAMES, markdown, number

Rows = Sequence[dict[str, Any]]
HEAD = """# Saliency on a device

Written by `python -m benchmarks.device`; its rows are in `device.jsonl`. *Lean* is what the study runs; *eager* keeps
every attention matrix and its gradient (`attn_implementation="eager"`, `retain_grad`). Weights are random, 100 prompt
vectors, half of the other tokens are rationale; S counts all of them. Times are of one pass at batch 1: the median,
with the fastest and slowest, over rounds that measure all cases in turn, each in a fresh process after a pass to warm
up. *Peak* is the most memory above weights and inputs. *Largest batch* is the most rows of which the longest has S
tokens, found by doubling until memory runs out and bisecting."""
NO_GPU = """**No GPU was at hand when this was written.** These are figures of a small shape on a CPU that had other
work to do as well, so times are noisy. Figures of Llama2-13B's and Llama3-8B's shapes do not exist yet: run
`python -m benchmarks.card` on a machine with a GPU (8 minutes; it needs the embedded study in results/demo), or
`python -m benchmarks.device` for all of them."""


def page(rows: Rows) -> str:
    """Return the page: one section per device."""
    ordered = sorted(rows, key=lambda row: (row["device"] != "cuda", row["name"]))
    parts = [HEAD, *([] if any(row["device"] == "cuda" for row in rows) else [NO_GPU])]
    for name, own in groupby(ordered, key=lambda row: str(row["name"])):
        parts += section(name, list(own))
    return "\n\n".join(parts) + "\n"


def section(name: str, rows: Rows) -> list[str]:
    """Return what is to be said of one device."""
    timed, sized, checked = ([row for row in rows if row["part"] == part] for part in ("time", "batch", "trigger"))
    parts = [f"## {name}\n\n{_conditions(rows)}"]
    if timed or sized:
        parts.append(costs(timed, sized))
    if checked:
        parts += ["### Does bfloat16 fire where float32 does?", agreement(checked), flips(checked)]
    return parts


def _conditions(rows: Rows) -> str:
    first = rows[0]
    said = [f"torch {', '.join(sorted({row['torch'] for row in rows}))}"]
    measured = [row for row in rows if row["part"] != "trigger"]
    if measured:
        said.append(f"weights and passes in {', '.join(sorted({row['dtype'] for row in measured}))}")
    timed = [row for row in measured if row.get("seconds")]
    if timed:
        passes, threads = ({*map(of, timed)} for of in (lambda row: len(row["seconds"]), lambda row: row["threads"]))
        said.append(f"medians of {_or(passes)} passes, CPU threads: {_or(threads)}")
    if first["device"] == "cpu" and measured:
        rooms = sorted({f"{row['room_mb']:,} MB" for row in measured})
        said.append(f"largest batch within {', '.join(rooms)} above the model, a limit set for the measurement")
    return "; ".join(said) + "."


def _or(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def costs(timed: Rows, sized: Rows) -> str:
    """Return the table of times, peaks and batches; ratios are to eager at the same shape and length."""
    of = {part: {_key(row): row for row in rows} for part, rows in (("time", timed), ("batch", sized))}
    keys = sorted({*of["time"], *of["batch"]}, key=lambda key: (key[0], key[1], list(NAMES).index(key[2])))
    head = ["Shape", "S", "Method", "Seconds", "of eager's", "Peak, MB", "of eager's", "Largest batch"]
    return markdown(head, [_cost(key, of["time"], of["batch"]) for key in keys], 3)


def _key(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["shape"], row["length"], row["method"]


def _cost(key: tuple[str, int, str], timed: dict[Any, Any], sized: dict[Any, Any]) -> list[str]:
    row, eager = timed.get(key), timed.get((*key[:2], "eager"))
    return [key[0], f"{key[1]:,}", NAMES[key[2]], *_figures(row, eager), _batch(sized.get(key))]


def _figures(row: dict[str, Any] | None, eager: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["–"] * 4
    if not row["seconds"]:
        return ["does not fit", "–", "does not fit", "–"]
    low, middle, high = (number(of(row["seconds"])) for of in (min, median, max))
    ratios = ["–", "–"]
    if eager and eager["seconds"] and eager is not row:
        time = median(row["seconds"]) / median(eager["seconds"])
        ratios = [f"{time:.2f}", f"{row['peak_mb'] / eager['peak_mb']:.2f}"]
    return [f"{middle} ({low}–{high})", ratios[0], number(row["peak_mb"]), ratios[1]]


def _batch(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"at least {row['rows']}" if row["rows"] == row["most"] else str(row["rows"])


def agreement(checked: Rows) -> str:
    """Return the table of agreement, one row per cell, and what it comes to."""
    rows = []
    for found in checked:
        share, alike, fired = trigger.lowest(found)
        own = ["never fires", "–"] if found["share"] is None else [f"{found['share']:g}", str(trigger.agreed(found))]
        rows.append(
            [found["cell"], found["model"], str(found["questions"]), *own, str(alike), f"{share:g}", str(fired)]
        )
    head = [
        "Cell",
        "Model",
        "Questions",
        "R of the study",
        "Alike",
        "Least alike over the grid",
        "at R",
        "fire there in float32",
    ]
    kept = sum(map(trigger.holds, checked))
    said = f"At least {trigger.WANTED:.0%} are decided alike at every R of the grid in {kept} of {len(checked)} cells."
    about = "The first test questions of each cell, with the rationales the study generated, measured in both dtypes."
    return f"{about} {said}\n\n{markdown(head, rows, 3)}"


def flips(checked: Rows) -> str:
    """Return the questions that are decided otherwise at any R."""
    rows = [
        [found["cell"], flip["problem_id"], *(f"{flip[dtype]:.3f}" for dtype in trigger.DTYPES), _shares(flip["at"])]
        for found in checked
        for flip in found["flips"]
    ]
    head = ["Cell", "Question", *(f"Share in {dtype}" for dtype in trigger.DTYPES), "Flips at R"]
    return markdown(head, rows, 2) if rows else "No question is decided otherwise at any R of the grid."


def _shares(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
