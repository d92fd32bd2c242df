"""Run every pair of methods in fresh processes, interleaved; write the table of runs, the page and the plot."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import running, suite, table
from dpc.errors import DpcError

Runs = dict[tuple[str, str], tuple[suite.Work, list[str]]]


SCALE, LOOK = "scale", 0.02
"""The part with a page of its own: CPU stages; asked for by name alone, it needs an hour and 10 GB of disk."""
START_SECONDS = 8
"""What a process takes to import and make its model."""


def say(text: str) -> None:
    """Print to standard error: progress is no result."""
    print(text, file=sys.stderr, flush=True)


def estimate(runs: Runs, rounds: int, known: Sequence[dict[str, Any]]) -> str:
    """Say how long it will take, from what the same runs took before."""
    before: dict[tuple[str, str, str], list[float]] = {}
    for row in known:
        before.setdefault((row["script"], row["options"], row["method"]), []).append(row["wall_seconds"])
    total, count, unknown = 0.0, 0, 0
    for key, (_, methods) in runs.items():
        for method in methods:
            times = before.get((*key, method))
            count += rounds
            unknown += 0 if times else rounds
            total += rounds * median(times) if times else 0
    minutes = (total + unknown * START_SECONDS) / 60
    if not unknown:
        return f"{count} runs, about {minutes:.0f} minutes by the last table"
    return f"{count} runs, over {minutes:.0f} minutes: {unknown} were never timed and count {START_SECONDS} s, to start"


def one_round(
    runs: Runs, round_: int, args: argparse.Namespace, starved: set[tuple[str, str, str]]
) -> Iterator[list[dict[str, Any]]]:
    """Run everything once, and yield the rows of each piece of work. Raises DpcError where its methods differ.

    What had too little memory joins `starved` and is left out from then on.
    """
    machine = running.machine(args.threads, args.memory_gb)
    for key, (work, methods) in runs.items():
        here = []
        for place, method in enumerate(running.order(methods, round_)):
            if (*key, method) in starved:
                continue
            found = running.run(work, method, args.threads, args.memory_gb)
            if found["outcome"] == "memory":
                starved.add((*key, method))
            names = {"script": work.script, "options": work.key, "method": method, "round": round_, "place": place}
            day = {"day": datetime.now(UTC).date().isoformat(), "quick": args.quick}
            here.append(names | found | day | machine)
            say(f"round {round_ + 1}  {_summary(work, here[-1])}")
        problem = running.difference(here)
        if problem:
            raise DpcError(f"benchmarks: {problem}; expected the same work from all methods: this is not kept")
        yield here


def _summary(work: suite.Work, row: dict[str, Any]) -> str:
    sizes = " ".join(f"{name}={value}" for name, value in work.options.items())
    figures = ((row["seconds"], "{:.3f} s"), (row["peak_mb"], "{:.0f} MB"))
    said = ", ".join(form.format(value) for value, form in figures if value is not None)
    measured = said if row["outcome"] == "ok" else "does not fit"
    return f"{work.script} {row['method']}: {measured}  ({sizes})"


def measure(args: argparse.Namespace) -> None:
    """Run the suite and write the table after each piece of work; rows of work that is not selected stay."""
    before = table.read(args.table) if args.table.exists() else []
    runs = suite.runs(suite.selected(suite.quick() if args.quick else suite.full(), args.only))
    rows = [row for row in before if (row["script"], row["options"]) not in runs]
    say(estimate(runs, args.rounds, before))
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores - args.threads:
        say(f"load average {load:.1f} on {cores} cores: others are at work, ratios will scatter")
    started, starved = time.perf_counter(), set[tuple[str, str, str]]()
    for round_ in range(args.rounds):
        for here in one_round(runs, round_, args, starved):
            rows += here
            table.write(rows, args.table)
        passed = (time.perf_counter() - started) / 60
        each, left = passed / (round_ + 1), args.rounds - round_ - 1
        say(f"round {round_ + 1} of {args.rounds} is over after {passed:.1f} minutes; at most {each * left:.0f} more")
        if left and passed + each > args.minutes:
            say(f"another round could take it over {args.minutes:g} minutes (--minutes): it ends here")
            break


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often everything is run at most (3; with --quick 2)")
    parser.add_argument(
        "--only", action="append", choices=[*suite.PARTS, SCALE], default=[], help="a part; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, in files of their own")
    parser.add_argument("--page-only", action="store_true", help="write the page from the table that is there")
    parser.add_argument(
        "--minutes", type=float, help="no round begins that would probably end later (70; with --quick 5)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-gb", type=float, default=20, help="address space a process may have, in GiB")
    parser.add_argument("--table", type=Path, help="default: results/bench/benchmarks.parquet, or quick.parquet")
    parser.add_argument("--page", type=Path, help="default: docs/benchmarks.md, or results/bench/quick.md; plot beside")
    return parser


def _completed(args: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on `--quick`."""
    results = Path("results/bench")
    args.minutes = (5 if args.quick else 70) if args.minutes is None else args.minutes
    args.rounds = args.rounds or (2 if args.quick else 3)
    args.table = args.table or results / ("quick.parquet" if args.quick else "benchmarks.parquet")
    args.page = args.page or (results / "quick.md" if args.quick else Path("docs/benchmarks.md"))
    return args


def main(given: Sequence[str] | None = None) -> int:
    """Run, or only write the page; return the exit code."""
    from benchmarks import page, scale, scale_page

    args = _completed(arguments().parse_args(given))
    try:
        if set(args.only) != {SCALE}:
            if not args.page_only:
                measure(args)
            page.write(table.read(args.table), args.page)
            scale_page.write([] if args.quick else scale.read(scale.ROWS), args.page)
            say(f"runs: {args.table}   page: {args.page}   plot: {args.page.with_suffix('.svg')}")
        if SCALE in args.only:
            return scale.main(["--page-only"] if args.page_only else ["--share", str(LOOK)] if args.quick else [])
    except DpcError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
