"""NLL, entropy and gradient of rationale tokens against plain autograd on all logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dpc.lm import losses
from dpc.lm.layout import Layout, right_padded
from dpc.lm.losses import Head, TokenNll, rationale_nll, rationale_scores
from tests.support import tiny

LAYOUT = Layout("bos_first", has_bos=True)
TOKENS, VOCABULARY, WIDTH = 7, 50, 6
ROOMS = {"all at once": 2**20, "three rows": 3 * 8 * VOCABULARY, "one row": 1}
"""Bytes of logits at once."""


def drawn(dtype: torch.dtype = torch.float64, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs of a decoder, targets, and a head's weights."""
    generator = torch.Generator().manual_seed(3)
    hidden_KD = torch.randn(TOKENS, WIDTH, dtype=torch.float64, generator=generator)
    weight_VD = scale * torch.randn(VOCABULARY, WIDTH, dtype=torch.float64, generator=generator)
    targets_K = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    return hidden_KD.to(dtype).requires_grad_(True), targets_K, weight_VD.to(dtype)


def plain(hidden_KD: Tensor, targets_K: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Return NLL and entropy from all logits."""
    logits_KV = hidden_KD @ head.weight_VD.T
    if head.softcap is not None:
        logits_KV = head.softcap * torch.tanh(logits_KV / head.softcap)
    log_KV = logits_KV.log_softmax(-1)
    return -log_KV.gather(1, targets_K[:, None])[:, 0], -(log_KV.exp() * log_KV).sum(-1)


def off(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("cached", ROOMS)
@pytest.mark.parametrize("at_once", ROOMS)
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("softcap", [None, 5.0, 30.0])
def test_value_and_gradient_equal_plain_autograd(
    softcap: float | None, scale: float, at_once: str, cached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighted anew in the backward pass: every token has its own dL/dNLL."""
    monkeypatch.setitem(losses.LOGITS, "cpu", ROOMS[at_once])
    monkeypatch.setitem(losses.CACHED, "cpu", ROOMS[cached])
    hidden_KD, targets_K, weight_VD = drawn(scale=scale)
    head, weights_K = Head(weight_VD, softcap), torch.arange(TOKENS, dtype=torch.float64) - 2.5
    (nll_K, entropy_K), (true_nll_K, true_entropy_K) = (
        TokenNll.apply(hidden_KD, targets_K, head, True),
        plain(hidden_KD, targets_K, head),
    )
    assert off(nll_K, true_nll_K) < 1e-13
    assert off(entropy_K, true_entropy_K) < 1e-13
    assert not entropy_K.requires_grad
    found, truth = (torch.autograd.grad(weights_K @ nll, hidden_KD)[0] for nll in (nll_K, true_nll_K))
    assert off(found, truth) < 1e-13


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_gradcheck(softcap: float | None) -> None:
    hidden_KD, targets_K, weight_VD = drawn()
    assert torch.autograd.gradcheck(
        lambda h: TokenNll.apply(h, targets_K, Head(weight_VD, softcap), True)[0], hidden_KD
    )


@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_bfloat16_is_reduced_in_float32(softcap: float | None, scale: float) -> None:
    """From the same rounded logits: only they and the slopes that go into the product are bfloat16."""
    hidden_KD, targets_K, weight_VD = drawn(torch.bfloat16, scale)
    logits_KV = (hidden_KD.detach() @ weight_VD.T).double().requires_grad_(True)
    identity = Head(torch.eye(VOCABULARY, dtype=torch.float64), softcap)
    nll_K, entropy_K = TokenNll.apply(hidden_KD, targets_K, Head(weight_VD, softcap), True)
    true_nll_K, true_entropy_K = plain(logits_KV, targets_K, identity)
    assert nll_K.dtype == entropy_K.dtype == torch.float32
    assert off(nll_K, true_nll_K) < 1e-6
    assert off(entropy_K, true_entropy_K) < 1e-5
    (slopes_KV,) = torch.autograd.grad(true_nll_K.sum(), logits_KV)
    (found_KD,) = torch.autograd.grad(nll_K.sum(), hidden_KD)
    assert off(found_KD.double(), slopes_KV @ weight_VD.double()) < 5e-3


def test_a_sure_token_keeps_its_small_loss() -> None:
    """NLL and entropy of 1e-6 nats are not lost beside logits of 20."""
    weight_VD = torch.full((VOCABULARY, 1), 2.0)
    weight_VD[3] = 20.0
    hidden_KD, targets_K = torch.ones(1, 1), torch.tensor([3])
    found = TokenNll.apply(hidden_KD, targets_K, Head(weight_VD), False)
    truth = plain(hidden_KD.double(), targets_K, Head(weight_VD.double()))
    for ours, theirs in zip(found, truth, strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=0.1)
        assert 1e-7 < float(ours) < 1e-4


class LargestTensor(torch.overrides.TorchFunctionMode):
    """Note the largest number of entries of any result."""

    largest = 0

    def __torch_function__(self, function: Any, types: Any, given: Any = (), more: Any = None) -> Any:
        found = function(*given, **(more or {}))
        if isinstance(found, Tensor):
            self.largest = max(self.largest, found.untyped_storage().nbytes() // found.element_size())
        return found


def test_logits_are_never_there_for_more_rows_than_their_bytes_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_KD, targets_K, weight_VD = drawn()
    for rows in (1, 3):
        monkeypatch.setitem(losses.LOGITS, "cpu", rows * 8 * VOCABULARY)
        with LargestTensor() as seen:
            TokenNll.apply(hidden_KD, targets_K, Head(weight_VD), True)
        assert seen.largest == max(rows * VOCABULARY, weight_VD.numel())


@pytest.mark.parametrize("family", ["llama-gqa", "gemma2"])
def test_rationale_tokens_are_scored_at_the_rows_that_predict_them(family: str) -> None:
    lm, (questions, rationales) = tiny.model(family, torch.float64), ([[5, 6, 7], [8]], [[9, 10], [11, 12, 13]])
    batch = right_padded(lm, LAYOUT, None, questions, rationales)
    hidden_BSD = torch.randn(*batch.embeds_BSD.shape, dtype=torch.float64, requires_grad=True)
    log_BSV = lm.logits(hidden_BSD).log_softmax(-1)
    nll, entropy = rationale_scores(lm, batch, hidden_BSD)
    for b, ids in enumerate(rationales):
        rows = batch.predicting_rows(b)
        own_TV = log_BSV[b, rows.start : rows.stop]
        torch.testing.assert_close(nll[b], -own_TV[range(len(ids)), ids], rtol=1e-13, atol=0)
        torch.testing.assert_close(entropy[b], -(own_TV.exp() * own_TV).sum(-1), rtol=1e-13, atol=0)
    assert [len(one) for one in rationale_nll(lm, batch, hidden_BSD, limit=1)] == [1, 1]
    after_bos = rationale_nll(lm, batch, hidden_BSD[:, 1:], first=1)
    assert [one.tolist() for one in after_bos] == [one.tolist() for one in nll]
    with torch.no_grad():
        assert not rationale_nll(lm, batch, hidden_BSD)[0].requires_grad
