"""Whether DPC's trigger fires in bfloat16 where it fires in float32, on the rationales of a finished study."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings.baseline import of_row
from dpc.analysis.readings.flow import derive
from dpc.analysis.readings.reading import readings
from dpc.config.execution import Execution
from dpc.config.settings import Trigger
from dpc.config.slices import ExtractSaliencyStage, ReadFlowStage, ThresholdsStage
from dpc.errors import DpcError
from dpc.pipeline.stages import extract_saliency
from dpc.plans.triggers import fires
from dpc.storage import tables

DTYPES = ("float32", "bfloat16")
WANTED = 0.95


def cells(study: Path) -> list[Path]:
    """Return the folders MODEL/DATASET/RECIPE/seedN of a study that have thresholds. Raises DpcError without any."""
    found = sorted(file.parent for file in study.glob("*/*/*/seed*/thresholds.parquet"))
    if not found:
        raise DpcError(f"{study}: found no thresholds; expected a finished study: run `make study`, or write --study")
    return found


def check(study: Path, questions: int, execution: Execution) -> Iterator[dict[str, Any]]:
    """Yield, for each cell, how its decisions on its first test questions compare (see `compare`)."""
    for cell in cells(study):
        settings = ThresholdsStage.model_validate(tables.provenance(cell / "thresholds.parquet")["settings"])
        fitted = tables.read(cell / "thresholds.parquet", "thresholds").iloc[0]
        made = tables.read(sorted((cell / "generations").glob("*.parquet")), "generations")
        made = made[made["split"] == "test"].head(questions)
        with tempfile.TemporaryDirectory() as folder:
            measured = [_measured(cell, made, dtype, Path(folder), execution) for dtype in DTYPES]
        own = ReadFlowStage.model_validate(tables.provenance(cell / "flow.parquet")["settings"])
        derived = (pd.DataFrame(derive(tables.rows(rows), made, own.flow, own.locate)) for rows in measured)
        single, half = (
            readings(tables.rows(rows), settings.trigger, settings.locate, of_row(fitted)) for rows in derived
        )
        share, limit = tables.number(fitted["share"]), tables.number(fitted["accumulation_z_limit"])
        about = {"cell": "/".join(cell.parts[-4:]), "model": _model(study / "models" / cell.parts[-4])}
        yield {**about, **compare(single, half, settings.trigger, share, limit)}


def _model(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    return f"{config['model_type']}, {config['num_hidden_layers']} layers, {config['hidden_size']} wide"


def _measured(cell: Path, made: pd.DataFrame, dtype: str, folder: Path, execution: Execution) -> pd.DataFrame:
    """Return the saliency of `made` in `dtype`, through the workflow's own stage."""
    model, dataset = cell.parts[-4:-2]
    study = cell.parents[3]
    measured = tables.provenance(next((cell / "saliency").glob("*.parquet")))["settings"]
    texts, out = folder / "generations.parquet", folder / f"{dtype}.parquet"
    tables.write(texts, "generations", made, {})
    extract_saliency.run(
        ExtractSaliencyStage.model_validate({**measured, "dtype": dtype}),
        model=study / "models" / model,
        prompt=cell / "prompt" / "adapter_model.safetensors",
        questions=study / "problems" / dataset / "questions.parquet",
        generations=[texts],
        store=folder / f"store-{dtype}",
        shard=1,
        shards=1,
        out=out,
        execution=execution,
    )
    return tables.read(out, "saliency")


def compare(
    single: pd.DataFrame, half: pd.DataFrame, trigger: Trigger, share: float | None, limit: float | None
) -> dict[str, Any]:
    """Compare decisions on the same questions: readings in float32, readings in bfloat16, the study's R and z limit.

    `grid` holds, for each R of the grid and for the study's own, how many questions are decided alike, and how many
    fire in float32. A question that is decided otherwise at any of them is listed, with those R.
    """
    single, half = (table.set_index("problem_id", drop=False).sort_index() for table in (single, half))
    values = sorted({*trigger.grid, *([] if share is None else [share])})
    fired = {value: [fires(table, trigger, value, limit) for table in (single, half)] for value in values}
    flipped = {value: first != second for value, (first, second) in fired.items()}
    return {
        "questions": len(single),
        "share": share,
        "grid": [[value, int((~flipped[value]).sum()), int(fired[value][0].sum())] for value in values],
        "flips": _flips(single, half, flipped),
    }


def _flips(single: pd.DataFrame, half: pd.DataFrame, flipped: dict[float, pd.Series]) -> list[dict[str, Any]]:
    found = []
    for key in single.index:
        at = [value for value, is_flipped in flipped.items() if is_flipped[key]]
        shares = {
            dtype: float(table["affected_share"][key]) for dtype, table in zip(DTYPES, (single, half), strict=True)
        }
        found += [{"problem_id": key, **shares, "at": at}] if at else []
    return found


def agreed(found: dict[str, Any]) -> int:
    """Return how many questions are decided alike at the study's R: all of them where it never fires."""
    return next((alike for value, alike, _ in found["grid"] if value == found["share"]), int(found["questions"]))


def lowest(found: dict[str, Any]) -> tuple[float, int, int]:
    """Return the R with the least agreement, how many questions are decided alike there, and how many fire."""
    return min(map(tuple, found["grid"]), key=lambda row: row[1])


def holds(found: dict[str, Any]) -> bool:
    """Say whether at least `WANTED` of the questions are decided alike at the study's R and at every R of the grid."""
    return min(agreed(found), lowest(found)[1]) >= WANTED * found["questions"]
