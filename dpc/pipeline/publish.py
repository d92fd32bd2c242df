"""`snakemake findings`: what a finished study found, in a folder that can be kept: tables, figures, settings, versions.

Pages that show whole questions are left out: whoever published the questions decides where they may stand.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.pipeline import cost, took
from dpc.report.exhibits import FIGURES
from dpc.storage.tables import provenance

KINDS = (".svg", ".txt", ".csv", ".md")
"""Tables, and figures with their captions and the tables beside them."""
KEPT = ("dpc", "commit", "packages", "python", "host", "made")
"""What is kept of the footer of the newest evaluation."""


def settings(config: Config) -> dict[str, Any]:
    """Return the configuration without the folders of this machine: of a path its last part is kept."""
    return {name: _named(value) for name, value in config.model_dump(mode="json").items() if name != "execution"}


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _named(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _cells(config: Config) -> list[str]:
    return [f"{model}/{dataset}/{recipe}" for model, dataset, recipe, _ in cost.cells(config)]


def _exhibits(config: Config) -> list[str]:
    """Return patterns of what is kept: of the study's own cells, where the folder holds others, too."""
    cells = _cells(config)
    beside = sorted({cell.rpartition("/")[0] for cell in cells})
    return ["summary.txt", "tables/*", *(f"figures/{folder}/*" for folder in [*beside, *cells])]


def publish(config: Config, folder: Path) -> None:
    """Write the findings of a study to `folder`, in place of what was there. Raises DpcError where none has run."""
    results, jobs = Path(config.study.results), took.table(config)
    shutil.rmtree(folder, ignore_errors=True)
    for file in [file for pattern in _exhibits(config) for file in results.glob(pattern) if file.suffix in KINDS]:
        if file.stem not in FIGURES or not FIGURES[file.stem].shows_questions:
            copy = folder / file.relative_to(results)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    summary = folder / "summary.txt"
    if summary.exists():
        summary.write_text(summary.read_text().replace(config.study.results, _named(config.study.results)))
    jobs.to_csv(folder / "tables" / "took.csv", index=False, float_format="%.4g")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(config), sort_keys=False, allow_unicode=True))
    evaluations = [file for cell in _cells(config) for file in results.glob(f"{cell}/seed*/evaluation/*.parquet")]
    footer = provenance(max(evaluations, key=lambda file: file.stat().st_mtime))
    kept = {name: footer[name] for name in KEPT if name in footer}
    (folder / "versions.json").write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    try:
        publish(load_config(json.loads(os.environ["DPC_CONFIG"])), Path(sys.argv[1]))
    except DpcError as error:
        sys.exit(f"error: {error}")
