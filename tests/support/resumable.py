"""A cell so small that its torch stages can be killed many times: model, tables, and the stages' command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.pipeline.cli import main
from dpc.prompts.edits import Edit
from dpc.storage import tables

SPLITS = {"tuning": 12, "validation": 4, "calibration": 8, "act_select": 20, "act_confirm": 6, "test": 14}
BATCH = 4
QUESTIONS = SPLITS["calibration"] + SPLITS["test"]
LM = {"dtype": "float32", "layout": "bos_first"}
GENERATE = {**LM, "task": "arithmetic", "max_new_tokens": 6, "stop": []}
RECIPE = {"vectors": 4, "steps": 8, "batch_size": 4, "learning_rate": 0.05, "validate_every": 3}
ACT = {"tau": 0.05, "min_rows": 2}
CAUSAL = {
    "trigger_if_affected": None,
    "flow": {"shallow_layers": [0, 1], "deep_layers": [1, 2]},
    "causal": {"rows": QUESTIONS},
}
EDITS = [Edit((j,), gamma=10.0) for j in range(3)]


def commands(made: Path, out: Path, save_every: float = 0, **changed: Any) -> dict[str, list[str]]:
    """Return each stage's command line; inputs lie in `made`, everything written goes to `out`."""
    execution = {
        "device": "cpu",
        "batch_size": {"generate": BATCH, "saliency": BATCH, "tune": 3, "act": 4 * BATCH},
        "save_every_seconds": save_every,
    }
    given = [f"--execution={json.dumps(execution)}", f"--model={made}/model", f"--questions={made}/questions.parquet"]
    prompt, base = f"--prompt={made}/prompt.safetensors", f"{made}/generations.parquet"

    def store(name: str) -> str:
        return f"--store={out}/store/{name}"

    def stored(name: str) -> list[str]:
        return [store(name), f"--out={out}/{name}.parquet"]

    def shard(name: str) -> list[str]:
        return ["--shard=1", "--shards=1", *stored(name)]

    splits = [f"--{part}={made}/act_{part}.parquet" for part in ("select", "confirm")]
    selected = [f"--{name}={out}/{name}.parquet" for name in ("heads", "scores")]
    heads, plans = (f"--{name}={made}/{name}.parquet" for name in ("heads", "plans"))
    measured = {**LM, "task": "arithmetic", "saliency": {"band": "all"}}
    few, again = {"variants": {"rows": SPLITS["calibration"]}}, {"mechanism": {"plans": ["always"]}}
    generations, edits = f"--generations={base}", f"--regenerations={made}/edits.parquet"
    gold = f"--gold={made}/calibration.parquet"
    lines: dict[str, tuple[str, dict[str, Any], list[str]]] = {
        "tune_prompt": ("tune_prompt", {**LM, "recipe": RECIPE, "seed": 0}, tuned(made, out)),
        "unprompted": ("generate_base", GENERATE, shard("unprompted")),
        "generate_base": ("generate_base", GENERATE, [prompt, *shard("generations")]),
        "extract_saliency": ("extract_saliency", measured, [prompt, generations, *shard("saliency")]),
        "extract_variants": ("extract_variants", measured | few, [prompt, generations, gold, *stored("variants")]),
        "select_act_heads": ("select_act_heads", {**LM, "act": ACT}, [prompt, *splits, store("scores"), *selected]),
        "generate_act": ("generate_act", {**GENERATE, "act": ACT}, [prompt, heads, f"--base={base}", *shard("act")]),
        "extract_corrupted": ("extract_corrupted", measured | again, [prompt, plans, edits, *stored("corrupted")]),
        "intervene": ("intervene", GENERATE | CAUSAL, [prompt, *answered(made), *stored("causal")]),
        "regenerate": ("regenerate", GENERATE, [prompt, f"--base={base}", plans, "--made", *shard("edits")]),
    }
    return {
        name: [stage, f"--settings={json.dumps({**settings, **changed})}", *given, *flags]
        for name, (stage, settings, flags) in lines.items()
    }


def tuned(made: Path, out: Path) -> list[str]:
    """Return the flags of `tune_prompt` that name files."""
    read = [f"--{split}={made}/{split}.parquet" for split in ("tuning", "validation")]
    kept = f"--checkpoint={out}/store/prompt.safetensors"
    return [
        *read,
        kept,
        f"--weights={out}/prompt.safetensors",
        f"--adapter={out}/prompt.json",
        f"--history={out}/h.parquet",
    ]


