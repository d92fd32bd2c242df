"""Draw the figures of one model, dataset and recipe."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.config.layers import layer_range
from dpc.config.slices import FiguresStage
from dpc.pipeline.cells import accuracies
from dpc.report import drawing
from dpc.report.captions import Band
from dpc.report.drawing import Drawing
from dpc.report.figures import cases
from dpc.report.figures import flow_figures as figures_flow
from dpc.report.figures import intervention_figures as figures_main
from dpc.report.figures import study_figures as figures_analysis
from dpc.storage import tables


def run(
    settings: FiguresStage,
    *,
    outcomes: list[Path],
    evaluation: list[Path],
    evidence: list[Path],
    layers: list[Path],
    accumulation: list[Path],
    positions: list[Path],
    findings: list[Path],
    curves: list[Path],
    exemplars: list[Path],
    folder: Path,
) -> None:
    """Write `folder`/NAME.pdf, .svg and .txt (the caption) for every figure of the cell.

    Lists hold one table per seed in the order of `settings.prompt_seeds`; `exemplars` the first seed's alone.
    Where a figure shows single instances they are the first seed's.
    """
    flow = _flow_figures(settings, layers, accumulation[0], exemplars[0])
    found = _each(findings, "findings")
    drawn = {
        "cases": cases.cases(tables.read(outcomes[0], "outcomes"), settings),
        **flow,
        "analysis": figures_analysis.analysis(
            found, tables.read(evidence[0], "evidence"), tables.read(positions[0], "positions"), settings
        ),
        "confidence": figures_analysis.confidence(found, settings),
        "thresholds": figures_main.thresholds(_each(curves, "threshold_curve"), settings),
        "plans": figures_main.plans(_each(evaluation, "evaluation"), accuracies(outcomes, settings), settings),
    }
    for name, drawing_ in drawn.items():
        drawing.save(drawing_.figure, folder / name, drawing_.caption)


def _each(paths: list[Path], name: str) -> list[pd.DataFrame]:
    return [tables.read(path, name) for path in paths]


def _flow_figures(
    settings: FiguresStage, layers: list[Path], accumulation: Path, exemplars: Path
) -> dict[str, Drawing]:
    curves = _each(layers, "layers")
    shares = tables.read(accumulation, "accumulation")
    depth = max((int(table["layer"].max()) + 1 for table in [*curves, shares] if len(table)), default=0)
    shallow, deep = (_band(spec, depth) for spec in (settings.flow.shallow_layers, settings.flow.deep_layers))
    return {
        "layers": figures_flow.layers(curves, settings, shallow, deep),
        "accumulation": figures_flow.accumulation(shares, settings, shallow),
        "exemplars": figures_flow.exemplars(tables.read(exemplars, "exemplars"), settings, shallow, deep),
    }


def _band(spec: str | list[int], depth: int) -> Band | None:
    """Return first and last layer of a setting; None where no instance tells how deep the model is."""
    if not depth:
        return None
    layers = layer_range(spec, depth)
    return layers[0], layers[-1]
