"""The whole study, run by Snakemake: once in the tests; repeated, re-sharded, shuffled, on real questions as proofs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dpc.config.stages import VERSIONS
from dpc.report.exhibits import FIGURES, TABLES, of
from dpc.report.summary import MOST_LINES
from dpc.storage import tables
from dpc.storage.hashing import content_hash
from dpc.storage.provenance import KINDS, commit
from tests.support import config_tree
from tests.support.workflow import SMALLEST, TIMES, Workflow, overlay

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("smallest"), SMALLEST)
    workflow.run()
    return workflow


def cell(workflow: Workflow) -> Path:
    return next(workflow.folder.glob("results/*/*/*/seed0"))


def every_table(workflow: Workflow) -> dict[str, pd.DataFrame]:
    """Return all Parquet tables under the results but the stores, times left out."""
    root = workflow.folder / "results"
    files = [file for file in sorted(root.rglob("*.parquet")) if "store" not in file.parts]
    read = {str(file.relative_to(root)): pd.read_parquet(file) for file in files}
    return {name: table.drop(columns=[c for c in table if c in TIMES]) for name, table in read.items()}


def figures(workflow: Workflow) -> dict[str, str]:
    folder = workflow.folder / "results/figures"
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*.*")}


def check_complete(workflow: Workflow) -> None:
    root = workflow.folder / "results"
    drawn = ("cases", "layers", "accumulation", "exemplars", "analysis", "confidence", "thresholds", "plans")
    for name in (*drawn, "mechanism", "trigger", "confounds", "sensitivity"):
        for kind in ("pdf", "svg", "txt"):
            assert next(root.glob(f"figures/*/*/*/{name}.{kind}")).stat().st_size > 0
    for name in ("main", "ablation", "cost", "findings", "claims", "trigger", "confounds", "sensitivity", "variants"):
        for kind in ("csv", "md", "tex", "html"):
            assert (root / f"tables/{name}.{kind}").stat().st_size > 0
    index = (root / "explorer.html").read_text()
    for link in re.findall(r'href="([^"]*explorer\.html)"', index):
        assert 'id="data"' in (root / link).read_text(), link
    assert not [f for f in root.rglob(".*") if f.is_file() and f.name != ".snakemake_timestamp"]


def test_the_study_runs_to_figures_tables_and_one_report(study: Workflow) -> None:
    check_complete(study)
    study.run("--report", "report.html")
    report = (study.folder / "report.html").read_text()
    for category in (
        "1 Main results",
        "2 Cases",
        "3 Prompt tuning analysed",
        "4 Information flow",
        "5 Interventions",
        "6 Evidence",
    ):
        assert category in report
    assert ".literal-block { font-size" in report  # else the summary's last column is out of view
    assert study.planned() == {}


def test_every_plan_answers_every_test_question(study: Workflow) -> None:
    outcomes = tables.read(cell(study) / "evaluation/outcomes.parquet", "outcomes")
    plain = outcomes[outcomes["candidate"] < 0]
    assert plain.groupby("plan")["problem_id"].nunique().to_dict() == dict.fromkeys(plain["plan"].unique(), 40)
    assert plain.groupby("plan").size().eq(40).all()
    summary = tables.read(cell(study) / "evaluation/evaluation.parquet", "evaluation")
    assert list(summary["plan"]) == [*plain["plan"].unique(), "oracle_token"]


def test_questions_that_never_fire_are_counted(study: Workflow) -> None:
    evidence = tables.read(cell(study) / "study/evidence.parquet", "evidence")
    never = int((~evidence.loc[evidence["split"] == "test", "eligible"]).sum())
    summary = tables.read(cell(study) / "evaluation/evaluation.parquet", "evaluation")
    assert (summary["ineligible"] == never).all()
    log = next(study.folder.glob("results/logs/plan/*.log")).read_text()
    assert f"{never} of 40 questions never fire" in log


def test_what_an_oracle_shares_with_other_plans_is_made_once(study: Workflow) -> None:
    made = {
        part: set(zip(rows["problem_id"], rows["edit_id"], strict=True))
        for part in ("test", "oracles")
        for rows in [tables.read(sorted(cell(study).glob(f"regenerations/{part}/*.parquet")), "regenerations")]
    }
    assert not made["test"] & made["oracles"]
    planned = tables.read(cell(study) / "plans/oracles.parquet", "plans")
    asked = planned[(planned["plan"] == "oracle_trigger") & planned["fired"]]
    assert set(zip(asked["problem_id"], asked["edit_id"], strict=True)) <= made["test"]


def test_the_cost_table_gives_every_part_of_a_plan(study: Workflow) -> None:
    costs = pd.read_csv(study.folder / "results/tables/cost.csv").set_index("plan")
    parts = [name for name in costs if name.startswith("seconds_")]
    assert len(parts) == 4
    assert costs[parts].sum(axis=1).to_numpy() == pytest.approx(costs["seconds"].to_numpy(), rel=1e-3)
    assert (costs["memory_gb"] > 0.1).all()
    assert (costs.loc[["prompt_tuning", "no_prompt"], parts[1:]] == 0).all().all()
    assert (costs.loc[["dpc", "entropy_trigger"], "seconds_trigger"] > 0).all(), "measured for all, fired or not"
    assert costs.loc["dpc", "seconds_trigger"] == costs.loc["random_trigger", "seconds_trigger"]
    always = costs.loc["always"]
    assert always["seconds_location"] > costs.loc["dpc", "seconds_trigger"], "without a trigger, all of saliency"
    assert always["tokens_regeneration"] > 0


def test_plans_that_change_nothing_reproduce_prompt_tuning(study: Workflow) -> None:
    """In float32 mask 1 with gamma 0 gives the base generation token for token; R = 1 never fires."""
    folder = cell(study)
    plans = tables.read(folder / "plans/test.parquet", "plans")
    base = tables.read(sorted(folder.glob("generations/*.parquet")), "generations").set_index("problem_id")
    again = tables.read(sorted(folder.glob("regenerations/test/*.parquet")), "regenerations")
    identity = plans[(plans["plan"] == "identity") & plans["fired"]]
    for row in identity.merge(again, on=["problem_id", "edit_id"]).itertuples():
        assert list(row.token_ids) == list(base.loc[row.problem_id, "token_ids"])
    study.run("evaluation", change={"trigger": {"share": 1.0}})
    outcomes = tables.read(folder / "evaluation/outcomes.parquet", "outcomes")
    texts = outcomes[outcomes["plan"].isin(["dpc", "prompt_tuning"])].pivot(
        index="problem_id", columns="plan", values="text"
    )
    assert (texts["dpc"] == texts["prompt_tuning"]).all()
    study.run("evaluation")


def test_a_new_plan_makes_only_its_new_edits(study: Workflow) -> None:
    def made() -> int:
        """Read how many edits the last run of the test part made; Snakemake starts the log anew for every job."""
        log = next(study.folder.glob("results/logs/regenerate/*.test.1-of-1.log"))
        return int(re.findall(r"(\d+) to make", log.read_text())[-1])

    fewer = {"study": {"plans": ["no_prompt", "prompt_tuning", "dpc"]}}
    study.run("regenerations", change=overlay(fewer, {"corrupt": {"gamma": 40.0}}))
    study.run("regenerations", change={"corrupt": {"gamma": 40.0}})
    assert 0 < made() <= 4 * 40  # `always` and the controls come new
    study.run("regenerations", change=overlay(fewer, {"corrupt": {"gamma": 40.0}}))
    assert made() == 0
    study.run("regenerations")
    assert made() == 0  # the first run's edits are still in the store


def test_an_edit_that_changes_nothing_leaves_the_flow_as_it_was(study: Workflow) -> None:
    """What is measured after corruption is what was measured before, where the edit is none."""
    target = f"{cell(study).relative_to(study.folder)}/mechanism/mechanism.parquet"
    study.run(target, change={"trigger": {"share": 0.0}, "mechanism": {"plans": ["identity", "dpc"]}})
    found = tables.read(study.folder / target, "mechanism")
    same, other = (found[(found["plan"] == plan) & found["fired"]] for plan in ("identity", "dpc"))
    assert len(same) >= len(other) > 0
    assert set(same["problem_id"]) >= set(other["problem_id"])
    for name in ("flow_latter", "s_ifp", "nll"):
        assert same[f"{name}_after"].to_numpy() == pytest.approx(same[f"{name}_before"].to_numpy(), rel=2e-3, abs=1e-7)
    assert (other["flow_latter_after"] / other["flow_latter_before"] - 1).abs().max() > 0.02
    assert found.loc[~found["fired"], "flow_latter_after"].isna().all()
    study.run()


def test_logs_and_footers_say_how_a_table_was_made(study: Workflow) -> None:
    lines = next(study.folder.glob("results/logs/extract_saliency/*.log")).read_text().splitlines()
    assert "stage extract_saliency, host " in lines[0]
    assert "device cpu" in lines[0]
    assert "settings {" in lines[1]
    assert "peak memory" in lines[-1]
    footer = tables.provenance(next(cell(study).glob("saliency/*.parquet")))
    assert footer["settings"]["saliency"]["head_reduce"] == "abs_mean"
    assert footer["version"] == VERSIONS["extract_saliency"]
    assert {"dpc", "packages", "device", "host", "made"} <= set(footer)


def test_every_footer_names_the_commit_the_model_the_data_and_the_prompt(study: Workflow) -> None:
    found = {path: tables.provenance(path) for path in cell(study).rglob("*.parquet") if "store" not in path.parts}
    assert {footer["commit"] for footer in found.values()} == {commit()}
    hashes = {name: tuple(len(footer["hashes"][name]) for name in KINDS) for name, footer in found.items()}
    assert {name.name: counts for name, counts in hashes.items() if counts != (1, 1, 1)} == {}
    assert len({str(footer["hashes"]) for footer in found.values()}) == 1
    prompt = content_hash([(cell(study) / "prompt/adapter_model.safetensors").read_bytes()])
    model, data = (next(iter(found.values()))["hashes"][kind][0] for kind in ("model", "data"))
    for file in ("tables/main.md", "summary.txt", "figures/builtin/arithmetic/well_tuned/plans.txt"):
        said = (study.folder / "results" / file).read_text()
        assert f"model {model}; data {data}; prompt {prompt}." in said
    assert len((study.folder / "results/summary.txt").read_text().splitlines()) <= MOST_LINES


def assert_same_rows(one: pd.DataFrame, other: pd.DataFrame, rtol: float) -> None:
    keys = [c for c in ("problem_id", "edit_id", "plan", "candidate") if c in one]
    if keys:
        one, other = (table.sort_values(keys, ignore_index=True) for table in (one, other))
    pd.testing.assert_frame_equal(one, other, rtol=rtol, atol=1e-7)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, list[str]]:
    """The same study anew, run as a person does in a folder, with what the terminal shows."""
    workflow = Workflow(tmp_path_factory.mktemp("again"), overlay(config_tree.demo(), SMALLEST))
    done = workflow.plainly("--cores", "1", "--configfile", "overlay.yaml", change={})
    assert done.returncode == 0, done.stderr
    return workflow, [*done.stderr.splitlines(), *done.stdout.splitlines()]


@pytest.mark.proof
def test_a_study_takes_at_most_sixty_lines_its_summary_last(again: tuple[Workflow, list[str]]) -> None:
    """A second run, with another key, names it."""
    workflow, lines = again
    summary = (workflow.folder / "results/summary.txt").read_text().splitlines()
    assert len(lines) <= 60
    assert lines[-len(summary) :] == summary
    assert sum(line.startswith("tune_prompt ") for line in lines) == 1
    second = workflow.plainly("-n", "--configfile", "overlay.yaml", change={"trigger": {"kappa": 1.5}})
    assert "note: changed since the last run: trigger.kappa 1.0 → 1.5" in second.stdout


@pytest.mark.proof
def test_the_same_config_twice_gives_the_same_tables_and_figure_bytes(
    study: Workflow, again: tuple[Workflow, list[str]]
) -> None:
    other, _ = again
    first, second = every_table(study), every_table(other)
    assert first.keys() == second.keys()
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, second[name], check_exact=True)
    assert figures(study) == figures(other)
    drawn, tabled = ([*of("cell", names), *of("recipes", names)] for names in (FIGURES, TABLES))
    assert len(figures(study)) == 3 * len(drawn) + 4 * len(tabled)  # their file formats
    for name in ("main.csv", "ablation.tex", "findings.md", "claims.csv"):
        paths = [w.folder / "results/tables" / name for w in (study, other)]
        assert paths[0].read_text() == paths[1].read_text()


def blind(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Leave out what test gold decides: the oracles."""
    return outcomes[~outcomes["plan"].str.startswith("oracle")]


