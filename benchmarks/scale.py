"""Every CPU stage on synthetic cells of the paper's size: seconds and peak memory beside what its rule asks for.

`python -m benchmarks --only scale` writes docs/scale.jsonl and the last section of docs/benchmarks.md. `--share 0.1`
takes a tenth of the questions, for a look. The tables of a cell take up to 10 GB in a temporary folder, which is
removed.
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
from benchmarks import scale_page
from benchmarks.cell_tables import Size
from benchmarks.scale_page import Row
from dpc.analysis.readings.locating import NORM, RULES
from dpc.analysis.studies.saliency_variants import measurements
from dpc.config.settings import Config, load_config
from dpc.config.told import slice_for
from dpc.errors import DpcError
from dpc.pipeline import cost, cpu_cost
from dpc.plans.registry import edits_of
from dpc.prompts.edits import ACT, BASE, UNPROMPTED
from dpc.report import exhibits
from dpc.storage import adapter_files, tables
from dpc.tasks.splits import NAMES as SPLITS

ROOT = Path(__file__).parents[1]
ROWS = Path("docs/scale.jsonl")
RECIPE, SEED, LAST_HEAD = "paper", 0, {"layer": 3, "head": 2, "gain": 1.0, "se": 0.1, "questions": 200}
CELLS = {"llama2-13b": ("math", 40, 64, 1024), "llama3-8b": ("gsm8k", 32, 64, 512)}
"""Model: dataset, layers, and the shortest and longest rationale."""
SWEPT = {"gammas": [0.0, 30.0]}
SEEDS, CELLS_OF_STUDY, DRY_RUNS = 3, 27, 3
"""Cells that the figures of a model, dataset and recipe show, and that the tables of the study show."""
EVALUATED = ("test", "oracles")
"""Parts of the regenerations that `evaluate` reads."""
MASKED = 4
"""Vectors that DPC masks in some question of the cell."""
PROFILE = {"asked_mb": 4000, "asked_minutes": 60}
"""What slurm/profile.yaml asks for where a rule names nothing."""
LAUNCH = """import json, os, sys
_, status, used = os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss]))"""
"""A small process in between: the kernel counts the memory of whoever starts a process as that process's own."""


