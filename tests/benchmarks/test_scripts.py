"""What the benchmark's scripts run, on a tiny shape: both sides do the same work, and figures mean what they say."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import decoding, models, passes, saliency, tuning
from benchmarks.models import EOS

SHAPE = {"hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
MODEL = ["--dtype", "float32", "--vectors", "6"]


@pytest.fixture(scope="module", autouse=True)
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let models lie in a temporary folder, and made in this process."""
    root = tmp_path_factory.mktemp("models")
    shape = {"model_type": "llama", "vocab_size": 2200, "max_position_embeddings": 256, "tie_word_embeddings": True}
    (root / "tiny.json").write_text(json.dumps(shape | SHAPE | HEADS))
    threads, made = torch.get_num_threads(), {}

    def folder(name: str, counts_down: bool = False) -> Path:
        if counts_down not in made:
            made[counts_down] = root / f"model-{counts_down}"
            models.write(name, made[counts_down], counts_down)
        return made[counts_down]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "folder", folder)
        MODEL[:] = [*MODEL[:4], "--shape", str(root / "tiny.json")]
        yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def run(script: Any, method: str, *options: str) -> dict[str, Any]:
    parser: ArgumentParser = script.arguments()
    args = parser.parse_args(["--method", method, *MODEL, *options])
    found: dict[str, Any] = script.METHODS[method](args) if script is passes else script.measure(args)
    return found


SHORT = ("--questions", "5", "--batch", "5", "--question", "12", "--rationale", "9", "--least", "4", "--steps", "20")


def test_answers_are_the_same_and_as_long_as_asked() -> None:
    ours, theirs = (run(decoding, method, *SHORT) for method in ("ours", "generate"))
    assert ours["text"] == theirs["text"]
    parser = decoding.arguments()
    args = parser.parse_args(["--method", "ours", *MODEL, *SHORT])
    lm = models.ours(args, counts_down=True)
    asked = decoding.requests(lm, args)
    steps = [(request.question_ids[-1] - models.FIRST) // models.VARIANTS + 1 for request in asked]
    said = decoding._answers(lm, asked, args)[0]
    assert [len(said[i]) for i in range(len(asked))] == steps
    assert {said[i][-1] for i in said} == {EOS}
    assert sum(steps) == ours["tokens"] == theirs["tokens"]
    assert len({len(ids) for ids in said.values()}) > 2


@pytest.mark.parametrize("agreement", [1.0, 0.6, 0.0])
def test_drafts_are_accepted_as_far_as_they_are_right(agreement: float) -> None:
    drafted, plain = (run(decoding, method, *SHORT, "--agreement", str(agreement)) for method in ("drafted", "plain"))
    assert drafted["text"] == plain["text"]
    assert plain["drafted"] == 0
    assert drafted["drafted"] > 0
    assert drafted["accepted"] >= 0.8 * agreement * plain["row_passes"]
    assert (drafted["accepted"] == 0) == (agreement == 0)  # of answers this short, 6 % are the first token
    assert (drafted["row_passes"] < plain["row_passes"]) == (agreement > 0)
    assert drafted["tokens"] == plain["tokens"]


def test_saliency_is_eagers() -> None:
    size = ("--length", "40", "--repeats", "1")
    lean, eager, suffix = (run(saliency, method, *size)["checksum"] for method in ("lean", "eager", "lean_suffix"))
    assert lean == pytest.approx(eager, rel=1e-4)
    assert suffix == pytest.approx(eager, rel=1e-4)


def test_passes_have_figures() -> None:
    size = ("--questions", "4", "--question", "10", "--steps", "6", "--least", "8", "--rationale", "12")
    for method in ("prefill", "decoder", "step", "products"):
        assert run(passes, method, *size)["seconds"] > 0
    assert run(passes, "allowed", *size) == {"peak_mb": passes.ROOM_MB}
    largest = run(passes, "largest", *size)["peak_mb"]
    assert 4 * 2200 * 4 / 2**20 <= largest < 2  # the logits of four rows are one piece


def test_weights_are_loaded_as_each_side_does_it() -> None:
    args = saliency.arguments().parse_args(["--method", "lean", *MODEL])
    ours = models.ours(args)
    assert torch.are_deterministic_algorithms_enabled()
    assert not any(parameter.requires_grad for parameter in ours.model.parameters())
    theirs = models.theirs(args)
    assert all(parameter.requires_grad for parameter in theirs.parameters())
    assert torch.equal(theirs.model.layers[1].mlp.up_proj.weight, ours.model.model.layers[1].mlp.up_proj.weight)


def test_tuning_counts_no_short_batch() -> None:
    args = tuning.arguments().parse_args(["--method", "ours", *MODEL, "--batch", "2"])
    work = tuning.batches(args, 2200)
    assert [len(batch) for batch in work] == [2, 2, 2]
    assert max(map(len, work[0])) < min(map(len, [*work[1], *work[2]]))