@pytest.mark.proof
def test_shards_and_batch_sizes_change_no_row(study: Workflow, tmp_path: Path) -> None:
    split = Workflow(tmp_path, SMALLEST)
    change = {
        "shards": {"generate": 4, "saliency": 2},
        "execution": {"batch_size": {"generate": 1, "saliency": 1}},
        "study": {"oracles": []},
    }
    split.run("evaluation", change=change)
    folders = [cell(w) for w in (study, split)]
    for name, pattern in (("generations", "generations"), ("regenerations", "regenerations/test")):
        pair = [tables.read(sorted(f.glob(f"{pattern}/*.parquet")), name) for f in folders]
        assert_same_rows(*(rows.drop(columns=["seconds", "batch"]) for rows in pair), rtol=0)
    pair = [tables.read(sorted(f.glob("saliency/*.parquet")), "saliency") for f in folders]
    assert_same_rows(*(rows.drop(columns="seconds") for rows in pair), rtol=2e-3)
    outcomes = [tables.read(f / "evaluation/outcomes.parquet", "outcomes") for f in folders]
    assert_same_rows(*(blind(o.drop(columns=[c for c in o if c in TIMES])) for o in outcomes), rtol=0)


@pytest.mark.proof
def test_shuffled_test_gold_changes_no_plan_and_no_prediction(study: Workflow, tmp_path: Path) -> None:
    """Gold is shuffled where it lies; everything between prompt and evaluation is then made anew."""
    shutil.copytree(study.folder, tmp_path, dirs_exist_ok=True)
    workflow = Workflow(tmp_path, SMALLEST)
    folder = cell(workflow)
    keep = ["plans/test.parquet", "thresholds.parquet", "generations/1-of-1.parquet"]
    before = {name: pd.read_parquet(folder / name) for name in keep}
    outcomes = tables.read(folder / "evaluation/outcomes.parquet", "outcomes")
    gold = workflow.folder / "results/problems/arithmetic/gold/test.parquet"
    rows = tables.read(gold, "gold")
    rows["answer"] = rows["answer"].sample(frac=1, random_state=1).to_numpy()
    tables.write(gold, "gold", rows, {})
    for stale in ("store", "regenerations", "plans", "saliency", "generations"):
        for file in (folder / stale).rglob("*.parquet"):
            file.unlink()
    workflow.run("evaluation")
    for name, table in before.items():
        dropped = [c for c in table if c in TIMES]
        after = pd.read_parquet(folder / name)
        pd.testing.assert_frame_equal(table.drop(columns=dropped), after.drop(columns=dropped))
    again = tables.read(folder / "evaluation/outcomes.parquet", "outcomes")
    same = ["problem_id", "plan", "fired", "extracted", "text", "tokens"]
    pair = [blind(o)[same].reset_index(drop=True) for o in (outcomes, again)]
    pd.testing.assert_frame_equal(*pair)
    assert (again["answer"].to_numpy()[:40] != outcomes["answer"].to_numpy()[:40]).any()


