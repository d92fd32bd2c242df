"""What users get wrong most often: each ends at once, with one line that says what to do and leaves nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpc.pipeline.cli import main
from dpc.storage.attempts import SUFFIX
from dpc.storage.claim import Claim
from tests.support import config_tree, model_folders
from tests.support.workflow import Workflow, nested, overlay

SPLITS = ("tuning", "validation", "calibration", "act_select", "act_confirm", "test")
QUESTION = {"question": "Tom has 3 shells . Mon buys 2 .", "answer": "Mon buys 2 = 5 ; #### 5"}
DATASET = {
    "task": "gsm8k",
    "files": {"train": "train.jsonl", "test": "test.jsonl"},
    "template": "Q : {question} A :",
    "splits": {"tuning": 3, "validation": 1, "calibration": 1, "act_select": 0, "act_confirm": 0},
}
STUDY: dict[str, Any] = {
    "study": {
        "results": "out",
        "models": ["own"],
        "datasets": ["own"],
        "recipes": ["well_tuned"],
        "oracles": [],
        "plans": ["no_prompt", "prompt_tuning", "dpc"],
    },
    "models": {"own": {"path": "model", "dtype": "float32"}},
    "datasets": {"own": DATASET},
    "execution": {"device": "cpu"},
}
EXECUTION = json.dumps({"device": "cpu"})


def rows(label: str, count: int) -> list[str]:
    return [json.dumps({**QUESTION, "question": f"{label} {i} : {QUESTION['question']}"}) for i in range(count)]


def files(folder: Path) -> set[str]:
    """Return what lies in a folder, hidden and temporary files included, Snakemake's own, logs and attempts aside."""
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    kept = {name for name in names if not name.startswith(".snakemake/") and "log" not in name}
    return {name for name in kept if not name.endswith(SUFFIX)}


