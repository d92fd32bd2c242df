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
EDITS = [Edit((j,), gamma=10.0) for j in range(3)]


def commands(made: Path, out: Path, save_every: float = 0, **changed: Any) -> dict[str, list[str]]:
    """Return each stage's command line; inputs lie in `made`, everything written goes to `out`."""
    execution = {
        "device": "cpu",
        "batch_size": {"generate": BATCH, "saliency": BATCH, "tune": 3, "act": 4 * BATCH},
        "save_every_seconds": save_every,
    }
    given = [f"--execution={json.dumps(execution)}", f"--model={made}/model", f"--questions={made}/questions.parquet"]
    one = ["--shard=1", "--shards=1"]
    prompt, base = f"--prompt={made}/prompt.safetensors", f"{made}/generations.parquet"

    def line(stage: str, settings: dict[str, Any], *flags: str) -> list[str]:
        return [stage, f"--settings={json.dumps({**settings, **changed})}", *given, *flags]

    def stored(name: str, output: str) -> list[str]:
        return [*one, f"--store={out}/store/{name}", f"--out={out}/{output}.parquet"]

    splits = [f"--{part}={made}/act_{part}.parquet" for part in ("select", "confirm")]
    selected = [f"--{name}={out}/{name}.parquet" for name in ("heads", "scores")]
    heads, plans = (f"--{name}={made}/{name}.parquet" for name in ("heads", "plans"))
    measured = {**LM, "task": "arithmetic", "saliency": {"band": "all"}}
    return {
        "tune_prompt": line("tune_prompt", {**LM, "recipe": RECIPE, "seed": 0}, *tuned(made, out)),
        "unprompted": line("generate_base", GENERATE, *stored("unprompted", "unprompted")),
        "generate_base": line("generate_base", GENERATE, prompt, *stored("generations", "generations")),
        "extract_saliency": line(
            "extract_saliency", measured, prompt, f"--generations={base}", *stored("saliency", "saliency")
        ),
        "extract_variants": line(
            "extract_variants",
            {**measured, "variants": {"rows": SPLITS["calibration"]}},
            prompt,
            f"--generations={base}",
            f"--gold={made}/calibration.parquet",
            f"--store={out}/store/variants",
            f"--out={out}/variants.parquet",
        ),
        "select_act_heads": line(
            "select_act_heads", {**LM, "act": ACT}, prompt, *splits, f"--store={out}/store/scores", *selected
        ),
        "generate_act": line(
            "generate_act", {**GENERATE, "act": ACT}, prompt, heads, f"--base={base}", *stored("act", "act")
        ),
        "extract_corrupted": line(
            "extract_corrupted",
            {**measured, "mechanism": {"plans": ["always"]}},
            prompt,
            plans,
            f"--regenerations={made}/edits.parquet",
            f"--store={out}/store/corrupted",
            f"--out={out}/corrupted.parquet",
        ),
        "regenerate": line(
            "regenerate", GENERATE, prompt, f"--base={base}", plans, "--made", *stored("edits", "edits")
        ),
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
    ):
        assert main(line) == 0
    asked = list(tables.read(folder / "generations.parquet", "generations")["problem_id"])
    _write_plans(folder / "earlier.parquet", asked[:9], EDITS[:1])
    _write_plans(folder / "plans.parquet", asked[:11], EDITS)
    write_heads(folder, [(0, 1), (2, 3)])
    assert main(lines["regenerate"]) == 0


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
