# Names and paths that the rules share. Nothing heavy is imported here: every job reads this file again.
import json
import os
import shlex
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

ROOT = str(Path(workflow.current_basedir).parents[1])
sys.path.insert(0, ROOT)

from dpc.pipeline import check, check_models, cost
from dpc.errors import DpcError
from dpc.storage.json_files import readable
from dpc.config.settings import load_config
from dpc.config.slices import slice_for
from dpc.tasks.splits import NAMES as SPLITS
from dpc.config.stages import RULES, VERSIONS
from dpc.plans.declaration import of as plans_of
from dpc.report import exhibits

try:
    CONFIG = load_config(config)
except DpcError as error:
    raise WorkflowError(str(error)) from None

STUDY = CONFIG.study
R = STUDY.results
CELL = f"{R}/{{model}}/{{dataset}}/{{recipe}}/seed{{seed}}"
PARTS = cost.parts(CONFIG)
ACT = "act_heads" in CONFIG.needs
ENVIRONMENT = "../../envs/dpc.yaml"

# Results that were made elsewhere are touched where weights and rows need not be: nothing reads them.
TOUCH = not {"--touch", "-t"}.isdisjoint(sys.argv)
in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
# Shell lines read these from the environment, so that they are no part of what decides a rerun: batch sizes, device and
# threads are none of a result.
os.environ.update(
    DPC_PYTHON="python" if in_conda else sys.executable,
    DPC_EXECUTION=CONFIG.execution.model_dump_json(),
    DPC_CONFIG=json.dumps(config),
    DPC_CONFIGFILES=shlex.join(map(os.path.relpath, workflow.overwrite_configfiles)),
    PYTHONPATH=os.pathsep.join(filter(None, [ROOT, os.getenv("PYTHONPATH")])),
)


wildcard_constraints:
    model="|".join(STUDY.models),
    dataset="|".join(STUDY.datasets),
    recipe="|".join(CONFIG.recipes),
    seed="|".join(map(str, {*STUDY.prompt_seeds, *CONFIG.validation.choosing_seeds, *CONFIG.validation.held_out_seeds})),
    part="|".join(PARTS),
    answers="|".join(["base", "act", *PARTS]),
    split="calibration|test",
    shard=r"\d+",
    shards=r"\d+",


def settings(stage, **more):
    """The slice of the configuration a stage depends on, as a function of the wildcards."""

    def of(wildcards):
        wanted = dict(more)
        if hasattr(wildcards, "model"):
            wanted["model_name"] = wildcards.model
        if hasattr(wildcards, "dataset"):
            wanted["dataset_name"] = wildcards.dataset
        if hasattr(wildcards, "recipe"):
            wanted.setdefault("recipe", CONFIG.recipes[wildcards.recipe])
        if hasattr(wildcards, "seed"):
            wanted["seed"] = int(wildcards.seed)
        return slice_for(stage, CONFIG, **wanted)

    return of


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
    """Files that no rule makes; where outputs are only touched, those of them that are here."""
    return [file for file in files if not TOUCH or Path(file).is_file()]


def model_ready(wildcards):
    """The file whose presence means that a model folder is complete."""
    file = f"{model_folder(wildcards)}/config.json"
    return given(file) if CONFIG.models[wildcards.model].path else file


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
    """The verdicts of a cell on these answers: `base` (prompt tuning's), `act`, or a part's regenerations."""
    return [f"{CELL}/verdicts/{split}/{name}.parquet" for name in names]


BASE_VERDICTS = [*verdicts("calibration", "base"), *verdicts("test", "base")]


def answers_of(wildcards):
    """The shard files of the answers that are graded."""
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


TABLES_IN = {
    "outcomes": "evaluation",
    "evaluation": "evaluation",
    "instances": "study",
    "layers": "study",
    "accumulation": "study",
    "positions": "study",
    "findings": "study",
    "exemplars": "study",
    "evidence": "study",
    "sensitivity": "study",
    "mechanism": "mechanism",
    "variants": "variants",
    "thresholds": "",
    "threshold_curve": "",
}
"""Tables of a cell that figures and tables of the report may be made from, and the folder they lie in."""


