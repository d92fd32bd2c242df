"""Work that a pass with a gradient can omit: rows that nothing reads, and activations that can be recomputed.

Axes: B batch, S position, D width, F width of the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dpc.lm.models import LanguageModel, other_forwards

_again = partial(partial, checkpoint, use_reentrant=False, preserve_rng_state=False)
"""Make a function keep its inputs only, and compute the rest again in the backward pass."""

GRAPH = {"cpu": 2**31, "cuda": 2**35}
"""Bytes that the sequences of one pass may keep for the backward pass. A constant: parts must not depend on the day."""


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


def only_last_rows(lm: LanguageModel, count: int) -> AbstractContextManager[None]:
    """Spare the last layer what follows its attention in all but each sequence's last `count` rows: 0 stands there.

    No later layer reads those rows, and a loss on the rows kept does not either. The rows are made contiguous: of a
    strided slice and a frozen weight torch makes a batch product, for which a CPU copies the weight once per sequence.
    """

    def spared(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def of_last(hidden_BSD: Tensor) -> Tensor:
            kept_BSD = forward(hidden_BSD[:, -count:].contiguous())
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

    def gated(gate_BSF: Tensor, up_BSF: Tensor) -> Tensor:
        product_BSF: Tensor = mlp.act_fn(gate_BSF) * up_BSF
        return product_BSF

    def lean(hidden_BSD: Tensor) -> Tensor:
        output_BSD: Tensor = mlp.down_proj(_again(gated)(mlp.gate_proj(hidden_BSD), mlp.up_proj(hidden_BSD)))
        return output_BSD

    return lean
