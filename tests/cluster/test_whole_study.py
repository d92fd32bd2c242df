"""`snakemake --profile slurm` from a fresh clone, on a real Slurm with pretended GPUs: a whole study."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from tests.cluster.clone import LIMIT, STUDY, Clone
from tests.cluster.slurm import GPU_NODES, Cluster
from tests.support.workflow import overlay, slowness

pytestmark = [pytest.mark.proof, pytest.mark.long]

GPU_RULES = {
    "tune_prompt", "generate_unprompted", "generate_base", "regenerate", "extract_saliency", "extract_exemplars",
    "extract_corrupted", "extract_variants", "select_act_heads", "generate_act", "measure_prompt", "intervene",
}  # fmt: skip
MOST_SECONDS = 10
"""Of CPU time to plan the paper's grid, on a quiet core (`tests.support.workflow.slowness`)."""


class Run:
    """The smallest study from a fresh clone, with one job that fails once; beside it the paper's grid."""

    def __init__(self, folder: Path, cluster: Cluster):
        study = Clone(folder / "study", cluster)
        study.plant(choose_exemplars="fail")
        process = study.start(study=overlay(STUDY, {"shards": {"saliency": 3}}))
        try:
            self.paper(Clone(folder / "paper", cluster, warm=False))
            self.output, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        self.status, self.folder = process.returncode, study.folder
        self.jobs = study.jobs()

    def paper(self, clone: Clone) -> None:
        """Plan the paper's grid, and try to run it without weights."""
        slow = slowness()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.plan = clone.run("--dry-run", "--quiet", "rules", study=None)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # others run beside it
        self.plan_seconds = 2 * used / (slow + slowness())
        self.bare = clone.run(study=None)

    def of(self, rule: str) -> list[dict[str, str]]:
        """Return the Slurm jobs of a rule."""
        return [job for job in self.jobs if re.fullmatch(f"rule_{rule}(_wildcards_.*)?", job["Comment"])]


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("clones"), cluster)


def test_the_study_runs_to_figures_and_tables(run: Run) -> None:
    assert run.status == 0, run.output[-3000:]
    results = run.folder / "results"
    assert {file.suffix for file in results.glob("figures/*/*/*/plans.*")} == {".svg", ".pdf", ".txt"}
    assert (results / "tables/main.csv").stat().st_size > 0


def test_gpu_jobs_ask_for_a_card_and_cpu_jobs_do_not(run: Run) -> None:
    asked = {job["JobId"]: job.get("TresPerJob") for rule in GPU_RULES for job in run.of(rule)}
    assert len(asked) >= len(GPU_RULES)
    assert set(asked.values()) == {"gres:gpu:1"}
    others = [job for job in run.jobs if job["JobId"] not in asked]
    assert not [job for job in others if "gpu" in job.get("TresPerJob", "")]
    assert {job["Partition"] for job in others} == {"cpu"}
    assert {job["Partition"] for job in run.jobs if job["JobId"] in asked} == {"gpu"}


def test_never_more_gpu_jobs_at_once_than_gpus(run: Run) -> None:
    spans = [(job["StartTime"], job["EndTime"], job["NodeList"]) for rule in GPU_RULES for job in run.of(rule)]
    at_once = [[node for start, end, node in spans if start <= moment < end] for moment, _, _ in spans]
    assert max(len(nodes) for nodes in at_once) == len(GPU_NODES)  # three shards of saliency filled them
    assert all(len(nodes) == len(set(nodes)) for nodes in at_once)


def test_a_failed_job_is_tried_again_once_with_more_memory(run: Run) -> None:
    first, second = run.of("choose_exemplars")
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("1000M", "2000M")
    assert (first["Requeue"], second["Requeue"]) == ("0", "0")
    kept = next(run.folder.glob(f"results/logs/choose_exemplars/*.job{first['JobId']}.log"))
    assert "a planted fault" in kept.read_text()
    tried = [job for job in run.jobs if job["JobState"] != "COMPLETED"]
    assert tried == [first]


def test_the_papers_grid_is_planned_in_seconds(run: Run) -> None:
    status, output = run.plan
    assert status == 0, output[-3000:]
    assert run.plan_seconds <= MOST_SECONDS
    counts = dict(re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE))
    assert (counts["tune_prompt"], counts["fetch_model"]) == ("27", "3")


def test_missing_weights_are_one_clear_error(run: Run) -> None:
    status, output = run.bare
    assert status != 0
    errors = [line for line in output.splitlines() if "found no weights in resources/models/" in line]
    assert len(errors) == 1
    assert errors[0].startswith("check: models.llama2-13b: ")
    assert "write models.llama2-13b.path" in errors[0]
    assert "Error in rule" not in output
