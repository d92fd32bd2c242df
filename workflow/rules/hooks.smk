# Before the first job and after the last: one run per results folder, and the cause of every failure as the last lines.
import atexit

from dpc.pipeline import estimate, last_run, other_weights, terminal
from dpc.pipeline.cluster import causes, resume
from dpc.storage.claim import Claim

RUN = {}
SAYING = {"check", "estimate", "took"}
"""Targets that make nothing and say all themselves: they may be asked while a run writes into the same folder."""


def folder_of(name):
    """The folder of a model by its name."""
    return Path(model_folder(SimpleNamespace(model=name)))


if workflow.is_main_process:
    for note in last_run.notes(CONFIG, OVERLAYS):
        logger.warning(note)
    for line in [] if TOUCH else other_weights.found(CONFIG, folder_of, STUDY.models):
        logger.warning(f"note: {line}")


def jobs_of(*names):
    """The jobs of these rules that this run will do."""
    return [job for job in workflow.dag.needrun_jobs() if job.rule.name in names]


def log_files(log):
    """Snakemake hands its hooks one name or several."""
    return [str(Path(file).resolve()) for file in ([log] if isinstance(log, str) else log)]


def lacking(jobs):
    """Refuse a job whose weights, rows or adapter are not here; see `given`."""
    for job in jobs:
        names = [job.wildcards.model] if job.params.get("model") else []
        names += [CONFIG.interpretability.reader] if job.rule.name == "measure_prompt" and CONFIG.reader else []
        files = [f"{CONFIG.models[name].path}/config.json" for name in names if CONFIG.models[name].path]
        if job.rule.name == "tune_prompt":
            files += [f"{folder}/adapter_config.json" for folder in adapter_folders(job.wildcards)]
        if job.rule.name == "load_problems" and CONFIG.datasets[job.wildcards.dataset].files:
            named = CONFIG.datasets[job.wildcards.dataset].files
            files += filter(None, (named.train, named.test))
        for file in files:
            if not Path(file).is_file():
                raise DpcError(
                    f"{file}: found no such file, but a job of this run reads it ({job.rule.name}: what it makes is not "
                    "here, or was made with other settings); copy it there, or write another path"
                )


def mixed():
    """Refuse a job that would set answers of new weights beside those of old ones, unless all are made anew."""
    jobs = workflow.dag.needrun_jobs()
    renewed = {job.wildcards.model for job in jobs_of("train_builtin_model")}
    renewed |= {job.wildcards.name for job in jobs_of("fetch_model")}
    used = {job.wildcards.model for job in jobs if job.params.get("model")} - renewed
    made_anew = {str(file) for job in jobs for file in job.output}
    for line in other_weights.found(CONFIG, folder_of, used, made_anew):
        raise DpcError(line)


def claim(facts):
    """Make this run the one that writes into the results folder; refuse where another does."""
    working = resume.orphans(Path(R))
    if working:
        raise DpcError(
            f"{R}: Slurm job {', '.join(working)} of an earlier run still writes here; "
            f"`python -m dpc.pipeline.cluster.resume {R}` waits for it and goes on, with --cancel it cancels first"
        )
    RUN["claim"] = Claim(Path(R, resume.RUN), f"the folder {R}", **facts)


def begin(log):
    """Claim the results folder for what writes there, and refuse what could not work."""
    planned = {job.rule.name for job in workflow.dag.needrun_jobs()}
    facts = {"arguments": sys.argv[1:], "config": json.loads(json.dumps(config)), "logs": log_files(log)}
    try:
        check.check_writable(Path(R))
        if not planned <= SAYING:
            claim(facts)
        fetched = {job.wildcards.name for job in jobs_of("fetch_model", "fetch_dataset")}
        if not planned <= {"estimate", "took"} and not TOUCH:  # what it costs, and did cost, may be asked anywhere
            lacking(workflow.dag.needrun_jobs())
            mixed()
            check.check(CONFIG, fetched)
        if not planned <= SAYING:
            last_run.record(CONFIG, OVERLAYS)
        targets = {rule.name: 0.0 for rule in workflow.rules if not rule.output}
        terminal.PLANNED.update(targets | estimate.seconds_per_job(CONFIG))
    except DpcError as error:
        end()
        raise refusal(error, "check") from None


def end():
    if "claim" in RUN:
        RUN.pop("claim").release()


def explain(log):
    """The last lines a user sees: Snakemake prints its own after this, so they wait for the interpreter's end."""
    end()
    text = "".join(Path(file).read_text() for file in log_files(log))
    targets = set(workflow.dag_settings.targets)
    told = [] if targets and targets <= SAYING else causes.report(text, sys.argv[1:], targets)
    atexit.register(lambda: print("\n".join(told), file=sys.stderr, flush=True))


onstart:
    begin(log)


def close():
    """The last lines of a run that made tables: their summary (Snakemake prints its own last lines after this)."""
    made = [file for job in workflow.dag.finished_jobs if job.rule.name == "write_tables" for file in job.output]
    summary = Path(R, "summary.txt")
    if made and summary.is_file():
        atexit.register(lambda: print(summary.read_text().rstrip(), flush=True))


onsuccess:
    end()
    close()


onerror:
    explain(log)
