"""Which layers a setting means."""

from __future__ import annotations

from dpc.errors import DpcError

PAPER_DEPTH, PAPER_SHALLOW, INNER = 32, (2, 10), (2, 30)
"""The paper's shallow layers, ACT's layers, and the depth of the model they are named for."""


def layer_range(spec: str | list[int], layers: int) -> range:
    """Return the layers a setting means for a model of `layers` layers, 0-indexed.

    `paper`: layers 2 to 10 inclusive of 32, scaled by depth (D11). `inner`: 2 to 30, scaled likewise (ACT).
    `second_half`: without the last layer (D12). Raises DpcError for a range outside the model.
    """
    if spec in ("paper", "inner"):
        named = PAPER_SHALLOW if spec == "paper" else INNER
        first, last = (round(layer * layers / PAPER_DEPTH) for layer in named)
        return range(first, min(last + 1, layers))
    if spec == "second_half":
        return range(layers // 2, max(layers - 1, layers // 2 + 1))
    if spec == "all":
        return range(layers)
    first, last = int(spec[0]), int(spec[1])
    if not 0 <= first <= last < layers:
        raise DpcError(
            f"layer range [{first}, {last}] does not lie in the model's layers 0 to {layers - 1}; "
            "write [first, last], both inclusive"
        )
    return range(first, last + 1)