# What the workflow refuses before the first job, or the first job refuses.


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    model_folders.write(tmp_path / "model", num_hidden_layers=4)
    for name in ("pointer", "cut"):
        shutil.copytree(tmp_path / "model", tmp_path / name)
    (tmp_path / "pointer" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d")
    (tmp_path / "cut" / "config.json").write_text('{"model_type"')
    for pool in ("train", "test"):
        (tmp_path / f"{pool}.jsonl").write_text("\n".join(rows(pool, 6)))
    return Workflow(tmp_path, STUDY)


def stopped(workflow: Workflow, change: dict[str, Any] | None = None) -> str:
    """Run the workflow up to the questions; return the one line of ours in what it says."""
    (workflow.folder / "overlay.yaml").touch()
    before = files(workflow.folder)
    done = workflow.snakemake("problems", "--cores", "1", change=change)
    assert done.returncode != 0
    assert files(workflow.folder) == before
    assert "Traceback" not in done.stderr
    ours = [
        line
        for line in done.stderr.splitlines()
        if line.startswith(("config: ", "check: ")) or " ERROR error: " in line
    ]
    assert len(ours) == 1, done.stderr
    return ours[0]


BAD_CONFIG = {
    "unknown key": ("trigger.kapa", 2.0, "config: unknown key `trigger.kapa`; did you mean 'kappa'?"),
    "wrong type": ("shards.generate", "two", "config: `shards.generate` is 'two': expected a whole number"),
    "missing model folder": (
        "models.own.path",
        "nowhere",
        "config: models.own.path is 'nowhere': found no config.json",
    ),
    "missing data file": (
        "datasets.own.files.train",
        "tran.jsonl",
        "config: datasets.own.files.train is 'tran.jsonl': found no such file; write the path",
    ),
    "a pointer of Git LFS": (
        "models.own.path",
        "pointer",
        "config: models.own: pointer/model.safetensors: found no whole safet",
    ),
    "a config cut short": ("models.own.path", "cut", "config: models.own: cut/config.json: found no JSON map"),
    "layers": (
        "sensitivity.layers",
        [[1, 4]],
        "config: sensitivity.layers[0], model own: layer range [1, 4] does not ",
    ),
}


@pytest.mark.parametrize("fault", BAD_CONFIG)
def test_the_workflow_does_not_start(fault: str, workflow: Workflow) -> None:
    key, value, message = BAD_CONFIG[fault]
    assert stopped(workflow, nested(key, value)).startswith(message)


def test_rows_are_read_before_the_first_job(workflow: Workflow) -> None:
    (workflow.folder / "test.jsonl").write_text("\n".join([*rows("test", 3), "{not json"]))
    line = stopped(workflow)
    assert re.match(r"check: test\.jsonl:4: not JSON \(.*\); expected one JSON object per line: correct the line", line)


def test_a_job_that_fails_says_so_once(workflow: Workflow) -> None:
    claim = Claim(workflow.folder / "out/logs/load_problems/own.claim", "its log")
    try:
        line = stopped(workflow)
    finally:
        claim.release()
    assert re.search(
        r"ERROR error: what load_problems logs to out/logs/load_problems/own\.log is being written by ", line
    )


# What a stage refuses.


def refused(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a stage that must fail; return its one line."""
    before = files(folder)
    capsys.readouterr()
    assert main([*arguments, "--log", str(folder / "stage.log")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, "\n".join(said)
    assert files(folder) == before
    assert (folder / "stage.log").read_text().count(" ERROR ") == 1
    return said[0].split(" ERROR error: ")[1]


def problems(folder: Path, train: list[str], test: list[str], **splits: object) -> list[str]:
    """Write the lines of two data files; return the arguments of the stage that reads them."""
    for pool, lines in (("train", train), ("test", test)):
        (folder / f"{pool}.jsonl").write_text("\n".join(lines))
    sizes = {**DATASET["splits"], **splits}  # type: ignore[dict-item]
    settings = {"dataset": "own", "task": "gsm8k", "generate": None, "splits": sizes, "template": "Q : {question} A :"}
    gold = [str(folder / "gold" / f"{name}.parquet") for name in SPLITS]
    data = ["--train", str(folder / "train.jsonl"), "--test", str(folder / "test.jsonl")]
    made = ["--questions", str(folder / "questions.parquet"), "--gold", *gold]
    return ["load_problems", "--settings", json.dumps(settings), *data, *made]


def test_an_empty_data_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(problems(tmp_path, rows("train", 6), []), tmp_path, capsys)
    assert line.startswith(f"{tmp_path}/test.jsonl: found no rows; expected one question per row")


def test_a_malformed_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = json.dumps({"query": "x", "answer": "#### 1"})
    line = refused(problems(tmp_path, [*rows("train", 2), "", bad], rows("test", 6)), tmp_path, capsys)
    assert line.startswith(f"{tmp_path}/train.jsonl:4: no field 'question'; found query, answer; such a row: {{")


@pytest.mark.parametrize("answer", ["#### five", "five", "#### 5 \n#### x"])
def test_a_gold_answer_that_cannot_be_read(answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = json.dumps({"question": "How many?", "answer": answer})
    line = refused(problems(tmp_path, rows("train", 6), [*rows("test", 2), bad]), tmp_path, capsys)
    assert line.startswith(f"{tmp_path}/test.jsonl:3: field 'answer' ends in ")
    assert "expected a last line like '#### 72'; such a row: {" in line


def test_overlapping_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = rows("test", 6)
    shared = json.dumps({**QUESTION, "question": json.loads(test[2])["question"].upper()})
    line = refused(problems(tmp_path, [*rows("train", 6), shared], test), tmp_path, capsys)
    assert "found 1 training questions that are also test questions, such as train.jsonl:7" in line
    assert line.endswith("write `datasets.own.splits.on_overlap: drop`")


def test_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dpc.storage.tables.pq.ParquetWriter.write_table", write)
    arguments = problems(tmp_path, rows("train", 6), rows("test", 6))
    before = files(tmp_path)
    assert main(arguments) == 1
    assert files(tmp_path) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: no space left on the disk; free some and run the same command again" in line


# What a stage refuses that needs a model.

ARITHMETIC = {
    "dataset": "d", "task": "arithmetic", "generate": 1, "template": "Q : {question} A :",
    "splits": {"tuning": 3, "validation": 2, "calibration": 3, "act_select": 3, "act_confirm": 3, "test": 3},
}  # fmt: skip
LM = {"dtype": "float32", "layout": "bos_first"}
GENERATE = {**LM, "task": "arithmetic", "max_new_tokens": 6, "stop": []}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model of three layers and a context of 128, and all that comes before the plans."""
    from tests.support import tiny

    folder = tmp_path_factory.mktemp("made")
    lm = tiny.model()
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")
    gold = [str(folder / f"{name}.parquet") for name in SPLITS]
    problems_flags = ["--train", "--test", "--questions", str(folder / "questions.parquet"), "--gold", *gold]
    assert main(["load_problems", "--settings", json.dumps(ARITHMETIC), *problems_flags]) == 0
    for arguments in (tune(folder), generate(folder), measure(folder)):
        assert main(arguments) == 0
    return folder


def on_model(stage: str, folder: Path, settings: dict[str, Any], model: str = "model") -> list[str]:
    fixed = ["--settings", json.dumps(settings), "--execution", EXECUTION, "--model", str(folder / model)]
    return [stage, *fixed, "--questions", str(folder / "questions.parquet")]


def tune(folder: Path, **recipe: object) -> list[str]:
    small = {"vectors": 4, "steps": 4, "batch_size": 2, "validate_every": 2, **recipe}
    flags = [f"--{split}={folder / split}.parquet" for split in ("tuning", "validation")]
    flags += [
        f"--weights={folder}/prompt.safetensors",
        f"--checkpoint={folder}/checkpoint.safetensors",
        f"--adapter={folder}/prompt.json",
        f"--history={folder}/h.parquet",
    ]
    return [*on_model("tune_prompt", folder, {**LM, "recipe": small, "seed": 0}), *flags]


def generate(folder: Path, model: str = "model", **changed: object) -> list[str]:
    flags = [f"--prompt={folder}/prompt.safetensors", f"--store={folder}/store", "--shard=1", "--shards=1"]
    flags.append(f"--out={folder}/generations.parquet")
    return [*on_model("generate_base", folder, {**GENERATE, **changed}, model), *flags]


def measure(folder: Path, **saliency: object) -> list[str]:
    flags = [f"--prompt={folder}/prompt.safetensors", f"--generations={folder}/generations.parquet"]
    flags += [f"--store={folder}/store", "--shard=1", "--shards=1", f"--out={folder}/saliency.parquet"]
    settings = {**LM, "task": "arithmetic", "saliency": {"band": "all", **saliency}}
    return [*on_model("extract_saliency", folder, settings), *flags]


def read(folder: Path, **flow: object) -> list[str]:
    settings = {"flow": flow, "locate": {}}
    flags = [f"--saliency={folder}/saliency.parquet", f"--generations={folder}/generations.parquet"]
    return ["read_flow", "--settings", json.dumps(settings), *flags, f"--out={folder}/flow.parquet"]


@pytest.fixture
def cell(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to do harm to, without what the stages under test write."""
    shutil.copytree(made, tmp_path / "cell")
    return tmp_path / "cell"


OUTSIDE = "layer range [1, 3] does not lie in the model's layers 0 to 2; write [first, last], both inclusive"


def test_a_layer_range_outside_the_model(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell / "saliency.parquet").unlink()
    assert refused(measure(cell, band=[1, 3]), cell, capsys) == OUTSIDE


@pytest.mark.parametrize("band", ["shallow_layers", "deep_layers"])
def test_a_layer_range_outside_the_model_that_is_read_later(
    band: str, cell: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(read(cell, **{band: [1, 3]}), cell, capsys) == OUTSIDE
    assert main(read(cell, **{band: [1, 2]})) == 0


def test_a_missing_model_folder(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell / "generations.parquet").unlink()
    line = refused(generate(cell, model="modle"), cell, capsys)
    assert line.startswith(
        f"{cell}/modle: found no config.json; expected a model folder (config, safetensors, tokenizer)"
    )


@pytest.mark.parametrize("stage", [tune, generate, measure], ids=lambda stage: stage.__name__)
def test_a_card_that_was_asked_for_and_is_not_there(
    stage: Callable[[Path], list[str]], cell: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing runs silently on the CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = [word.replace('"cpu"', '"cuda"') for word in stage(cell)]
    line = refused(arguments, cell, capsys)
    assert line.startswith("found no CUDA device, but execution.device is cuda; run on a GPU node, or write ")


def test_the_embedded_model_is_trained_on_the_cpu_wherever_the_study_runs(tmp_path: Path) -> None:
    """Its job asks for no card."""
    small = {"seed": 0, "width": 8, "layers": 1, "heads": 1, "key_value_heads": 1, "feed_forward": 8, "steps": 1}
    settings = ["--settings", json.dumps({"builtin": small}), "--execution", json.dumps({"device": "cuda"})]
    assert main(["train_builtin_model", *settings, "--folder", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "config.json").is_file()


def test_a_model_folder_without_weights(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell / "generations.parquet").unlink()
    (cell / "model" / "model.safetensors").unlink()
    assert refused(generate(cell), cell, capsys).startswith(f"{cell}/model: found no safetensors file, expected ")


def test_a_prompt_longer_than_the_context(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell / "prompt.safetensors").unlink()
    (cell / "prompt.json").unlink()
    (cell / "h.parquet").unlink()
    line = refused(tune(cell, vectors=120), cell, capsys)
    assert re.fullmatch(
        r"prompt \(120\) \+ question \(\d+\) \+ rationale \(\d+\) make \d+ tokens, but the model's context is 128; "
        r"shorten recipes\.NAME\.vectors or datasets\.NAME\.max_new_tokens",
        line,
    )


def test_a_generation_longer_than_the_context(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell / "generations.parquet").unlink()
    line = refused(generate(cell, max_new_tokens=120), cell, capsys)
    assert line.startswith("prompt (4) + question (")
    assert "but the model's context is 128" in line


def test_a_tuning_loss_that_is_not_finite(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("prompt.safetensors", "prompt.json", "h.parquet"):
        (cell / name).unlink()
    line = refused(tune(cell, learning_rate=1e30, weight_decay=1.0), cell, capsys)
    assert re.match(
        r"(tuning|validation) loss is (nan|inf) at step \d; expected a finite number: lower recipes\.NAME\.learn", line
    )


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_table_cut_short(kept: float, cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (cell / "saliency.parquet").read_bytes()
    (cell / "saliency.parquet").write_bytes(whole[: int(kept * len(whole))])
    line = refused(read(cell), cell, capsys)
    assert line.startswith(f"{cell}/saliency.parquet: not a whole Parquet file (")
    assert line.endswith("; delete it and run the workflow again")


def test_the_configuration_of_these_tests_is_right() -> None:
    from dpc.config.settings import load_config

    assert load_config(overlay(config_tree.demo(), STUDY)).study.models == ["own"]
