"""What a CPU job asks a scheduler for: memory and minutes from questions, layers, vectors and rationale tokens.

Memory takes rationales at their longest, time at half of it, as `cost.py` does. The constants are what `make bench`
measures at the paper's size (docs/benchmarks.md), doubled for time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from dpc.config.settings import Config
from dpc.pipeline import cost
from dpc.pipeline.cost import Place

BASE_MB, START_MINUTES, SAFETY = 1000, 10, 2.0
"""Of a process that has loaded what it needs, and of a busy cluster."""
SCANNED_ROWS = 128
"""Rows of saliency held at a time, as float32 and, one by one, as float64."""
MB_PER_SECOND = 60
"""Saliency read and derived from."""
ANSWER_BYTES, OUTCOME_BYTES = 20, 600
"""Per token of an answer held in memory, its id and text; per row of a table of outcomes or evidence, texts aside."""
ANSWERS_PER_SECOND = 150
"""Graded: a wrong MATH answer takes 5 ms."""
ROWS_PER_SECOND = 3000
"""Of outcomes, joined or drawn."""
EXEMPLARS = 2
"""Whole maps drawn of a cell."""


class Need(NamedTuple):
    """What a stage takes for one cell."""

    mb: float
    seconds: float
    once_mb: float = 0.0
    """Of the first prompt seed alone."""


@dataclass(frozen=True)
class Cell:
    """What the jobs of one cell grow with."""

    questions: int
    calibration: int
    sampled: int
    layers: float
    vectors: int
    tokens: int
    """Of the longest rationale."""
    answers: int
    """Generated for the largest part."""
    planned: int
    """Rows of outcomes."""

    @property
    def row_mb(self) -> float:
        """Return the size of the longest row of saliency."""
        floats = self.layers * (6 * self.tokens + 4 * self.vectors) + self.tokens * self.vectors
        return floats * 4 / 1e6

    @property
    def saliency_seconds(self) -> float:
        """Return how long reading all saliency of the cell takes."""
        return self.questions * self.row_mb / 2 / MB_PER_SECOND

    @property
    def map_mb(self) -> float:
        """Return the size of the full maps of an exemplar, of all layers."""
        positions = 1 + self.vectors + cost.QUESTION_TOKENS + self.tokens
        return self.layers * positions**2 * 4 / 1e6

    def kept_mb(self, rows: int) -> float:
        """Return the memory of so many rows of saliency as float64."""
        return 2 * rows * self.row_mb


def cell_of(config: Config, place: Place) -> Cell:
    """Return the sizes of a cell."""
    dataset, sample = config.datasets[place.dataset], config.study.sample
    test, calibration = cost.test_rows(dataset), dataset.splits.calibration
    parts = [cost.work(config, "regenerate", Place(place.model, place.dataset, place.recipe, part)).rows
             for part in (cost.parts(config) if place.recipe else ())]  # fmt: skip
    return Cell(
        questions=calibration + test,
        calibration=calibration,
        sampled=sample.correlation + 2 * sample.per_class,
        layers=cost.depth(config.models[place.model]).layers,
        vectors=config.recipes[place.recipe].vectors if place.recipe else 0,
        tokens=dataset.max_new_tokens,
        answers=max([calibration + test, *parts]),
        planned=test * len({*config.study.plans, *config.study.oracles}),
    )


def _scanning(kept: Callable[[Cell], int] = lambda cell: 0) -> Callable[[Cell], Need]:
    """Return what a stage takes that goes through saliency and keeps so many rows of it."""
    return lambda cell: Need(3 * SCANNED_ROWS * cell.row_mb + cell.kept_mb(kept(cell)), cell.saliency_seconds)


def _answers(cell: Cell) -> Need:
    return Need(cell.answers * cell.tokens * ANSWER_BYTES / 1e6, cell.answers / ANSWERS_PER_SECOND)


def _flow(cell: Cell) -> Need:
    return Need(cell.questions * (cell.tokens + cell.vectors) * 16 / 1e6, cell.questions / ROWS_PER_SECOND)


def _outcomes(cell: Cell) -> Need:
    return Need(cell.planned * OUTCOME_BYTES / 1e6, cell.planned / ROWS_PER_SECOND)


def _evaluation(cell: Cell) -> Need:
    """The answers of all parts, and their rows of outcomes."""
    answers, rows = _answers(cell), _outcomes(cell)
    return Need(2 * answers.mb + rows.mb, answers.seconds + rows.seconds)


def _figures(cell: Cell) -> Need:
    """Rows of outcomes; texts for the case page and full maps of the first seed."""
    rows = _outcomes(cell)
    return Need(rows.mb, rows.seconds, _answers(cell).mb + 2 * EXEMPLARS * cell.map_mb)


def _explored(cell: Cell) -> Need:
    """A pass over saliency, the answers of all parts with their outcomes, and flow."""
    scanned, said, flow = _scanning()(cell), _evaluation(cell), _flow(cell)
    return Need(scanned.mb + said.mb + flow.mb, scanned.seconds + said.seconds + flow.seconds)


NEEDS: dict[str, Callable[[Cell], Need]] = {
    "describe_prompt": lambda cell: Need(20, 1),
    "read_flow": _scanning(),
    "run_study": _scanning(lambda cell: cell.sampled),
    "sweep_choices": _scanning(lambda cell: cell.calibration),
    "compare_flows": _scanning(),
    "compare_variants": _flow,
    "grade_answers": _answers,
    "grade_unprompted": _answers,
    "choose_exemplars": _answers,
    "plan_calibration": _flow,
    "plan": _flow,
    "plan_oracles": _flow,
    "plan_sweep": _flow,
    "fit_thresholds": _flow,
    "gather_evidence": _flow,
    "evaluate": _evaluation,
    "draw_figures": _figures,
    "draw_overview": _outcomes,
    "write_tables": _outcomes,
    "write_explorer": _explored,
    "write_explorer_index": lambda cell: Need(1.0, 0.1),
}
"""Megabytes and seconds that each rule takes for one cell."""


def memory_mb(config: Config, rule: str, places: Iterable[Place], attempt: int = 1) -> int:
    """Return the memory of a job that is about these cells."""
    needs = _needs(config, rule, places)
    return attempt * (BASE_MB + round(sum(count * need.mb + need.once_mb for count, need in needs)))


def minutes(config: Config, rule: str, places: Iterable[Place], attempt: int = 1) -> int:
    """Return the time limit of a job that is about these cells."""
    seconds = sum(count * need.seconds for count, need in _needs(config, rule, places))
    wanted = attempt * (START_MINUTES + SAFETY * seconds / 60)
    return math.ceil(min(wanted, 60 * config.cluster.max_hours))


def _needs(config: Config, rule: str, places: Iterable[Place]) -> list[tuple[int, Need]]:
    """Return how often each cell is there, once per prompt seed, and what it needs."""
    return [(count, NEEDS[rule](cell_of(config, place))) for place, count in Counter(places).items()]
