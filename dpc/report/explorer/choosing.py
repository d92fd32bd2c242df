"""Which cases stand on the page where a cell has more than it holds, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping

from dpc.storage.hashing import hash_order

RULE = (
    "the patterns of right and wrong (without the prompt, with it, under DPC) take turns; within a pattern questions "
    "that were intervened on come first, then a hash of the question's id decides"
)


def in_turns(patterns: Mapping[str, Hashable], first: Collection[str] = ()) -> list[str]:
    """Return all keys by `RULE`: the first of every pattern, then the second of every pattern, and so on.

    Within a pattern the keys in `first` come before the others.
    """
    queues: dict[Hashable, list[str]] = {}
    for key in sorted(patterns, key=lambda key: (key not in first, hash_order(key))):
        queues.setdefault(patterns[key], []).append(key)
    in_order = [queues[pattern] for pattern in sorted(queues, key=repr)]
    return [key for turn in itertools.zip_longest(*in_order) for key in turn if key is not None]
