"""The half of `snakemake check` that looks at models and adapters: files alone, no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path

from dpc.config.catalogue import Model
from dpc.config.layers import layer_range
from dpc.config.messages import snakemake
from dpc.config.settings import Config
from dpc.errors import DpcError
from dpc.pipeline import cost
from dpc.pipeline.lengths import Cut, counter, longest, used
from dpc.storage import adapter_files, tokenizer_files
from dpc.storage.hub import PATIENCE_SECONDS, wanted, why
from dpc.storage.model_files import Architecture, architecture, kernel, read_config
from dpc.storage.model_folder import sound
from dpc.storage.weight_files import INDEX, WHOLE

MODELS = Path("resources/models")


def check_models(config: Config, fetch: set[str] | None, own: dict[str, Cut]) -> list[Model]:
    """Return the models that will be fetched. Raises DpcError for the first that cannot work in this study.

    `fetch` names what will be fetched, None: what is absent. Datasets in `own` are measured with local tokenizers.
    """
    absent = []
    for name in config.loaded:
        model = config.models[name]
        if name not in config.study.models:
            absent += _check_reader(config, name, fetch)
        elif model.builtin:
            check_layers(config, name, model.builtin.layers)
            check_widths(config, name, model.builtin.width)
        elif model.hub and _is_absent(name, fetch):
            absent.append(model)
            _check_shape(config, name, _on_hub(config, name, model))
        elif (_folder(name, model) / "config.json").is_file():
            _check_shape(config, name, _local(config, name), own)
    return absent


def _check_reader(config: Config, name: str, fetch: set[str] | None) -> list[Model]:
    """Return the model that only reads prompts as text, where it will be fetched. Raises DpcError as `check_models`."""
    model = config.models[name]
    is_fetched = bool(model.hub) and _is_absent(name, fetch)
    if is_fetched or (_folder(name, model) / "config.json").is_file():
        shape = _on_hub(config, name, model) if is_fetched else _whole(config, name)
        kernel(f"models.{name}", shape.model_type, model.attention)
    return [model] if is_fetched else []


def folder_of(config: Config, name: str) -> Path | None:
    """Return the folder of a model that is here; None where it is still to be fetched or trained."""
    folder = _folder(name, config.models[name])
    return folder if not config.models[name].builtin and (folder / "config.json").is_file() else None


def _folder(name: str, model: Model) -> Path:
    return Path(model.path) if model.path else MODELS / name


def _is_absent(name: str, fetch: set[str] | None) -> bool:
    return name in fetch if fetch is not None else not (MODELS / name / "config.json").is_file()


def _local(config: Config, name: str) -> Architecture:
    """Return the shape of the model in a local folder. Raises DpcError where it would not load."""
    folder, shape = _folder(name, config.models[name]), _whole(config, name)
    _check_chat(config, name, folder)
    _check_front(config, name, folder)
    _check_template(config, name, tokenizer_files.first_word(folder, config.models[name].bos))
    return shape


def _whole(config: Config, name: str) -> Architecture:
    """Return the shape of the model in a local folder, whatever is asked of it. Raises DpcError as `_local`."""
    model = config.models[name]
    try:
        return sound(_folder(name, model), model.bos).shape
    except DpcError as error:
        raise DpcError(f"models.{name}: {error}") from None


def _on_hub(config: Config, name: str, model: Model) -> Architecture:
    """Return the shape of a model on the hub. Raises DpcError where it cannot be fetched."""
    from huggingface_hub import HfApi, hf_hub_download

    target = MODELS / name
    where = f"models.{name}: found no weights in {target}"
    try:
        found = HfApi().model_info(str(model.hub), revision=model.revision, timeout=PATIENCE_SECONDS)
        files = wanted([file.rfilename for file in found.siblings or []])
        for kind, names in (("safetensors file", {WHOLE, INDEX}), (tokenizer_files.FILE, {tokenizer_files.FILE})):
            if not names & set(files):
                raise DpcError(f"models.{name}: {model.hub} has no {kind}; write a model that has")
        with tempfile.TemporaryDirectory() as folder:
            for file in {"config.json", *({tokenizer_files.SETTINGS, tokenizer_files.CHAT} & set(files))}:
                hf_hub_download(str(model.hub), file, revision=model.revision, local_dir=folder)
            _check_chat(config, name, Path(folder))
            raw = read_config(Path(folder, "config.json"))
    except DpcError:
        raise
    except Exception as error:
        mend = f"fetch them where there is network: `{snakemake(f'{target}/config.json')}`, or write models.{name}.path"
        raise DpcError(f"{where}, and {why(error, str(model.hub))}; {mend}") from None
    return architecture(f"models.{name}", raw)


def _check_chat(config: Config, name: str, folder: Path) -> None:
    """Raise DpcError where a chat format is asked for and the tokenizer in `folder` has no template that writes it."""
    asked = config.study.datasets if name in config.study.models else []
    chats = [dataset for dataset in asked if config.format_of(name, dataset).chat]
    if chats and not tokenizer_files.marks(folder).chat:
        raise DpcError(
            f"models.{name}: found no chat template in its tokenizer, expected one for datasets.{chats[0]}.formats; "
            "write a format with `chat: false`, or a model that has one"
        )
    for dataset in chats:
        try:
            tokenizer_files.check_chat(folder, config.format_of(name, dataset).shots)
        except DpcError as error:
            raise DpcError(f"models.{name}, for datasets.{dataset}.formats: {error}") from None


def _check_front(config: Config, name: str, folder: Path) -> None:
    """Raise DpcError where a chat format is asked for and its beginning would not stand in front."""
    if any(config.format_of(name, dataset).chat for dataset in config.study.datasets):
        try:
            tokenizer_files.check_front(folder, config.models[name].bos)
        except DpcError as error:
            raise DpcError(f"models.{name}: {error}") from None


def _check_template(config: Config, name: str, first: str | None) -> None:
    """Raise DpcError where a plain format begins with the mark that stands in front anyway."""
    for dataset in config.study.datasets:
        form = config.format_of(name, dataset)
        if first and not form.chat and (form.instruction or form.template).startswith(first):
            raise DpcError(
                f"datasets.{dataset}: its text begins with {first!r}, which comes first in every sequence of "
                f"models.{name} anyway; remove it from `template` or `instruction`, or write models.{name}.bos: false"
            )


def _check_shape(config: Config, name: str, shape: Architecture, own: dict[str, Cut] | None = None) -> None:
    """Raise DpcError where a model of this shape cannot be used in this study.

    Lengths are assumed for all datasets but those in `own`, which are measured.
    """
    kernel(f"models.{name}", shape.model_type, config.models[name].attention)
    check_layers(config, name, shape.num_hidden_layers)
    check_widths(config, name, shape.hidden_size)
    context = shape.max_position_embeddings
    measured = _check_lengths(config, name, context, own or {})
    _check_context(config, name, context, set(config.study.datasets) - set(measured))


def depth(name: str, model: Model) -> int | None:
    """Return the number of layers, where it can be known without a network."""
    file = _folder(name, model) / "config.json"
    if model.builtin:
        return model.builtin.layers
    return architecture(file, read_config(file)).num_hidden_layers if file.is_file() else None


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


def _check_context(config: Config, name: str, context: int, datasets: Collection[str]) -> None:
    """Raise DpcError where prompt, a question of the length assumed and rationale do not fit into the context."""
    for dataset, recipe in product(sorted(datasets), config.study.recipes):
        vectors, new = config.recipes[recipe].vectors, config.datasets[dataset].max_new_tokens
        question = cost.question_tokens(config, name, dataset)
        length = vectors + question + new
        if length > context:
            raise DpcError(
                f"models.{name}: found a context of {context} tokens, expected {length} "
                f"({vectors} vectors, {question} for a question, {new} new); "
                f"lower datasets.{dataset}.max_new_tokens"
            )


def _check_lengths(config: Config, name: str, context: int, own: dict[str, Cut]) -> list[str]:
    """Raise DpcError where the longest of one's own questions does not fit; return the datasets that were measured."""
    if not own:
        return []
    count = counter(_folder(name, config.models[name]))
    vectors = max(config.recipes[recipe].vectors for recipe in config.study.recipes)
    for dataset, splits in own.items():
        new = config.datasets[dataset].max_new_tokens
        form = config.format_of(name, dataset)
        tokens, row = longest(splits, used(config), form, new, count, room=context - vectors)
        if vectors + tokens > context:
            raise DpcError(
                f"models.{name}: found a context of {context} tokens, expected {vectors + tokens} for {row} of "
                f"datasets.{dataset} ({vectors} vectors, the rest question and rationale); shorten or remove that row, "
                f"or lower datasets.{dataset}.max_new_tokens"
            )
    return list(own)


