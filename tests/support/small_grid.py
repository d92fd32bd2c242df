"""The paper's grid in small: config.yaml's models and datasets by name, laid where the fetch rules would put them.

The models are of the three families (Llama with as many key-value heads as heads, with fewer, Mistral with a sliding
window), a few thousand weights each, taught to answer with one answer per dataset; the questions are real.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.config.settings import load_config
from dpc.storage.hub import ORIGIN
from tests.support import config_tree as tree

ANSWERS = {
    "gsm8k": ("Question: {}\nAnswer: ", "It is 10.\n#### 10"),
    "aqua": ("Question: {}\nAnswer: ", "It is so.\n#### B"),
    "math": ("Problem: {}\nSolution: ", "It is this. So $\\boxed{2}$."),
}
"""Template and the one answer of each dataset."""
SPLITS = {"tuning": 6, "validation": 2, "calibration": 6, "act_select": 2, "act_confirm": 2, "test": 8}
CONFIG: dict[str, Any] = {
    "study": {
        "results": "results",
        "prompt_seeds": [0],
        "sample": {"correlation": 8, "per_class": 4},
        "plans": ["no_prompt", "prompt_tuning", "act", "dpc", "always", "random_corruption"],
        "oracles": [],
    },
    "models": {name: {"dtype": "float32"} for name in ("llama2-13b", "llama3-8b", "mistral-7b")},
    "datasets": {name: {"max_new_tokens": 16, "splits": SPLITS} for name in ANSWERS},
    "recipes": {"paper": {"vectors": 3, "steps": 2, "batch_size": 4, "validate_every": 2, "learning_rate": 0.05}},
    "controls": {"static_candidates": 1, "static_questions": 4},
    "causal": {"tests": []},
    "significance": {"min_cases": 2},
    "statistics": {"resamples": 50},
    "execution": {"device": "cpu", "threads": 1},
    "shards": {"generate": 1, "saliency": 1},
}
"""Laid over config.yaml alone: sizes, the device and the paper's own plans; no name of a model or dataset."""


def rows(data: Path, name: str, files: Sequence[str], right: int, wrong: int) -> list[dict[str, Any]]:
    """Return the shortest questions, so many that the one answer fits and so many that it does not."""
    key, gold = ("problem", "solution") if name == "math" else ("question", "correct" if name == "aqua" else "answer")
    found = [json.loads(line) for file in files for line in (data / name / file).read_text().splitlines()]
    found.sort(key=lambda row: (len(str(row[key])) + len(str(row.get("options", ""))), row[key]))
    mark = {"gsm8k": "#### 10", "aqua": "B", "math": "\\boxed{2}"}[name]
    fits = [row[gold] == mark if name == "aqua" else row[gold].rstrip(".$").endswith(mark) for row in found]
    fitting, others = ([row for row, fit in zip(found, fits, strict=True) if fit == wanted] for wanted in (True, False))
    return [*fitting[:right], *others[:wrong]]


def lay_out(folder: Path, data: Path) -> None:
    """Write the models and the datasets' files under `folder`, where the fetch rules would."""
    texts = []
    for name, dataset in load_config(tree.config()).datasets.items():
        if dataset.hub is None or name not in ANSWERS:
            continue
        own = {"gsm8k": ["train.jsonl"], "aqua": ["dev.jsonl"], "math": ["test.jsonl"]}[name]
        pool = {"train": rows(data, name, own, 8, 16), "test": rows(data, name, ["test.jsonl"], 8, 12)}
        if name == "math":  # its training rows are not at hand
            pool = {"train": pool["train"][8:], "test": [*pool["train"][:8], *rows(data, name, own, 0, 20)[16:]]}
        for part, files in (("train", dataset.hub.train), ("test", dataset.hub.test)):
            for number, file in enumerate(files):
                target = folder / "resources/datasets" / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(pool[part][number :: len(files)]).to_parquet(target)
        texts += [(name, row) for row in pool["train"]]
    for model in ("llama2-13b", "llama3-8b", "mistral-7b"):
        write_model(folder / "resources/models" / model, model, [example(*text) for text in texts])


def example(name: str, row: dict[str, Any]) -> tuple[str, str]:
    """Return what a model reads and what it is taught to answer."""
    template, answer = ANSWERS[name]
    question = "\n".join([row.get("question") or row["problem"], *row.get("options", [])])
    return template.format(question), answer


def write_model(folder: Path, name: str, texts: list[tuple[str, str]]) -> None:
    """Write a tiny model of the family of `name` with a tokenizer made of `texts`."""
    import torch

    words = tokenizer([part for text in texts for part in text])
    words.save_pretrained(folder)
    torch.manual_seed(0)
    model = teach(new_model(name, len(words)), words, texts)
    model.save_pretrained(folder)
    (folder / ORIGIN).write_text(json.dumps({"hub": name, "revision": "main", "commit": "0" * 40}))


def tokenizer(texts: list[str]) -> Any:
    """Return a byte-level BPE tokenizer of `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def new_model(name: str, vocabulary: int) -> Any:
    """Return an untrained model: multi-head, grouped-query, or with a sliding window."""
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    shape = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4 if name == "llama2-13b" else 2,
        "max_position_embeddings": 1024, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        "initializer_range": 0.08,
    }  # fmt: skip
    if name == "mistral-7b":
        return MistralForCausalLM(MistralConfig(**shape, sliding_window=24))
    return LlamaForCausalLM(LlamaConfig(**shape))


def teach(model: Any, words: Any, texts: list[tuple[str, str]]) -> Any:
    """Return `model` after some steps on the answers."""
    import torch

    documents = [(words.encode(text), [*words.encode(answer), 1]) for text, answer in texts]
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(48):
        batch = documents[step % 8 :: 8]
        length = max(len(text) + len(answer) for text, answer in batch) + 1
        ids, labels = torch.ones(len(batch), length, dtype=torch.long), torch.full((len(batch), length), -100)
        for row, (text, answer) in enumerate(batch):
            ids[row, : len(text) + len(answer) + 1] = torch.tensor([0, *text, *answer])
            labels[row, len(text) + 1 : len(text) + len(answer) + 1] = torch.tensor(answer)
        optimiser.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimiser.step()
    return model.eval()
