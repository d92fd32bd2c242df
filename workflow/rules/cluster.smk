# What a job asks a scheduler for. Sizes come from dpc/pipeline/cost.py; names of partitions from the environment, see docs/cluster.md.
import signal
from itertools import takewhile

from dpc.pipeline import command_line, cost, cpu_cost
from dpc.pipeline.cluster import warm

WARNING_SECONDS = 120
# Slurm's warning reaches every process of the step. It is meant for the stage: a Snakemake in between that died of it
# would take the stage along. Ignored is inherited; a stage that can stop early installs its own handler.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # In a Slurm job a second Snakemake starts before the stage does: time enough to load torch (in the first one).
    after = sys.argv[sys.argv.index("--target-jobs") + 1 :] if "--target-jobs" in sys.argv else []
    here = {job.partition(":")[0] for job in takewhile(lambda word: not word.startswith("--"), after)}
    if here & cost.RATES.keys() and not in_conda and warm.VARIABLE not in os.environ:
        warm.load_early(CONFIG.execution.threads)

# One job at a time on the card of this machine. Not in the profile, whose resources any `--resources` would replace.
if workflow.is_main_process and command_line.is_here(sys.argv[1:]) and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


def place_of(wildcards):
    return cost.Place(wildcards.model, wildcards.dataset, wildcards.get("recipe"), wildcards.get("part"))


# Clusters that know cards only as a generic resource: its name, say gpu or gpu:a100.
GRES = os.environ.get("DPC_GPU_GRES")


def cells_of(name, wildcards):
    """The cells that a job of this rule is about, one for every seed; answers without a prompt are in none."""
    if name == "grade_unprompted":
        return [cost.Place(wildcards.model, wildcards.dataset)]
    lists = {"model": STUDY.models, "dataset": STUDY.datasets, "recipe": STUDY.recipes, "seed": STUDY.prompt_seeds}
    chosen = [[wildcards.get(key)] if wildcards.get(key) else every for key, every in lists.items()]
    return [cost.Place(model, dataset, recipe) for model, dataset, recipe, _ in product(*chosen)]


def cpu_job(rule):
    """The resources of a stage without torch: they grow with what it reads, and with attempts."""
    return {
        "mem_mb": lambda wildcards, attempt: cpu_cost.memory_mb(CONFIG, rule, cells_of(rule, wildcards), attempt),
        "runtime": lambda wildcards, attempt: cpu_cost.minutes(CONFIG, rule, cells_of(rule, wildcards), attempt),
    }


def torch_job(rule):
    """The resources of a torch stage: cards, memory and minutes grow with the model, memory and minutes with attempts."""

    def model(wildcards):
        return cost.largest(CONFIG, rule, wildcards.model)

    def gpus(wildcards):
        return cost.gpus(CONFIG, model(wildcards))

    def on_gpu_nodes(variable, otherwise=""):
        """A resource named in the environment where the job asks for a GPU."""
        return lambda wildcards: os.environ.get(variable if gpus(wildcards) else otherwise) or None

    asked = {
        "gpu": lambda wildcards: 0 if GRES else gpus(wildcards),
        "gres": lambda wildcards: f"{GRES}:{gpus(wildcards)}" if GRES and gpus(wildcards) else None,
        "mem_mb": lambda wildcards, attempt: cost.memory_mb(CONFIG, model(wildcards), attempt),
        "runtime": lambda wildcards, attempt: cost.minutes(
            CONFIG, rule, place_of(wildcards), int(wildcards.get("shards", 1)), attempt
        ),
        "cpus_per_task": max(2, CONFIG.execution.threads),  # the second one loads torch while Snakemake starts
        "nodes": lambda wildcards: 1 if gpus(wildcards) > 1 else None,  # or several cards may spread over nodes
        "slurm_partition": on_gpu_nodes("DPC_GPU_PARTITION", "DPC_PARTITION"),
        "gpu_model": on_gpu_nodes("DPC_GPU_MODEL"),
        "constraint": on_gpu_nodes("DPC_GPU_CONSTRAINT"),
    }
    warning = {"slurm_extra": f"--signal=USR1@{WARNING_SECONDS}"}
    return asked | warning if RULES[rule].saves else asked
