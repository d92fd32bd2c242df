"""Another engine's answers are torch's, token for token; what it cannot do is refused, and its end is told."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from dpc.config.execution import Execution
from dpc.config.settings import load_config
from dpc.config.slices import OnModel
from dpc.errors import DpcError
from dpc.lm import models
from dpc.lm.decoding import Generated, Limits, Request
from dpc.lm.engines import Answer, engine
from dpc.lm.layout import layout_of
from dpc.lm.models import LanguageModel
from tests.support import config_tree, tiny
from tests.support.answers import FAMILIES
from tests.support.paths import ROOT
from tests.support.workflow import nested, overlay

SETTINGS = OnModel(dtype="float32")
VLLM = os.environ.get("DPC_VLLM", str(ROOT / ".venv-vllm/bin/python"))
"""The python of vLLM's environment: `make vllm`."""
LIMITS = Limits(24, (" .",))
WORDS = ("Tom has 3 pears", "Ann buys 7 more", "A :", "how many", "3 + 4 = 7", "pens . How")


def requests(lm: LanguageModel, count: int) -> list[Request]:
    """Return ragged questions, most under prompts that differ in a vector, every fifth without one."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, lm.embedding.num_embeddings, (6,), generator=generator)
    asked = []
    for i in range(count):
        prompt_ND = lm.embedding.weight[ids].detach().clone()
        prompt_ND[i % 6] *= i % 3
        text = " ".join(WORDS[(i + step) % len(WORDS)] for step in range(1 + i % 4))
        asked.append(Request(lm.encode(text), None if i % 5 == 4 else prompt_ND))
    return asked


def answers(lm: LanguageModel, answer: Answer, count: int, order: str) -> dict[int, Generated]:
    found: dict[int, Generated] = {}
    for indices, made in answer(lm, layout_of(lm, order), requests(lm, count), LIMITS, 32):
        found |= dict(zip(indices, made, strict=True))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with heads of a width that vLLM has kernels for."""
    return tiny.saved(tmp_path_factory.mktemp("model"), "llama-gqa", head_dim=32, hidden_size=128)


def vllm_execution(python: str = VLLM) -> Execution:
    return Execution(device="cpu", engine="vllm", vllm_python=python)


@pytest.mark.proof
def test_vllm_says_what_torch_says(folder: Path) -> None:
    if not Path(VLLM).is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "found no vLLM: `make vllm`, or set DPC_VLLM to its python"
        )
    count, found = 200, {}
    for name, execution in {"torch": Execution(device="cpu"), "vllm": vllm_execution()}.items():
        with engine(folder, SETTINGS, execution) as (lm, answer):
            found[name] = answers(lm, answer, count, "bos_first")
    assert {one.stop_reason for one in found["torch"].values()} == {"end", "stop_text", "length"}
    differing = [i for i in range(count) if found["torch"][i].token_ids != found["vllm"][i].token_ids]
    for i in differing:
        print(i, found["torch"][i], found["vllm"][i])
    assert len(differing) <= count // 100
    same = [i for i in range(count) if i not in differing]
    assert all(
        getattr(found["torch"][i], name) == getattr(found["vllm"][i], name)
        for i in same
        for name in ("text", "stop_reason")
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_what_another_engine_needs_of_a_model_is_the_models_own(family: str, tmp_path: Path) -> None:
    whole, part = (
        models.load(tiny.saved(tmp_path / str(layers), family), "float32", Execution(device="cpu"), layers=layers)
        for layers in (True, False)
    )
    ids = torch.tensor([1, 5, 40, 77])
    assert torch.equal(whole.embedding(ids), part.embedding(ids))
    assert (whole.bos_id, whole.pad_id, whole.end_ids, whole.context) == (
        part.bos_id, part.pad_id, part.end_ids, part.context,
    )  # fmt: skip
    assert len(part.model.get_decoder().layers) == 0


@contextmanager
def answering(folder: Path, python: str) -> Iterator[tuple[LanguageModel, Any]]:
    with engine(folder, SETTINGS, vllm_execution(python)) as (lm, answer):
        yield lm, answer


def pretended(tmp_path: Path, text: str) -> str:
    """Return a `python` that runs `text`, whatever it is asked to run."""
    file = tmp_path / "python"
    file.write_text(f"#!{sys.executable}\n{text}\n")
    file.chmod(0o755)
    return str(file)


def test_hidden_positions_are_refused(folder: Path) -> None:
    with answering(folder, sys.executable) as (lm, answer):
        asked = [Request([5], lm.embedding.weight[:3].detach(), (1,))]
        with pytest.raises(DpcError, match="cannot hide positions"):
            next(answer(lm, layout_of(lm, "bos_first"), asked, LIMITS, 4))


def test_hidden_positions_are_refused_when_the_configuration_is_read() -> None:
    raw = overlay(config_tree.demo(), nested("corrupt.mask", "attention"))
    raw = overlay(raw, {"execution": {"engine": "vllm", "vllm_python": "/opt/vllm/bin/python"}})
    with pytest.raises(DpcError, match=r"^config: corrupt.mask: attention hides positions"):
        load_config(raw)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit('RuntimeError: no room')", "vLLM ended with status 1: RuntimeError: no room"),
        ("print('one'); print('ValueError: two'); print('three'); raise SystemExit(3)", "status 3: ValueError: two"),
        ("import sys; sys.exit(4)", "status 4: it said nothing"),
        ("import vllm", "status 1: ModuleNotFoundError: No module named 'vllm'"),
    ],
)
def test_why_vllm_ended_is_told(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    with answering(folder, pretended(tmp_path, text)) as (lm, answer), pytest.raises(DpcError) as error:
        answers(lm, answer, 3, "bos_first")
    assert str(error.value).endswith(message)


def test_a_python_that_is_not_there_is_refused(folder: Path) -> None:
    with (
        answering(folder, "/nowhere/python") as (lm, answer),
        pytest.raises(DpcError, match="'/nowhere/python'; expec"),
    ):
        answers(lm, answer, 3, "bos_first")


def test_it_ends_with_who_asked(folder: Path, tmp_path: Path) -> None:
    """The block's end kills what vLLM has started, too; and a beat is called while it works."""
    started = tmp_path / "pid"
    python = pretended(
        tmp_path,
        "import pathlib, subprocess, time; child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid)); time.sleep(60)",
    )

    class Enough(Exception):
        pass

    def beat(indices: Any, said: Any, running: int) -> None:
        assert (list(indices), said, running) == ([0, 1, 2, 3], [[], [], [], []], 4)
        if started.is_file() and started.read_text():
            raise Enough

    with answering(folder, python) as (lm, answer):
        asked = [Request([5, 6], None)] * 4
        with pytest.raises(Enough):
            list(answer(lm, layout_of(lm, "bos_first"), asked, LIMITS, 4, beat=beat))
    deadline = time.monotonic() + 10
    while Path("/proc", started.read_text(), "cmdline").is_file() and time.monotonic() < deadline:
        if not Path("/proc", started.read_text(), "cmdline").read_text():  # a zombie that nobody has reaped yet
            break
        time.sleep(0.05)
    assert time.monotonic() < deadline
