"""Synthetic tables of one cell at a given size, written piece by piece: what the GPU stages would have left.

Axes are those of docs/results.md. Saliency is noise, late tokens of a question scaled by a factor of its own,
so that the shares of affected tokens spread; nothing else in it means anything.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from dpc.prompts.edits import BASE
from dpc.storage import adapter_files, tables

PIECE, STEP_TOKENS, QUESTION_TOKENS = 32, 40, 100
RIGHT, MENDED, BROKEN, OTHER = 0.35, 0.15, 0.08, 0.1
"""Chances: a base answer is right; an edit mends a wrong one, breaks a right one, makes another wrong answer."""
FORMS = {"math": ("{}", r"\frac{{{}}}{{7}}", r"{}\sqrt{{3}}", "({}, 4]", "{}x^2+1"), "gsm8k": ("{}", "{}.5")}
TRAIN_ROWS = {"math": 7500, "gsm8k": 7473}
PEAK = {"peak_gb": 20.0}
"""What footers say of the jobs that would have made these tables."""


@dataclass(frozen=True)
class Size:
    """What a cell's tables grow with."""

    questions: dict[str, int]
    """By split."""
    layers: int
    vectors: int
    shortest: int
    longest: int
    """Tokens of a rationale."""
    task: str
    vocabulary: int = 100
    width: int = 8
    """Of the model's embedding."""

    def ids(self) -> list[tuple[str, str]]:
        """Return problem_id and split of every question."""
        return [(f"{split}-{k:05d}", split) for split, count in self.questions.items() for k in range(count)]

    def first(self, count: int) -> list[str]:
        """Return problem_id of the first test questions."""
        return [problem_id for problem_id, split in self.ids() if split == "test"][:count]

    def tokens(self, problem_id: str, edit_id: str = BASE) -> int:
        """Return the length of a rationale, the same at every call."""
        return self.shortest + _hash(problem_id, edit_id) % (self.longest - self.shortest + 1)

    def expression(self, number: int) -> str:
        """Return an answer of the task."""
        forms = FORMS[self.task]
        return forms[number % len(forms)].format(number % 997)


def _hash(*parts: str) -> int:
    return zlib.crc32("|".join(parts).encode())


def _draw(*parts: str) -> np.random.Generator:
    return np.random.default_rng(_hash(*parts))


def _pieces(rows: Iterator[dict[str, Any]]) -> Iterator[pd.DataFrame]:
    piece: list[dict[str, Any]] = []
    for row in rows:
        piece.append(row)
        if len(piece) == PIECE:
            yield pd.DataFrame(piece)
            piece = []
    if piece:
        yield pd.DataFrame(piece)


def write_saliency(path: Path, name: str, size: Size, keys: Iterable[dict[str, str]]) -> None:
    """Write table `name`, `saliency` or one with a further key, for questions given as columns."""
    rows = ({**key, **_saliency(size, key["problem_id"], key.get("edit_id", BASE))} for key in keys)
    tables.write(path, name, _pieces(rows), PEAK)


