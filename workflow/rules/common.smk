# Names and paths that the rules share. Nothing heavy is imported here: every job reads this file again.
import json
import os
import re
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
from dpc.config.yaml_files import set_at
from dpc.errors import DpcError
from dpc.storage.json_files import readable
from dpc.config.settings import load_config
from dpc.config.told import slice_for
from dpc.tasks.splits import NAMES as SPLITS
from dpc.config.stages import RULES, VERSIONS
from dpc.plans.declaration import on_calibration
from dpc.report import exhibits

OVERLAYS = [
    os.path.relpath(file) if Path.cwd() in Path(file).parents else str(file) for file in workflow.overwrite_configfiles
]
# The settings files of this run, those given with --configfile last: the last one that sets a key counts.
SETTINGS_FILES = [Path(file) for file in [*map(os.path.relpath, workflow.configfiles), *OVERLAYS]]


def refusal(error, kind="config"):
    """A refusal as the one line a user sees, with the file and line of the first key it names."""
    said = str(error).removeprefix(f"{kind}: ")
    return WorkflowError(f"{kind}: {said}{set_at(said, SETTINGS_FILES)}")


try:
    CONFIG = load_config(config)
except DpcError as error:
    raise refusal(error) from None

STUDY = CONFIG.study
R = STUDY.results
CELL = f"{R}/{{model}}/{{dataset}}/{{recipe}}/seed{{seed}}"
PARTS = cost.parts(CONFIG)
ACT = "act_heads" in CONFIG.needs
OPTIONS = CONFIG.scores_options
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
    DPC_CONFIGFILES=shlex.join(OVERLAYS),
    PYTHONPATH=os.pathsep.join(filter(None, [ROOT, os.getenv("PYTHONPATH")])),
)


wildcard_constraints:
    model="|".join(STUDY.models),
    dataset="|".join(STUDY.datasets),
    recipe="|".join(CONFIG.recipes),
    seed="|".join(map(str, {*STUDY.prompt_seeds, *CONFIG.validation.choosing_seeds, *CONFIG.validation.held_out_seeds})),
    part="|".join(PARTS),
    answers="|".join(["base", "act", "options", *PARTS]),
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
