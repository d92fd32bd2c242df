"""What a job costs: cards, memory and minutes from the model, the dataset and the recipe.

Weights take parameters x bytes. Cards hold the weights, a quarter more for activations, and 3 GB of cache: batches
halve where memory runs out, so a longer cache costs time, not a failure. Minutes are tokens x parameters / rate, with
`config.yaml`'s rates, doubled for safety and for every further attempt. Lengths are assumed, not measured: a question
of 100 tokens, a rationale of half of `max_new_tokens` (a batch lasts as long as its longest row). On the CPU
`cluster.cpu_rates` are used. Limits of time, shards and disk hold where a plan with a trigger fires on every question;
`snakemake estimate` takes it to fire on `FIRED` of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dpc.config.catalogue import Dataset, Model, Recipe
from dpc.config.declared import declared, settings_of
from dpc.config.messages import first_line
from dpc.config.settings import Config
from dpc.config.stages import RULES
from dpc.errors import DpcError
from dpc.plans.declaration import PLANS, of, on_calibration
from dpc.storage.model_files import architecture, read_config
from dpc.storage.weight_files import ACTIVATIONS, BYTES, CACHE_GB, cards, counted
from dpc.tasks import TASKS

RATES = {rule: each.rate for rule, each in RULES.items() if each.rate}
"""The rules that may ask for a GPU, and the key of `cluster.rates` that each goes by."""
FIRED = 0.25
"""Of the questions, on which a trigger is taken to fire: triggers of the pretrained model's study, .05 to .43."""
QUESTION_TOKENS, RATIONALE_SHARE, EXEMPLARS, VARIANTS = 100, 0.5, 4, 4
EMBEDDED = 0.001
"""Billions of parameters that no embedded model exceeds."""
HOST_MB, START_MINUTES, SAFETY = 4000, 15, 2.0
HEAD_SHARE = 1 / 6
"""Of a pass forward and backward, per head tried: forward is a third of it, through half of the layers on average."""
TOKEN_BYTES, FLOAT_BYTES = 16, 4.6
"""A token in a table (its id, its text, its likelihood), and a float32 in a list, with what Parquet adds."""


@dataclass(frozen=True)
class Work:
    """What all jobs of a rule in one cell do together: `rows` questions and `tokens`."""

    rows: int
    tokens: int


@dataclass(frozen=True)
class Place:
    """Where a job belongs; `part` is that of a regeneration."""

    model: str
    dataset: str
    recipe: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class Depth:
    """Layers of a model, and attention heads of a layer."""

    layers: float
    heads: float
    is_guess: bool = False


def parameters(model: Model) -> float:
    """Return billions of parameters: given, counted in a local folder, or the bound of an embedded model."""
    if model.parameters is not None:
        return model.parameters
    return EMBEDDED if model.path is None else counted(Path(model.path))


def weights_gb(model: Model) -> float:
    """Return the size of the weights in memory."""
    return parameters(model) * BYTES[model.dtype]


def test_rows(dataset: Dataset) -> int:
    """Return the number of test questions: given, counted in a local file, or the benchmark's."""
    splits, source = dataset.splits, dataset.files or dataset.hub
    if splits.test:
        return splits.test
    rows = counted_rows(Path(dataset.files.test)) if dataset.files else int(TASKS[dataset.task].test_rows or 0)
    if source and not source.train:  # all splits are cut from these rows
        rows -= splits.tuning + splits.validation + splits.calibration + splits.act_select + splits.act_confirm
    return max(1, rows)


@cache
def counted_rows(file: Path) -> int:
    """Return the number of rows of a JSONL or Parquet file. Raises DpcError where it is none."""
    try:
        if file.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return int(parquet.read_metadata(file).num_rows)
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise DpcError(f"{file}: cannot be read ({first_line(error)}); expected rows as .jsonl or .parquet") from None


def question_tokens(config: Config, model: str, dataset: str) -> int:
    """Return how long a question is taken to be, worked examples included."""
    example = QUESTION_TOKENS + round(config.datasets[dataset].max_new_tokens * RATIONALE_SHARE)
    return QUESTION_TOKENS + config.format_of(model, dataset).shots * example


def work(config: Config, rule: str, place: Place, fired: float = 1.0) -> Work:
    """Return what the jobs of a rule do in one cell, all shards together, where triggers fire on the share `fired`."""
    dataset = config.datasets[place.dataset]
    rationale = _rationale(config, place)
    vectors = config.recipes[place.recipe].vectors if place.recipe else 0
    sequence = vectors + question_tokens(config, place.model, place.dataset) + rationale
    rows = _rows(config, rule, dataset, vectors, str(place.part), fired)
    if rule == "tune_prompt":
        recipe = config.recipes[str(place.recipe)]
        rows = dataset.splits.validation if recipe.adapter else _tuned(recipe, dataset)
        return Work(rows, rows * sequence)
    if rule == "plant_harm":
        how = config.validation.planting
        planted = how.positions * how.steps * how.batch_size * 2  # prompt and rows, twice through the model
        return Work(rows, rows * rationale + planted * sequence)
    if rule == "select_act_heads":
        tried = depth(config.models[place.model])
        return Work(rows, round(rows * sequence * tried.layers * tried.heads * HEAD_SHARE))
    return Work(rows, rows * (sequence if RATES[rule] == "saliency" else rationale))


