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
from collections.abc import Collection
from fnmatch import filter as filter_names
from itertools import product
from pathlib import Path
from typing import Any

from dpc.config.catalogue import Model
from dpc.config.layers import layer_range
from dpc.config.messages import snakemake
from dpc.config.settings import Config, load_config
from dpc.config.slices import refuse_unfollowed
from dpc.errors import DpcError
from dpc.pipeline import cost
from dpc.pipeline.check_cluster import check_environment
from dpc.pipeline.check_data import check_hub, check_rows
from dpc.pipeline.lengths import Cut, counter, longest, used
from dpc.storage.hub import PATIENCE_SECONDS, is_commit, wanted, why
from dpc.storage.model_files import counted, kernel, read_config

SPARE_GB = 2.0
MODELS = Path("resources/models")


def check(config: Config, fetch: set[str] | None = None) -> None:
    """Raise DpcError for the first thing that cannot work; `fetch` names what will be fetched, None: what is absent."""
    check_environment(os.environ)
    read = check_rows(config, fetch)
    models = {name: config.models[name] for name in config.study.models}
    hub_models = {name: model for name, model in models.items() if model.hub and _is_absent(name, fetch)}
    for name, model in models.items():
        if name in hub_models:
            check_model(config, name, _hub_model(config, name, model))
        elif model.builtin:
            check_layers(config, name, model.builtin.layers)
        elif (_folder(name, model) / "config.json").is_file():
            found = _local_model(config, name, _folder(name, model))
            measured = _check_lengths(config, name, found.get("max_position_embeddings"), read)
            check_model(config, name, found, measured)
    for name in config.study.datasets:
        check_hub(name, config.datasets[name], fetch)
    check_disk(config, sum(cost.weights_gb(model) for model in hub_models.values()))


def unpinned(config: Config) -> list[str]:
    """Return a line for every revision that is a branch or tag: it moves, and so may results."""
    revisions = {f"models.{name}.revision": config.models[name].revision for name in config.study.models}
    for name in config.study.datasets:
        hub = config.datasets[name].hub
        revisions[f"datasets.{name}.hub.revision"] = hub.revision if hub else None
    return [
        f"note: {key} is {value!r}, which is no commit and may move: write the 40 digits of `commit` in origin.json, "
        "which the fetch rule leaves beside the files"
        for key, value in revisions.items()
        if value is not None and not is_commit(value)
    ]


def _folder(name: str, model: Model) -> Path:
    return Path(model.path) if model.path else MODELS / name


def _is_absent(name: str, fetch: set[str] | None) -> bool:
    return name in fetch if fetch is not None else not (MODELS / name / "config.json").is_file()


def _local_model(config: Config, name: str, folder: Path) -> dict[str, Any]:
    """Return the model's config. Raises DpcError where weights or tokenizer are missing."""
    for kind, pattern in (("safetensors weights", "*.safetensors"), ("tokenizer", "tokenizer*")):
        if not list(folder.glob(pattern)):
            raise DpcError(f"models.{name}: found no {kind} in {folder}; expected config, safetensors and tokenizer")
    _check_template(config, name, folder)
    counted(folder)
    return read_config(folder / "config.json")


def _check_template(config: Config, name: str, folder: Path) -> None:
    """Raise DpcError where a chat format is asked for and the tokenizer in `folder` has no chat template."""
    chats = [dataset for dataset in config.study.datasets if config.format_of(name, dataset).chat]
    file = folder / "tokenizer_config.json"
    has_one = (folder / "chat_template.jinja").is_file() or (file.is_file() and '"chat_template"' in file.read_text())
    if chats and not has_one:
        raise DpcError(
            f"models.{name}: found no chat template in its tokenizer, expected one for datasets.{chats[0]}.formats; "
            "write a format with `chat: false`, or a model that has one"
        )


def _hub_model(config: Config, name: str, model: Model) -> dict[str, Any]:
    """Return the config of a model on the hub. Raises DpcError where it cannot be fetched."""
    from huggingface_hub import HfApi, hf_hub_download

    target = MODELS / name
    where = f"models.{name}: found no weights in {target}"
    try:
        found = HfApi().model_info(str(model.hub), revision=model.revision, timeout=PATIENCE_SECONDS)
        files = wanted([file.rfilename for file in found.siblings or []])
        for kind, pattern in (("safetensors file", "*.safetensors"), ("tokenizer", "tokenizer*")):
            if not filter_names(files, pattern):
                raise DpcError(f"models.{name}: {model.hub} has no {kind}; write a model that has")
        with tempfile.TemporaryDirectory() as folder:
            for file in {"config.json", "tokenizer_config.json", "chat_template.jinja"} & {"config.json", *files}:
                hf_hub_download(str(model.hub), file, revision=model.revision, local_dir=folder)
            _check_template(config, name, Path(folder))
            return read_config(Path(folder, "config.json"))
    except DpcError:
        raise
    except Exception as error:
        mend = f"fetch them where there is network: `{snakemake(f'{target}/config.json')}`, or write models.{name}.path"
        raise DpcError(f"{where}, and {why(error, str(model.hub))}; {mend}") from None


