"""Run the engine on a model spread over two cards that are pretended: shapes and devices, no numbers.

torch refuses tensors of two devices in one operation, pretended or not; that is what this looks for. Its backward pass
does not run on pretended devices, so attention's own runs in the forward pass, on a gradient of 0. In a process of its
own, `python -m tests.support.two_cards`, because a pretended device stays.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate import dispatch_model, hooks
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from dpc.config.methods import Act
from dpc.lm import greedy
from dpc.lm.act.calibration import Calibration, calibrated
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.cache import Past
from dpc.lm.examples import Example
from dpc.lm.grouped import grouped
from dpc.lm.layout import Layout, left_padded, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency import attention, tiled
from dpc.lm.saliency import measuring as saliency
from dpc.lm.saliency import recorder as recording
from dpc.lm.saliency.recorder import Recorder, Request
from dpc.prompts.tuners import prompt_tuning as training
from dpc.prompts.tuners.prompt_tuning import Objective
from tests.support import tiny

LAYOUT, VECTORS = Layout("bos_first", True), 5
QUESTIONS, RATIONALES = [[3, 4, 5], [6, 7]], [[8, 9, 10, 11], [12, 13, 14]]
CASES = (("llama-gqa", torch.float32), ("mistral", torch.bfloat16), ("gemma2", torch.float32))
HEADS = {0: [1], 2: [0, 3]}


def spread(lm: LanguageModel, mode: FakeTensorMode) -> None:
    """Lay the first decoder layer and the embedding on one card, and all else on another."""
    last = range(1, lm.model.config.num_hidden_layers)
    first = ("model.embed_tokens", "model.rotary_emb", "model.layers.0")
    places = dict.fromkeys(first, "card:0") | {f"model.layers.{layer}": "card:1" for layer in last}
    places |= {"model.norm": "card:1", "lm_head": "card:0" if lm.model.config.tie_word_embeddings else "card:1"}
    for name, place in places.items():
        for module in lm.model.get_submodule(name).modules():
            for kept in (module._parameters, module._buffers):
                kept.update({key: pretend(tensor, mode, place) for key, tensor in kept.items() if tensor is not None})
    with mock.patch.object(hooks, "set_module_tensor_to_device"):
        dispatch_model(lm.model, places, skip_keys="past_key_values")


def pretend(tensor: torch.Tensor, mode: FakeTensorMode, place: str) -> torch.Tensor:
    pretended = mode.from_tensor(tensor).to(place)
    is_weight = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(pretended, requires_grad=False) if is_weight else pretended


def pretended(numbers: Any, dtype: torch.dtype | None = None, device: Any = None) -> torch.Tensor:
    """Take the place of `torch.tensor`, which would do real work with what it is given."""
    array = np.array(numbers)
    return torch.zeros(array.shape, dtype=dtype or torch.from_numpy(array).dtype, device=device)


def measure(lm: LanguageModel, prompt_ND: torch.Tensor) -> None:
    """Take a batch through saliency; every layer is reduced where it lies."""
    seen = []

    def attend(query: torch.Tensor, key: Any, value: Any, sight: Any, given: Any, reader: Any) -> torch.Tensor:
        seen.append(str(query.device))
        output = attention.attend(query, key, value, sight, given)
        states = (query, key, value, *(given or (None, None)), output, query[..., 0].float())
        wanted = [True, True, True, given is not None, given is not None]
        context = mock.Mock(saved_tensors=states, needs_input_grad=wanted, sight=sight, reader=reader)
        attention.Attention.backward(context, torch.zeros_like(output))
        return output

    batch = right_padded(lm, LAYOUT, prompt_ND, QUESTIONS, RATIONALES)
    full = Request(band=range(1, 3), full=(range(0, 3),))
    for request in (full, Request(), Request(rows="rationale", head_reduce="sum_abs")):
        recorder, before = Recorder(request, batch, slice(1, 1 + VECTORS), [(2, 2), (1, 1)], 3, 4), len(seen)
        with mock.patch.object(tiled, "attend", attend), tiled.tiled(lm, recorder.passage), torch.no_grad():
            nll, entropy = saliency._scores(lm, batch, recorder, saliency.Prefix())
        with mock.patch.object(recording, "check_finite"):
            recorder.reduced(nll, entropy)
        assert seen[before:][-3:] == ["card:0", "card:1", "card:1"], seen


def decode(lm: LanguageModel, prompt_ND: torch.Tensor, calibration: bool) -> None:
    """Take a batch through prefill, drafts of two tokens that one row is ahead with, a dropped row and a token."""
    batch = left_padded(lm, LAYOUT, [prompt_ND] * 2, QUESTIONS)
    length, decoder = batch.embeds_BSD.shape[1], lm.model.get_decoder()
    past = Past(lm, batch.mask_BS, batch.position_ids_BS, length + 4)
    past.calibration = Calibration(Act(), HEADS, batch.mask_BS) if calibration else None
    with grouped(lm), calibrated(lm, past.calibration):
        decoder(inputs_embeds=batch.embeds_BSD, **past.fill(slice(0, 2), [0, 0], length))
        decoder(inputs_embeds=batch.embeds_BSD[:, :2], **past.fill(slice(0, 2), [length, length - 1], 2))
        past.arrange([1])
        found = decoder(inputs_embeds=batch.embeds_BSD[:1, :1], **past.fill(slice(0, 1), [length + 1], 1))
        with mock.patch.object(greedy, "check_finite"):
            greedy.next_tokens(lm, found.last_hidden_state[:, 0])


def tune(lm: LanguageModel, prompt_ND: torch.Tensor, examples: list[Example]) -> None:
    """Take the prefix, and what comes behind it, through the model."""
    objective, prefix_PD = Objective(lm, LAYOUT, None, 2), torch.cat([lm.embedding.weight[:1], prompt_ND])
    with mock.patch.object(training, "shared_prefix", return_value=prefix_PD):  # it would compare numbers
        objective._nll(prompt_ND, objective._states(prompt_ND), examples)


def score(lm: LanguageModel, prompt_ND: torch.Tensor, examples: list[Example]) -> None:
    """Take heads of both cards through the selection of attention calibration."""
    scores = HeadScores(lm, LAYOUT, lambda _: prompt_ND, Act())
    with mock.patch.object(HeadScores, "_nll", return_value=[]):
        scores.each(examples, [0, 2])
        scores.together(examples, HEADS)


def main(family: str, dtype: torch.dtype) -> None:
    lm = tiny.model(family, dtype)
    with FakeTensorMode() as mode, mock.patch.object(torch, "tensor", pretended):
        spread(lm, mode)
        prompt_ND = torch.zeros(VECTORS, tiny.SHAPE["hidden_size"], dtype=dtype, device=lm.device)
        measure(lm, prompt_ND)
        with torch.no_grad():
            decode(lm, prompt_ND, calibration=False)
            decode(lm, prompt_ND, calibration=True)
            examples = [Example(q, r) for q, r in zip(QUESTIONS, RATIONALES, strict=True)]
            tune(lm, prompt_ND, examples)
            score(lm, prompt_ND, examples)


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend("card")
    for family, dtype in CASES:
        main(family, dtype)