def gsm8k_model(folder: Path, data: Path) -> None:
    """Write a Llama model folder with random weights and a BPE tokenizer trained on GSM8K's own text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rows = [json.loads(line) for line in (data / "gsm8k/train.jsonl").read_text().splitlines()[:2000]]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    core.train_from_iterator((row["question"] + " " + row["answer"] for row in rows), trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    words.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.mark.proof
def test_real_questions_with_a_local_model_folder(tmp_path: Path, real_data: Path) -> None:
    """The README's recipe for one's own folder and file: real GSM8K, to figures and report."""
    gsm8k_model(tmp_path / "model", real_data)
    mine = overlay(
        SMALLEST,
        {
            "study": {"models": ["mine"], "datasets": ["gsm8k_local"], "recipes": ["short"]},
            "models": {"mine": {"path": str(tmp_path / "model"), "dtype": "float32"}},
            "datasets": {
                "gsm8k_local": {
                    "task": "gsm8k",
                    "files": {f: str(real_data / f"gsm8k/{f}.jsonl") for f in ("train", "test")},
                    "template": "Question: {question}\nAnswer: ",
                    "stop": ["\nQuestion:"],
                    "max_new_tokens": 24,
                    "splits": {
                        "tuning": 64,
                        "validation": 8,
                        "calibration": 12,
                        "act_select": 6,
                        "act_confirm": 6,
                        "test": 24,
                    },
                }
            },
            "recipes": {"short": {"vectors": 5, "learning_rate": 0.05, "batch_size": 8, "steps": 6}},
        },
    )
    workflow = Workflow(tmp_path / "work", mine)
    workflow.run()
    workflow.run("--report", "report.html")
    check_complete(workflow)
    log = next(workflow.folder.glob("results/logs/run_study/*.log")).read_text()
    assert "S_IFP analysis: wanted 5 right and 5 wrong instances, found 0 and 5" in log
    findings = tables.read(cell(workflow) / "study/findings.parquet", "findings").set_index("name")
    assert pd.isna(findings.loc["auc_s_ifp", "value"])
    assert "not estimable" in findings.loc["phi", "note"]
    caption = next(workflow.folder.glob("results/figures/*/*/*/analysis.txt")).read_text()
    assert "0 right" in caption
    assert "0 right" in (workflow.folder / "results/tables/findings.md").read_text()
