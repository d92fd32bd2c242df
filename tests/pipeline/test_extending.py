"""docs/extending.md, followed snippet by snippet in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.support import small_grid
from tests.support.paths import ROOT
from tests.support.workflow import ONE_THREAD, SMALLEST, overlay

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {text.split("\n", 1)[0].removeprefix("# "): text for kind, text in BLOCKS if kind == "python"}
STUDY: dict[str, Any] = reduce(overlay, [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"])
PARTS = ("plans", "tasks", "prompts/tuners", "lm/families", "report/figures")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the files of the page."""
    folder = tmp_path_factory.mktemp("extended") / "project"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip("\0").split("\0")
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for name, text in FILES.items():
        assert not (folder / name).exists(), name
        assert (folder / name).parent.is_dir(), name
        (folder / name).write_text(text)
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Run Python in the copy; return what it printed."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_adds_one_of_each_with_its_test() -> None:
    modules = [name for name in FILES if name.startswith("dpc/")]
    assert sorted(str(Path(name).parent) for name in modules) == sorted(f"dpc/{part}" for part in PARTS)
    assert len(FILES) == 2 * len(PARTS)


def test_the_tests_of_the_page_pass(extended: Path) -> None:
    tests = [name for name in FILES if name.startswith("tests/")]
    assert " passed" in run(extended, "-m", "pytest", "-p", "no:cacheprovider", *tests)
    assert "All checks passed" in run(extended, "-m", "ruff", "check", "--no-cache", *FILES)
    assert "already formatted" in run(extended, "-m", "ruff", "format", "--check", "--no-cache", *FILES)


def rows() -> list[dict[str, str]]:
    """Return questions of which numbers are odd."""
    return [
        {
            "question": f"Is {n} odd?",
            "reason": f"{n} is 2 x {n // 2}{' + 1' * (n % 2)}.",
            "answer": "yes" if n % 2 else "no",
        }
        for n in range(150)
    ]


def write_model(folder: Path) -> None:
    """Write a tiny model of the new family that has been taught some of the answers."""
    import torch
    import transformers

    texts = [(row["question"] + " ", f"{row['reason']} #### {row['answer']}") for row in rows()]
    words = small_grid.tokenizer([part for text in texts for part in text])
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "max_position_embeddings": 256}
    config = transformers.AutoConfig.for_model("olmo2", vocab_size=len(words), **shape, **special)
    model = small_grid.teach(transformers.AutoModelForCausalLM.from_config(config), words, texts)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


@pytest.mark.proof
def test_a_small_study_uses_all_of_it(extended: Path) -> None:
    (extended / "data").mkdir()
    (extended / "data/yes_no.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    write_model(extended / "models/olmo2")
    (extended / "study.yaml").write_text(yaml.safe_dump(overlay(SMALLEST, STUDY)))
    config = ["--configfile", "config.yaml", "workflow/demo.yaml", "study.yaml"]
    warm = ("-m", "dpc.pipeline.cluster.warm", "--", sys.executable)
    run(extended, *warm, "-m", "snakemake", *config, "--cores", "1", "--quiet", "host", "rules")
    cell = extended / "results/mine/yes_no/lucky/seed0"
    outcomes = pd.read_parquet(cell / "evaluation/outcomes.parquet")
    assert set(outcomes["plan"]) >= set(STUDY["study"]["plans"])
    assert set(outcomes["answer"]) == {"yes", "no"}
    assert len(pd.read_parquet(cell / "training.parquet")) == STUDY["recipes"]["lucky"]["options"]["tries"]
    table = (extended / "results/tables/ablation.md").read_text()
    assert "Half mask" in table
    figures = extended / "results/figures/mine/yes_no/lucky"
    assert "wrong answers are longer" in (figures / "lengths.txt").read_text()
    run(extended, "-m", "snakemake", *config, "--quiet", "all", "--report", "report.html")
    assert "How many tokens right and wrong answers" in (extended / "report.html").read_text()
