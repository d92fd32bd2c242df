"""Every CPU stage on synthetic cells of the paper's size: seconds and peak memory beside what its rule asks for.

`python -m benchmarks --only scale` writes docs/scale.md. `--share 0.1` takes a tenth of the questions, for a look. The
tables of a cell take up to 10 GB in a temporary folder, which is removed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks import cell_tables as made
from benchmarks.cell_tables import Size
from benchmarks.page import markdown
from dpc.analysis.studies.saliency_variants import measurements
from dpc.config.settings import Config, load_config
from dpc.config.slices import slice_for
from dpc.errors import DpcError
from dpc.pipeline import cost, cpu_cost
from dpc.plans.registry import edits_of
from dpc.prompts.edits import ACT, BASE, UNPROMPTED
from dpc.storage import tables

ROOT = Path(__file__).parents[1]
RECIPE, SEED, LAST_HEAD = "paper", 0, {"layer": 3, "head": 2, "gain": 1.0, "se": 0.1, "questions": 200}
CELLS = {"llama2-13b": ("math", 40, 64, 1024), "llama3-8b": ("gsm8k", 32, 64, 512)}
"""Model: dataset, layers, and the shortest and longest rationale."""
SWEPT = {"gammas": [0.0, 30.0]}
LIMIT_MB, LIMITS = 4000, {"sweep_choices": 120.0}
"""No stage may take more, or more seconds than these, others a minute."""
Row = dict[str, Any]
LAUNCH = """import json, os, sys
_, status, used = os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss]))"""
"""A small process in between: the kernel counts the memory of whoever starts a process as that process's own."""


def config_of(model: str, dataset: str) -> Config:
    """Return the shipped configuration for one cell, with a part `sweep`."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["study"] |= {"models": [model], "datasets": [dataset], "recipes": [RECIPE], "prompt_seeds": [SEED]}
    raw["sensitivity"] |= SWEPT
    return load_config(raw)


@dataclass
class Bench:
    """One cell: its tables lie in `folder`, `rows` grows by one for every stage that ran."""

    model: str
    folder: Path
    share: float
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dataset, layers, *lengths = CELLS[self.model]
        self.config = config_of(self.model, self.dataset)
        dataset = self.config.datasets[self.dataset]
        counts = {"calibration": dataset.splits.calibration, "test": cost.test_rows(dataset)}
        scaled = {split: max(60, round(self.share * count)) for split, count in counts.items()}
        self.size = Size(scaled, layers, self.config.recipes[RECIPE].vectors, *lengths)
        self.place = cost.Place(self.model, self.dataset, RECIPE)

    def at(self, name: str) -> Path:
        """Return the path of a table."""
        return self.folder / f"{name}.parquet"

    def run(
        self, rule: str, stage: str = "", more: dict[str, Any] | None = None, about: str = "", **flags: Any
    ) -> None:
        """Run a rule's stage in a fresh process and note what it took. Raises DpcError if it fails.

        `more` goes into its settings; `about` tells the jobs of a rule apart.
        """
        settings = slice_for(stage or rule, self.config, **self._wanted(more or {}))
        line = [sys.executable, "-m", "dpc", stage or rule, "--settings", settings]
        for flag, value in flags.items():
            values = value if isinstance(value, list) else [value]
            line += [f"--{flag.replace('_', '-')}", *map(str, values)]
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        launched = [sys.executable, "-S", "-c", LAUNCH, *line]
        done = subprocess.run(launched, env=environment, stdout=subprocess.PIPE, check=True)
        status, cpu_seconds, peak_kb = json.loads(done.stdout.splitlines()[-1])
        if status:
            raise DpcError(f"benchmarks: {rule} ended with {os.waitstatus_to_exitcode(status)}; expected 0")
        self.rows.append({
            "cell": f"{self.model} × {self.dataset}", "rule": rule, "about": about,
            "seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds, "peak_mb": peak_kb / 1024,
            "asked_mb": cpu_cost.memory_mb(self.config, rule, [self.place]),
            "asked_minutes": cpu_cost.minutes(self.config, rule, [self.place]),
        })  # fmt: skip
        print(f"{rule}: {self.rows[-1]['cpu_seconds']:.1f} s, {self.rows[-1]['peak_mb']:.0f} MB", file=sys.stderr)

    def _wanted(self, more: dict[str, Any]) -> dict[str, Any]:
        names = {"model_name": self.model, "dataset_name": self.dataset}
        lists = {"models": [self.model], "datasets": [self.dataset], "recipes": [RECIPE], "study": "scale"}
        return {**names, **lists, "recipe": self.config.recipes[RECIPE], "seed": SEED, **more}

    def grade(self, answers: str, split: str) -> Path:
        """Grade a part's answers."""
        rule = "grade_unprompted" if answers == "unprompted" else "grade_answers"
        out, gold = self.at(f"{answers}-{split}-verdicts"), self.folder / "gold" / f"{split}.parquet"
        paths: dict[str, Any] = {"answers": self.at(answers), "gold": gold, "split": split, "out": out}
        self.run(rule, "grade_answers", about=f"{answers}, {split}", **paths)
        return out

    def answer(self, part: str, *plans: str) -> None:
        """Write the regenerations that plans ask for."""
        planned = edits_of(tables.read([self.at(plan) for plan in plans], "plans"))
        split = "calibration" if part in ("calibration", "sweep") else "test"
        keys = zip(planned["problem_id"], itertools.repeat(split), planned["edit_id"])
        made.write_answers(self.at(part), self.size, keys)


