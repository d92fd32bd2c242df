"""NaN and infinity end in one line: in weights before a job begins, in logits, losses and saliency before a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dpc.config.methods import Act
from dpc.config.settings import Execution, load_config
from dpc.errors import DpcError
from dpc.lm import finite, models
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency import measuring
from dpc.lm.saliency import recorder as recording
from dpc.pipeline import check
from dpc.prompts.planting import Planting, plant
from tests.support import model_folders, tiny

CPU = Execution(device="cpu")
NAN, INF = float("nan"), float("inf")
LAYOUT = Layout("bos_first", True)
BIASES = {"attention_bias": True}


def spoil(folder: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    """Put one number into a tensor, wherever it lies, after all of its file are cast to `dtype`."""
    for file in folder.glob("*.safetensors"):
        found = {key: tensor.to(dtype) for key, tensor in load_file(file).items()}
        if name in found:
            found[name].view(-1)[-3] = value
            save_file(found, file, {"format": "pt"})


SMALL = [
    # tensor, number, dtype of the file
    ("model.norm.weight", NAN, torch.float32),
    ("model.norm.weight", INF, torch.bfloat16),
    ("model.norm.weight", -INF, torch.float16),
    ("model.norm.weight", NAN, torch.bfloat16),
    ("model.norm.weight", 1e39, torch.float64),
    ("model.layers.0.input_layernorm.weight", NAN, torch.float16),
    ("model.layers.1.post_attention_layernorm.weight", -INF, torch.float32),
    ("model.layers.1.self_attn.q_proj.bias", INF, torch.float32),
    ("model.layers.0.self_attn.o_proj.bias", NAN, torch.bfloat16),
]
LARGE = [
    ("model.embed_tokens.weight", NAN, torch.float32),
    ("lm_head.weight", INF, torch.float32),
    ("model.layers.0.self_attn.k_proj.weight", -INF, torch.bfloat16),
    ("model.layers.1.mlp.down_proj.weight", NAN, torch.float16),
    ("model.layers.1.mlp.up_proj.weight", 1e39, torch.float64),
]


@pytest.mark.parametrize(("name", "value", "dtype"), SMALL)
@pytest.mark.parametrize("shards", [1, 3])
def test_norms_and_biases_are_read_by_the_check(
    name: str, value: float, dtype: torch.dtype, shards: int, tmp_path: Path
) -> None:
    folder = model_folders.write(tmp_path / "own", **BIASES)
    if shards > 1:
        model_folders.shard(folder, shards)
    check.check(load_config(model_folders.study(folder)))
    spoil(folder, name, value, dtype)
    said = rf"models\.own: \S+safetensors: {name} holds a number that is not finite; copy or fetch it again"
    with pytest.raises(DpcError, match=said):
        check.check(load_config(model_folders.study(folder)))
    with pytest.raises(DpcError, match=f"{name} holds a number that is not finite"):
        models.load(folder, "float32", CPU)


@pytest.mark.parametrize(("name", "value", "dtype"), LARGE)
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_every_weight_is_read_where_a_model_is_loaded(
    name: str, value: float, dtype: torch.dtype, wanted: str, tmp_path: Path
) -> None:
    folder = model_folders.write(tmp_path / "own")
    spoil(folder, name, value, dtype)
    check.check(load_config(model_folders.study(folder)))  # they are gigabytes
    number = {1e39: "inf"}.get(value, str(value))
    said = rf"own: a number of {name}, in {wanted}, is {number}; expected a finite number: copy or fetch the model"
    with pytest.raises(DpcError, match=said) as found:
        models.load(folder, wanted, CPU)
    assert "\n" not in str(found.value)


def test_tied_weights_are_named_once(tmp_path: Path) -> None:
    folder = model_folders.write(tmp_path / "own", "qwen2")
    spoil(folder, "model.embed_tokens.weight", NAN)
    with pytest.raises(DpcError, match=r"a number of model\.embed_tokens\.weight, in float32, is nan"):
        models.load(folder, "float32", CPU)


@pytest.mark.parametrize("values", [[0.0], [1.0, -3e38], [[2.0], [-2.0]]])
@pytest.mark.parametrize("wrong", [None, NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_one_number_is_enough(values: list[Any], wrong: float | None, dtype: torch.dtype) -> None:
    tensor = torch.tensor(values, dtype=dtype)
    finite.check_finite(tensor, "it")
    if wrong is not None:
        tensor.view(-1)[-1] = wrong
        with pytest.raises(DpcError, match=rf"^it is {wrong}; expected a finite number: use models\.NAME\.dtype"):
            finite.check_finite(tensor, "it")


def overflowing(part: str) -> LanguageModel:
    """Return a model of finite weights whose sums are not."""
    lm = tiny.model()
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if part in name:
                parameter.fill_(3e38)
    return lm


PROMPT_ND = torch.ones(5, tiny.SHAPE["hidden_size"])
EXAMPLES = [Example([3, 4, 5], [8, 9, 10, 11]), Example([6, 7], [12, 13, 14])]


def answered(lm: LanguageModel) -> Any:
    requests = [Request([5, 9, 30, 7], PROMPT_ND), Request([5, 9], None)]
    return list(generate(lm, LAYOUT, requests, Limits(4), 2))


def measured(lm: LanguageModel) -> Any:
    batch = right_padded(lm, LAYOUT, PROMPT_ND, [e.question_ids for e in EXAMPLES], [e.rationale_ids for e in EXAMPLES])
    return measuring.measure(lm, LAYOUT, batch, 5, [(2, 2), (1, 1)], [3, 2], recording.Request(band=range(1, 3)))


def scored(lm: LanguageModel) -> Any:
    return HeadScores(lm, LAYOUT, lambda _: PROMPT_ND, Act()).together(EXAMPLES, {0: [1]})


def planted(lm: LanguageModel) -> Any:
    return plant(lm, LAYOUT, PROMPT_ND, 1, EXAMPLES, Planting(steps=1, batch_size=2, rate=0.1), 0)


WORK: dict[str, tuple[Callable[[LanguageModel], Any], str]] = {
    "answers": (answered, "a next token's logit is "),
    "saliency": (measured, "a rationale token's loss or entropy is "),
    "heads": (scored, "a gold token's loss is "),
    "planted harm": (planted, "the loss of planted harm is "),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("part", ["v_proj", "o_proj", "lm_head"])
def test_sums_that_overflow_reach_no_table(work: str, part: str) -> None:
    do, said = WORK[work]
    do(tiny.model())
    lm = overflowing(part)
    with pytest.raises(DpcError, match=rf"^{said}(nan|inf|-inf); expected a finite number: use models\.NAME\.dtype"):
        do(lm)


def test_a_gradient_that_overflows_is_no_saliency() -> None:
    """The losses are finite here, what is measured of them is not."""
    with pytest.raises(DpcError, match=r"^saliency is nan"):
        measured(overflowing("down_proj"))


def test_the_loss_before_the_answer_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes into tables, whatever the loss span is."""
    scores = measuring.rationale_scores

    def spoilt(*args: Any) -> Any:
        nll, entropy = scores(*args)
        return [row + torch.tensor([NAN] + [0.0] * (len(row) - 1)) for row in nll], entropy

    monkeypatch.setattr(measuring, "rationale_scores", spoilt)
    with pytest.raises(DpcError, match="a rationale token's loss or entropy is nan"):
        measured(tiny.model())


def test_reading_all_weights_takes_little_of_loading(tmp_path: Path) -> None:
    """One pass at memory's speed: of 64 MB less than a tenth of a second, even where others use the machine."""
    weights = torch.from_numpy(np.random.default_rng(0).normal(0, 1, 16_000_000).astype(np.float32))
    seconds = min(_timed(weights) for _ in range(5))
    assert seconds < 0.1


def _timed(weights: torch.Tensor) -> float:
    import time

    started = time.perf_counter()
    finite.check_finite(weights, "it")
    return time.perf_counter() - started
