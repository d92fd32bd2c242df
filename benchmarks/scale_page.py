"""The section of docs/benchmarks.md on CPU stages at the paper's size, and what of it does not hold."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from benchmarks.page import markdown
from dpc.storage.files import atomic

Row = dict[str, Any]
LIMIT_MB, LIMITS = 4000, {"sweep_choices": 120.0, "dry run": 5.0}
"""No stage may take more memory, or more seconds than these; others a minute."""
TITLE = "## CPU stages at the paper's size"
HEAD = f"""{TITLE}

Written by `python -m benchmarks --only scale`; its rows are in `scale.jsonl`. The tables of a cell are synthetic: the
saliency of every question, answers under every plan, saliency again where DPC fires. Figures show three such cells (one
per prompt seed) and tables 27 (the study). *Seconds* are of the processor (one core), *passed* by the clock, on a
machine that others may use. *Asked* is what the rule asks a scheduler for at its first attempt. The dry run is
`snakemake -n` of `config.yaml`: the fastest of three."""
NAMES = ["rule", "seconds", "passed", "peak MB", "asked MB", "asked minutes"]


def faults(rows: list[Row]) -> list[str]:
    """Return, one a line, what does not hold: memory and time asked for, and the limits above."""
    missed = []
    for row in rows:
        most = min(row["asked_mb"], LIMIT_MB)
        if row["peak_mb"] > most:
            missed.append(f"{row['cell']}, {row['rule']}: {row['peak_mb']:.0f} MB, expected at most {most}")
        longest = min(60 * row["asked_minutes"], LIMITS.get(row["rule"], 60.0))
        if row["cpu_seconds"] > longest:
            missed.append(f"{row['cell']}, {row['rule']}: {row['cpu_seconds']:.0f} s, expected at most {longest:.0f}")
    return missed


def section(rows: list[Row]) -> str:
    """Return the section: nothing but what stands in the rows."""
    parts = [HEAD]
    for cell, group in itertools.groupby(rows, key=lambda row: row["cell"]):
        measured = list(group)
        share = measured[0]["share"]
        look = "" if share == 1 else f"**A look at {share:g} of the questions.**\n\n"
        parts.append(f"### {cell}\n\n{look}{markdown(NAMES, [_line(row) for row in measured], 1)}")
    missed = [f"- **Missed**: {line}" for line in faults(rows)]
    parts.append("\n".join(missed or ["Every stage fits its first attempt."]))
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> list[str]:
    """Return the cells of a line of the table."""
    return [
        f"`{row['rule']}` {row['about']}".strip(),
        f"{row['cpu_seconds']:.1f}",
        f"{row['seconds']:.1f}",
        f"{row['peak_mb']:,.0f}",
        f"{row['asked_mb']:,}",
        str(row["asked_minutes"]),
    ]


def write(rows: list[Row], page: Path) -> None:
    """Write the section at the end of a page, in place of what it said before; nothing where no row is."""
    if not rows:
        return
    before = page.read_text().partition(TITLE)[0].rstrip() if page.exists() else ""
    with atomic(page) as temporary:
        temporary.write_text("\n\n".join(filter(None, [before, section(rows)])))