def prepare(bench: Bench) -> None:
    """Write what comes before the first CPU stage."""
    size, ids = bench.size, bench.size.ids()
    made.write_problems(bench.folder, size)
    for name, edit_id in (("base", BASE), ("unprompted", UNPROMPTED), ("act", ACT)):
        keys = ((key, split, edit_id) for key, split in ids if name != "act" or split == "test")
        made.write_answers(bench.at(name), size, keys)
    made.write_saliency(
        bench.at("saliency"), "saliency", size, [{"problem_id": key, "split": split} for key, split in ids]
    )
    heads = [{**LAST_HEAD, "kept": True, "confirmed": True}]
    tables.write(bench.at("heads"), "act_heads", pd.DataFrame(heads), {})


def study(bench: Bench) -> None:
    """Run every CPU stage of the cell in the order of the work, and write what GPU stages make in between."""
    at, run = bench.at, bench.run
    study_plans = {"plans": ["always", "static_candidates"]}
    run("read_flow", saliency=at("saliency"), generations=at("base"), out=at("flow"))
    base = [bench.grade("base", split) for split in ("calibration", "test")]
    unprompted = [bench.grade("unprompted", split) for split in ("calibration", "test")]
    run("choose_exemplars", generations=at("base"), verdicts=base[1], out=at("chosen"))
    curves: dict[str, Any] = {name: at(name) for name in ("layers", "accumulation", "positions", "findings")}
    bins = {"position_bins": bench.config.figures.position_bins}
    run("run_study", more=bins, saliency=at("saliency"), flow=at("flow"), base=base, **curves)
    run("plan_calibration", "plan", study_plans, flow=at("flow"), split="calibration", out=at("plans-calibration"))
    bench.answer("calibration", "plans-calibration")
    regenerated = [bench.grade("calibration", "calibration")]
    run("fit_thresholds", flow=at("flow"), base=base[0], regenerated=regenerated[0], plans=at("plans-calibration"),
        out=at("thresholds"), curve=at("curve"))  # fmt: skip
    run("plan", flow=at("flow"), split="test", thresholds=at("thresholds"), act_heads=at("heads"),
        out=at("plans-test"))  # fmt: skip
    run("plan_oracles", "plan", {"plans": bench.config.study.oracles}, flow=at("flow"), split="test",
        verdicts=base[1], out=at("plans-oracles"))  # fmt: skip
    run("plan_sweep", flow=at("flow"), out=at("plans-sweep"))
    for part in ("test", "oracles", "sweep"):
        bench.answer(part, f"plans-{part}")
    judged = {"act": bench.grade("act", "test")} | {part: bench.grade(part, "test") for part in ("test", "oracles")}
    regenerated += [judged["test"], bench.grade("sweep", "calibration")]
    run("evaluate", plans=[at("plans-test"), at("plans-oracles")], unprompted=at("unprompted"), generations=at("base"),
        act=at("act"), regenerations=[at("test"), at("oracles")],
        verdicts=[unprompted[1], base[1], *judged.values()], questions=at("questions"), flow=at("flow"),
        outcomes=at("outcomes"), out=at("evaluation"))  # fmt: skip
    measured_again(bench)
    run("compare_flows", base=at("flow"), corrupted=at("corrupted"), plans=at("plans-test"), outcomes=at("outcomes"),
        out=at("mechanism"))  # fmt: skip
    run("gather_evidence", flow=at("flow"), base=base, unprompted=unprompted, thresholds=at("thresholds"),
        out=at("evidence"))  # fmt: skip
    swept = [at(f"plans-{part}") for part in ("calibration", "test", "sweep")]
    run("sweep_choices", saliency=at("saliency"), flow=at("flow"), base=base, plans=swept, regenerated=regenerated,
        thresholds=at("thresholds"), out=at("sensitivity"))  # fmt: skip
    run("compare_variants", saliency=at("variants-saliency"), generations=at("base"), plans=at("plans-calibration"),
        base=base[0], regenerated=regenerated[0], thresholds=at("thresholds"), out=at("variants"))  # fmt: skip
    report(bench)


def measured_again(bench: Bench) -> None:
    """Write saliency under corrupted prompts, in other ways, and the full maps of the exemplars."""
    planned = edits_of(tables.read(bench.at("plans-test"), "plans").query("plan in @bench.config.mechanism.plans"))
    keys = [{"problem_id": r.problem_id, "split": "test", "edit_id": r.edit_id} for r in tables.rows(planned)]
    made.write_saliency(bench.at("corrupted"), "corrupted", bench.size, keys)
    few = [key for key, split in bench.size.ids() if split == "calibration"][: bench.config.variants.rows]
    ways = [
        {"variant": way, "problem_id": key, "split": "calibration"}
        for way in measurements(bench.config.saliency)
        for key in few
    ]
    made.write_saliency(bench.at("variants-saliency"), "variant_saliency", bench.size, ways)
    made.write_exemplars(bench.at("exemplars"), bench.size, tables.read(bench.at("chosen"), "chosen"))