def _saliency(size: Size, problem_id: str, edit_id: str) -> dict[str, Any]:
    draw, tokens = _draw(problem_id, edit_id), size.tokens(problem_id, edit_id)
    late_T = np.where(np.arange(tokens) < tokens // 2, 1, draw.lognormal(0, 0.7)).astype(np.float32)

    def by_token() -> Any:
        return (draw.random((size.layers, tokens), dtype=np.float32) * late_T).ravel()

    def by_vector() -> Any:
        return draw.random(size.layers * size.vectors, dtype=np.float32)

    steps = np.arange(tokens) // STEP_TOKENS
    half = (int(steps[-1]) + 1) // 2
    return {
        "layers": size.layers,
        "vectors": size.vectors,
        "prompt_start": 1,
        "question_tokens": QUESTION_TOKENS,
        "rationale_tokens": tokens,
        "former_tokens": tokens // 2,
        "former_steps": int((steps < half).sum()),
        "step_of_token": steps.astype(np.int32),
        **{name: draw.random(tokens, dtype=np.float32) for name in ("nll", "entropy")},
        **{f"row_{name}": by_token() for name in ("prompt", "question", "rationale", "former_tokens", "former_steps")},
        "row_attention": by_token(),
        **{f"{kind}_{rows}": by_vector() for kind in ("column", "attention") for rows in ("question", "rationale")},
        "band": draw.random(tokens * size.vectors, dtype=np.float32),
        "seconds": np.linspace(1, 0.1, size.layers, dtype=np.float32),
    }


def _answer(size: Size, problem_id: str, edit_id: str) -> str:
    """Return what is answered: mostly what the base answer is, whatever the edit."""
    gold = _hash(problem_id)
    base_right, wrong = _draw(problem_id, BASE).random() < RIGHT, size.expression(gold + 1)
    if edit_id == BASE:
        return size.expression(gold) if base_right else wrong
    change = _draw(problem_id, edit_id).random()
    if base_right:
        return wrong if change < BROKEN else size.expression(gold)
    if change < MENDED:
        return size.expression(gold)
    return size.expression(gold + 2 + int(change * 1e6)) if change < MENDED + OTHER else wrong


def write_answers(path: Path, size: Size, keys: Iterable[tuple[str, str, str]]) -> None:
    """Write table `generations` for (problem_id, split, edit_id)."""
    tables.write(path, "generations", _pieces(_generation(size, *key) for key in keys), PEAK)


def _generation(size: Size, problem_id: str, split: str, edit_id: str) -> dict[str, Any]:
    tokens, answer = size.tokens(problem_id, edit_id), _answer(size, problem_id, edit_id)
    ids = _draw(problem_id, edit_id).integers(0, 32000, tokens, dtype=np.int32)
    return {
        "problem_id": problem_id,
        "split": split,
        "edit_id": edit_id,
        "token_ids": ids,
        "text": " ".join(map(str, ids)),
        "stop_reason": "end",
        "extracted": answer,
        "extracted_lenient": answer,
        "seconds": 0.1,
        "batch": 0,
    }


def write_problems(folder: Path, size: Size) -> None:
    """Write `questions.parquet`, and `gold/SPLIT.parquet` for every split."""
    ids = pd.DataFrame(size.ids(), columns=["problem_id", "split"])
    text = "word " * QUESTION_TOKENS
    tables.write(folder / "questions.parquet", "questions", ids.assign(question=text, prompt_text=text, source="s"), {})
    for split, own in ids.groupby("split"):
        answers = own["problem_id"].map(lambda key: size.expression(_hash(key)))
        gold = pd.DataFrame({"problem_id": own["problem_id"], "answer": answers, "rationale": text, "steps": 5})
        tables.write(folder / "gold" / f"{split}.parquet", "gold", gold, {})


def write_rows(folder: Path, size: Size) -> tuple[Path, Path]:
    """Write raw training and test rows of the task; return their files."""
    words = " ".join(f"word{k}" for k in range(QUESTION_TOKENS))
    files = folder / "train.jsonl", folder / "test.jsonl"
    for file, count in zip(files, (TRAIN_ROWS[size.task], size.questions["test"]), strict=True):
        file.write_text("\n".join(json.dumps(_row(size, f"{file.stem} {k}: {words}")) for k in range(count)))
    return files


def _row(size: Size, question: str) -> dict[str, str]:
    answer = size.expression(_hash(question))
    if size.task == "math":
        about = {"level": "Level 3", "type": "Algebra"}
        return {"problem": question, "solution": f"{question} It is $\\boxed{{{answer}}}$.", **about}
    return {"question": question, "answer": f"{question} So it is {answer}.\n#### {answer}"}


def write_planted(path: Path, size: Size, rules: Iterable[str], positions: int, questions: int, seed: int) -> None:
    """Write table `planted` of one prompt: harm at each of `positions`, and none."""
    draw, ids = np.random.default_rng(seed), [key for key in size.ids() if int(key[0].rpartition("-")[2]) < questions]
    keys = [(*key, position, rule) for position in range(-1, positions) for key in ids for rule in rules]
    rows = pd.DataFrame(keys, columns=["problem_id", "split", "position", "rule"])
    rows["located"] = draw.integers(0, size.vectors, len(rows))
    rows = rows.assign(vectors=size.vectors, affected_share=draw.random(len(rows)), eligible=True)
    for column in ("clean_correct", "planted_correct", "true_correct", "located_correct"):
        rows[column] = draw.random(len(rows)) < RIGHT
    tables.write(path, "planted", rows.assign(true_correct=rows["true_correct"].where(rows["position"] >= 0)), {})


def write_planted_causal(path: Path, size: Size, positions: int, questions: int) -> None:
    """Write table `planted_causal` of one prompt: every vector masked, and doses and cuts where harm is planted."""
    asked = size.first(questions)
    masks = [("mask", str(vector)) for vector in range(size.vectors)]
    harmed = [("harm_right", f"{factor:g}") for factor in (*FACTORS, 1)]
    harmed += [("cut_right", "every"), ("cut_right", "late")]

    def prompt(position: int) -> pd.DataFrame:
        keys = [(key, *what) for what in (masks if position < 0 else masks + harmed) for key in asked]
        found = pd.DataFrame(keys, columns=["problem_id", "test", "target"]).assign(position=position)
        return found.assign(value=_draw(path.stem, str(position)).integers(0, 2, len(found)).astype(float))

    tables.write(path, "planted_causal", map(prompt, range(-1, positions)), {})


def write_words(folder: Path, size: Size) -> None:
    """Write what a model's folder says of words: a tokenizer of one word per token, and the embedding (float16)."""
    from tokenizers import Tokenizer, models

    folder.mkdir()
    known = {f"w{token}": token for token in range(size.vocabulary)}
    Tokenizer(models.WordLevel(known, unk_token="w0")).save(str(folder / "tokenizer.json"))
    block = np.random.default_rng(0).standard_normal((1000, size.width), np.float32).astype(np.float16)
    embedding_VD = np.resize(block, (size.vocabulary, size.width))
    save_file({"model.embed_tokens.weight": embedding_VD}, folder / "model.safetensors")


def write_prompt(folder: Path, history: Path, size: Size) -> None:
    """Write the adapter of a discrete prompt, and table `training` of a search that tried 1,000 prompts."""
    folder.mkdir()
    ids, text = list(range(size.vectors)), "word " * size.vectors
    vectors = {adapter_files.KEY: np.ones((size.vectors, size.width), np.float32)}
    save_file(vectors, folder / adapter_files.WEIGHTS, adapter_files.Tokens(tuple(ids), text).metadata())
    config = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": size.vectors}
    (folder / adapter_files.CONFIG).write_text(json.dumps(config))
    tried = {"token_ids": ids, "text": text, "score": 1.0, "passes": 200, "seconds": 1.0}
    footer = {
        "settings": {"layout": "bos_first", "recipe": {"tuner": "random_text"}},
        "cost": {"passes": 200_000, "gradients": 0, "tokens": 40_000_000, "is_known": True},
        "search": [{"step": step, **tried} for step in range(1000)],
    }
    looks = [{"step": step, "loss": 1.0, "validation_loss": 1.0, "learning_rate": 0.0, "kept": step == 0}
             for step in range(1000)]  # fmt: skip
    tables.write(history, "training", pd.DataFrame(looks), footer)


FACTORS = (0, 0.25, 0.5, 0.75, 1.25, 1.5)
DOSES = tuple(f"{what}:{factor}" for what in ("located", "random") for factor in FACTORS)
CUTS = tuple(f"{layers}:{what}" for layers in ("all", "deep", "shallow") for what in ("prompt", "question"))
ORDERS = ("bos_first:plain", "bos_first:extra", "prompt_first:plain", "prompt_first:extra")
BY_VECTOR = ("mask", "norm", "attention", "gradient", "saliency", "value_flow")
TARGETS = {
    "dose_loss": (*DOSES, *(f"noise:{factor}" for factor in FACTORS)), "dose_right": DOSES,
    "cut_loss": CUTS, "cut_gold": CUTS, "cut_right": CUTS, "sink_mask": ORDERS,
    "path": ("all", "deep", "shallow", "own"), "divergence": ("place", "prompted", "unprompted"),
}  # fmt: skip
"""Tests of table `causal`, with what they change; those by vector aside."""


def write_causal(path: Path, size: Size, rows: int) -> None:
    """Write table `causal` of `rows` questions, all of whose effects are noise."""
    vectors = tuple(map(str, range(size.vectors)))
    targets = TARGETS | dict.fromkeys(BY_VECTOR, vectors)
    targets["sink_attention"] = tuple(f"{order}:{vector}" for order in ORDERS for vector in vectors)

    def question(problem_id: str) -> pd.DataFrame:
        keys = [(test, target) for test, changed in targets.items() for target in changed]
        found = pd.DataFrame(keys, columns=["test", "target"]).assign(problem_id=problem_id)
        found["value"] = _draw(problem_id, "causal").random(len(found))
        is_choice = found["test"].str.endswith("_right")
        return found.assign(value=found["value"].where(~is_choice, found["value"].round()))

    tables.write(path, "causal", map(question, size.first(rows)), {})


def write_interpretability(path: Path, size: Size, masked: int, draws: int, questions: int) -> None:
    """Write table `interpretability`: the prompt, as many corrupted ones as vectors masked, random ones."""
    kinds = ["own", *["corrupted"] * masked, "instruction", *["random"] * draws]
    ids = list(range(size.vectors))
    likeness = dict.fromkeys(("distance", "distance_relative", "cosine_distance", "nll"), 1.0)
    spelled = {"token_ids": ids, "words": [f"w{token}" for token in ids], "text": "word " * size.vectors, **likeness}
    rows = pd.DataFrame([{"prompt": kind, **spelled} for kind in kinds])
    rows["masked"] = pd.Series([[at - 1] if 0 < at <= masked else None for at in range(len(rows))], dtype=object)
    rows["questions"] = rows["masked"].map(lambda told: 1.0 if told else np.nan)
    rows["changed"] = rows["questions"]
    asked = size.first(questions)
    outputs = {f"output_{name}": [0.5] * len(asked) for name in ("raw", "centred", "kl", "agreement")}
    for name, values in {"asked": asked, **outputs}.items():
        rows[name] = pd.Series([values, *[None] * (len(rows) - 1)], dtype=object)
    tables.write(path, "interpretability", rows.assign(reader_nll=np.nan), {})


def write_exemplars(path: Path, size: Size, chosen: pd.DataFrame) -> None:
    """Write table `exemplars` for the rows of table `chosen`."""

    def rows() -> Iterator[dict[str, Any]]:
        for row in tables.rows(chosen):
            wide = 1 + size.vectors + QUESTION_TOKENS + size.tokens(row.problem_id)
            about = {"size": wide, "vectors": size.vectors, "question_tokens": QUESTION_TOKENS, "prompt_start": 1}
            for layer in range(size.layers):
                map_SS = np.tril(_draw(row.problem_id, str(layer)).random((wide, wide), dtype=np.float32))
                yield {**about, "problem_id": row.problem_id, "role": row.role, "layer": layer,
                       "tokens": ["t"] * wide, "saliency": map_SS.ravel()}  # fmt: skip

    tables.write(path, "exemplars", _pieces(rows()), {})