def _tuned(recipe: Recipe, dataset: Dataset) -> int:
    """Return how many sequences a tuner puts through the model at most."""
    if declared("prompts/tuners", "tuner")[recipe.tuner].values.get("searches"):
        options = settings_of("prompts/tuners", recipe.tuner).model_validate(recipe.options)
        labels = {"labels": len(dataset.options.get("labels", ()))} if recipe.reads_labels else {}
        return int(options.passes(dataset.splits.validation, **labels))
    return recipe.steps * recipe.batch_size


def _rationale(config: Config, place: Place) -> int:
    return round(config.datasets[place.dataset].max_new_tokens * RATIONALE_SHARE)


def _rows(config: Config, rule: str, dataset: Dataset, vectors: int, part: str, fired: float) -> int:
    """Return how many rationales a rule makes or measures."""
    splits, how = dataset.splits, config.validation.planting
    counts = {
        "regenerate": _edits(config, dataset, vectors, part, fired),
        "extract_corrupted": _measured(config, dataset, fired),
        "extract_exemplars": EXEMPLARS,
        "intervene": _passes(config, vectors) * min(config.causal.rows, test_rows(dataset)),
        "extract_variants": VARIANTS * min(config.variants.rows, splits.calibration),
        "generate_act": test_rows(dataset),
        "score_options": 2 * len(dataset.options.get("labels", ())) * test_rows(dataset),
        "measure_prompt": 2 * config.interpretability.questions,
        "select_act_heads": splits.act_select,
        "plant_harm": (1 + how.positions) * 2 * how.questions * 4,  # the answer, and about three masks
    }
    return counts.get(rule, splits.calibration + test_rows(dataset))


def _passes(config: Config, vectors: int) -> int:
    """Return how many rationales `intervene` goes through for each question, a backward pass counted as two."""
    passes = {"mask": vectors + 5, "dose": 31, "knock_out": 20, "path": 8, "divergence": 2, "sink": 12}
    return sum(passes[test] for test in config.causal.tests)


def _measured(config: Config, dataset: Dataset, fired: float) -> int:
    """Return how many answers are measured again after corruption: of plans that run and edit the prompt."""
    if config.corrupt.mask == "attention":
        return 0
    names = set(config.mechanism.plans) & set(config.study.plans)
    asked = [name for name in names if PLANS[name].answers not in ("none", "options")]
    return sum(_of_rows(name, test_rows(dataset), fired) for name in asked)


def _of_rows(name: str, rows: int, fired: float) -> int:
    """Return on how many of the rows a plan fires."""
    return round(rows * fired) if PLANS[name].is_triggered else rows


def depth(model: Model) -> Depth:
    """Return the layers and heads of an embedded model, of a local folder's config, or guessed from `parameters`.

    The guess is a decoder of 12 L D^2 parameters with D = 128 L and L heads. Raises DpcError for a config that is none.
    """
    if model.builtin:
        return Depth(model.builtin.layers, model.builtin.heads)
    if model.path and model.parameters is None:
        return _depth_in(Path(model.path, "config.json"))
    guess = max(4.0, (parameters(model) * 1e9 / 196_608) ** (1 / 3))
    return Depth(guess, guess, is_guess=True)


@cache
def _depth_in(file: Path) -> Depth:
    shape = architecture(file, read_config(file))
    return Depth(shape.num_hidden_layers, shape.num_attention_heads)


def _edits(config: Config, dataset: Dataset, vectors: int, part: str, fired: float) -> int:
    """Return how many answers a part asks for."""
    if part == "sweep":
        tried, corrupt = config.sensitivity, config.corrupt
        pairs = len({*tried.gammas, corrupt.gamma}) * len({*tried.mask_values, corrupt.mask_value})
        return dataset.splits.calibration * (pairs - 1)
    names = {
        "calibration": on_calibration(config.study.plans),
        "test": config.study.plans,
        "oracles": config.study.oracles,
    }
    asked = _answers(config, dataset, vectors, part)
    return sum(_of_rows(name, asked[PLANS[name].answers], fired) for name in names.get(part, ()))


def _answers(config: Config, dataset: Dataset, vectors: int, part: str) -> dict[str, int]:
    """Return how many answers a plan of each kind of `answers` asks for, beside others', where it fires everywhere."""
    controls, calibration = config.controls, dataset.splits.calibration
    rows = calibration if part == "calibration" else test_rows(dataset)
    return {
        "none": 0,
        "options": 0,
        "own": rows,
        "located": 0 if "always" in config.study.plans else rows,
        "every_vector": controls.oracle_questions * vectors,
        "candidates": controls.static_candidates * min(controls.static_questions, calibration),
    }


def rates_key(config: Config) -> str:
    """Return the key in `cluster` of the speeds of the device that the study runs on."""
    return "rates" if config.execution.device == "cuda" else "cpu_rates"


