"""Work that a pass can omit: copies of frozen weights, rows that nothing reads, activations that can be recomputed.

Axes: B batch, S position, R row, D width, F width of the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from dpc.lm.models import LanguageModel, other_forwards

_again = partial(partial, checkpoint, use_reentrant=False, preserve_rng_state=False)
"""Make a function keep its inputs only, and compute the rest again in the backward pass."""

GRAPH = {"cpu": 2**31, "cuda": 2**35}
"""Bytes that the sequences of one pass may keep for the backward pass. A constant: parts must not depend on the day."""


ROWS_BYTES = {"cpu": 2**21, "cuda": 2**28}
"""Bytes of each tensor of a gate's backward pass that are worked on at once: what a CPU's cache holds."""


def rows_within(lm: LanguageModel, tokens: int) -> int:
    """Return how many sequences of so many tokens go through the model at once, within GRAPH; at least one.

    `lean_layers` keep, for each token: gate and up, the inputs of two norms, queries, keys, values, attention's output.
    """
    config, weight_VD = lm.model.config, lm.embedding.weight
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = 2 * (config.num_attention_heads + config.num_key_value_heads)
    entries = 2 * config.intermediate_size + 2 * config.hidden_size + heads * head_width
    kept = entries * config.num_hidden_layers * weight_VD.element_size() * tokens
    return max(1, GRAPH["cpu" if lm.device.type == "cpu" else "cuda"] // kept)


def foldable(states_BSD: Tensor) -> Tensor:
    """Return a slice of states with strides of its own, as rows that follow one another.

    Of a strided slice and a frozen weight torch makes a batch product, for which a CPU copies the weight once per
    sequence. `contiguous` does not help with one sequence: it leaves the stride from which torch decides.
    """
    return states_BSD.flatten(0, 1).unflatten(0, states_BSD.shape[:2])


def only_last_rows(lm: LanguageModel, count: int) -> AbstractContextManager[None]:
    """Spare the last layer what follows its attention in all but each sequence's last `count` rows: 0 stands there.

    No later layer reads those rows, and a loss on the rows kept does not either.
    """

    def spared(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def of_last(hidden_BSD: Tensor) -> Tensor:
            kept_BSD = forward(foldable(hidden_BSD[:, -count:]))
            return nn.functional.pad(kept_BSD, (0, 0, hidden_BSD.shape[1] - kept_BSD.shape[1], 0))

        return of_last

    layer = lm.model.get_decoder().layers[-1]
    return other_forwards([layer.self_attn.o_proj, layer.mlp], spared)


def checkpointed(lm: LanguageModel, is_wanted: bool) -> AbstractContextManager[None]:
    """Make every decoder layer keep its input only; transformers' own switch would drop the prefix cache silently."""
    return other_forwards(list(lm.model.get_decoder().layers) if is_wanted else [], _again)


@contextmanager
def lean_layers(lm: LanguageModel) -> Iterator[None]:
    """Let norms and gates keep their inputs only: what lies between is elementwise, and more than half of the memory.

    The same operations run, so no bit of a result changes.
    """
    decoder = lm.model.get_decoder()
    norms = [module for module in decoder.modules() if type(module).__name__.endswith("RMSNorm")]
    with ExitStack() as stack:
        stack.enter_context(other_forwards(norms, _again))
        for mlp in (layer.mlp for layer in decoder.layers):
            stack.enter_context(other_forwards([mlp], partial(_lean, mlp)))
        yield


def _lean(mlp: Any, forward: object) -> Callable[[Tensor], Tensor]:
    """Return the forward pass of a gated feed-forward layer, which all supported families have."""

    def lean(hidden_BSD: Tensor) -> Tensor:
        gate_BSF, up_BSF = mlp.gate_proj(hidden_BSD), mlp.up_proj(hidden_BSD)
        output_BSD: Tensor = mlp.down_proj(_Gated.apply(gate_BSF, up_BSF, mlp.act_fn))
        return output_BSD

    return lean


class _Gated(torch.autograd.Function):
    """act(gate) * up, which keeps its two inputs. What lies between is made again, a few rows at a time."""

    @staticmethod
    def forward(ctx: Any, gate_BSF: Tensor, up_BSF: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the product (B x S x F)."""
        ctx.save_for_backward(gate_BSF, up_BSF)
        ctx.act = act
        return act(gate_BSF) * up_BSF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes_BSF: Tensor) -> Any:
        """Return the gradients in gate and up; the same operations as without this function, so the same bits."""
        gate_BSF, up_BSF = ctx.saved_tensors
        to_gate_BSF, to_up_BSF = torch.empty_like(gate_BSF), torch.empty_like(up_BSF)
        tensors = (slopes_BSF[0], gate_BSF, up_BSF, to_gate_BSF, to_up_BSF)
        every = (each.flatten(0, -2).split(_rows_at_once(gate_BSF)) for each in tensors)
        for slope_RF, gate_RF, up_RF, to_gate_RF, to_up_RF in zip(*every, strict=True):
            with torch.enable_grad():
                leaf_RF = gate_RF.detach().requires_grad_(True)
                act_RF = ctx.act(leaf_RF)
            torch.mul(slope_RF, act_RF.detach(), out=to_up_RF)
            to_gate_RF.copy_(torch.autograd.grad(act_RF, leaf_RF, slope_RF * up_RF)[0])
        return to_gate_BSF, to_up_BSF, None


def _rows_at_once(like_BSF: Tensor) -> int:
    """Return a multiple of 64: parts fill a CPU's vectors as the whole does, and what is left over rounds otherwise."""
    room = ROWS_BYTES["cpu" if like_BSF.device.type == "cpu" else "cuda"]
    return max(64, room // (like_BSF.shape[-1] * like_BSF.element_size()) // 64 * 64)
