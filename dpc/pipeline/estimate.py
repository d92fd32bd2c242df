"""`snakemake estimate`: jobs, questions, tokens, GPU hours and disk of the whole grid, by `dpc/pipeline/cost.py`."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass

from dpc.config.settings import Config, load_config
from dpc.pipeline import cost, cpu_cost, outlook


@dataclass
class Line:
    """What one rule does over the whole grid."""

    jobs: int = 0
    rows: int = 0
    tokens: int = 0
    hours: float = 0.0
    """Of cards, or of the CPU, all jobs together."""
    job_hours: float = 0.0
    """Of jobs, however many cards each has."""
    longest: float = 0.0
    memory_gb: float = 0.0
    """Of the host, that the largest job asks for."""
    disk_gb: float = 0.0

    def add(self, config: Config, rule: str, place: cost.Place, times: int) -> None:
        """Count the jobs of a rule in one cell, `times` over."""
        expected = config, rule, place, cost.FIRED
        work, hours = cost.work(*expected), cost.hours(*expected)
        shards, model = cost.shards(config, rule, place), cost.largest(config, rule, place.model)
        self.jobs += times * shards
        self.rows += times * work.rows
        self.tokens += times * work.tokens
        self.hours += times * hours * max(1, cost.gpus(config, model))
        self.job_hours += times * hours
        self.longest = max(self.longest, hours / shards)
        self.memory_gb = max(self.memory_gb, cost.memory_mb(config, model) / 1e3)
        self.disk_gb += times * cost.output_gb(config, rule, place)


def lines(config: Config) -> dict[str, Line]:
    """Return a line per torch rule that has jobs, in the order of the grid."""
    found = dict[str, Line]()
    for rule, place, times in cost.grid(config):
        found.setdefault(rule, Line()).add(config, rule, place, times)
    return found


def seconds_per_job(config: Config) -> dict[str, float]:
    """Return how long one job of every torch rule is estimated to work."""
    return {rule: 3600 * line.job_hours / line.jobs for rule, line in lines(config).items()}


def table(config: Config) -> str:
    """Return the estimate as text."""
    unit = "GPU" if config.execution.device == "cuda" else "CPU"
    head = f"{'stage':<20}{'jobs':>6}{'questions':>12}{'tokens':>16}"
    head += f"{f'{unit} time':>12}{'longest job':>13}{'memory':>10}{'disk GB':>9}"
    found = lines(config)
    rows = [
        f"{rule:<20}{line.jobs:>6,}{line.rows:>12,}{line.tokens:>16,}{duration(line.hours):>12}"
        f"{duration(line.longest):>13}{line.memory_gb:>7,.1f} GB{line.disk_gb:>9,.2f}"
        for rule, line in found.items()
    ]
    hub = {name: config.models[name] for name in config.loaded if config.models[name].hub}
    weights = sum(cost.weights_gb(model) for model in hub.values())
    total = sum(line.hours for line in found.values())
    closing = f"{duration(total)} of {unit} time in all, loading models and queues aside"
    if hub:
        closing += f", {weights:,.0f} GB of weights to fetch ({', '.join(hub)})"
    rates = f"Rates: config.yaml, cluster.{cost.rates_key(config)}; lengths assumed: dpc/pipeline/cost.py. Triggers "
    rates += f"are taken to fire on {cost.FIRED:.0%} of questions; time limits and disk hold where they fire on all."
    return "\n".join([head, *rows, closing, _others(config), rates, *_guessed(config), *outlook.of_settings(config)])


def _guessed(config: Config) -> list[str]:
    """Return a line on the models whose depth is guessed, if any is."""
    depths = {name: cost.depth(config.models[name]) for name in config.study.models}
    guessed = ", ".join(f"{name} {depth.layers:.0f}" for name, depth in depths.items() if depth.is_guess)
    where = "guessed from parameters: ACT's time, memory and disk go by them"
    return [f"Layers, and as many heads, {where} ({guessed})"] if guessed else []


def _others(config: Config) -> str:
    """Return the memory that jobs without torch ask for, those that ask for most first."""
    asked = sorted(cpu_memory_gb(config).items(), key=lambda item: -item[1])
    return f"Jobs without torch ask for memory: {', '.join(f'{rule} {size:.1f} GB' for rule, size in asked)}"


def cpu_memory_gb(config: Config) -> dict[str, float]:
    """Return the memory that the largest job of each rule without torch asks for."""
    cells = [cost.Place(*cell[:3]) for cell in cost.cells(config)]
    seeds = len(config.study.prompt_seeds)
    unprompted = [cost.Place(model, dataset) for model in config.study.models for dataset in config.study.datasets]
    of_data = [[cell for cell in cells if (cell.model, cell.dataset) == (at.model, at.dataset)] for at in unprompted]
    about = {
        "grade_unprompted": [[place] for place in unprompted],
        "draw_figures": [[cell] * seeds for cell in cells],
        "draw_overview": [places * seeds for places in of_data],
        "write_tables": [cells * seeds],
        "write_explorer_index": [cells * seeds],
    }
    return {
        rule: max(cpu_cost.memory_mb(config, rule, places) for places in about.get(rule, [[cell] for cell in cells]))
        / 1e3
        for rule in cpu_cost.NEEDS
    }


def duration(hours: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3.4 h, 1,250 h."""
    if hours < 1 / 60:
        return f"{math.ceil(3600 * hours)} s"
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


if __name__ == "__main__":
    print(table(load_config(json.loads(os.environ["DPC_CONFIG"]))))
    sys.exit(0)