def rate(config: Config, rule: str) -> float:
    """Return the speed that a rule goes by."""
    return float(getattr(getattr(config.cluster, rates_key(config)), RATES[rule]))


def hours(config: Config, rule: str, place: Place, fired: float = 1.0) -> float:
    """Return the hours all shards of a rule take together in one cell, without loading the model; `fired` as above."""
    tokens = work(config, rule, place, fired).tokens
    return tokens * parameters(config.models[place.model]) / rate(config, rule) / 3600


def shards(config: Config, rule: str, place: Place) -> int:
    """Return the number of shards: given, or so many that each lasts about an hour; 1 where a rule has none.

    Answers under edits are cut as if every plan ran, whichever do: a new plan finds those of the others in their place.
    """
    key = RULES[rule].shards
    count = getattr(config.shards, key) if key else 1
    return max(1, round(hours(_with_every_plan(config), rule, place))) if count == "auto" else count


def _with_every_plan(config: Config) -> Config:
    plans = {"plans": [*of("test")], "oracles": [*of("oracles")]}
    return config.model_copy(update={"study": config.study.model_copy(update=plans)})


def gpus(config: Config, model: Model) -> int:
    """Return the cards a GPU job asks for: a number as it is given; else none where torch runs on the CPU."""
    if config.cluster.gpus != "auto":
        return config.cluster.gpus
    if config.execution.device != "cuda":
        return 0
    return cards(weights_gb(model), config.cluster.gpu_memory_gb)


def largest(config: Config, rule: str, name: str) -> Model:
    """Return the largest model that a job of `rule` about model `name` loads: another one, too, may read its prompt."""
    own, reader = config.models[name], config.reader
    return max(own, reader, key=weights_gb) if rule == "measure_prompt" and reader else own


def memory_mb(config: Config, model: Model, attempt: int = 1) -> int:
    """Return the host memory of a torch job: weights pass through it, and on the CPU they and the cache stay."""
    on_cpu = config.execution.device == "cpu"
    weights = weights_gb(model) * (ACTIVATIONS if on_cpu else 1.2)
    return attempt * (HOST_MB + round(1000 * (weights + CACHE_GB * on_cpu * (parameters(model) > EMBEDDED))))


def minutes(config: Config, rule: str, place: Place, of: int, attempt: int = 1) -> int:
    """Return the time limit of one of `of` shards."""
    wanted = attempt * (START_MINUTES + SAFETY * 60 * hours(config, rule, place) / of)
    return math.ceil(min(wanted, 60 * config.cluster.max_hours))


def cells(config: Config) -> Iterator[tuple[str, str, str, int]]:
    """Yield model, dataset, recipe and number of seeds of every cell."""
    for model in config.study.models:
        for dataset in config.study.datasets:
            for recipe in config.study.recipes:
                yield model, dataset, recipe, len(config.study.prompt_seeds)


def parts(config: Config) -> list[str]:
    """Return what answers are made anew for: each part has plans and regenerations of its own."""
    swept = config.sensitivity.gammas or config.sensitivity.mask_values
    return ["calibration", "test", *(["oracles"] if config.study.oracles else []), *(["sweep"] if swept else [])]


def grid(config: Config) -> Iterator[tuple[str, Place, int]]:
    """Yield every torch rule of the study with where it runs, and for how many seeds there.

    Planted harm is no part of the study: `snakemake validate` is asked for apart.
    """
    act = ("select_act_heads", "generate_act") if "act_heads" in config.needs else ()
    options = ("score_options",) if config.scores_options else ()
    measured = ("extract_saliency", "extract_corrupted", "extract_variants", "measure_prompt", "intervene")
    rules = ("tune_prompt", "generate_base", *measured, *act, *options)
    for model, dataset, recipe, seeds in cells(config):
        place = Place(model, dataset, recipe)
        if recipe == config.study.recipes[0]:
            yield "generate_unprompted", Place(model, dataset), 1
        for rule in rules:
            yield rule, place, seeds
        yield "extract_exemplars", place, 1
        for part in parts(config):
            yield "regenerate", Place(model, dataset, recipe, part), seeds


def output_gb(config: Config, rule: str, place: Place) -> float:
    """Return the size of what a rule writes in one cell, and leaves in its store: saliency, texts and token ids."""
    done = work(config, rule, place)
    if rule in ("tune_prompt", "select_act_heads", "score_options", "measure_prompt", "intervene"):
        return 0.01
    if RATES[rule] != "saliency":
        return done.rows * _rationale(config, place) * TOKEN_BYTES * (2 if rule == "regenerate" else 1) / 1e9
    layers, vectors = depth(config.models[place.model]).layers, config.recipes[str(place.recipe)].vectors
    rationale = _rationale(config, place)
    floats = layers * (6 * rationale + 4 * vectors) + rationale * vectors  # columns of table `saliency`, the long ones
    if rule == "extract_exemplars":
        floats = layers * (vectors + question_tokens(config, place.model, place.dataset) + rationale) ** 2
    return done.rows * floats * FLOAT_BYTES / 1e9


def disk_gb(config: Config) -> float:
    """Return the size of all results."""
    return sum(times * output_gb(config, rule, place) for rule, place, times in grid(config))