def report(bench: Bench) -> None:
    """Draw figures and write tables, of the one cell."""
    at, run, out = bench.at, bench.run, bench.folder / "report"
    outcomes: dict[str, Any] = {"outcomes": at("outcomes"), "evaluation": at("evaluation")}
    curves: dict[str, Any] = {name: at(name) for name in ("layers", "accumulation", "positions", "findings")}
    run("draw_figures", **outcomes, **curves, evidence=at("evidence"), curves=at("curve"), exemplars=at("exemplars"),
        folder=out)  # fmt: skip
    run("draw_overview", **outcomes, folder=out)
    run("draw_mechanism", mechanisms=at("mechanism"), folder=out)
    run("draw_evidence", evidence=at("evidence"), sensitivity=at("sensitivity"), folder=out)
    run("write_tables", **outcomes, findings=at("findings"), folder=out)
    run("write_evidence", evidence=at("evidence"), outcomes=at("outcomes"), sensitivity=at("sensitivity"),
        variants=at("variants"), mechanism=at("mechanism"), folder=out)  # fmt: skip


def measure(models: list[str], share: float, rows: Path) -> None:
    """Measure cells; write a row per stage to `rows`, where those of other cells stay."""
    for model in models:
        with tempfile.TemporaryDirectory(prefix="dpc-scale-") as folder:
            bench = Bench(model, Path(folder), share)
            prepare(bench)
            study(bench)
        others = [row for row in read(rows) if row["cell"] != bench.rows[0]["cell"]]
        rows.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({**row, "share": share}) for row in bench.rows]
        rows.write_text("\n".join([*map(json.dumps, others), *lines]) + "\n")


def read(rows: Path) -> list[Row]:
    """Return the rows measured so far."""
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def faults(rows: list[Row]) -> list[str]:
    """Return, one a line, what does not hold: memory and time asked for, and the limits above."""
    found = []
    for row in rows:
        most = min(row["asked_mb"], LIMIT_MB)
        if row["peak_mb"] > most:
            found.append(f"{row['cell']}, {row['rule']}: {row['peak_mb']:.0f} MB, expected at most {most}")
        longest = min(60 * row["asked_minutes"], LIMITS.get(row["rule"], 60.0))
        if row["cpu_seconds"] > longest:
            found.append(f"{row['cell']}, {row['rule']}: {row['cpu_seconds']:.0f} s, expected at most {longest:.0f}")
    return found


HEAD = """# CPU stages at the paper's size

Written by `python -m benchmarks --only scale`; its rows are in `scale.jsonl`. Tables of one cell are synthetic: every
question's saliency, answers under every plan, saliency again where DPC fires. *Seconds* are of the processor (one
core), *passed* by the clock, on a machine that others may use. *Asked* is what the rule asks a scheduler for at its
first attempt."""


def page(rows: list[Row]) -> str:
    """Return docs/scale.md: nothing but what stands in the rows."""
    parts = [HEAD]
    names = ["rule", "seconds", "passed", "peak MB", "asked MB", "asked minutes"]
    for cell, group in itertools.groupby(rows, key=lambda row: row["cell"]):
        own = list(group)
        lines = [
            [f"`{row['rule']}` {row['about']}".strip(), f"{row['cpu_seconds']:.1f}", f"{row['seconds']:.1f}",
             f"{row['peak_mb']:,.0f}", f"{row['asked_mb']:,}", str(row["asked_minutes"])]
            for row in own
        ]  # fmt: skip
        size = "" if own[0]["share"] == 1 else f"**A look at {own[0]['share']:g} of the questions.**\n\n"
        parts.append(f"## {cell}\n\n{size}{markdown(names, lines, 1)}")
    told = [f"- **Missed**: {line}" for line in faults(rows)]
    parts.append("\n".join(told or ["Every stage fits its first attempt."]))
    return "\n\n".join(parts) + "\n"


def main(given: list[str] | None = None) -> int:
    """Measure, write rows and page; return the exit code: 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--model", action="append", choices=list(CELLS), default=[], help="default: both cells")
    parser.add_argument("--share", type=float, default=1.0, help="of the questions")
    parser.add_argument("--page-only", action="store_true", help="write the page from the rows that are there")
    parser.add_argument("--page", type=Path, help="default: docs/scale.md, or results/bench/scale.md of a share")
    args = parser.parse_args(given)
    out = args.page or Path("docs/scale.md" if args.share == 1 else "results/bench/scale.md")
    if not args.page_only:
        measure(args.model or list(CELLS), args.share, out.with_suffix(".jsonl"))
    rows = read(out.with_suffix(".jsonl"))
    out.write_text(page(rows))
    print("\n".join([f"page: {out}", *faults(rows)]), file=sys.stderr)
    return 1 if faults(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
