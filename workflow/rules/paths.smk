# Which files a job reads and where it keeps its work, as functions of the wildcards.


def store(folder, name):
    """A function of the wildcards: where a job keeps finished work. No output, so that Snakemake never deletes it."""
    return lambda wildcards: f"{folder}/store/{name}".format(**wildcards)


def model_folder(wildcards):
    model = CONFIG.models[wildcards.model]
    if model.path:
        return model.path
    root = f"{R}/models" if model.builtin else "resources/models"
    return f"{root}/{wildcards.model}"


def given(*files):
    """Files that are not made here. Beside results, those of them that are here: `lacking` refuses a job that reads others."""
    return [file for file in files if not (TOUCH or Path(R).is_dir()) or Path(file).is_file()]


def model_ready(wildcards):
    """The file whose presence means that a model folder is complete."""
    file = f"{model_folder(wildcards)}/config.json"
    return given(file) if CONFIG.models[wildcards.model].path else file


def reader_folders():
    """The folder of the other model that reads prompts as text, or none."""
    name = CONFIG.interpretability.reader
    return [model_folder(SimpleNamespace(model=name))] if name else []


def reader_ready(wildcards):
    """The file whose presence means that this folder is complete, or none."""
    name = CONFIG.interpretability.reader
    return model_ready(SimpleNamespace(model=name)) if name else []


def dataset_files(wildcards, pool):
    """The files that hold the training or the test rows of a dataset."""
    dataset = CONFIG.datasets[wildcards.dataset]
    if dataset.files:
        file = getattr(dataset.files, pool)
        return given(file) if file else []
    if dataset.hub:
        return [f"resources/datasets/{wildcards.dataset}/{f}" for f in getattr(dataset.hub, pool)]
    return []


def questions_of(wildcards):
    """The questions as this model is asked them (D29): as they are cut, or rendered in a format of its own."""
    own = wildcards.model in CONFIG.datasets[wildcards.dataset].formats
    return f"{R}/{wildcards.model if own else 'problems'}/{wildcards.dataset}/questions.parquet"


def other_prompt(wildcards):
    """The prompt of the study's first other seed, so that a further seed changes nothing; none where there is one."""
    others = [seed for seed in STUDY.prompt_seeds if seed != int(wildcards.seed)]
    cell = dict(wildcards.items())
    return [f"{CELL}/prompt/adapter_model.safetensors".format(**cell | {"seed": seed}) for seed in others[:1]]


def adapter_folders(wildcards):
    """The folder of the adapter that is brought in instead of tuning a prompt, or none."""
    pattern = CONFIG.recipes[wildcards.recipe].adapter
    return [pattern.format(model=wildcards.model, dataset=wildcards.dataset, seed=wildcards.seed)] if pattern else []


def adapter_files(wildcards):
    names = ("adapter_config.json", "adapter_model.safetensors")
    return given(*(f"{folder}/{name}" for folder in adapter_folders(wildcards) for name in names))


SHARDED = {
    "unprompted": "generate_unprompted",
    "generations": "generate_base",
    "act_generations": "generate_act",
    "regenerations": "regenerate",
    "saliency": "extract_saliency",
}
"""Folders of shard files, and the rule that makes them."""


def shards_of(folder, *parts):
    """A function of the wildcards: all shard files of `folder`, of these parts if it has parts."""
    made_by = SHARDED[folder]
    root = f"{R}/{{model}}/{{dataset}}/unprompted" if folder == "unprompted" else f"{CELL}/{folder}"

    def of(wildcards):
        names = {"recipe": None, "seed": None} | dict(wildcards.items())
        files = []
        for part in parts or [None]:
            place = cost.Place(names["model"], names["dataset"], names["recipe"], part)
            count = cost.shards(CONFIG, made_by, place)
            within = Path(root.format(**names), part or "")
            files += [str(within / f"{shard}-of-{count}.parquet") for shard in range(1, count + 1)]
        return files

    return of


def verdicts(split, *names):
    """The verdicts of a cell on these answers: `base` (prompt tuning's), `act`, `options`, or a part's regenerations."""
    return [f"{CELL}/verdicts/{split}/{name}.parquet" for name in names]


BASE_VERDICTS = [*verdicts("calibration", "base"), *verdicts("test", "base")]


def answers_of(wildcards):
    """The files of the answers that are graded."""
    if wildcards.answers == "options":
        return [f"{CELL}/options/answers.parquet".format(**wildcards)]
    folder = {"base": "generations", "act": "act_generations"}.get(wildcards.answers)
    return (shards_of(folder) if folder else shards_of("regenerations", wildcards.answers))(wildcards)


def all_shards(folder, *parts):
    """All shard files of `folder` in every cell."""
    cells = product(STUDY.models, STUDY.datasets, STUDY.recipes, STUDY.prompt_seeds)
    keys = ("model", "dataset", "recipe", "seed")
    files = [file for cell in cells for file in shards_of(folder, *parts)(dict(zip(keys, cell)))]
    return list(dict.fromkeys(files))


def cell_files(*names, models=None, datasets=None, recipes=None, seeds=None):
    """The named files of every cell, model-major, then dataset, recipe, seed."""
    return [
        f"{R}/{m}/{d}/{r}/seed{s}/{name}"
        for m, d, r, s in product(
            models or STUDY.models,
            datasets or STUDY.datasets,
            recipes or STUDY.recipes,
            seeds if seeds is not None else STUDY.prompt_seeds,
        )
        for name in names
    ]


def own_cells(name, first_seed=False):
    """A function of the wildcards: file `name` of every seed of this model, dataset and recipe."""

    def of(wildcards):
        return cell_files(
            name,
            models=[wildcards.model],
            datasets=[wildcards.dataset],
            recipes=[wildcards.recipe] if hasattr(wildcards, "recipe") else None,
            seeds=STUDY.prompt_seeds[:1] if first_seed else None,
        )

    return of
