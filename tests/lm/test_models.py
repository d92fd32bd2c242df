"""Loading a model folder: kernel, family, safetensors and no code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dpc.config.settings import Execution
from dpc.errors import DpcError
from dpc.lm import models
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.layout import Layout
from tests.support import tiny

CPU = Execution(device="cpu")


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "eager"])
def test_the_kernel_is_the_one_that_was_asked_for(tmp_path: Path, kernel: str) -> None:
    for family in ("llama-gqa", "gemma2"):
        made = tiny.model(family)
        folder = tmp_path / family
        made.model.save_pretrained(folder)
        made.tokenizer.save_pretrained(folder)
        if family == "gemma2" and kernel == "sdpa":
            with pytest.raises(DpcError, match=r"sdpa cannot compute what gemma2 does; write models\.NAME\.atten"):
                models.load(folder, "float32", CPU, kernel)
            continue
        found = models.load(folder, "float32", CPU, kernel).model.config._attn_implementation
        assert found == (("eager" if family == "gemma2" else "sdpa") if kernel == "auto" else kernel)


def test_kernels_give_the_same_text_in_float32(tmp_path: Path) -> None:
    made = tiny.model()
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    texts = []
    for kernel in ("sdpa", "eager"):
        lm = models.load(tmp_path, "float32", CPU, kernel)
        request = Request([5, 9, 30, 7], lm.vocabulary_VD[10:13])
        made_rows = generate(lm, Layout("bos_first", True), [request] * 2, Limits(12, ()), 2)
        texts.append([row.token_ids for _, rows in made_rows for row in rows])
    assert texts[0] == texts[1]


KERNELS = """
import torch
from dpc.config.execution import Execution
from dpc.lm import models
models.set_up_torch(Execution(device="cpu"))
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
weight_FD = torch.zeros(512, 512, dtype=torch.bfloat16)
for rows in range(1, 401):
    torch.nn.functional.linear(torch.zeros(rows, 512, dtype=torch.bfloat16), weight_FD)
    if rows == 1:
        before = resident()
print(resident() - before)
"""


def test_code_of_products_does_not_pile_up() -> None:
    """A batch whose rows end has products of as many shapes as rows; torch by itself keeps a thousand of them."""
    grown = subprocess.run([sys.executable, "-c", KERNELS], check=True, capture_output=True, text=True).stdout
    assert float(grown) < 100  # MB; 280 where all are kept, on a CPU that multiplies bfloat16


def test_a_family_that_is_not_proved_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(DpcError, match="model_type 'gpt_neox' is not supported; expected one of gemma2, llama"):
        models.load(tmp_path, "float32", CPU)


def test_a_model_that_was_not_fetched_names_the_rule(tmp_path: Path) -> None:
    with pytest.raises(DpcError, match=r"is network: `snakemake --cores 1 -- .*config\.json` \(rule fetch_model\)"):
        models.load(tmp_path / "absent", "float32", CPU)


def test_pickled_weights_and_code_are_not_loaded(tmp_path: Path) -> None:
    made = tiny.model()
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    torch.save(made.model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "own.Own"}}))
    (tmp_path / "own.py").write_text("raise SystemExit('code was run')\n")
    with pytest.raises(DpcError, match=r"found only pytorch_model\.bin, expected model\.safetensors"):
        models.load(tmp_path, "float32", CPU)