def answered(made: Path) -> list[str]:
    """Return the flags of `intervene` that name tables of answers."""
    free, seen = f"--unprompted={made}/unprompted.parquet", [f"--{name}={made}/{name}.parquet" for name in VERDICTS]
    return [f"--other={made}/prompt.safetensors", f"--flow={made}/flow.parquet", free, *seen,
            f"--generations={made}/generations.parquet"]  # fmt: skip


VERDICTS = ("base", "alone")
"""On answers with and without the prompt."""


def earlier_plans(command: list[str]) -> list[str]:
    """Return the command line of `regenerate` for the plans that were there before."""
    return [part.replace("/plans.parquet", "/earlier.parquet") for part in command]


def make(folder: Path) -> None:
    """Write the inputs of every stage into `folder`."""
    from tests.support import tiny

    lm = tiny.model()
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")
    settings = {"dataset": "d", "task": "arithmetic", "generate": 1, "template": "Q : {question} A :", "splits": SPLITS}
    gold = [str(folder / f"{split}.parquet") for split in SPLITS]
    flags = ["--train", "--test", f"--questions={folder}/questions.parquet", "--gold", *gold]
    lines = commands(folder, folder)
    for line in (
        ["load_problems", f"--settings={json.dumps(settings)}", *flags],
        lines["tune_prompt"],
        lines["generate_base"],
        lines["unprompted"],
    ):
        assert main(line) == 0
    _write_verdicts(folder)
    asked = list(tables.read(folder / "generations.parquet", "generations")["problem_id"])
    _write_plans(folder / "earlier.parquet", asked[:9], EDITS[:1])
    _write_plans(folder / "plans.parquet", asked[:11], EDITS)
    write_heads(folder, [(0, 1), (2, 3)])
    assert main(lines["regenerate"]) == 0


def _write_verdicts(folder: Path) -> None:
    """Write table `flow` and verdicts: every second answer is right without the prompt, none with it. All are test."""
    made = tables.read(folder / "generations.parquet", "generations")
    nothing = dict.fromkeys(tables.SCHEMAS["flow"], 0) | {"step_of_token": [0], "token_flow": [0.0], "band": None}
    rows = [
        nothing | {"problem_id": key, "split": "test", "answered": True, "vectors": RECIPE["vectors"],
                   "rationale_tokens": len(ids), "former": len(ids) // 2, "column_saliency": [0.1, 0.4, 0.3, 0.2]}
        for key, ids in zip(made["problem_id"], made["token_ids"], strict=True)
    ]  # fmt: skip
    tables.write(folder / "flow.parquet", "flow", pd.DataFrame(rows), {})
    about = {"steps": 1, "answer": "7", "grader": "1", "edit_id": "base", "correct": False}
    test = made[["problem_id"]].assign(split="test", **about)
    for name, right in zip(VERDICTS, (False, test.index % 2 == 0), strict=True):
        tables.write(folder / f"{name}.parquet", "verdicts", test.assign(correct_lenient=right), {})


def write_heads(folder: Path, heads: list[tuple[int, int]]) -> None:
    """Write table `act_heads` that confirms these layers' heads."""
    about = {"gain": 0.1, "se": 0.01, "questions": 9, "kept": True, "confirmed": True}
    rows = [{"layer": layer, "head": head, **about} for layer, head in heads]
    tables.write(folder / "heads.parquet", "act_heads", pd.DataFrame(rows, columns=["layer", "head", *about]), {})


def _write_plans(file: Path, asked: list[str], edits: list[Edit]) -> None:
    about = {"plan": "always", "candidate": -1, "fired": True}
    rows = [{"problem_id": key, **about, **edit.columns()} for key in asked for edit in edits]
    tables.write(file, "plans", pd.DataFrame(rows), {})


def files(folder: Path) -> dict[str, bytes]:
    """Return every file under `folder`, hidden ones too, but logs."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def outputs(folder: Path) -> dict[str, bytes]:
    """Return every file under `folder` that is not in a store."""
    return {name: data for name, data in files(folder).items() if "store" not in Path(name).parts}


def rows_of(*keys: str) -> pd.DataFrame:
    """Return rows of table `generations` for these questions."""
    about = {"split": "test", "edit_id": "base", "token_ids": [1], "text": "x", "stop_reason": "end", "seconds": 0.0}
    return pd.DataFrame([{"problem_id": key, **about, "extracted": None, "extracted_lenient": None} for key in keys])
