"""The half of the check that looks at questions: can they be read, cut, graded, and shown as examples, or fetched?"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from dpc.config.catalogue import Dataset
from dpc.config.messages import snakemake
from dpc.config.settings import Config
from dpc.errors import DpcError
from dpc.pipeline.lengths import DATASETS, Rows, cut, files_of
from dpc.storage.hub import PATIENCE_SECONDS, why
from dpc.tasks.rows import reader_of


def check_rows(config: Config, fetch: set[str] | None) -> dict[str, Rows]:
    """Return the rows of every dataset that are here and not about to be fetched.

    Raises DpcError for what it would refuse, and where no question is left to tune on beside the worked examples.
    """
    read = {
        name: cut(config, name)
        for name in config.study.datasets
        if _is_here(config, name, fetch) and not _is_elsewhere(config, name)
    }
    for model, name in product(config.study.models, config.study.datasets):
        tuning = len(read[name].splits["tuning"]) if name in read else config.datasets[name].splits.tuning
        shots = config.format_of(model, name).shots
        if tuning <= shots:
            form = f"formats.{config.datasets[name].formats[model]}"
            raise DpcError(
                f"datasets.{name}: found {tuning} tuning questions, expected more than the {shots} worked examples of "
                f"{form}; lower {form}.shots, or give more questions"
            )
    return read


def _is_here(config: Config, name: str, fetch: set[str] | None) -> bool:
    """Say whether the rows of a dataset can be read now. Raises DpcError for files on the hub that no job could."""
    dataset = config.datasets[name]
    paths = [path for pool in files_of(name, dataset) for path in pool]
    for path in paths if dataset.hub else ():
        reader_of(path)
    is_fetched = dataset.hub is not None and (name in (fetch or ()) or not all(path.is_file() for path in paths))
    return bool(paths) and not is_fetched


def _is_elsewhere(config: Config, name: str) -> bool:
    """Say whether one's own rows are gone, but the questions that were cut from them are not."""
    paths = [path for pool in files_of(name, config.datasets[name]) for path in pool]
    made = Path(config.study.results, "problems", name, "questions.parquet")
    return made.is_file() and not any(path.exists() for path in paths)


def check_hub(name: str, dataset: Dataset, fetch: set[str] | None) -> None:
    """Raise DpcError where files of a dataset are neither here nor on the hub."""
    if not dataset.hub:
        return
    files = [*dataset.hub.train, *dataset.hub.test]
    missing = [file for file in files if not (DATASETS / name / file).is_file()]
    if not missing or (fetch is not None and name not in fetch):
        return
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(dataset.hub.id, revision=dataset.hub.revision, timeout=PATIENCE_SECONDS)
    except Exception as error:
        mend = f"`{snakemake(f'{DATASETS / name / missing[0]}')}` fetches it where there is network, or write `files`"
        absent = f"datasets.{name}: found no {missing[0]} in {DATASETS / name}"
        raise DpcError(f"{absent}, and {why(error, dataset.hub.id)}; {mend}") from None
    unknown = set(missing) - {file.rfilename for file in found.siblings or []}
    if unknown:
        raise DpcError(f"datasets.{name}: {dataset.hub.id} has no file {min(unknown)!r}; correct hub.train or hub.test")
