"""A made-up cell of any size, as tables and a folder of a model: what the explorer's page is made from.

Saliency has the spread that was measured on a pretrained model of 24 layers under 100 vectors. Axes: L layer, T
rationale token, N prompt vector.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from dpc.analysis.readings import reading
from dpc.analysis.readings.flow import derive
from dpc.analysis.studies.outcomes import COSTS
from dpc.config.settings import Explorer, Flow, Locate, Saliency, Trigger
from dpc.config.slices import ExplorerStage
from dpc.prompts.edits import BASE, UNPROMPTED, Edit
from dpc.storage import tables

HOSTILE = '<script>document.title = "broken"</script><b id="bold">bold</b> & "so" on, \\(a<b\\)'
"""Stands in the first question and in its answers."""
SENTENCES = (
    "Let $x_{%d}$ be the number of tickets sold on day %d, so that $x_{%d} = %d$.",
    "Then the total is $%d + %d = %d$, which leaves \\frac{%d}{%d} of the hall empty.",
    "Each of the %d rows has %d seats; %d of them are taken.\n",
    "Subtracting %d from %d gives %d, as the clerk counted.",
    "We check: $\\sqrt{%d} \\cdot %d = %d$.\n",
)
PLANS = ("no_prompt", "prompt_tuning", "dpc", "always")
PARTS_AT = 7
"""The token from which the answer under DPC differs."""


@dataclass(frozen=True)
class Size:
    """How large the cell is."""

    questions: int = 40
    layers: int = 6
    tokens: int = 24
    vectors: int = 8
    kept: int = 32


def facts(number: int) -> dict[str, bool]:
    """Return what holds of question `number`; all patterns occur."""
    bits = [bool(number >> place & 1) for place in range(4)]
    fired = bits[2]
    caused = number % 3 == 0 or (bits[0] and not bits[1])
    dpc = bits[3] if fired else bits[1]
    return {"unprompted": bits[0], "base": bits[1], "fired": fired, "dpc": dpc, "caused": caused}


def make(folder: Path, size: Size, seed: int = 0) -> dict[str, Any]:
    """Write the cell into `folder` and return what `write_explorer.run` is called with, but for `out`."""
    rng = np.random.default_rng(seed)
    names = [f"made-{number:04d}" for number in range(size.questions)]
    said = {name: _texts(rng, size, number) for number, name in enumerate(names)}
    model, prompt, tokenizer = _model(folder, rng, size, [text for texts in said.values() for text in texts.values()])
    ids = {
        name: {
            edit: tokenizer.encode(text, add_special_tokens=False).ids[: size.tokens] for edit, text in texts.items()
        }
        for name, texts in said.items()
    }
    for of_question in ids.values():
        of_question["edited"] = of_question[BASE][:PARTS_AT] + of_question["edited"][: size.tokens - PARTS_AT - 2]
    rows = _tables(rng, size, names, said, ids)
    files = {name: folder / f"{name}.parquet" for name in rows}
    for name, (schema, table) in rows.items():
        tables.write(files[name], schema, table, {"peak_gb": 0.1})
    one = {name: files[name] for name in ("flow", "evidence", "thresholds", "outcomes", "causal")}
    many = {name: [files[name]] for name in ("saliency", "plans", "generations", "unprompted", "regenerations")}
    return {"settings": _settings(size), "model": model, "prompt": prompt, "act": [], "options": [], **one, **many}


def _settings(size: Size) -> ExplorerStage:
    return ExplorerStage(
        study="made", model="small", dataset="halls", recipe="paper", seed=0, flow=Flow(), trigger=Trigger(),
        saliency=Saliency(), explorer=Explorer(cases=size.kept),
    )  # fmt: skip


def _texts(rng: np.random.Generator, size: Size, number: int) -> dict[str, str]:
    """Return question and answers of one case."""
    texts = {
        edit: " ".join(_sentence(rng) for _ in range(max(2, count // 8)))
        for edit, count in (("question", 40), (BASE, size.tokens), ("edited", size.tokens), (UNPROMPTED, 24))
    }
    return {edit: HOSTILE + text for edit, text in texts.items()} if number == 0 else texts


def _sentence(rng: np.random.Generator) -> str:
    text = SENTENCES[rng.integers(len(SENTENCES))]
    return text % tuple(rng.integers(2, 400, text.count("%d")))


def _model(folder: Path, rng: np.random.Generator, size: Size, texts: list[str]) -> tuple[Path, Path, Any]:
    """Write tokenizer and embedding, and an adapter whose every second vector is a row of the embedding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts[:400], trainer)
    embedding = rng.normal(size=(tokenizer.get_vocab_size(), 32)).astype(np.float32)
    vectors = rng.normal(size=(size.vectors, 32)).astype(np.float32)
    vectors[::2] = 3 * embedding[300 : 300 + len(vectors[::2])]
    for name in ("model", "prompt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "model/tokenizer.json"))
    save_file({"model.embed_tokens.weight": embedding}, folder / "model/model.safetensors")
    prompt = folder / "prompt/adapter_model.safetensors"
    save_file({"prompt_embeddings": vectors}, prompt)
    about = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": size.vectors, "token_dim": 32}
    (folder / "prompt/adapter_config.json").write_text(json.dumps(about))
    return folder / "model", prompt, tokenizer


def _saliency(rng: np.random.Generator, size: Size, name: str, tokens: int) -> dict[str, Any]:
    """Return a row of table `saliency`: most of a token's size is its own, shared by all layers."""
    shape = (size.layers, tokens)
    layer_L1 = rng.normal(0, 1.0, (size.layers, 1))
    flow_LT = 1e-4 * np.exp(layer_L1 + rng.normal(0, 1.2, (1, tokens)) + rng.normal(0, 0.35, shape))
    question_LT = flow_LT * np.exp(1.6 + rng.normal(0, 0.8, shape))
    attention_LT = np.clip(0.2 * np.exp(rng.normal(0, 0.3, (size.layers, 1)) + rng.normal(0, 0.3, shape)), 0, 0.99)
    column_LN = 1e-3 * np.exp(rng.normal(0, 0.8, (size.layers, size.vectors)))
    parts_TN = np.exp(rng.normal(0, 1, (1, size.vectors)) + rng.normal(0, 0.6, (tokens, size.vectors)))
    parts_TN /= parts_TN.sum(1, keepdims=True)
    band_TN = parts_TN * flow_LT[: max(1, size.layers // 3)].sum(0)[:, None]
    halves, zeros = tokens // 2, np.zeros(shape)
    flat = {
        "nll": rng.exponential(0.3, tokens), "entropy": rng.exponential(0.5, tokens), "row_prompt": flow_LT,
        "row_question": question_LT, "row_rationale": question_LT / 2, "row_former_tokens": question_LT / 4,
        "row_former_steps": zeros, "column_question": column_LN, "column_rationale": column_LN, "band": band_TN,
        "row_attention": attention_LT, "attention_question": 500 * column_LN, "attention_rationale": 500 * column_LN,
        "seconds": np.zeros(size.layers),
    }  # fmt: skip
    return {
        "problem_id": name, "split": "test", "layers": size.layers, "vectors": size.vectors, "prompt_start": 1,
        "question_tokens": 40, "rationale_tokens": tokens, "former_tokens": halves, "former_steps": halves,
        "step_of_token": list(np.arange(tokens) // 8), **{key: np.ravel(value) for key, value in flat.items()},
    }  # fmt: skip


def _tables(
    rng: np.random.Generator, size: Size, names: list[str], said: dict[str, dict[str, str]], ids: dict[str, Any]
) -> dict[str, tuple[str, pd.DataFrame]]:
    """Return every table by the name of its file, with its schema."""
    about = [facts(number) for number in range(size.questions)]
    saliency = pd.DataFrame([_saliency(rng, size, name, len(ids[name][BASE])) for name in names])
    base = _generations(names, said, ids, BASE, about, "base")
    flow = pd.DataFrame(derive(tables.rows(saliency), base, Flow(), Locate()))
    read = reading.readings(tables.rows(flow), Trigger(), Locate())
    plans = pd.DataFrame([_plan(*one, read) for one in itertools.product(PLANS, enumerate(names), [about])])
    return {
        "saliency": ("saliency", saliency),
        "flow": ("flow", flow),
        "evidence": ("evidence", _evidence(read, about)),
        "thresholds": ("thresholds", _thresholds()),
        "generations": ("generations", base),
        "unprompted": ("generations", _generations(names, said, ids, UNPROMPTED, about, "unprompted")),
        "regenerations": ("regenerations", _regenerated(plans, names, said, ids)),
        "plans": ("plans", plans),
        "outcomes": ("outcomes", pd.DataFrame([_outcome(row, said, ids, about) for row in tables.rows(plans)])),
        "causal": ("causal", _causal(rng, size, names, about)),
    }


def _answer(right: bool, number: int) -> str | None:
    return "34" if right else (None if number % 5 == 0 else "20")


def _generations(
    names: list[str], said: dict[str, Any], ids: dict[str, Any], edit: str, about: list[dict[str, bool]], fact: str
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "problem_id": name, "split": "test", "edit_id": edit, "token_ids": ids[name][edit],
                "text": said[name][edit], "stop_reason": "end", "extracted": _answer(about[number][fact], number),
                "extracted_lenient": None, "seconds": 0.1, "batch": 0,
            }
            for number, name in enumerate(names)
        ]
    )  # fmt: skip


def _regenerated(plans: pd.DataFrame, names: list[str], said: dict[str, Any], ids: dict[str, Any]) -> pd.DataFrame:
    edited = plans[plans["fired"] & (plans["edit_id"] != UNPROMPTED)].drop_duplicates(["problem_id", "edit_id"])
    rows = [
        {
            "problem_id": row.problem_id, "split": "test", "edit_id": row.edit_id,
            "token_ids": ids[row.problem_id]["edited"], "text": said[row.problem_id]["edited"], "stop_reason": "length",
            "extracted": "34", "extracted_lenient": "34", "seconds": 0.1, "batch": 0,
        }
        for row in tables.rows(edited)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _plan(plan: str, question: tuple[int, str], about: list[dict[str, bool]], read: pd.DataFrame) -> dict[str, Any]:
    number, name = question
    edit = Edit(masked=tuple(read["located"].iloc[number]), gamma=10.0)
    fired = {"prompt_tuning": False, "dpc": about[number]["fired"]}.get(plan, True)
    columns = {**edit.columns(), **({"edit_id": UNPROMPTED, "masked": []} if plan == "no_prompt" else {})}
    return {"problem_id": name, "plan": plan, "candidate": -1, "fired": fired, **columns}


def _outcome(row: Any, said: dict[str, Any], ids: dict[str, Any], about: list[dict[str, bool]]) -> dict[str, Any]:
    number = int(row.problem_id[-4:])
    edit = {"no_prompt": UNPROMPTED, "prompt_tuning": BASE}.get(row.plan, "edited" if row.fired else BASE)
    known = about[number]
    right = {UNPROMPTED: known["unprompted"], BASE: known["base"], "edited": known["dpc"]}[edit]
    texts, read = said[row.problem_id], _answer(right, number)
    return {
        "problem_id": row.problem_id, "plan": row.plan, "candidate": -1, "fired": row.fired,
        "correct": right and edit != UNPROMPTED, "correct_lenient": right, "answer": "34",
        "extracted": None if edit == UNPROMPTED else read, "extracted_lenient": read, "text": texts[edit],
        "question": texts["question"], "stop_reason": "length" if edit == "edited" else "end",
        "tokens": len(ids[row.problem_id][edit]), "seconds": 0.1, **dict.fromkeys(COSTS, 0.0),
        "tokens_regeneration": 0, "grader": "1",
    }  # fmt: skip


def _evidence(read: pd.DataFrame, about: list[dict[str, bool]]) -> pd.DataFrame:
    known = pd.DataFrame(about)
    return read.assign(
        correct=known["base"], correct_unprompted=known["unprompted"], fired=known["fired"], in_correlation=False,
        in_separation=False, steps=3, accumulated=True, located=read["located"].map(lambda found: found[0]),
        located_at_zero=False, flow_changed=False,
    )  # fmt: skip


def _causal(rng: np.random.Generator, size: Size, names: list[str], about: list[dict[str, bool]]) -> pd.DataFrame:
    """Return what interventions find on every third question, and on those that the prompt broke."""
    vectors = [str(j) for j in range(size.vectors)]
    doses = [f"{what}:{dose}" for what in ("located", "random", "noise") for dose in (0, 0.25, 0.5, 0.75, 1.25, 1.5)]
    cuts = [f"{band}:{what}" for band in ("shallow", "deep", "all") for what in ("prompt", "question")]
    of_all = {
        **dict.fromkeys(("mask", "saliency", "attention", "value_flow", "gradient", "norm"), vectors),
        "dose_loss": doses, "dose_right": doses[:12], "cut_loss": cuts, "cut_gold": cuts, "cut_right": cuts,
        "sink_mask": ["bos_first:plain", "bos_first:extra", "prompt_first:plain", "prompt_first:extra"],
        "sink_attention": [f"bos_first:plain:{j}" for j in vectors],
    }  # fmt: skip
    of_broken = {"path": ["own", "shallow", "deep", "all"], "divergence": ["place", "prompted", "unprompted"]}
    rows = [
        {"problem_id": name, "test": test, "target": target, "value": _effect(rng, test, target)}
        for number, (name, known) in enumerate(zip(names, about, strict=True))
        for test, targets in {
            **(of_all if number % 3 == 0 else {}),
            **(of_broken if known["unprompted"] and not known["base"] else {}),
        }.items()
        for target in targets
    ]
    return pd.DataFrame(rows)


def _effect(rng: np.random.Generator, test: str, target: str) -> float:
    if target == "place":
        return float(PARTS_AT)
    return float(rng.integers(2)) if test in ("dose_right", "cut_right", "divergence") else float(rng.normal(0, 0.3))


def _thresholds() -> pd.DataFrame:
    row = {
        "share": 0.25, "net": 3, "accumulation_z_limit": 2.0, "s_ifp_limit": 0.2, "static_vector": 1,
        "flow_constant": None, "flow_profile": None, "entropy_limit": 1.0, "nll_limit": 1.0, "attention_limit": 1.0,
        "right_cases": 20, "calibration_questions": 40, "note": "",
    }  # fmt: skip
    return pd.DataFrame([row])