def tables_for(scope):
    """A function of the wildcards: the tables that the figures and tables of a scope declare, of every seed."""
    names = {name: str(Path(TABLES_IN[name], f"{name}.parquet")) for name in exhibits.needed(scope)}
    if scope == "study":
        return [file for name in names.values() for file in cell_files(name)]
    files = [own_cells(file, first_seed=name == "exemplars") for name, file in names.items()]
    return lambda wildcards: [file for of in files for file in of(wildcards)]


def exhibits_in(folder, scope, **labels):
    """The files of every figure and table of a scope, the one to look at with caption, category and labels."""
    kinds = (exhibits.FIGURES, "", ["svg", "pdf", "txt"]), (exhibits.TABLES, "table: ", ["html", "csv", "md", "tex"])
    files = []
    for known, prefix, (shown, *others) in kinds:
        for name in exhibits.of(scope, known):
            about = {"figure": f"{prefix}{name}", **{key: labels[key] for key in ("model", "dataset", "recipe")}}
            caption = caption_file(f"{prefix}{name}", known[name])
            files += [report(f"{folder}/{name}.{shown}", caption=caption, category=known[name].category, labels=about)]
            files += [f"{folder}/{name}.{ending}" for ending in others]
    return files


def caption_file(name, exhibit):
    """The short caption of the report, as a file: what an exhibit declares, and the sentence of its scope."""
    run = Path(ROOT, "workflow/report", f"of_{exhibit.of}.rst").read_text().strip()
    text = f"{exhibit.caption}\n\n{' '.join(filter(None, [run, exhibit.note]))}\n"
    file = Path(".snakemake/captions", f"{name.replace(': ', '_')}.rst").resolve()
    if not file.is_file() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(file)


def planted_cells(wildcards):
    """Planted harm of every prompt. Settings it would not follow are refused where it is asked for, and only there."""
    try:
        check.check_validation(CONFIG)
    except DpcError as error:
        raise WorkflowError(f"config: {error}") from None
    return cell_files("planted.parquet", recipes=VALIDATED, seeds=VALIDATION_SEEDS)


def validated_splits(wildcards):
    """Return the splits that planted harm is tried on: prompts for choosing never meet a test question.

    Settings that it would not follow are refused here, where its jobs are planned.
    """
    try:
        check.check_validation(CONFIG)
    except DpcError as error:
        raise WorkflowError(f"config: {error}") from None
    is_held_out = int(wildcards.seed) in CONFIG.validation.held_out_seeds
    return ["calibration", "test"] if is_held_out else ["calibration"]


def count(key, counted, of, otherwise):
    """Refuse what cannot be counted: shards and resources depend on it, also where outputs are only touched."""
    try:
        counted(of)
    except DpcError as error:
        instead = f"; or write {otherwise}, to touch what was made elsewhere" if TOUCH else ""
        raise WorkflowError(f"config: {key}: {error}{instead}") from None


@readable()
def check_local_files():
    """What would fail at once on a compute node fails here, before the first job."""
    for name in STUDY.datasets:
        files = CONFIG.datasets[name].files
        for pool in ("train", "test"):
            path = getattr(files, pool) if files else None
            if path and not TOUCH and not Path(path).is_file():
                raise WorkflowError(
                    f"config: datasets.{name}.files.{pool} is {path!r}: found no such file; "
                    "write the path of a JSONL or Parquet file"
                )
        count(f"datasets.{name}.files.test", cost.test_rows, CONFIG.datasets[name], f"datasets.{name}.splits.test")
    for name in STUDY.models:
        path = CONFIG.models[name].path
        if path and not TOUCH and not Path(path, "config.json").is_file():
            raise WorkflowError(
                f"config: models.{name}.path is {path!r}: found no config.json there; "
                "write the path of a model folder (config, safetensors weights, tokenizer)"
            )
        count(f"models.{name}", cost.parameters, CONFIG.models[name], f"models.{name}.parameters, in billions")


def refuse(look):
    """What would show after hours of GPU work is refused when the configuration is read."""
    try:
        look()
    except DpcError as error:
        raise WorkflowError(f"config: {error}") from None


def check_layer_ranges():
    for name in STUDY.models:
        check_models.check_layers(CONFIG, name, check_models.depth(name, CONFIG.models[name]))


refuse(check_local_files)
if not TOUCH:
    refuse(lambda: check_models.check_adapters(CONFIG))
    refuse(check_layer_ranges)
