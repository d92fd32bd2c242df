"""Whether results were made with the weights that a model's folder holds now.

Snakemake knows a model by its `config.json`, which other weights of the same shape leave as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import product
from pathlib import Path

from dpc.config.settings import Config
from dpc.storage import hashing


def found(
    config: Config, folder_of: Callable[[str], Path], models: Collection[str], made_anew: Collection[str] = ()
) -> list[str]:
    """Return a line for each of `models` some of whose answers were made with other weights than its folder has.

    A folder or an answer that is not here says nothing; the tables `made_anew` are left out.
    """
    lines = list[str]()
    for name in models:
        folder = folder_of(name)
        if (folder / "config.json").is_file():
            tables = {file: _made_with(file) for file in _answers(config, name)}
            now = hashing.model_hash(folder)
            old = {
                file: made for file, made in tables.items() if made not in ([], [now]) and str(file) not in made_anew
            }
            lines += [_line(config, name, folder, now, old)] if old else []
    return lines


def _answers(config: Config, name: str) -> list[Path]:
    """Return the study's tables of answers with a prompt, and without, of one model: all else is made from them."""
    study, root = config.study, Path(config.study.results, name)
    cells = [f"{recipe}/seed{seed}/generations" for recipe, seed in product(study.recipes, study.prompt_seeds)]
    folders = [root / dataset / part for dataset in study.datasets for part in ("unprompted", *cells)]
    return [file for folder in folders for file in sorted(folder.glob("*.parquet"))]


def _made_with(file: Path) -> list[str]:
    """Return the hash of the weights that a table names, if it names any."""
    from dpc.storage import provenance  # loads pandas, which jobs on nodes do without until their stage asks for it

    return provenance.hashes([file])["model"]


def _line(config: Config, name: str, folder: Path, now: str, old: dict[Path, list[str]]) -> str:
    first, (made, *_) = next(iter(old.items()))
    return (
        f"{first}: made with other weights of {name} ({made}) than {folder} holds now ({now}), as {len(old)} tables of "
        f"answers in all; -R tune_prompt generate_unprompted makes them anew, another study.results keeps both"
    )
