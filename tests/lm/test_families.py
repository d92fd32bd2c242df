"""What the families declare is what their models do."""

from __future__ import annotations

import pytest
import torch

from dpc.lm.families import FAMILIES
from dpc.storage import model_files
from tests.support import tiny


def test_the_check_without_torch_reads_the_same_records() -> None:
    assert {name: family.kernels for name, family in FAMILIES.items()} == model_files.FAMILIES
    assert set(FAMILIES) == {"llama", "mistral", "qwen2", "qwen3", "gemma2"}


@pytest.mark.parametrize("name", ["llama-mha", "llama-gqa", "mistral", "qwen2", "qwen3", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeddings_and_logits_are_those_of_the_model(name: str, dtype: torch.dtype) -> None:
    """The decoder's own embedding and head, whatever a record says, rounded as they round."""
    lm = tiny.model(name, dtype)
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        entering_BSD = lm.embedding(ids).float()
        hidden_BSD = lm.model.get_decoder()(input_ids=ids).last_hidden_state
        found, wanted = lm.logits(hidden_BSD), lm.model(input_ids=ids).logits
    assert torch.equal(lm.vocabulary_VD[ids], entering_BSD)
    torch.testing.assert_close(found, wanted)
    assert (lm.family.logit_cap is not None) == (name == "gemma2")
