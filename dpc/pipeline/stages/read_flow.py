"""Compute table `flow` from stored saliency, once, for all later stages. It does not depend on the trigger."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings.flow import derive
from dpc.config.slices import ReadFlowStage
from dpc.config.stages import stage
from dpc.pipeline.progress import progress
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=2)


def run(settings: ReadFlowStage, *, saliency: list[Path], generations: list[Path], out: Path) -> None:
    """Write table `flow`, one row per row of saliency, holding a few of them at a time.

    Raises DpcError unless generations and saliency are of the same questions.
    """
    made = tables.read(generations, "generations", ["problem_id", "extracted"])
    rows = derive(tables.scan(saliency, "saliency"), made, settings.flow, settings.locate)
    peak = max(tables.peak_gb(file) for file in saliency)
    tables.write(out, "flow", _frames(rows, len(made)), provenance("read_flow", settings, saliency_peak_gb=peak))


def _frames(rows: Iterator[dict[str, Any]], count: int) -> Iterator[pd.DataFrame]:
    with progress(count, "flow", "question") as bar:
        while part := list(islice(rows, tables.SCANNED_ROWS)):
            bar.add(len(part))
            yield pd.DataFrame(part)