def shipped() -> Config:
    """Return the shipped configuration with a part `sweep`."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
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
        self.dataset, layers, shortest, longest = CELLS[self.model]
        self.config = shipped()
        dataset = self.config.datasets[self.dataset]
        counts = {"calibration": dataset.splits.calibration, "test": cost.test_rows(dataset)}
        scaled = {split: max(60, round(self.share * count)) for split, count in counts.items()}
        shape = json.loads((ROOT / f"benchmarks/shapes/{self.model}.json").read_text())
        words = shape["vocab_size"], max(8, round(self.share * shape["hidden_size"]))
        self.size = Size(scaled, layers, self.config.recipes[RECIPE].vectors, shortest, longest, dataset.task, *words)
        self.place = cost.Place(self.model, self.dataset, RECIPE)

    def at(self, name: str) -> Path:
        """Return the path of a table."""
        return self.folder / f"{name}.parquet"

    def copies(self, scope: exhibits.Scope, cells: int) -> list[Path]:
        """Return the tables that figures and tables of a scope are made from: of so many cells, all as this one."""
        return [
            _linked(self.at(name), cell)
            for name in exhibits.needed(scope)
            for cell in range(1 if name == "exemplars" else cells)
        ]

    def run(
        self, rule: str, stage: str = "", more: Row | None = None, about: str = "", cells: int = 1, **flags: Any
    ) -> None:
        """Run a rule's stage in a fresh process and note what it took. Raises DpcError if it fails.

        `more` goes into its settings; `about` tells the jobs of a rule apart; `cells` is how many the job is about.
        """
        settings = slice_for(stage or rule, self.config, **self._wanted(more or {}))
        line = [sys.executable, "-m", "dpc", stage or rule, "--settings", settings]
        for flag, value in flags.items():
            values = value if isinstance(value, list) else [value]
            line += [f"--{flag.replace('_', '-')}", *map(str, values)]
        seconds, cpu_seconds, peak_mb = measured(rule, line)
        self.rows.append({
            "cell": f"{self.model} × {self.dataset}", "rule": rule, "about": about, "seconds": seconds,
            "cpu_seconds": cpu_seconds, "peak_mb": peak_mb, **self.asked(rule, cells),
        })  # fmt: skip
        print(f"{rule}: {cpu_seconds:.1f} s, {peak_mb:.0f} MB", file=sys.stderr)

    def asked(self, rule: str, cells: int) -> Row:
        """Return what a rule asks for at its first attempt, of a job about so many cells."""
        if rule not in cpu_cost.NEEDS:
            return PROFILE
        job = self.config, rule, [self.place] * cells
        return {"asked_mb": cpu_cost.memory_mb(*job), "asked_minutes": cpu_cost.minutes(*job)}

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


def measured(name: str, line: list[str]) -> tuple[float, float, float]:
    """Run a command line; return its seconds, its processor seconds and its peak in MB. Raises DpcError if it fails."""
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launched = [sys.executable, "-S", "-c", LAUNCH, *line]
    done = subprocess.run(launched, env=environment, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    status, cpu_seconds, peak_kb = json.loads(done.stdout.splitlines()[-1])
    if status:
        raise DpcError(f"benchmarks: {name} ended with {os.waitstatus_to_exitcode(status)}; expected 0")
    return time.perf_counter() - started, cpu_seconds, peak_kb / 1024


def _linked(table: Path, number: int) -> Path:
    """Return another name of a table, so that it counts as another cell's."""
    link = table.with_name(f"{number}-{table.name}")
    link.unlink(missing_ok=True)
    link.hardlink_to(table)
    return link


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
    questions(bench)
    prompted(bench)
    study_plans = {"plans": ["always", "static_candidates"]}
    run("read_flow", saliency=at("saliency"), generations=at("base"), out=at("flow"))
    base = [bench.grade("base", split) for split in ("calibration", "test")]
    unprompted = [bench.grade("unprompted", split) for split in ("calibration", "test")]
    run("choose_exemplars", generations=at("base"), verdicts=base[1], out=at("chosen"))
    curves: dict[str, Any] = {name: at(name) for name in ("layers", "accumulation", "positions", "findings")}
    bins = {"position_bins": bench.config.figures.position_bins}
    run("run_study", more=bins, saliency=at("saliency"), flow=at("flow"), base=base, **curves)
    run("plan_calibration", more=study_plans, flow=at("flow"), out=at("plans-calibration"))
    bench.answer("calibration", "plans-calibration")
    regenerated = [bench.grade("calibration", "calibration")]
    run("fit_thresholds", flow=at("flow"), base=base[0], regenerated=regenerated[0], plans=at("plans-calibration"),
        out=at("thresholds"), curve=at("threshold_curve"))  # fmt: skip
    run("plan", flow=at("flow"), thresholds=at("thresholds"), act_heads=at("heads"), out=at("plans-test"))
    run("plan_oracles", flow=at("flow"), verdicts=base[1], out=at("plans-oracles"))
    run("plan_sweep", flow=at("flow"), out=at("plans-sweep"))
    for part in (*EVALUATED, "sweep"):
        bench.answer(part, f"plans-{part}")
    judged = {"act": bench.grade("act", "test")} | {part: bench.grade(part, "test") for part in EVALUATED}
    regenerated += [judged["test"], bench.grade("sweep", "calibration")]
    run("evaluate", plans=[at(f"plans-{part}") for part in EVALUATED], unprompted=at("unprompted"),
        generations=at("base"), act=at("act"), options=[], regenerations=[at(part) for part in EVALUATED],
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
    explorer(bench)
    validation(bench)


def questions(bench: Bench) -> None:
    """Read, cut and grade the rows of the dataset; render its prompts with worked examples."""
    folder, (train, test) = bench.folder / "problems", made.write_rows(bench.folder, bench.size)
    gold = [folder / f"{split}.parquet" for split in SPLITS]
    asked: dict[str, Any] = {"train": train, "test": test, "questions": folder / "questions.parquet", "gold": gold}
    bench.run("load_problems", more={"dataset": bench.dataset}, **asked)
    shots = {"format": bench.config.formats["plain_4_shot"]}
    bench.run("render_questions", "render_questions", shots, model=folder, problems=asked["questions"],
              tuning=folder / "tuning.parquet", questions=folder / "rendered.parquet")  # fmt: skip


def prompted(bench: Bench) -> None:
    """Describe a prompt whose tuner tried many."""
    folder, history = bench.folder / "prompt", bench.folder / "training.parquet"
    made.write_prompt(folder, history, bench.size)
    files: dict[str, Any] = {
        "weights": folder / adapter_files.WEIGHTS,
        "adapter": folder / adapter_files.CONFIG,
        "history": history,
    }
    bench.run("describe_prompt", **files, prompts=bench.at("prompts"), search=bench.at("search"))


def validation(bench: Bench) -> None:
    """Sum up planted harm over all prompts of the cell."""
    how = bench.config.validation
    files, causal = [], []
    for seed in (*how.choosing_seeds, *how.held_out_seeds):
        files.append(bench.folder / f"planted-{seed}.parquet")
        causal.append(bench.folder / f"planted-causal-{seed}.parquet")
        sizes = how.planting.positions, how.planting.questions
        made.write_planted(files[-1], bench.size, [*RULES, NORM], *sizes, seed)
        made.write_planted_causal(causal[-1], bench.size, *sizes)
    out = bench.folder / "validation"
    bench.run("write_validation", more=dict(how) | {"recipe": RECIPE}, planted=files, causal=causal, folder=out,
              out=out / "validation.parquet")  # fmt: skip


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
    made.write_causal(bench.at("causal"), bench.size, bench.config.causal.rows)
    asked = bench.config.interpretability
    made.write_interpretability(bench.at("interpretability"), bench.size, MASKED, asked.draws, asked.questions)


def report(bench: Bench) -> None:
    """Draw figures of three prompt seeds and write the tables of the whole study, all of them cells of this size."""
    out, study = bench.folder / "report", bench.config.study
    bench.run("draw_figures", cells=SEEDS, tables=bench.copies("cell", SEEDS), folder=out)
    bench.run("draw_overview", cells=SEEDS, tables=bench.copies("recipes", SEEDS), folder=out)
    whole = {"models": study.models, "datasets": study.datasets}
    files = bench.copies("study", CELLS_OF_STUDY)
    bench.run("write_tables", more=whole, cells=CELLS_OF_STUDY, tables=files, folder=out, summary=out / "summary.txt")


def explorer(bench: Bench) -> None:
    """Write the page of the cell's cases, and the page that lists the cells of the whole study."""
    at, folder, study = bench.at, bench.folder, bench.config.study
    made.write_words(folder / "words", bench.size)
    names = {"study": "scale", "model": bench.model, "dataset": bench.dataset, "recipe": RECIPE, "seed": SEED}
    plans, answers = [at(f"plans-{part}") for part in EVALUATED], [at(part) for part in EVALUATED]
    bench.run("write_explorer", more=names, model=folder / "words", prompt=folder / "prompt" / adapter_files.WEIGHTS,
              saliency=at("saliency"), flow=at("flow"), evidence=at("evidence"), thresholds=at("thresholds"),
              outcomes=at("outcomes"), causal=at("causal"), plans=plans, unprompted=at("unprompted"),
              generations=at("base"), act=at("act"), options=[],
              regenerations=answers, out=folder / "explorer.html")  # fmt: skip
    whole = {"models": study.models, "datasets": study.datasets, "prompt_seeds": study.prompt_seeds}
    cells = [_linked(at("evaluation"), cell) for cell in range(CELLS_OF_STUDY)]
    bench.run("write_explorer_index", more=whole, cells=CELLS_OF_STUDY, evaluations=cells, out=folder / "index.html")


def dry_run() -> Row:
    """Plan the shipped grid; the fastest of some runs, as other work on the machine counts as its own."""
    line = ["snakemake", "--dry-run", "--quiet", "all", "--snakefile", str(ROOT / "Snakefile"), "--configfile"]
    runs = []
    for _ in range(DRY_RUNS):
        with tempfile.TemporaryDirectory(prefix="dpc-plan-") as empty:
            whole = [sys.executable, "-m", *line, str(ROOT / "config.yaml"), "--directory", empty]
            runs.append(measured("dry run", whole))
    seconds, cpu_seconds, peak_mb = min(runs, key=lambda run: run[1])
    figures = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb}
    return {"cell": "shipped grid", "rule": "dry run", "about": "", **figures, **PROFILE}


