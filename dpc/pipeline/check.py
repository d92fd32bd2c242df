"""`snakemake check`: what would fail after hours in a queue fails here, in seconds, on the login node.

Models and datasets are there or can be fetched (licence included), contexts are long enough, the disk is not full.
Every run does the same before its first job, for what it is about to fetch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from dpc.config.settings import Config, load_config
from dpc.config.slices import refuse_unfollowed
from dpc.errors import DpcError
from dpc.pipeline import cost, outlook
from dpc.pipeline.check_cluster import check_environment
from dpc.pipeline.check_data import check_hub, check_rows
from dpc.pipeline.check_models import MODELS, check_models, strangers
from dpc.pipeline.lengths import Rows
from dpc.storage.hub import is_commit

SPARE_GB = 2.0


def check(config: Config, fetch: set[str] | None = None) -> dict[str, Rows]:
    """Return the rows of the datasets that are here; `fetch` names what will be fetched, None: what is absent.

    Raises DpcError for the first thing that cannot work.
    """
    check_environment(os.environ)
    read = check_rows(config, fetch)
    fetched = check_models(config, fetch, {name: rows.splits for name, rows in read.items()})
    for name in config.study.datasets:
        check_hub(name, config.datasets[name], fetch)
    check_disk(config, sum(cost.weights_gb(model) for model in fetched))
    return read


def unpinned(config: Config) -> list[str]:
    """Return a line for every revision that is a branch or tag: it moves, and so may results."""
    revisions = {f"models.{name}.revision": config.models[name].revision for name in config.loaded}
    for name in config.study.datasets:
        hub = config.datasets[name].hub
        revisions[f"datasets.{name}.hub.revision"] = hub.revision if hub else None
    return [
        f"note: {key} is {value!r}, which is no commit and may move: write the 40 digits of `commit` in origin.json, "
        "which the fetch rule leaves beside the files"
        for key, value in revisions.items()
        if value is not None and not is_commit(value)
    ]


def check_validation(config: Config) -> None:
    """Raise DpcError for what planted harm, `snakemake validate`, would not follow."""
    refuse_unfollowed(trigger=config.trigger, locate=config.locate)
    for key in ("recipe", "harmful_recipe"):
        name = getattr(config.validation, key)
        if name and config.recipes[name].is_per_question:
            raise DpcError(
                f"validation.{key} is {name}, whose tuner makes a prompt for each question, and harm is planted in "
                "one for all; name another recipe"
            )
        adapter = config.recipes[name].adapter if name else None
        if adapter and "{seed}" not in adapter:
            raise DpcError(
                f"recipes.{name}.adapter is {adapter!r}, one prompt for all seeds of `validation`; write {{seed}} into "
                f"it, or another validation.{key}"
            )


def check_writable(results: Path) -> None:
    """Raise DpcError unless files can be made in `results`, which is made where it is absent."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise DpcError(
            f"study.results is {str(results)!r}, where nothing can be written ({error.strerror}); "
            "write the path of a folder of your own"
        ) from None


def check_disk(config: Config, fetched_gb: float) -> None:
    """Raise DpcError where what the results still lack, or what is fetched, will not fit."""
    results = Path(config.study.results)
    lacking = max(0.0, cost.disk_gb(config) - _made_gb(results))
    for place, needed in ((results, lacking), (MODELS, fetched_gb)):
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(there).free / 1e9
        if free < needed + SPARE_GB:
            raise DpcError(
                f"{place}: found {free:.1f} GB free, expected {needed + SPARE_GB:.1f} GB; "
                "make room, or write another study.results"
            )


def _made_gb(results: Path) -> float:
    """Return the size of the tables that are there. Jobs of a run beside this check may delete some meanwhile."""
    size = 0
    for file in results.rglob("*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            size += file.stat().st_size
    return size / 1e9


def main() -> int:
    """Check the configuration in the environment variable DPC_CONFIG; return the exit status."""
    try:
        config = load_config(json.loads(os.environ["DPC_CONFIG"]))
        read = check(config)
        told = [*outlook.of_settings(config), *outlook.of_rows(config, read)]
    except DpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in (*told, *unpinned(config), *strangers(config)):
        print(line)
    print(f"check: {', '.join(config.study.models)} on {', '.join(config.study.datasets)}: nothing in the way")
    return 0


if __name__ == "__main__":
    sys.exit(main())