def _adapters(config: Config, models: Collection[str]) -> Iterator[tuple[str, str, Path]]:
    """Yield recipe, model and folder of every prompt that is, or was not yet, brought in for one of `models`."""
    study = config.study
    for name, model, dataset, seed in product(study.recipes, models, study.datasets, study.prompt_seeds):
        adapter = config.recipes[name].adapter
        if adapter:
            folder = Path(adapter.format(model=model, dataset=dataset, seed=seed))
            taken = Path(study.results, model, dataset, name, f"seed{seed}", "prompt", adapter_files.WEIGHTS)
            if folder.is_dir() or not taken.is_file():  # a prompt that was brought in may be elsewhere by now
                yield name, model, folder


def check_adapters(config: Config) -> None:
    """Raise DpcError where a prompt brought in is none, holds more, or has other vectors than its recipe says."""
    for name, _, folder in _adapters(config, config.study.models):
        vectors = config.recipes[name].vectors
        try:
            found, _ = adapter_files.size(folder)
        except DpcError as error:
            hint = "; {model}, {dataset} and {seed} in it stand for the cell" if not folder.is_dir() else ""
            raise DpcError(f"recipes.{name}.adapter: {error}{hint}") from None
        if found != vectors:
            said = f"recipes.{name}.vectors is {vectors}, but the adapter in {folder} has {found}"
            raise DpcError(f"{said}; write {found}")


def check_widths(config: Config, name: str, width: int) -> None:
    """Raise DpcError where a prompt brought in for a model has another width, or a number that is not finite."""
    for recipe, _, folder in _adapters(config, [name]):
        try:
            found = adapter_files.vectors(folder).shape[1]
        except DpcError as error:
            raise DpcError(f"recipes.{recipe}.adapter: {error}") from None
        if found != width:
            raise DpcError(
                f"recipes.{recipe}.adapter: the vectors in {folder} have width {found}, but models.{name} has {width}; "
                "write an adapter that was tuned on this model"
            )


def strangers(config: Config) -> list[str]:
    """Return a line for every prompt brought in that was tuned on a model of another name."""
    found = [
        adapter_files.stranger(folder, _folder(name, config.models[name]), config.models[name].hub)
        for _, name, folder in _adapters(config, config.study.models)
    ]
    return [f"note: {line}" for line in dict.fromkeys(found) if line]
