"""`snakemake estimate`: jobs, questions, tokens, GPU hours and disk of the whole grid, by `dpc/pipeline/cost.py`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass

from dpc.config.settings import Config, load_config
from dpc.pipeline import cost


@dataclass
class Line:
    """What one rule does over the whole grid."""

    jobs: int = 0
    rows: int = 0
    tokens: int = 0
    hours: float = 0.0
    longest: float = 0.0
    disk_gb: float = 0.0

    def add(self, config: Config, rule: str, place: cost.Place, times: int) -> None:
        """Count the jobs of a rule in one cell, `times` over."""
        work, hours = cost.work(config, rule, place), cost.hours(config, rule, place)
        shards = cost.shards(config, rule, place)
        self.jobs += times * shards
        self.rows += times * work.rows
        self.tokens += times * work.tokens
        self.hours += times * hours * max(1, cost.gpus(config, config.models[place.model]))
        self.longest = max(self.longest, hours / shards)
        self.disk_gb += times * cost.output_gb(config, rule, place)


def lines(config: Config) -> dict[str, Line]:
    """Return a line per torch rule that has jobs, in the order of the grid."""
    found = dict[str, Line]()
    for rule, place, times in cost.grid(config):
        found.setdefault(rule, Line()).add(config, rule, place, times)
    return found


def table(config: Config) -> str:
    """Return the estimate as text."""
    unit = "GPU hours" if config.execution.device == "cuda" else "CPU hours"
    head = f"{'stage':<20}{'jobs':>6}{'questions':>12}{'tokens':>16}{unit:>12}{'longest job':>13}{'disk GB':>9}"
    found = lines(config)
    rows = [
        f"{rule:<20}{line.jobs:>6,}{line.rows:>12,}{line.tokens:>16,}{line.hours:>12,.1f}"
        f"{line.longest:>11,.2f} h{line.disk_gb:>9,.2f}"
        for rule, line in found.items()
    ]
    hub = {name: config.models[name] for name in config.study.models if config.models[name].hub}
    weights = sum(cost.weights_gb(model) for model in hub.values())
    total = sum(line.hours for line in found.values())
    closing = f"{total:,.0f} {unit} in all" if total >= 1 else f"less than one of the {unit} in all"
    if hub:
        closing += f", {weights:,.0f} GB of weights to fetch ({', '.join(hub)})"
    rates = "rates" if config.execution.device == "cuda" else "cpu_rates"
    return "\n".join(
        [head, *rows, closing, f"Rates: config.yaml, cluster.{rates}; lengths assumed: dpc/pipeline/cost.py."]
    )


if __name__ == "__main__":
    print(table(load_config(json.loads(os.environ["DPC_CONFIG"]))))
    sys.exit(0)