def measure(models: list[str], share: float, file: Path) -> None:
    """Measure cells and the dry run; write a row per stage to `file`, where those of other cells stay."""
    for model in models:
        with tempfile.TemporaryDirectory(prefix="dpc-scale-") as folder:
            bench = Bench(model, Path(folder), share)
            prepare(bench)
            study(bench)
        keep(file, bench.rows, share)
    keep(file, [dry_run()], share)


def keep(file: Path, rows: list[Row], share: float) -> None:
    """Write the rows of a cell, in place of what was measured of it before."""
    others = [row for row in read(file) if row["cell"] != rows[0]["cell"]]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(row) for row in [*others, *({**row, "share": share} for row in rows)]) + "\n")


def read(rows: Path) -> list[Row]:
    """Return the rows measured so far."""
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def main(given: list[str] | None = None) -> int:
    """Measure, write rows and page; return the exit code: 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--model", action="append", choices=list(CELLS), default=[], help="default: both cells")
    parser.add_argument("--share", type=float, default=1.0, help="of the questions")
    parser.add_argument("--page-only", action="store_true", help="write the page from the rows that are there")
    args = parser.parse_args(given)
    file, page = ROWS, Path("docs/benchmarks.md")
    if args.share != 1:
        file, page = Path("results/bench/scale.jsonl"), Path("results/bench/scale.md")
    if not args.page_only:
        measure(args.model or list(CELLS), args.share, file)
    rows = read(file)
    scale_page.write(rows, page)
    print("\n".join(scale_page.faults(rows)), file=sys.stderr)
    return 1 if scale_page.faults(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