def check_model(config: Config, name: str, model: dict[str, Any], measured: Collection[str] = ()) -> None:
    """Raise DpcError where a model's config says that the workbench or this study cannot use it.

    Lengths are assumed for all datasets but those `measured`.
    """
    kernel(f"models.{name}", model, config.models[name].attention)
    check_layers(config, name, model.get("num_hidden_layers"))
    check_context(config, name, model.get("max_position_embeddings"), set(config.study.datasets) - set(measured))


def depth(name: str, model: Model) -> int | None:
    """Return the number of layers, where it can be known without a network."""
    file = _folder(name, model) / "config.json"
    if model.builtin:
        return model.builtin.layers
    return read_config(file).get("num_hidden_layers") if file.is_file() else None


def check_layers(config: Config, name: str, layers: int | None) -> None:
    """Raise DpcError for a layer range outside a model of so many layers: it would show after hours of GPU work."""
    chosen = {
        "flow.shallow_layers": config.flow.shallow_layers,
        "flow.deep_layers": config.flow.deep_layers,
        "saliency.band": config.saliency.band,
        "act.layers": config.act.layers,
        **{f"sensitivity.layers[{number}]": spec for number, spec in enumerate(config.sensitivity.layers)},
    }
    for key, spec in chosen.items() if layers else ():
        try:
            layer_range(spec, layers or 0)
        except DpcError as error:
            raise DpcError(f"{key}, model {name}: {error}") from None


def check_validation(config: Config) -> None:
    """Raise DpcError for what planted harm, `snakemake validate`, would not follow."""
    refuse_unfollowed(trigger=config.trigger, locate=config.locate)
    for key in ("recipe", "harmful_recipe"):
        name = getattr(config.validation, key)
        adapter = config.recipes[name].adapter if name else None
        if adapter and "{seed}" not in adapter:
            raise DpcError(
                f"recipes.{name}.adapter is {adapter!r}, one prompt for all seeds of `validation`; write {{seed}} into "
                f"it, or another validation.{key}"
            )


def check_adapters(config: Config) -> None:
    """Raise DpcError where a prompt that is brought in is not there, or has other vectors than its recipe says."""
    study = config.study
    for name, model, dataset, seed in product(study.recipes, study.models, study.datasets, study.prompt_seeds):
        recipe = config.recipes[name]
        if recipe.adapter:
            _check_adapter(name, Path(recipe.adapter.format(model=model, dataset=dataset, seed=seed)), recipe.vectors)


def _check_adapter(name: str, folder: Path, vectors: int) -> None:
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise DpcError(
                f"recipes.{name}.adapter: found no {str(folder / file)!r}; write the folder of a PEFT prompt-tuning "
                "adapter in safetensors, with {model}, {dataset} and {seed} where cells have adapters of their own"
            )
    try:
        found = json.loads((folder / "adapter_config.json").read_text()).get("num_virtual_tokens", vectors)
    except (ValueError, AttributeError):
        raise DpcError(f"recipes.{name}.adapter: {folder}/adapter_config.json is no JSON map; copy it again") from None
    if found != vectors:
        raise DpcError(f"recipes.{name}.vectors is {vectors}, but the adapter in {folder} has {found}; write {found}")


def check_context(config: Config, name: str, context: int | None, datasets: Collection[str]) -> None:
    """Raise DpcError where prompt, a question of the length assumed and rationale do not fit into the context."""
    for dataset, recipe in product(sorted(datasets), config.study.recipes):
        vectors, new = config.recipes[recipe].vectors, config.datasets[dataset].max_new_tokens
        question = cost.question_tokens(config, name, dataset)
        length = vectors + question + new
        if context and length > context:
            raise DpcError(
                f"models.{name}: found a context of {context} tokens, expected {length} "
                f"({vectors} vectors, {question} for a question, {new} new); "
                f"lower datasets.{dataset}.max_new_tokens"
            )


def _check_lengths(config: Config, name: str, context: int | None, read: dict[str, Cut]) -> list[str]:
    """Raise DpcError where the longest question that is here does not fit; return the datasets that were measured."""
    file = _folder(name, config.models[name]) / "tokenizer.json"
    if not file.is_file() or not context or not read:
        return []
    count, vectors = counter(file), max(config.recipes[recipe].vectors for recipe in config.study.recipes)
    for dataset, splits in read.items():
        new = config.datasets[dataset].max_new_tokens
        form = config.format_of(name, dataset)
        tokens, row = longest(splits, used(config), form, new, count, room=context - vectors)
        if vectors + tokens > context:
            raise DpcError(
                f"models.{name}: found a context of {context} tokens, expected {vectors + tokens} for {row} of "
                f"datasets.{dataset} ({vectors} vectors, the rest question and rationale); shorten or remove that row, "
                f"or lower datasets.{dataset}.max_new_tokens"
            )
    return list(read)


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
        check(config)
    except DpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*unpinned(config), sep="\n", end="\n" if unpinned(config) else "")
    print(f"check: {', '.join(config.study.models)} on {', '.join(config.study.datasets)}: nothing in the way")
    return 0


if __name__ == "__main__":
    sys.exit(main())
